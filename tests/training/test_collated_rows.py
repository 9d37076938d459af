"""Training on clips that change from epoch to epoch: `perturb_waveforms`, rows that are mixed as they are read."""

import copy

import pytest
from datasets import IterableDataset
from tiny_data import as_dataset, tiny_rows, tone
from trainer_setup import largest_difference, make_args, make_trainer, weights, without_dropout

from hf_emo_dist import DiMEAug
from hf_emo_dist.audio.clips import audio_hash, encode_flac
from hf_emo_dist.augmentation import WaveformPerturbation

ALL = {"perturb_waveforms": 1.0}


def test_clips_are_drawn_anew_each_epoch_and_those_that_are_scored_are_not(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, monkeypatch
):
    read = {}
    real = WaveformPerturbation.waveform

    def watched(self, wave, row_id):
        changed = real(self, wave, row_id)
        read.setdefault(row_id, {})[self.epoch] = audio_hash({"array": changed, "sampling_rate": 16000})
        return changed

    monkeypatch.setattr(WaveformPerturbation, "waveform", watched)
    trainer = make_trainer(
        tiny_model,
        tiny_processor,
        tmp_path,
        tiny_train,
        tiny_validation,
        num_train_epochs=3,
        eval_strategy="epoch",
        **ALL,
    )
    assert not read  # the data is checked as it is stored
    trainer.train()
    assert set(read) == set(tiny_train["id"])
    assert all(set(epochs) == {0, 1, 2} and len(set(epochs.values())) == 3 for epochs in read.values())
    assert tiny_train.format["type"] is None  # the caller's data set stays as it is


def test_it_changes_what_is_learnt_and_the_seed_decides(tmp_path, tiny_model, tiny_processor, tiny_train):
    model = without_dropout(tiny_model)

    def run(name, **changes):
        trainer = make_trainer(copy.deepcopy(model), tiny_processor, tmp_path / name, tiny_train, **changes)
        trainer.train()
        return weights(trainer)

    plain, first = run("plain"), run("first", **ALL)
    assert largest_difference(plain, first) > 1e-5
    assert largest_difference(first, run("again", dataloader_num_workers=2, **ALL)) == 0
    assert largest_difference(plain, run("none", perturb_waveforms=0.0)) == 0


def test_it_resumes_exactly(tmp_path, tiny_model, tiny_processor, tiny_train):
    model = without_dropout(tiny_model)

    def run(**changes):
        trainer = make_trainer(copy.deepcopy(model), tiny_processor, tmp_path, tiny_train, **settings, **ALL)
        trainer.train(**changes)
        return weights(trainer)

    settings = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 3, "save_total_limit": None}
    whole = run()
    assert largest_difference(whole, run(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))) == 0


def test_batches_by_tokens_leave_room_for_slower_clips(tmp_path, tiny_model, tiny_processor, monkeypatch):
    monkeypatch.setattr(WaveformPerturbation, "draw", lambda self, row_id: ("tempo", 0.95))
    rows = as_dataset([{**row, "audio": {"bytes": encode_flac(tone(300, 1.0)), "path": None}} for row in tiny_rows(8)])
    for changes, clips in (({}, 2), (ALL, 1)):  # 25 tokens a clip, 26 when it is slower
        trainer = make_trainer(
            tiny_model, tiny_processor, tmp_path, rows, max_audio_tokens_per_batch=50, num_train_epochs=1, **changes
        )
        assert max(len(batch["labels"]) for batch in trainer.get_train_dataloader()) == clips


def test_wrong_settings_and_data(tmp_path, tiny_model, tiny_processor, tiny_train, monkeypatch):
    for changes, words in (
        ({"perturb_waveforms": 1.5}, "from 0 to 1"),
        ({"cache_audio_tower": True, **ALL}, "keeps one output a clip"),
    ):
        with pytest.raises(ValueError, match=words):
            make_args(tmp_path, **changes)
    lazy = DiMEAug(features="lexical", target=4, neighbours="any").plan(tiny_train).lazy().dataset()
    with pytest.raises(ValueError, match=r"has one already.*plan\.lazy"):
        make_trainer(tiny_model, tiny_processor, tmp_path, lazy, **ALL)
    stream = tiny_train.to_iterable_dataset()
    assert isinstance(stream, IterableDataset)
    with pytest.raises(ValueError, match=r"stream\.map"):
        make_trainer(tiny_model, tiny_processor, tmp_path, stream, max_steps=1, **ALL)
    import importlib

    real = importlib.import_module

    def without_librosa(name, *rest):
        if name == "librosa":
            raise ModuleNotFoundError("No module named 'librosa'", name="librosa")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without_librosa)
    with pytest.raises(ModuleNotFoundError, match="augment"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, **ALL)


def test_the_cache_of_the_tower_refuses_clips_that_change_from_epoch_to_epoch(
    tmp_path, tiny_model, tiny_processor, tiny_train
):
    """They are the same each time that they are read within an epoch, so that reading twice does not show it."""
    tiny_model.model.audio_tower.requires_grad_(False)
    options = {"cache_audio_tower": True, "tower_cache_dir": str(tmp_path / "cache")}
    plan = DiMEAug(features="lexical", target=4, neighbours="any").plan(tiny_train)
    for rows in (tiny_train.with_transform(WaveformPerturbation(p=0.3)), plan.lazy().dataset()):
        with pytest.raises(ValueError, match="anew each epoch"):
            make_trainer(tiny_model, tiny_processor, tmp_path, rows, **options)
    make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train.with_transform(WaveformPerturbation(p=0.0)), **options
    )


@pytest.fixture(scope="module")
def plan(tiny_train):
    return DiMEAug(features="lexical", target=12, neighbours="any").plan(tiny_train)


def test_the_trainer_tells_of_the_epoch(plan, tmp_path, tiny_model, tiny_processor, monkeypatch):
    from hf_emo_dist.augmentation.lazy import LazyMixer

    told = []
    monkeypatch.setattr(LazyMixer, "set_epoch", lambda self, epoch: told.append(epoch))
    for epochs, rows in ((3, plan.lazy().dataset()), (2, plan.lazy().iterable_dataset())):
        told.clear()
        steps = {"max_steps": 8} if epochs == 2 else {}
        make_trainer(tiny_model, tiny_processor, tmp_path / str(epochs), rows, num_train_epochs=epochs, **steps).train()
        assert sorted(set(told)) == list(range(epochs))


def test_training_on_lazy_rows_resumes_exactly(plan, tmp_path, tiny_model, tiny_processor):
    model = without_dropout(tiny_model)

    def run(folder, **changes):
        trainer = make_trainer(copy.deepcopy(model), tiny_processor, folder, plan.lazy().dataset(), **settings)
        trainer.train(**changes)
        return weights(trainer)

    settings = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 5, "save_total_limit": None}
    whole = run(tmp_path)
    assert largest_difference(whole, run(tmp_path, resume_from_checkpoint=str(tmp_path / "checkpoint-10"))) == 0
