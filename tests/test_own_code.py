"""A stranger's checkpoint asks to run its own code: it is run by no entry, nobody is asked, the error says so."""

import ast
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from tiny_data import TINY_EMOTIONS

import hf_emo_dist
from hf_emo_dist import load_emotion_model
from hf_emo_dist._own_code import OwnCodeError
from hf_emo_dist.annotation.batch.cancelling import cancel_jobs
from hf_emo_dist.commands.main import main
from hf_emo_dist.hub.vllm_layout import export_vllm
from hf_emo_dist.modeling.model import EmotionDistributionModel
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

PACKAGE = Path(hf_emo_dist.__file__).parent
CODE = """
from pathlib import Path
Path({mark!r}).write_text("run")
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast, Wav2Vec2FeatureExtractor
class Config(PreTrainedConfig):
    model_type = "stranger"
class Model(PreTrainedModel):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
class Features(Wav2Vec2FeatureExtractor):
    pass
"""
AUTO_MAP = {
    "AutoConfig": "code.Config",
    "AutoModel": "code.Model",
    "AutoModelForAudioClassification": "code.Model",
    "AutoProcessor": "code.Features",
}


def change(file, **values):
    old = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**old, **values}))


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """Where the stranger's code would write; whoever is asked whether to run it says yes."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda *text: asked.append(text) or "y")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "mark"
    assert not (tmp_path / "mark").exists() and asked == []


def stranger(folder, mark, source):
    """A checkpoint whose files all name code of its own."""
    shutil.copytree(source, folder)
    (folder / "code.py").write_text(CODE.format(mark=str(mark)))
    change(folder / "config.json", model_type="stranger", auto_map=AUTO_MAP)
    for name in ("processor_config.json", "preprocessor_config.json"):
        change(folder / name, auto_map={"AutoFeatureExtractor": "code.Features", "AutoProcessor": "code.Features"})
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["code.Tokenizer", None]})
    return folder


@pytest.fixture
def foreign(tmp_path, mark, checkpoint):
    return stranger(tmp_path / "foreign", mark, checkpoint)


@pytest.fixture
def foreign_adapter(tmp_path, mark, adapter, tiny_backbone):
    base = stranger(tmp_path / "base", mark, tiny_backbone)
    change(adapter / "adapter_config.json", base_model_name_or_path=str(base))
    return adapter


PYTHON = {
    "load_emotion_model": lambda name: load_emotion_model(name),
    "trust_remote_code=True": lambda name: load_emotion_model(name, trust_remote_code=True),
    "model": lambda name: EmotionDistributionModel.from_pretrained(name, emotions=TINY_EMOTIONS),
    "export_vllm": lambda name: export_vllm(name, "out"),
}


@pytest.mark.parametrize("layout", ["foreign", "foreign_adapter"])
@pytest.mark.parametrize("entry", PYTHON)
def test_in_python(entry, layout, request):
    name = request.getfixturevalue(layout)
    with pytest.raises(ValueError, match=r"never\s+runs a checkpoint's own code .*Mend: "):
        PYTHON[entry](str(name))


@pytest.mark.parametrize("task", ["speech-emotion-distribution", "audio-classification"])
@pytest.mark.parametrize("layout", ["foreign", "foreign_adapter"])
def test_transformers_own_pipeline(task, layout, request):
    # it reads the configuration by itself, before anything of ours is called; told not to, it runs nothing
    from transformers import pipeline

    with pytest.raises((ValueError, OSError, RuntimeError)):
        pipeline(task, model=str(request.getfixturevalue(layout)), trust_remote_code=False)


COMMANDS = {
    "predict": ["clip.wav", "--model", "MODEL"],
    "evaluate": ["--model", "MODEL", "--dataset", "DATA", "--output", "out.json"],
    "train": [
        "--backbone",
        "MODEL",
        "--dataset",
        "DATA",
        "--output_dir",
        "out",
        "--use_cpu",
        "true",
        "--validation_split",
        "test",
    ],
    "demo": ["--model", "MODEL"],
    "export": ["MODEL", "out"],
    "push": ["model", "MODEL", "me/x", "--merge", "--base_model", "me/base"],
    "temperature": ["--model", "MODEL", "--dataset", "DATA", "--split", "test"],
    "augment": ["DATA", "out", "--augment_features", "backbone", "--augment_backbone", "MODEL"],
}


NOT_LOADED = [("push", "foreign"), ("augment", "foreign_adapter")]


@pytest.mark.parametrize("layout", ["foreign", "foreign_adapter"])
@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, layout, request, data_folder, capsys):
    name = request.getfixturevalue(layout)
    if (command, layout) in NOT_LOADED:
        pytest.skip("nothing is loaded")
    words = [str({"MODEL": name, "DATA": data_folder}.get(word, word)) for word in COMMANDS[command]]
    assert main([command, *words]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "never runs a checkpoint's own code" in told and "Mend:" in told, told


def test_a_card_is_written_without_it(foreign, mark, capsys):
    (foreign / "README.md").unlink(missing_ok=True)
    status = main(["card", str(foreign)])
    assert (status, (foreign / "README.md").exists()) in ((0, True), (2, False)), capsys.readouterr()
    assert not mark.exists()


TOKENIZER = {"tokenizer_class": "Stranger", "auto_map": {"AutoTokenizer": ["code.Tokenizer", None]}}
PARTS = {
    "tokenizer": ("tokenizer_config.json", TOKENIZER),
    "features": (
        "preprocessor_config.json",
        {"feature_extractor_type": "Stranger", "auto_map": {"AutoFeatureExtractor": "code.Features"}},
    ),
    "a family of a module": ("processor_config.json", {"family": "known.code:Config"}),
    "a family that is there": ("processor_config.json", {"family": "code:Config"}),
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_a_known_model(part, tmp_path, mark, checkpoint, monkeypatch):
    folder = shutil.copytree(checkpoint, tmp_path / "known")
    (folder / "code.py").write_text(CODE.format(mark=str(mark)))
    (tmp_path / "code.py").write_text(CODE.format(mark=str(mark)))
    monkeypatch.delitem(sys.modules, "code", raising=False)
    file, values = PARTS[part]
    if part == "features":  # it lies in the processor's file, too
        saved = json.loads((folder / "processor_config.json").read_text())
        saved.pop("feature_extractor", None)
        (folder / "processor_config.json").write_text(json.dumps(saved))
    change(folder / file, **values)
    try:
        processor = EmotionDistributionProcessor.from_pretrained(folder)
    except OwnCodeError as error:
        assert "never run" in str(error) and "Mend:" in str(error)
    else:  # by what transformers has itself
        assert part in ("tokenizer", "features") and type(processor.tokenizer).__module__.startswith("transformers")


KNOWN = {"auto_map": {"AutoConfig": "me/evil--code.Config"}, "custom_pipelines": {"x": {"impl": "code.P"}}}


def test_what_is_saved_names_no_code(tmp_path, mark, tiny_backbone):
    folder = shutil.copytree(tiny_backbone, tmp_path / "known")
    change(folder / "config.json", **KNOWN)
    model = EmotionDistributionModel.from_pretrained(folder, emotions=["a", "b"])
    model.save_pretrained(tmp_path / "saved")
    assert not set(KNOWN) & set(json.loads((tmp_path / "saved" / "config.json").read_text()))


def test_nor_do_a_processors_parts(tmp_path, mark, tiny_backbone):
    folder = shutil.copytree(tiny_backbone, tmp_path / "known")
    for name in ("tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        change(folder / name, auto_map={"AutoTokenizer": ["code.T", None], "AutoFeatureExtractor": "code.F"})
    EmotionDistributionProcessor.from_pretrained(folder, emotions=["a", "b"]).save_pretrained(tmp_path / "saved")
    assert [file.name for file in (tmp_path / "saved").iterdir() if "auto_map" in file.read_text()] == []


NESTED = {
    "beside it": ({"audio_config": {"model_type": "stranger"}, "auto_map": AUTO_MAP}, "of no model that .*stranger"),
    "in it": ({"audio_config": {"model_type": "stranger", "auto_map": AUTO_MAP}}, "the audio_config of .*'stranger'"),
    "no code": ({"audio_config": {"model_type": "stranger"}}, "of no model that .*stranger"),
}


@pytest.mark.parametrize(("values", "said"), NESTED.values(), ids=NESTED.keys())
def test_a_part_of_a_model_of_its_own(values, said, tmp_path, mark, tiny_backbone):
    folder = shutil.copytree(tiny_backbone, tmp_path / "known")
    change(folder / "config.json", **values)
    with pytest.raises((OSError, ValueError), match=rf"(?s){said}.*Mend: name a"):
        EmotionDistributionModel.from_pretrained(folder, emotions=["a", "b"])


KERNELS = [{"attn_implementation": "evil/kernel"}, {"text_config": {"_attn_implementation": "evil/kernel:fn"}}]


@pytest.mark.parametrize("values", KERNELS)
def test_kernels_of_the_hub(values, tmp_path, mark, tiny_backbone):
    folder = shutil.copytree(tiny_backbone, tmp_path / "known")
    change(folder / "config.json", **values)
    with pytest.raises(OwnCodeError, match="evil/kernel"):
        EmotionDistributionModel.from_pretrained(folder, emotions=["a", "b"])


ADAPTERS = {
    "a module to import": ({"megatron_config": {"a": 1}, "megatron_core": "code"}, "Python module"),
    "adapters elsewhere": ({"peft_type": "XLORA", "adapters": {"0": "evil/x"}}, "further adapters"),
    "a share": ({"base_model_name_or_path": "\\\\evil.example\\share\\base"}, "no name on the Hub"),
    "no name": ({"base_model_name_or_path": {"a": 1}}, "as its backbone"),
}


@pytest.mark.parametrize("case", ADAPTERS)
def test_adapters_that_name_other_things(case, adapter, mark):
    values, told = ADAPTERS[case]
    change(adapter / "adapter_config.json", **values)
    with pytest.raises(ValueError, match=rf"{told}(.|\n)*Mend: "):
        load_emotion_model(adapter)


def test_an_adapter_from_the_hub_names_no_folder_of_this_machine(hub, adapter, tiny_backbone):
    from hub_server import put

    change(adapter / "adapter_config.json", base_model_name_or_path=str(tiny_backbone))
    put(hub, "me/adapter", adapter)
    with pytest.raises(ValueError, match="which is no name on the Hub"):
        load_emotion_model("me/adapter")


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.write_text, (self.mark, "run"))


@pytest.mark.parametrize("layout", ["full", "adapter"])
def test_pickles_are_not_opened(layout, request, mark):
    import torch

    folder = request.getfixturevalue(layout)
    for file in folder.glob("*.safetensors"):
        torch.save({"a": Evil(mark)}, folder / ("pytorch_model.bin" if layout == "full" else "adapter_model.bin"))
        file.unlink()
    torch.save(Evil(mark), folder / "training_args.bin")
    with pytest.raises(OSError, match=r"formats are not read|no weights in safetensors"):
        load_emotion_model(folder)


def test_a_template_is_run_in_a_sandbox(checkpoint, mark, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "known")
    evil = "{{ cycler.__init__.__globals__.os.popen('touch " + str(mark) + "').read() }}"
    (folder / "chat_template.jinja").write_text(evil)
    _, processor = load_emotion_model(folder)
    with pytest.raises(Exception, match=r"unsafe|undefined|access"):
        processor.tokenizer.apply_chat_template([{"role": "user", "content": "a"}], chat_template=evil, tokenize=False)


# --- nowhere in the code

# whose `from_pretrained` is ours, or a class that is known here, so that no file chooses it
OURS = {
    "EmotionDistributionModel",
    "EmotionDistributionProcessor",
    "LabelReader",
    "cls",
    "family",
    "family_of()",
    "super()",
}
PLAIN = {"PeftModel", "PeftConfig", "WhisperModel", "model.stock_class"}
LOADERS = {"pipeline", "evaluate.load", "torch.load", "pickle.load", "pickle.loads", "joblib.load", "torch.hub.load"}


def called(node):
    if isinstance(node, ast.Attribute):
        return f"{called(node.value)}.{node.attr}"
    return f"{called(node.func)}()" if isinstance(node, ast.Call) else ast.unparse(node)


def untrusting(node):
    return any(
        word.arg == "trust_remote_code" and getattr(word.value, "value", True) is False for word in node.keywords
    )


def loading_calls(tree):
    """Calls that could run what a file brings, and do not say that it may not."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = called(node.func)
        if name.endswith(".from_pretrained"):
            owner = name.removesuffix(".from_pretrained")
            if owner not in OURS | PLAIN and not untrusting(node):
                yield node, name
            continue
        words = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        unsafe = words.get("weights_only", True) is not True or ("trust_remote_code" in words and not untrusting(node))
        if name in LOADERS or unsafe:
            yield node, name


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("AutoConfig.from_pretrained(x)", 1),
        ("AutoConfig.from_pretrained(x, trust_remote_code=False)", 0),
        ("AutoModel.from_pretrained(x, trust_remote_code=True)", 1),
        ("load_part(AutoConfig, x)", 0),
        ("pipeline('x', model=y)", 1),
        ("torch.load(x)", 1),
        ("load_dataset(x, trust_remote_code=True)", 1),
        ("EmotionDistributionModel.from_pretrained(x)", 0),
    ],
)
def test_the_search_finds_them(text, number):
    assert len(list(loading_calls(ast.parse(text)))) == number


def test_every_call_says_it():
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if re.search(r"from_pretrained\(|pipeline\(|\bload|weights_only", text := path.read_text())
        for node, name in loading_calls(ast.parse(text))
    ]
    assert [re.sub(r":\d+", "", one) for one in found] == ["_own_code.py auto.from_pretrained"], (
        f"{found}: use _own_code.load_part"
    )
    assert '"trust_remote_code": False' in (PACKAGE / "_own_code.py").read_text()


def test_a_ledger_names_no_module_to_import(tmp_path, monkeypatch, mark):
    from types import SimpleNamespace

    (tmp_path / "code.py").write_text(CODE.format(mark=str(mark)))
    monkeypatch.delitem(sys.modules, "code", raising=False)
    job = SimpleNamespace(name="job", job="1", backend="code:Config", model="m", endpoint="e")
    ledger = SimpleNamespace(journal=SimpleNamespace(jobs=lambda states: [job]))
    with pytest.raises(ValueError, match=r"Mend: pass the backend"):
        cancel_jobs(ledger, ["all"])
