"""What is resumed from: the last checkpoint that is whole, of this training and no other."""

import copy
import errno
import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from test_trainer_exactness import Interrupt
from tiny_data import TINY_EMOTIONS
from trainer_setup import changed, largest_difference, make_trainer, weights

from hf_emo_dist._checkpoint_files import FACTS_NAME
from hf_emo_dist.data.intact import sealed
from hf_emo_dist.data.output import write_json
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.training.checkpoints import checkpoint_to_resume, checkpoints_in, make_room, why_not_whole
from hf_emo_dist.training.fine_tuning import parse_config, prepare_training, run_training
from hf_emo_dist.training.lora import emotion_lora_config

OTHER_ORDER = ("sad", "angry", "happy")
EACH_STEP = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None}


@pytest.fixture(scope="module")
def written(tmp_path_factory, tiny_backbone, tiny_train):
    """Folders of trainings of two steps, with all weights and with an adapter."""
    folders = {}
    for kind in ("full", "adapter"):
        folders[kind] = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        trainer = make_trainer(
            Qwen2AudioForEmotionDistribution.from_pretrained(tiny_backbone, emotions=TINY_EMOTIONS),
            EmotionDistributionProcessor.from_pretrained(tiny_backbone, emotions=TINY_EMOTIONS),
            folders[kind],
            tiny_train,
            trainer_options={
                "callbacks": [Interrupt(2)],
                "peft_config": emotion_lora_config("all") if kind == "adapter" else None,
            },
            loss_type="kl",
            **EACH_STEP,
        )
        trainer.train()
    return folders


@pytest.fixture
def output(written, tmp_path):
    return {kind: shutil.copytree(folder, tmp_path / kind) for kind, folder in written.items()}


