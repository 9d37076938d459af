"""What `Dataset.map` takes its fingerprint from: it changes with what changes the columns, and not with secrets."""

import inspect
import pickle

import pytest
from datasets.fingerprint import Hasher
from scripted import ScriptedBackend
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows

from hf_emo_dist.annotation import annotator as annotator_module
from hf_emo_dist.annotation import functions
from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.backends import GeminiBackend
from hf_emo_dist.annotation.functions import annotate_with_gemini
from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.run.jobs import RunSettings


def make(tmp_path, script=None, **options):
    options = {"emotions": TINY_EMOTIONS, "num_annotations": 2, "progress": False, **options}
    return Annotator(ScriptedBackend(script), ledger=tmp_path / "votes.sqlite", **options)


def test_it_is_the_same_for_the_same_settings(tmp_path):
    mine = make(tmp_path)
    before = Hasher.hash(mine)
    mine.annotate(as_dataset(tiny_rows(2)))
    assert before == Hasher.hash(mine) == Hasher.hash(make(tmp_path)) == Hasher.hash(pickle.loads(pickle.dumps(mine)))


CHANGES = {
    "emotions": {"emotions": ("angry", "sad")},
    "panel": {"num_annotations": 3},
    "prompts": {"preset": "paper"},
    "transcript": {"use_transcript": False},
    "retry": {"retry_failed": True},
}


@pytest.mark.parametrize("change", CHANGES)
def test_settings_change_it(tmp_path, change):
    assert Hasher.hash(make(tmp_path)) != Hasher.hash(make(tmp_path, **CHANGES[change]))


def test_a_new_version_changes_it(tmp_path, monkeypatch):
    before = Hasher.hash(make(tmp_path)), Hasher.hash(annotate_with_gemini)
    monkeypatch.setattr(annotator_module, "ANNOTATOR_VERSION", 99)
    monkeypatch.setattr(functions, "ANNOTATOR_VERSION", 99)
    assert Hasher.hash(make(tmp_path)) != before[0]
    assert Hasher.hash(annotate_with_gemini) != before[1]


def test_failures_in_the_ledger_change_it_and_those_of_other_plans_do_not(tmp_path):
    mine = make(tmp_path, lambda *_: "nothing of the kind, I fear")
    other = make(tmp_path, num_annotations=1, use_transcript=False, preset="paper")
    before, others = Hasher.hash(mine), Hasher.hash(other)
    mine.annotate(as_dataset(tiny_rows(2)))
    assert Hasher.hash(mine) != before and Hasher.hash(other) == others


def test_annotate_with_gemini_knows_the_failures_of_ledgers_that_were_used(tmp_path, monkeypatch):
    monkeypatch.setattr(functions, "_list_file", lambda: tmp_path / "ledgers.txt")
    before = Hasher.hash(annotate_with_gemini)
    mine = make(tmp_path, lambda *_: "nothing of the kind, I fear")
    functions._remember(mine.ledger)
    functions._remember(mine.ledger)
    assert (tmp_path / "ledgers.txt").read_text().count("\n") == 1
    remembered = Hasher.hash(annotate_with_gemini)
    mine.annotate(as_dataset(tiny_rows(2)))
    assert len({before, remembered, Hasher.hash(annotate_with_gemini)}) == 3
    assert pickle.loads(pickle.dumps(annotate_with_gemini)) is annotate_with_gemini


def test_a_ledger_may_be_given_as_an_object(tmp_path):
    with Ledger(tmp_path / "mine.sqlite") as ledger:
        mine = Annotator(ScriptedBackend(), emotions=TINY_EMOTIONS, ledger=ledger, num_annotations=2, progress=False)
        assert mine.annotate(as_dataset(tiny_rows(2))).report.votes == 4
        assert len(ledger) == 4
        assert pickle.loads(pickle.dumps(mine)).ledger.path == ledger.path


WRONG = {
    "preset": ({"preset": "papr"}, "'default' or 'paper'"),
    "concurrency": ({"concurrency": 0}, "`concurrency`"),
    "budget": ({"max_cost_usd": 0}, "`max_cost_usd`"),
    "budget without prices": ({"max_cost_usd": 1}, "Mend: cap max_tokens"),
    "emotions": ({"emotions": ["angry"]}, "at least two"),
    "nobody": ({"num_annotations": 0}, "at least one member"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_explained_before_anything_is_sent(tmp_path, case):
    options, problem = WRONG[case]
    with pytest.raises(ValueError, match=problem):
        make(tmp_path, **options)


@pytest.mark.parametrize("function", [Annotator, annotate_with_gemini])
def test_every_argument_is_seen_and_has_the_default_of_where_it_belongs(function):
    """What an editor completes is what there is; a default that was copied cannot drift."""
    shown = dict(inspect.signature(function).parameters)
    assert not {p.kind for p in shown.values()} & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    for place in (RunSettings, Annotator, GeminiBackend)[: 1 if function is Annotator else 3]:
        for name, parameter in inspect.signature(place).parameters.items():
            if (place, name) != (Annotator, "backend"):
                # The model is the preset's, and how long to wait the service tier's.
                default = None if name in ("model", "timeout_s", "patience_s") else parameter.default
                assert shown.pop(name, parameter).default == default, name
    assert function is Annotator or list(shown) == ["example_or_batch"]
    with pytest.raises(TypeError, match="concurency"):
        function({}, concurency=3)
