"""A checkpoint that goes on with other emotions keeps what it has learnt of those it knows."""

import logging

import pytest
import torch
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows, tone

from hf_emo_dist import load_emotion_model
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.label_sets import change_emotions
from hf_emo_dist.training.fine_tuning import load_model, parse_config, run_training
from hf_emo_dist.training.lora import emotion_lora_config

CASES = {
    "another order": ["sad", "angry", "happy"],
    "one more": ["fear", "happy", "sad", "angry"],
    "one less": ["sad", "angry"],
    "others": ["sad", "fear", "disgust"],
}


@pytest.mark.parametrize("emotions", CASES.values(), ids=CASES.keys())
def test_rows_are_copied_by_name_and_all_else_stays(tiny_model, tiny_processor, tmp_path, emotions, caplog):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    tiny_model.config.calibration = {"temperature": 1.5}
    with torch.no_grad():
        inputs = tiny_processor(audio=[tone(220, 0.4)])
        old = dict(zip(TINY_EMOTIONS, tiny_model(**inputs).logits[0].tolist(), strict=True))
        with caplog.at_level(logging.WARNING, "hf_emo_dist"):
            fresh = change_emotions(tiny_model, emotions)
        new = dict(zip(emotions, tiny_model(**inputs).logits[0].tolist(), strict=True))
    assert fresh == [name for name in emotions if name not in TINY_EMOTIONS]
    common = old.keys() & new.keys()
    assert {name: new[name] for name in common} == pytest.approx({name: old[name] for name in common}, abs=1e-6)
    after = tiny_model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if "head.classifier" not in name)
    assert all(name in caplog.text for name in (*fresh, *common))
    tiny_model.save_pretrained(tmp_path)
    again = Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path, emotions=emotions)
    assert again.config.calibration is None
    assert again.config.emotions == tuple(emotions) and again.config.num_labels == len(emotions)
    assert torch.equal(again.head.classifier.weight, tiny_model.head.classifier.weight)


def test_what_cannot_be_kept_is_refused(tiny_model):
    assert change_emotions(tiny_model, TINY_EMOTIONS) == []
    with pytest.raises(ValueError, match=r"nothing of its head could be kept.*Mend"):
        change_emotions(tiny_model, ["fear", "disgust"])
    from peft import get_peft_model

    adapted = get_peft_model(tiny_model, emotion_lora_config("paper"))
    with pytest.raises(ValueError, match=r"an adapter .*Mend: merge it first"):
        change_emotions(adapted.get_base_model(), ["sad", "angry"])


def test_a_training_goes_on_with_other_emotions(tmp_path, tiny_backbone, tiny_train):
    base = ["--use_cpu", "true", "--num_threads", "1", "--per_device_train_batch_size", "8"]
    first = [*base, "--backbone", str(tiny_backbone), "--output_dir", str(tmp_path / "first"), "--loss_type", "kl"]
    run_training(*parse_config(first), tiny_train)
    emotions = ["sad", "fear", "happy"]
    rows = as_dataset(tiny_rows(8, seed=4, emotions=emotions))
    second = parse_config([*base, "--backbone", str(tmp_path / "first"), "--output_dir", str(tmp_path / "second")])
    model, processor = load_model(second[0], emotions)
    old, _ = load_emotion_model(tmp_path / "first")
    assert torch.equal(model.head.classifier.weight[0], old.head.classifier.weight[2])
    assert torch.equal(model.head.projection[1].weight, old.head.projection[1].weight)
    assert processor.emotions == emotions and model.config.loss_type == "kl"
    run_training(*second, rows)
    trained, processor = load_emotion_model(tmp_path / "second")
    assert list(trained.config.emotions) == emotions == list(processor.emotions)
