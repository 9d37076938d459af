"""What `export` writes answers as the checkpoint does, for any number of clips of any lengths."""

import sys

import pytest
import soundfile
import torch
from speech_encoders import CASES, FAMILIES
from tiny_data import TINY_EMOTIONS, tone

from hf_emo_dist.commands.main import main
from hf_emo_dist.hub.export import export_model
from hf_emo_dist.hub.exported import compare
from hf_emo_dist.modeling.adapters import save_adapter_config
from hf_emo_dist.modeling.model import EmotionDistributionModel
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.training.lora import emotion_lora_config

SECONDS = [1.1, 0.3, 2.6, 0.5, 0.9, 0.4013, 1.7, 0.21]
CLIPS = [tone(100 + 60 * i, seconds, seed=i) for i, seconds in enumerate(SECONDS)]


def checkpoint(case, folder, **options):
    case.backbone(folder / "backbone")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EmotionDistributionModel.from_pretrained(folder / "backbone", emotions=TINY_EMOTIONS, **options).eval()
        with torch.no_grad():  # an untrained head answers nearly the same to everything
            for parameter in model.head.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
    named = {"text_encoder": options["text_encoder"]} if "text_encoder" in options else {}
    processor = EmotionDistributionProcessor.from_pretrained(folder / "backbone", emotions=TINY_EMOTIONS, **named)
    model.save_pretrained(folder / "checkpoint")
    processor.save_pretrained(folder / "checkpoint")
    return model, processor


def check(folder, model, **words):
    """Compare what was written, fed by the processor beside it, with the model."""
    processor = EmotionDistributionProcessor.from_pretrained(folder)
    assert processor.emotions == list(model.config.emotions)
    program = torch.export.load(folder / "model.pt2").module()
    answers = []
    for size in range(1, 9):
        given = {name: values[:size] for name, values in words.items()}
        inputs = processor(audio=CLIPS[:size], **given)
        with torch.no_grad():
            answers.append(program(**inputs))
            torch.testing.assert_close(answers[-1], model(**inputs).logits, atol=1e-4, rtol=0)
    assert answers[-1].std(0).max() > 1e-2  # they differ from clip to clip


# tracing takes seconds: one family in the fast set, the others among the slow tests
def cases(*quick):
    return pytest.mark.parametrize(
        "case",
        [pytest.param(case, marks=() if name in quick else pytest.mark.slow) for name, case in FAMILIES.items()],
        ids=FAMILIES.keys(),
    )


@cases("whisper")
def test_one_to_eight_clips_of_several_lengths(case, tmp_path, monkeypatch):
    model, processor = checkpoint(case, tmp_path)
    assert main(["export", str(tmp_path / "checkpoint"), str(tmp_path / "out")]) == 0
    check(tmp_path / "out", model)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"`{model.main_input_name}`" in readme and "`attention_mask` | int64 | (clips, " in readme
    assert ", ".join(TINY_EMOTIONS) in readme and str(tmp_path) not in readme
    # its lines run as they are
    soundfile.write(tmp_path / "clip.wav", CLIPS[0], 16000)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(readme.partition("```python\n")[2].partition("```")[0], found)
    with torch.no_grad():
        expected = model(**processor(audio=CLIPS[:1])).logits.softmax(-1)
    torch.testing.assert_close(found["distribution"].detach(), expected, atol=1e-3, rtol=0)  # a file has 16 bits


@pytest.mark.slow
def test_with_words_and_another_pooling(tmp_path):
    import transformers

    from hf_emo_dist.modeling.mini import byte_level_tokenizer

    tokenizer = byte_level_tokenizer(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    text = transformers.BertModel(
        transformers.BertConfig(vocab_size=640, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                intermediate_size=24, pad_token_id=0)
    )  # fmt: skip
    text.save_pretrained(tmp_path / "text")
    tokenizer.save_pretrained(tmp_path / "text")
    model, _ = checkpoint(CASES["whisper"], tmp_path, text_encoder=str(tmp_path / "text"), pooling="mean")
    export_model(tmp_path / "checkpoint", tmp_path / "out")
    check(tmp_path / "out", model, transcript=["Well.", None, "No.", "", "Yes, yes.", None, "a", "b c"])
    assert "| `text_input_ids` | int64 | (clips, words) |" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_an_adapter_is_merged(tmp_path):
    from peft import get_peft_model

    model, processor = checkpoint(CASES["hubert"], tmp_path)
    before = model(**processor(audio=CLIPS[:1])).logits
    settings = emotion_lora_config("attention", model=model, init_lora_weights=False)
    adapter = get_peft_model(model, settings).eval()
    adapter.save_pretrained(tmp_path / "adapter")
    save_adapter_config(model.config, tmp_path / "adapter")
    processor.save_pretrained(tmp_path / "adapter")
    assert (adapter(**processor(audio=CLIPS[:1])).logits - before).abs().max() > 1e-3
    export_model(tmp_path / "adapter", tmp_path / "out")
    check(tmp_path / "out", model)


@torch.no_grad()
def test_a_program_that_answers_otherwise_is_an_error(tmp_path):
    model, processor = checkpoint(CASES["whisper"], tmp_path)
    with pytest.raises(RuntimeError, match=r"logits are up to 0\.001 from the checkpoint's"):
        compare(lambda inputs: model(**inputs).logits + 1e-3, model, processor, "a broken runtime")


def test_what_cannot_be_exported_is_said(full, tmp_path):
    with pytest.raises(ValueError, match=r"is a Qwen2-Audio, .* export-vllm"):
        export_model(full, tmp_path / "out")
    with pytest.raises(ValueError, match=r"format='tflite' is not known\. Mend: use one of torch, onnx"):
        export_model(full, tmp_path / "out", format="tflite")


def test_without_its_extra_onnx_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs onnxscript.*hf-emo-dist\[onnx\]"):
        export_model(tmp_path, tmp_path / "out", format="onnx")


@cases("whisper")
def test_onnx_answers_alike(case, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model, processor = checkpoint(case, tmp_path)
    export_model(tmp_path / "checkpoint", tmp_path / "out", format="onnx")
    session = runtime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    for size in range(1, 9):
        inputs = processor(audio=CLIPS[:size])
        logits = session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0]
        with torch.no_grad():
            torch.testing.assert_close(torch.as_tensor(logits), model(**inputs).logits, atol=1e-4, rtol=0)
