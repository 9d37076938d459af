"""Audio-language models: what is trained, pushed and pulled answers as before, in both pipelines, with a card."""

import numpy as np
import pytest
import torch
from audio_language_models import CASES
from huggingface_hub import HfApi
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows, tone
from transformers import pipeline

from hf_emo_dist import load_emotion_model, push_model, write_model_card
from hf_emo_dist.modeling.model import EmotionDistributionModel
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.training.arguments import EmotionDistributionTrainingArguments
from hf_emo_dist.training.lora import emotion_lora_config
from hf_emo_dist.training.trainer import EmotionDistributionTrainer


def trained(name, folder, lora):
    """A model after two steps, and its processor."""
    torch.manual_seed(0)
    model = EmotionDistributionModel.from_pretrained(name, emotions=TINY_EMOTIONS, head="small")
    processor = EmotionDistributionProcessor.from_pretrained(name, emotions=TINY_EMOTIONS)
    args = EmotionDistributionTrainingArguments(
        str(folder), max_steps=2, per_device_train_batch_size=4, learning_rate=1e-2, use_cpu=True, seed=0,
        disable_tqdm=True, eval_strategy="no", save_strategy="no", load_best_model_at_end=False,
    )  # fmt: skip
    trainer = EmotionDistributionTrainer(
        model=model, args=args, processing_class=processor, train_dataset=as_dataset(tiny_rows(4, seed=1)),
        peft_config=emotion_lora_config("all", model=model, lora_dropout=0.0) if lora else None,
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    return trainer.model.eval(), processor


def answers(pipe):
    clips = [tone(200, 0.4), tone(700, 0.9)]
    given = pipe([{"audio": {"array": clip, "sampling_rate": 16000}, "transcript": "Well."} for clip in clips])
    return np.array([[{x["label"]: x["score"] for x in one}[name] for name in TINY_EMOTIONS] for one in given])


@pytest.mark.parametrize("layout", [pytest.param("full", marks=pytest.mark.slow), "adapter"])
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if name == "voxtral" else pytest.mark.slow) for name, case in CASES.items()],
    ids=CASES.keys(),
)
def test_push_pull_pipelines_and_card(case, tmp_path, hub, layout):
    backbone, repo = f"me/{case.family}", f"me/{layout}"
    HfApi().create_repo(backbone)
    HfApi().upload_folder(repo_id=backbone, folder_path=str(case.backbone(tmp_path / "backbone")))
    model, processor = trained(backbone, tmp_path / "out", layout == "adapter")
    inputs = processor(audio=[tone(200, 0.4), tone(700, 0.9)], transcript=["Well.", "Well."])
    with torch.no_grad():
        expected = model(**inputs).logits
    write_model_card(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "load_emotion_model" in card and (f"base_model: {backbone}" in card) == (layout == "adapter")
    push_model(tmp_path / "out", repo)
    pulled, own = load_emotion_model(repo, merge=layout == "adapter")
    assert pulled.family == case.family and type(own) is type(processor)
    with torch.no_grad():
        torch.testing.assert_close(pulled(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
    distribution = expected.softmax(-1).numpy()
    for task in ("speech-emotion-distribution", "audio-classification"):
        np.testing.assert_allclose(answers(pipeline(task, model=repo)), distribution, atol=1e-4)
