"""What the trainer pushes: the head in the middle of a training too, and nothing private."""

import json
import shutil

import numpy as np
import pytest
import torch
from hub_server import put

from hf_emo_dist import load_emotion_model, predict_distributions
from hf_emo_dist.hub.cards.rendering import is_edited
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.training.arguments import EmotionDistributionTrainingArguments
from hf_emo_dist.training.lora import emotion_lora_config
from hf_emo_dist.training.trainer import EmotionDistributionTrainer


def trainer_for(model, processor, folder, train, evaluation=None, lora=False, **changes):
    settings = {
        "max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "use_cpu": True, "seed": 0,
        "disable_tqdm": True, "eval_strategy": "no", "save_strategy": "steps", "save_steps": 2,
        "load_best_model_at_end": False, "push_to_hub": True, "hub_model_id": "me/trained",
        "hub_token": "hf_writes0000000000000000000000", **changes,
    }  # fmt: skip
    return EmotionDistributionTrainer(
        model=model, args=EmotionDistributionTrainingArguments(str(folder), **settings), processing_class=processor,
        train_dataset=train, eval_dataset=evaluation, peft_config=emotion_lora_config("all") if lora else None,
    )  # fmt: skip


@pytest.fixture
def from_hub(hub, tiny_backbone, tiny_emotions):
    """A model whose backbone is on the Hub, and its processor."""
    put(hub, "me/backbone", tiny_backbone)
    model = Qwen2AudioForEmotionDistribution.from_pretrained("me/backbone", emotions=tiny_emotions)
    return model, EmotionDistributionProcessor.from_pretrained("me/backbone", emotions=tiny_emotions)


def probabilities(model, processor, rows):
    return predict_distributions(model, processor, rows, progress=False)