def resume(
    tiny_backbone,
    tiny_train,
    folder,
    *,
    emotions=TINY_EMOTIONS,
    row=None,
    head=None,
    lora=None,
    checkpoint=True,
    **args,
):
    emotions = tuple(emotions)
    trainer = make_trainer(
        Qwen2AudioForEmotionDistribution.from_pretrained(tiny_backbone, emotions=emotions, **(head or {})),
        EmotionDistributionProcessor.from_pretrained(tiny_backbone, emotions=emotions, **(row or {})),
        folder,
        changed(tiny_train, synthetic_distribution=lambda row: row["human_distribution"]),
        trainer_options={"peft_config": lora},
        **{"loss_type": "kl", **EACH_STEP, **args},
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


OTHERS = {
    "order of emotions": ({"emotions": OTHER_ORDER}, r"emotions: \['angry', 'happy', 'sad'\] there, \['sad'"),
    "transcripts": ({"row": {"use_transcript": False}}, "use_transcript: True there, False now"),
    "speakers": ({"row": {"use_speaker": True}}, "use_speaker: False there, True now"),
    "long clips": ({"row": {"long_audio": "window"}}, "long_audio: 'error' there, 'window' now"),
    "pooling": ({"head": {"head_num_attention_heads": 2}}, "head_num_attention_heads: 8 there, 2 now"),
    "loss": ({"loss_type": "js"}, "loss_type: 'kl' there, 'js' now"),
    "entropy term": ({"entropy_weight": 0.08}, "entropy_weight: 0.0 there, 0.08 now"),
    "target": ({"target_column": "synthetic_distribution"}, "target_column: 'emotion_distribution' there"),
    "an adapter now": ({"lora": emotion_lora_config("all")}, "holds all weights, and an adapter"),
}
OTHER_ADAPTERS = {
    "order of emotions": ({"emotions": OTHER_ORDER}, r"emotions: \['angry', 'happy', 'sad'\] there"),
    "alpha": ({"lora": emotion_lora_config("all", lora_alpha=32)}, "lora_alpha of the adapter: 16 there, 32 now"),
    "targets": ({"lora": emotion_lora_config("paper")}, "target_modules of the adapter"),
    "scale": ({"lora": emotion_lora_config("all", use_rslora=True)}, "use_rslora of the adapter: False there"),
    "no adapter now": ({"lora": None}, "holds an adapter, and all weights"),
}


@pytest.mark.parametrize(("changes", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_what_changes_the_meaning_of_weights_is_compared_by_name(tiny_backbone, tiny_train, output, changes, message):
    with pytest.raises(ValueError, match=message):
        resume(tiny_backbone, tiny_train, output["full"], **changes)


@pytest.mark.parametrize(("changes", "message"), OTHER_ADAPTERS.values(), ids=OTHER_ADAPTERS.keys())
def test_so_is_an_adapter(tiny_backbone, tiny_train, output, changes, message):
    with pytest.raises(ValueError, match=message):
        resume(tiny_backbone, tiny_train, output["adapter"], **{"lora": emotion_lora_config("all"), **changes})


def test_an_adapter_goes_on_with_the_backbone_it_was_trained_on(tmp_path, tiny_backbone, tiny_train, output):
    other = shutil.copytree(tiny_backbone, tmp_path / "other")
    stock = Qwen2AudioForEmotionDistribution.from_pretrained(tiny_backbone, emotions=TINY_EMOTIONS)
    with torch.no_grad():
        stock.model.language_model.layers[0].self_attn.q_proj.weight.mul_(1.01)
    stock.save_pretrained(other)
    (other / "config.json").unlink()
    shutil.copy(tiny_backbone / "config.json", other)
    with pytest.raises(ValueError, match="trained on a backbone with other weights"):
        resume(other, tiny_train, output["adapter"], lora=emotion_lora_config("all"))


def test_what_does_not_is_not_asked_for(tiny_backbone, tiny_train, output):
    for kind, name in (("full", "config.json"), ("adapter", "emotion_config.json")):
        store = output[kind] / "checkpoint-2" / name  # a temperature that somebody fitted for it
        store.write_text(json.dumps({**json.loads(store.read_text()), "calibration": {"temperature": 1.5}}))
    resumed = resume(tiny_backbone, tiny_train, output["full"], head={"head_dropout": 0.3})
    assert resumed.state.global_step == 4
    lora = emotion_lora_config("all", lora_dropout=0.0)
    assert resume(tiny_backbone, tiny_train, output["adapter"], lora=lora).state.global_step == 4


def test_rates_that_a_checkpoint_brings_with_it_are_said(tiny_backbone, tiny_train, output, caplog):
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        resumed = resume(tiny_backbone, tiny_train, output["full"], learning_rate=5e-4)
    assert "learning_rate=0.0005 has no effect" in caplog.text
    assert resumed.state.log_history[-2]["learning_rate"] > 5e-4


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def zero(path, start=0.5, end=1.0):
    content = path.read_bytes()
    first, last = int(len(content) * start), int(len(content) * end)
    path.write_bytes(content[:first] + bytes(last - first) + content[last:])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def other_step(path):
    path.write_text(json.dumps({**json.loads(path.read_text()), "global_step": 1}))


def unfinished(folder):
    write_json(folder / FACTS_NAME, sealed({"complete": False}))


def of_0_1(folder):
    """As version 0.1 wrote it: nothing says what was written."""
    (folder / FACTS_NAME).unlink()


STATE = "trainer_state.json"
BROKEN = {
    "killed before the state was written": (lambda f: (f / STATE).unlink(), f"{STATE} is missing"),
    "killed while it was": (lambda f: cut(f / STATE), f"{STATE} is damaged: it is no JSON"),
    "killed before it was complete": (unfinished, "its writing was broken off"),
    "state of another step": (lambda f: other_step(f / STATE), f"{STATE} is of step 1"),
    "state that is a list": (lambda f: (f / STATE).write_text("[]"), f"{STATE} is damaged: it is no JSON object"),
    "one bit of the state": (lambda f: flip(f / STATE), STATE),
    "weights cut": (lambda f: cut(f / "model.safetensors"), "model.safetensors is damaged: it breaks off"),
    "weights zero": (lambda f: zero(f / "model.safetensors"), "model.safetensors does not hold"),
    "all of them": (lambda f: zero(f / "model.safetensors", 0.0), "model.safetensors is damaged"),
    "one bit of the weights": (lambda f: flip(f / "model.safetensors"), "model.safetensors does not hold"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "optimizer cut": (lambda f: cut(f / "optimizer.pt"), "optimizer.pt breaks off"),
    "optimizer zero": (lambda f: zero(f / "optimizer.pt", 0.3, 0.6), "optimizer.pt does not hold"),
    "no optimizer": (lambda f: (f / "optimizer.pt").unlink(), "optimizer.pt is missing"),
    "no optimizer, of 0.1": (lambda f: [of_0_1(f), (f / "optimizer.pt").unlink()], "optimizer.pt is missing"),
    "schedule cut": (lambda f: cut(f / "scheduler.pt"), "scheduler.pt breaks off"),
    "no schedule": (lambda f: (f / "scheduler.pt").unlink(), "scheduler.pt is missing"),
    "random state cut": (lambda f: cut(f / "rng_state.pth"), "rng_state.pth breaks off"),
    "no random state": (lambda f: (f / "rng_state.pth").unlink(), "rng_state.pth is missing"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "no processor": (lambda f: (f / "processor_config.json").unlink(), "processor_config.json is missing"),
    "arguments cut": (lambda f: cut(f / "training_args.json"), "training_args.json is damaged"),
    "facts cut": (lambda f: cut(f / FACTS_NAME), f"{FACTS_NAME} is damaged"),
    "nothing": (lambda f: [path.unlink() for path in f.iterdir()], f"{STATE} is missing"),
}
BROKEN_ADAPTERS = {
    "no adapter": (lambda f: (f / "adapter_model.safetensors").unlink(), "adapter_model.safetensors is missing"),
    "adapter cut": (lambda f: cut(f / "adapter_model.safetensors"), "adapter_model.safetensors is damaged"),
    "no head's settings": (lambda f: (f / "emotion_config.json").unlink(), "emotion_config.json is missing"),
    "no adapter's settings": (lambda f: (f / "adapter_config.json").unlink(), "adapter_config.json is missing"),
}
CASES = [("full", *case) for case in BROKEN.values()] + [("adapter", *case) for case in BROKEN_ADAPTERS.values()]


@pytest.mark.parametrize(("kind", "damage", "said"), CASES, ids=[*BROKEN, *BROKEN_ADAPTERS])
def test_a_checkpoint_that_is_not_whole_is_passed_over_with_one_warning(output, kind, damage, said, caplog):
    folder = output[kind]
    assert checkpoint_to_resume(True, folder) == str(folder / "checkpoint-2")
    damage(folder / "checkpoint-2")
    with pytest.raises(ValueError, match=r"cannot be resumed from.*Mend: name .*checkpoint-1, the last whole one"):
        checkpoint_to_resume(str(folder / "checkpoint-2"), folder)
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        assert checkpoint_to_resume(True, folder) == str(folder / "checkpoint-1")
    (told,) = [record.getMessage() for record in caplog.records]
    assert f"checkpoint-2 ({said}" in told and told.endswith("goes on from checkpoint-1.")


def test_training_goes_on_from_the_one_that_is_whole(tiny_backbone, tiny_train, output):
    cut(output["full"] / "checkpoint-2" / "model.safetensors")
    assert resume(tiny_backbone, tiny_train, output["full"]).state.global_step == 4


def test_what_was_never_complete_is_no_reason_to_stop(output, caplog):
    """A run that is killed in its first checkpoint, and is started again by a machine, begins again."""
    for name in ("checkpoint-1", "checkpoint-2"):
        unfinished(output["full"] / name)
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        assert checkpoint_to_resume(True, output["full"]) is None
    assert "starts from the beginning" in caplog.text
    of_0_1(output["full"] / "checkpoint-1")
    cut(output["full"] / "checkpoint-1" / "model.safetensors")
    with pytest.raises(ValueError, match=r"no checkpoint that is whole: checkpoint-2: .*; checkpoint-1: .*Mend: copy"):
        checkpoint_to_resume(True, output["full"])


def test_a_full_disk_costs_no_checkpoint(tmp_path, tiny_model, tiny_processor, tiny_train, monkeypatch):
    """`save_total_limit=1`: the only one there is goes when the next one is complete, and not before."""
    torch_save = torch.save

    def save(content, file, *args, **kwargs):
        if "checkpoint-2" not in str(file):
            return torch_save(content, file, *args, **kwargs)
        Path(file).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    limited = {**EACH_STEP, "save_total_limit": 1}
    with monkeypatch.context() as full:
        full.setattr(torch, "save", save)
        trainer = make_trainer(copy.deepcopy(tiny_model), tiny_processor, tmp_path, tiny_train, **limited)
        with pytest.raises(OSError, match=r"(?i)the disk of .* is full: .* are free.*Mend: make room there"):
            trainer.train()
    assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint-1"]
    trainer = make_trainer(copy.deepcopy(tiny_model), tiny_processor, tmp_path, tiny_train, **limited)
    trainer.train(resume_from_checkpoint=True)
    assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint-4"]
    assert why_not_whole(tmp_path / "checkpoint-4") is None


LEAVING = {
    "the oldest": ((4, 6, 8), 8, 2, None, [6, 8]),
    "not the best": ((4, 6, 8), 8, 2, 4, [4, 8]),
    "the best and the last, whatever the limit": ((4, 6, 8), 8, 1, 4, [4, 8]),
    "first those of a training that was left": ((4, 6, 8, 10), 6, 2, None, [4, 6]),
    "none": ((4, 6, 8), 8, None, None, [4, 6, 8]),
}


@pytest.mark.parametrize(("there", "written", "limit", "best", "left"), LEAVING.values(), ids=LEAVING.keys())
def test_older_checkpoints_give_way_by_their_steps(tmp_path, there, written, limit, best, left):
    for step in there:
        (tmp_path / f"checkpoint-{step}").mkdir()
    os.utime(tmp_path / f"checkpoint-{written}", (0, 0))  # the clock was set back
    make_room(tmp_path, limit, tmp_path / f"checkpoint-{written}", best and str(tmp_path / f"checkpoint-{best}"))
    assert sorted(int(path.name[11:]) for path in checkpoints_in(tmp_path)) == left


def test_the_command_resumes_from_the_last_whole_one(tmp_path, tiny_backbone, tiny_train, tiny_validation, caplog):
    words = ["--backbone", str(tiny_backbone), "--output_dir", str(tmp_path), "--use_cpu", "true", "--num_threads", "1"]
    words += ["--per_device_train_batch_size", "8", "--save_total_limit", "9"]
    run_training(*parse_config([*words, "--num_train_epochs", "2"]), tiny_train, tiny_validation)
    (tmp_path / "checkpoint-4" / "trainer_state.json").unlink()
    with pytest.raises(FileExistsError, match="holds checkpoints"):
        run_training(*parse_config(words), tiny_train, tiny_validation)
    again = [*words, "--num_train_epochs", "3", "--resume_from_checkpoint", "true"]
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        run_training(*parse_config(again), tiny_train, tiny_validation)
    assert "checkpoint-4 (trainer_state.json is missing)" in caplog.text
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    assert state["global_step"] == 6
    with pytest.raises(ValueError, match="holds all weights, and an adapter would be trained now"):
        prepare_training(*parse_config([*again, "--lora", "all"]), tiny_train, tiny_validation)  # before any step
    for folder in tmp_path.glob("checkpoint-*"):
        (folder / "trainer_state.json").unlink()
    with pytest.raises(ValueError, match="no checkpoint that is whole"):
        run_training(*parse_config(again), tiny_train, tiny_validation)


def only_model(checkpoint, *without):
    """As `save_only_model` writes it, which keeps nothing else."""
    arguments = checkpoint / "training_args.json"
    arguments.write_text(json.dumps({**json.loads(arguments.read_text()), "save_only_model": True}))
    for name in (*without, FACTS_NAME):
        (checkpoint / name).unlink()


def test_a_missing_optimizer_state_is_said(tiny_backbone, tiny_train, output, caplog):
    only_model(output["full"] / "checkpoint-2", "optimizer.pt", "scheduler.pt")
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        assert resume(tiny_backbone, tiny_train, output["full"]).state.global_step == 4
    assert "checkpoint-2 has no optimizer state" in caplog.text


def test_so_is_a_missing_state_of_random_numbers(tiny_backbone, tiny_train, output, caplog):
    only_model(output["full"] / "checkpoint-2", "rng_state.pth")
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        assert resume(tiny_backbone, tiny_train, output["full"]).state.global_step == 4
    assert "checkpoint-2 has no state of the random numbers" in caplog.text


def test_an_optimizer_of_other_weights_is_refused_once(tiny_backbone, tiny_train, output, caplog):
    message = r"the optimizer of .* is of other weights.*head_learning_rate: None there, 0\.1 now\)\. Mend"
    with pytest.raises(ValueError, match=message):
        resume(tiny_backbone, tiny_train, output["full"], head_learning_rate=0.1)
    assert "has no effect" not in caplog.text


def test_rates_have_an_effect_where_the_optimizer_starts_anew(tiny_backbone, tiny_train, output, caplog):
    only_model(output["full"] / "checkpoint-2", "optimizer.pt", "scheduler.pt")
    resumed = resume(tiny_backbone, tiny_train, output["full"], learning_rate=5e-4)
    assert "has no effect" not in caplog.text and resumed.state.log_history[-2]["learning_rate"] <= 5e-4


ROWS = {
    "fewer": (lambda rows: rows.select(range(12)), "16 rows there, 12 now"),
    "others": (lambda rows: changed(rows, id=lambda row: f"new-{row['id']}"), "with other ids or in another order"),
    "another order": (lambda rows: rows.select(range(15, -1, -1)), "with other ids or in another order"),
    "other targets": (
        lambda rows: changed(rows, emotion_distribution=lambda row: dict.fromkeys(TINY_EMOTIONS, 1 / 3)),
        "the same ids with other targets",
    ),
    "the same": (lambda rows: rows, None),
}


@pytest.mark.parametrize(("change", "message"), ROWS.values(), ids=ROWS.keys())
def test_other_rows_than_the_checkpoints_are_said(tiny_backbone, tiny_train, output, caplog, change, message):
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        resume(tiny_backbone, change(tiny_train), output["full"])
    assert ("the training rows are not those of" in caplog.text) == (message is not None)
    assert message is None or message in caplog.text


PER_EPOCH = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True, "learning_rate": 0.0}


def test_early_stopping_counts_on_and_may_be_switched_on_at_resume(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation
):
    def run(folder, patience, epochs, resume=None):
        trainer = make_trainer(
            copy.deepcopy(tiny_model), tiny_processor, tmp_path / folder, tiny_train, tiny_validation,
            early_stopping_patience=patience, num_train_epochs=epochs, **PER_EPOCH,
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        return trainer.state.epoch

    assert run("off", 0, 2) == 2 and run("off", 3, 9, resume=True) == 5
    # without improvement from the second epoch on: 3 of them in an uninterrupted run, and in one that was resumed
    assert run("whole", 3, 9) == 4
    assert run("parts", 3, 3) == 3 and run("parts", 3, 9, resume=True) == 4


def test_another_score_starts_its_choice_anew(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, caplog
):
    """Else an accuracy would be compared with the best divergence so far."""

    def run(metric, epochs, resume=None):
        trainer = make_trainer(
            copy.deepcopy(tiny_model), tiny_processor, tmp_path, tiny_train, tiny_validation,
            metric_for_best_model=metric, num_train_epochs=epochs, **PER_EPOCH,
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    run("js_divergence", 1)
    resumed = run("bhattacharyya_coefficient", 2, resume=True)
    assert "the choice starts anew" in caplog.text
    series = [e["eval_bhattacharyya_coefficient"] for e in resumed.state.log_history if "eval_loss" in e]
    assert resumed.state.best_metric == series[-1]
    again = run("bhattacharyya_coefficient", 3, resume=True)
    assert again.state.best_metric == series[-1] and largest_difference(weights(again), weights(resumed)) == 0
