"""What `export-vllm` writes is the stock layout and a matrix. vLLM itself does not run here."""

import json

import pytest
import torch
import transformers
from audio_language_models import CASES
from safetensors.torch import load_file
from tiny_data import TINY_EMOTIONS, tone

from hf_emo_dist.commands.main import main
from hf_emo_dist.hub.vllm_layout import chat_template, export_vllm
from hf_emo_dist.modeling.model import EmotionDistributionModel
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def trained(request, tmp_path):
    case = request.param
    folder = case.backbone(tmp_path / "backbone")
    model = EmotionDistributionModel.from_pretrained(folder, emotions=TINY_EMOTIONS, head="last_token").eval()
    processor = EmotionDistributionProcessor.from_pretrained(folder, emotions=TINY_EMOTIONS)
    with torch.no_grad():  # training moved all of it
        for parameter in model.parameters():
            parameter.add_(0.01)
    model.save_pretrained(tmp_path / "checkpoint")
    processor.save_pretrained(tmp_path / "checkpoint")
    return case, model, processor, tmp_path


def test_the_layout(trained):
    case, model, processor, folder = trained
    words = ["export-vllm", str(folder / "checkpoint"), str(folder / "served")]
    if model.not_built:
        with pytest.raises(ValueError, match="vision tower"):
            export_vllm(folder / "checkpoint", folder / "served")
        words += ["--backbone", str(folder / "backbone")]
    assert main(words) == 0
    written = load_file(folder / "served" / "model.safetensors")
    score = written.pop("score.weight")
    assert score.dtype == torch.float32 and torch.equal(score, model.head.score.weight)
    stock = load_file(folder / "backbone" / "model.safetensors")
    assert {name.removeprefix(model.hub_prefix) for name in written} == {n for n in stock if "lm_head" not in n}
    assert all(name.startswith(model.hub_prefix) for name in written)
    config = json.loads((folder / "served" / "config.json").read_text())
    assert len(config["architectures"]) == 1 and hasattr(transformers, config["architectures"][0])
    read = transformers.AutoConfig.from_pretrained(folder / "served")
    assert read.model_type == ("qwen2_5_omni" if model.hub_prefix else case.family)
    for part in (read, read.get_text_config()):
        assert part.num_labels == 3 and part.id2label == dict(enumerate(TINY_EMOTIONS))
    assert "backbone" not in (folder / "served" / "config.json").read_text()  # no path of this machine
    extractor = json.loads((folder / "served" / "preprocessor_config.json").read_text())["feature_extractor_type"]
    assert hasattr(transformers, extractor)
    # read back by transformers' own class, with the matrix on its last token, it answers as the checkpoint does
    own = read.thinker_config if model.hub_prefix else read
    again = getattr(transformers, case.stock_class).from_pretrained(folder / "served", config=own).eval()
    inputs = processor(audio=[tone(300, 0.5)], transcript=["Well."])
    with torch.no_grad():
        states = again.model(**case.stock_inputs(inputs)).last_hidden_state
        torch.testing.assert_close(states[:, -1] @ score.T, model(**inputs).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("transcript", [None, "Well, well."])
def test_the_chat_template_writes_the_prompt(trained, transcript):
    case, _, processor, _ = trained
    content = [{"type": "audio"}, *([{"type": "text", "text": transcript}] if transcript else [])]
    processor.tokenizer.chat_template = chat_template(processor)
    written = processor.tokenizer.apply_chat_template([{"role": "user", "content": content}], tokenize=False)
    before, after = processor.prompt(transcript)
    if case.family == "gemma4":  # whose processor puts these around the audio
        written = written.replace("<|audio|>", "<|audio><|audio|><audio|>")
    assert written == before + processor.audio_token + after


def test_other_heads_are_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r"head 'paper'.*head=last_token"):
        export_vllm(checkpoint, tmp_path)
