"""Backends by name: from the table, or `module:Name` of the user's own code, with the arguments that a class takes."""

import sys

import pytest
from annotation_setup import EMOTIONS, dataset

from hf_emo_dist.annotation import backends
from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.backends import BACKENDS, make_backend

# A row for each backend: arguments that it needs
NEEDED = {"gemini": {}, "openai": {"model": "gpt-audio"}, "simulated": {}, "transformers": {"model": "a/b"}}

OWN = """
from hf_emo_dist.annotation import ModelCapabilities, SimulatedBackend
from hf_emo_dist.annotation.types import Answer

class Mine(SimulatedBackend):
    name = "mine"
    preset_models = {"paper": "mine-of-the-paper"}

    def __init__(self, model="mine-1", loud=False):
        super().__init__()
        self.model, self.loud, self.row_columns = model, loud, ()
        self.capabilities = ModelCapabilities(model, known=True, temperature=True)

    def render(self, prompt, member, row):
        return {"text": prompt.text, "emotions": list(prompt.emotions), "temperature": member.temperature}

    async def ask(self, request, audio, timeout_s):
        return Answer(min(request["emotions"]), model_version=self.model)

def quiet():
    return Mine("mine-quiet")

def nothing():
    return object()

number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_backend.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("own_backend", None)


@pytest.mark.parametrize("name", BACKENDS)
def test_the_table_names_classes(name):
    made = make_backend(name, options=NEEDED[name])
    assert made.name == name and type(made) is getattr(backends, type(made).__name__)


def test_the_preset_has_a_model_unless_one_is_named():
    assert make_backend("gemini", preset="paper").model == "gemini-2.5-pro"
    assert make_backend("gemini", "gemini-2.5-flash", "paper").model == "gemini-2.5-flash"
    assert make_backend("gemini", preset="paper", options={"model": "gemini-2.5-flash"}).model == "gemini-2.5-flash"


def test_a_class_of_the_user_s_own_annotates(own, tmp_path):
    mine = make_backend("own_backend:Mine", options={"loud": True})
    assert (mine.model, mine.loud) == ("mine-1", True)
    assert make_backend("own_backend:Mine", preset="paper").model == "mine-of-the-paper"
    assert make_backend("own_backend:quiet").model == "mine-quiet"
    annotator = Annotator(
        "own_backend:Mine", emotions=EMOTIONS, num_annotations=2, progress=False, ledger=tmp_path / "v.sqlite"
    )
    assert dataset(2).map(annotator, batched=True)["synthetic_votes"][:] == [["angry"] * 2] * 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("gemeni",), "'gemini', 'openai', 'simulated', 'transformers', or 'module:Name'"),
        (("openai",), "'model'.*Mend: it takes model, client.*--model"),
        (("simulated", "some-model"), "unexpected keyword argument 'model'.*Mend: it takes column, sharpness"),
        (("gemini", None, "default", {"thinkin": 3}), "'thinkin'.*thinking"),
        (("own_backend:Yours",), "has no 'Yours'"),
        (("own_backend:quiet", "m"), "unexpected keyword argument 'model'"),
        (("own_backend:nothing",), "'object' is no backend: it has no name, model, endpoint"),
        (("own_backend:number",), "is 3. Mend: name a class"),
    ],
)
def test_what_does_not_fit_is_explained(own, arguments, problem):
    with pytest.raises(ValueError, match=problem):
        make_backend(*arguments)


def test_an_instance_is_looked_at_too():
    with pytest.raises(ValueError, match="'int' is no backend"):
        Annotator(3)