@pytest.mark.parametrize("lora", [True, False], ids=["adapter", "full"])
def test_pushes_during_and_after_a_training(hub, from_hub, tmp_path, tiny_train, tiny_validation, lora):
    model, processor = from_hub
    trainer = trainer_for(model, processor, tmp_path / "trained", tiny_train, lora=lora, hub_always_push=True)
    trainer.train()
    repo = hub.repo("me/trained")
    messages = [message for _, message, _ in repo.commits[1:]]
    assert messages == ["Training in progress, step 2", "Training in progress, step 4"]
    # what was pushed in the middle is the checkpoint as it was saved then, head and all
    found = []
    for step, (oid, _, _) in zip((2, 4), repo.commits[1:], strict=True):
        saved = load_emotion_model(tmp_path / "trained" / f"checkpoint-{step}")
        found.append(probabilities(*load_emotion_model("me/trained", revision=oid), tiny_validation))
        np.testing.assert_allclose(found[-1], probabilities(*saved, tiny_validation), atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-5

    with torch.no_grad():  # otherwise the last checkpoint is what is there already, and there is no commit
        next(weight for weight in trainer.model.parameters() if weight.requires_grad).add_(0.05)
    report = trainer.push_to_hub()
    assert [message for _, message, _ in repo.commits[3:]] == ["End of training"] and report.commit == repo.commits[-1][
        0
    ]
    again = load_emotion_model("me/trained")
    np.testing.assert_allclose(
        probabilities(*again, tiny_validation), probabilities(trainer.model, processor, tiny_validation), atol=1e-6
    )
    for _, _, files in repo.commits[1:]:
        assert not [name for name in files if name.endswith((".bin", ".pt", ".pth")) or "/" in name or "_push" in name]
        for name, blob in files.items():
            assert str(tmp_path).encode() not in blob.data and b"hf_writes" not in blob.data, name
        weights = (
            {"adapter_model.safetensors", "adapter_config.json", "emotion_config.json"}
            if lora
            else {"model.safetensors", "config.json"}
        )
        assert weights | {"README.md", "processor_config.json", "training_args.json"} <= set(files)
        card = files["README.md"].data.decode()
        assert not is_edited(card) and "library_name: hf-emo-dist" in card and "More Information Needed" not in card
    assert "16 rows of 4 speakers, 80 human votes" in repo.files["README.md"].data.decode()
    assert not list((tmp_path / "trained").glob("_push-*")) and not list((tmp_path / "trained").glob("*/README.md"))


def test_a_card_that_was_edited_by_hand_goes_along_as_it_is(hub, from_hub, tmp_path, tiny_train):
    trainer = trainer_for(
        *from_hub, tmp_path / "trained", tiny_train, lora=True, push_to_hub=False, save_strategy="no", max_steps=1
    )
    trainer.train()
    trainer.push_to_hub()
    readme = tmp_path / "trained" / "README.md"
    mine = readme.read_text().replace("## Training data", "I heard all of it.\n\n## Training data")
    readme.write_text(mine)
    trainer.save_model()  # peft's writer runs
    assert readme.read_text() == mine
    trainer.push_to_hub(commit_message="Again")
    assert hub.repo("me/trained").files["README.md"].data.decode() == mine


def test_checkpoints_go_without_the_optimizer(hub, from_hub, tmp_path, tiny_train):
    trainer = trainer_for(*from_hub, tmp_path / "trained", tiny_train, hub_strategy="checkpoint", max_steps=2)
    trainer.train()
    trainer._finish_current_push()
    names = set(hub.repo("me/trained").files)
    assert {"last-checkpoint/model.safetensors", "last-checkpoint/processor_config.json", "model.safetensors"} <= names
    assert not [name for name in names if "optimizer" in name or name.endswith((".pt", ".bin", ".pth"))]


def test_a_push_that_fails_does_not_stop_a_training(hub, from_hub, tmp_path, tiny_train, caplog):
    trainer = trainer_for(*from_hub, tmp_path / "trained", tiny_train)
    hub.fail("POST", "/commit/", times=1000, status=403)
    trainer.train()
    assert "training goes on: you may not write to me/trained" in caplog.text
    hub.faults.clear()
    (tmp_path / "trained" / "README.md").write_text("my token is hf_abcdefghijklmnopqrstuvwxyz")
    trainer._push_from_checkpoint(str(tmp_path / "trained" / "none"))
    assert "was not pushed, training goes on" in caplog.text
    assert trainer.state.global_step == 4 and (tmp_path / "trained" / "checkpoint-4" / "model.safetensors").is_file()


def test_an_adapter_of_a_local_backbone_is_refused_before_the_training(
    hub, tmp_path, tiny_model, tiny_processor, tiny_train, tiny_backbone
):
    tiny_model.name_or_path = str(tiny_backbone)
    with pytest.raises(ValueError, match="is a local folder that nobody else has"):
        trainer_for(tiny_model, tiny_processor, tmp_path, tiny_train, lora=True)
    assert hub.requests == []


def test_the_recipe_pushes_once_and_says_what_it_was_trained_on(
    hub, tiny_backbone, tiny_train, tiny_validation, tiny_emotions, tmp_path, caplog
):
    from datasets import DatasetDict

    from hf_emo_dist.data.writing import write_dataset
    from hf_emo_dist.training.fine_tuning import parse_config, run_training

    put(hub, "me/backbone", tiny_backbone)
    splits = DatasetDict({"train": tiny_train.select(range(8)), "validation": tiny_validation.select(range(4))})
    data = write_dataset(
        splits,
        tmp_path / "tones",
        description="T.",
        vote_source="Simulated.",
        emotions=tiny_emotions,
        license="cc0-1.0",
    )
    (data / "preparation.json").write_text(
        json.dumps({"annotation": {"model": "gemini-x", "panel": [{"focus": "tone"}]}})
    )
    options = {
        "backbone": "me/backbone", "dataset": data, "output_dir": tmp_path / "out", "max_steps": 1, "use_cpu": "true",
        "num_threads": 1, "disable_tqdm": "true", "push_to_hub": "true", "hub_model_id": "me/recipe",
        "hub_strategy": "end", "lora": "paper",
    }  # fmt: skip
    recipe, args = parse_config([str(part) for key, value in options.items() for part in (f"--{key}", value)])
    run_training(recipe, args)
    repo = hub.repo("me/recipe")
    assert [message for _, message, _ in repo.commits[1:]] == ["End of training"]
    card = repo.files["README.md"].data.decode()
    for line in (
        "Simulated votes",
        "base_model: me/backbone",
        "`gemini-x`",
        "| Split `validation` | 4 rows",
        "LoRA and the head",
    ):
        assert line in card, line
    assert json.loads(repo.files["recipe.json"].data)["dataset"] == "tones"
    shutil.rmtree(tmp_path / "out")
    hub.fail("POST", "/commit/", times=1000, status=403)
    scores = run_training(*parse_config([str(part) for key, value in options.items() for part in (f"--{key}", value)]))
    assert "eval_js_divergence" in scores and "its card or its push failed" in caplog.text
