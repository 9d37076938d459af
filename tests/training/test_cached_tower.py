import copy
import json
import logging
import multiprocessing
import os
import shutil

import numpy as np
import pytest
import torch
from quick import mostly_slow
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_data import as_dataset, tiny_rows, tone
from trainer_setup import largest_difference, make_args, make_trainer, weights

from hf_emo_dist.audio.clips import audio_hash, encode_flac, load_audio
from hf_emo_dist.training import cached_tower
from hf_emo_dist.training.cached_tower import (
    Entry,
    TowerCache,
    cached_inputs,
    check_frozen,
    complete_inputs,
    hash_for,
    tower_hash,
)
from hf_emo_dist.training.lora import emotion_lora_config


@pytest.fixture
def frozen(tiny_model):
    tiny_model.model.audio_tower.requires_grad_(False)
    return tiny_model


def entry(seed=0, tokens=5, dtype=torch.float32):
    values = torch.randn(tokens, 8, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return Entry(values, counts=[tokens - 2, 2], seconds=[0.1, 0.08])


def key(number):
    return f"{number:064x}"


def files(folder):
    return sorted(folder.rglob("*.safetensors"))


def runs_of_the_tower(model):
    """Counts the clips that go through the tower from now on."""
    clips = []
    model.model.audio_tower.register_forward_pre_hook(lambda module, args: clips.append(len(args[0])))
    return clips


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_an_entry_comes_back_bit_by_bit(tmp_path, dtype):
    cache, put = TowerCache(tmp_path, "t" * 64), entry(dtype=dtype)
    assert cache.get(key(1)) is None
    assert cache.put(key(1), put)
    got = TowerCache(tmp_path, "t" * 64).get(key(1))
    assert got.embeddings.dtype == dtype and torch.equal(got.embeddings, put.embeddings)
    assert (got.counts, got.seconds) == (put.counts, put.seconds)
    assert TowerCache(tmp_path, "u" * 64).get(key(1)) is None  # another tower
    assert not list(tmp_path.rglob("*.part"))


def flip_a_bit(data):
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


@pytest.mark.parametrize(
    "damage", [flip_a_bit, lambda data: data[:-4], lambda data: b"", lambda data: b"\xff" * 64, lambda data: data[:20]]
)
def test_a_damaged_entry_is_told_apart_and_replaced(tmp_path, caplog, damage):
    cache = TowerCache(tmp_path, "t" * 64)
    for i in range(2):
        cache.put(key(i), entry())
        cache.path(key(i)).write_bytes(damage(cache.path(key(i)).read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert cache.get(key(0)) is None and cache.get(key(1)) is None
    assert len(caplog.records) == 1 and "is damaged; it is computed again" in caplog.text
    cache.put(key(0), entry())
    assert torch.equal(cache.get(key(0)).embeddings, entry().embeddings)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_so_is_one_that_is_no_file(tmp_path, caplog, make):
    cache = TowerCache(tmp_path, "t" * 64)
    cache.path(key(0)).parent.mkdir(parents=True)
    make(cache.path(key(0)))
    assert cache.get(key(0)) is None and "is damaged; it is computed again" in caplog.text
    assert cache.put(key(0), entry()) and torch.equal(cache.get(key(0)).embeddings, entry().embeddings)


CHANGES = {
    "counts": lambda about: about | {"counts": "[7]"},
    "seconds": lambda about: about | {"seconds": "[9.5]"},
    "no JSON": lambda about: about | {"counts": "[1"},
    "none": lambda about: {key: value for key, value in about.items() if key != "seconds"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_said_of_an_entry_is_in_its_checksum(tmp_path, caplog, change):
    cache = TowerCache(tmp_path, "t" * 64)
    cache.put(key(0), entry())
    file = cache.path(key(0))
    with safe_open(file, framework="pt") as content:
        about, embeddings = content.metadata(), content.get_tensor("embeddings")
    save_file({"embeddings": embeddings}, file, metadata=about)
    assert torch.equal(cache.get(key(0)).embeddings, embeddings)
    save_file({"embeddings": embeddings}, file, metadata=change(dict(about)))
    assert cache.get(key(0)) is None and "is damaged; it is computed again" in caplog.text
    save_file({"embeddings": embeddings.reshape(embeddings.shape[::-1])}, file, metadata=about)
    assert cache.get(key(0)) is None
    cache.put(key(0), entry())
    cache.path(key(1)).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(cache.path(key(0)), cache.path(key(1)))  # whole, and another clip's
    assert cache.get(key(0)) is not None and cache.get(key(1)) is None


def test_an_entry_under_another_towers_name_is_not_believed(tmp_path):
    mine, other = TowerCache(tmp_path, "t" * 64), TowerCache(tmp_path, "t" * 32 + "u" * 32)
    other.put(key(0), entry())
    assert mine.path(key(0)) == other.path(key(0)) and mine.get(key(0)) is None


def test_the_folder_is_bounded_and_says_so_once(tmp_path, caplog):
    cache = TowerCache(tmp_path, "t" * 64, max_gb=3e-6)
    with caplog.at_level(logging.WARNING):
        kept = [cache.put(key(i), entry(i)) for i in range(30)]
    assert 1 < sum(kept) < 30 and kept == sorted(kept, reverse=True) and cache.full
    assert sum(file.stat().st_size for file in files(tmp_path)) <= 3000
    assert len(caplog.records) == 1 and "tower_cache_max_gb=3e-06" in caplog.text and str(tmp_path) in caplog.text
    assert cache.get(key(0)) is not None
    again = TowerCache(tmp_path, "u" * 64, max_gb=3e-6)  # other towers' entries count
    assert not again.put(key(99), entry())


def test_several_processes_keep_the_bound_and_seldom_measure_the_folder(tmp_path, monkeypatch):
    measured = []
    size = cached_tower._folder_size
    monkeypatch.setattr(cached_tower, "_folder_size", lambda folder: measured.append(1) or size(folder))
    caches = [TowerCache(tmp_path, "t" * 64, max_gb=1e-4, num_processes=4) for _ in range(4)]
    for number in range(800):
        caches[number % 4].put(key(number), entry(number))
    assert all(cache.full for cache in caches)
    clip = files(tmp_path)[0].stat().st_size
    assert 1e5 - 2 * clip < sum(file.stat().st_size for file in files(tmp_path)) <= 1e5 + 4 * clip
    assert len(files(tmp_path)) > 150 and len(measured) < 4 * 25


def test_entries_have_the_permissions_of_other_files(tmp_path):
    (tmp_path / "other").touch()
    cache = TowerCache(tmp_path / "c", "t" * 64)
    cache.put(key(0), entry())
    assert cache.path(key(0)).stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_folder_that_cannot_be_written_only_warns(tmp_path, caplog, monkeypatch):
    cache = TowerCache(tmp_path, "t" * 64)

    def refuse(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    assert not cache.put(key(0), entry())
    assert "No space left on device" in caplog.text and not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize("max_gb", [0, -1.0])
def test_a_bound_must_be_above_zero(tmp_path, max_gb):
    with pytest.raises(ValueError, match="above 0"):
        make_args(tmp_path, tower_cache_max_gb=max_gb)


def write_and_read(folder, wrong):
    cache = TowerCache(folder, "t" * 64)
    for _ in range(15):
        for i in range(8):
            cache.put(key(i), entry(i, tokens=400))
            got = cache.get(key(i))
            if got is None or not torch.equal(got.embeddings, entry(i, tokens=400).embeddings):
                wrong.value += 1


def test_several_processes_write_the_same_entries(tmp_path):
    context = multiprocessing.get_context("fork")
    wrong = context.Value("i", 0)
    processes = [context.Process(target=write_and_read, args=(str(tmp_path), wrong)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert wrong.value == 0 and len(files(tmp_path)) == 8 and not list(tmp_path.rglob("*.part"))


def test_the_hash_knows_weights_dtype_configuration_and_features(frozen, tiny_processor):
    tower, extractor = frozen.model.audio_tower, tiny_processor.feature_extractor
    first = tower_hash(tower, extractor)
    assert first == tower_hash(copy.deepcopy(tower), copy.deepcopy(extractor)) and len(first) == 64
    others = {
        first,
        tower_hash(tower, extractor, autocast="bf16"),
        tower_hash(copy.deepcopy(tower).bfloat16(), extractor),
    }
    changed = copy.deepcopy(tower)
    with torch.no_grad():
        changed.layers[-1].fc2.bias[3] += 1e-6
    others.add(tower_hash(changed, extractor))
    other = copy.deepcopy(extractor)
    other.dither = 0.1
    others.add(tower_hash(tower, other))
    heads = copy.deepcopy(tower)
    heads.config = copy.deepcopy(tower.config)
    heads.config.encoder_attention_heads = 2
    others.add(tower_hash(heads, extractor))
    assert len(others) == 6


def test_a_trainers_hash_knows_how_clips_are_cut_and_the_launchers_precision(
    tmp_path, frozen, tiny_processor, monkeypatch
):
    found = {hash_for(frozen, tiny_processor, make_args(tmp_path))}
    tiny_processor.long_audio = "window"
    found.add(hash_for(frozen, tiny_processor, make_args(tmp_path)))
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # accelerate launch --mixed_precision bf16
    found.add(hash_for(frozen, tiny_processor, make_args(tmp_path)))
    assert len(found) == 3


def long_rows(count):
    rows = tiny_rows(count, seed=7)
    for i, seconds in zip(range(0, count, 3), (31.0, 64.5), strict=False):
        rows[i]["audio"] = {"bytes": encode_flac(tone(300.0, seconds, seed=i)), "path": None}
    return rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("windows", [False, True])
def test_logits_are_those_without_the_cache(tmp_path, frozen, tiny_processor, dtype, windows):
    model = frozen.to(dtype)
    model.head.float()
    tiny_processor.long_audio = "window"
    rows = long_rows(6) if windows else tiny_rows(6)
    cache = TowerCache(tmp_path, "t" * 64)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2  # clips are padded to other lengths, and bf16 rounds
    clips = runs_of_the_tower(model)

    def logits(some):
        inputs = complete_inputs(cached_inputs(tiny_processor, cache, some), model, cache)
        assert "input_features" not in inputs and "new_rows" not in inputs
        with torch.no_grad():
            return model(**inputs).logits, inputs

    with torch.no_grad():
        plain_inputs = tiny_processor.from_rows(rows)
        plain = model(**plain_inputs).logits
    clips.clear()
    logits(rows[:2])
    assert sum(clips) == (3 if windows else 2)
    mixed, inputs = logits(rows)  # two rows are there, four are not
    assert sum(clips) == len(plain_inputs["input_ids"])
    hit, hit_inputs = logits(rows)
    assert sum(clips) == len(plain_inputs["input_ids"]) and "new_rows" not in hit_inputs
    for name in ("input_ids", "attention_mask", "row_index", "row_weight"):
        assert (name in plain_inputs) == (name in hit_inputs) == (name in inputs)
        if name in plain_inputs:
            assert torch.equal(plain_inputs[name], hit_inputs[name]) and torch.equal(plain_inputs[name], inputs[name])
    for found in (mixed, hit):
        torch.testing.assert_close(found, plain, atol=tolerance, rtol=0)
    swapped, _ = logits([{**rows[1], "audio": rows[2]["audio"]}, *rows[1:]])
    assert (swapped[0] - plain[0]).abs().max() > 10 * (hit - plain).abs().max()


def test_the_same_audio_is_one_entry_whatever_the_text(tmp_path, frozen, tiny_processor):
    cache = TowerCache(tmp_path, "t" * 64)
    row = tiny_rows(1)[0]
    rows = [row, {**row, "id": "again", "transcript": "Other words."}]
    complete_inputs(cached_inputs(tiny_processor, cache, rows), frozen, cache)
    assert len(files(tmp_path)) == 1
    found = cached_inputs(tiny_processor, cache, [rows[1]])
    assert set(found) == {"input_ids", "attention_mask", "audio_embeddings"}


def test_a_bad_clip_is_still_named(tmp_path, tiny_processor):
    rows = tiny_rows(2)
    cache = TowerCache(tmp_path, "t" * 64)
    gone = {"bytes": None, "path": str(tmp_path / "gone.wav")}
    for audio, message in (
        (None, "has no audio"),
        ({"bytes": b"nothing", "path": None}, "the file is text"),
        (gone, "cannot read"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            cached_inputs(tiny_processor, cache, [rows[0], {**rows[1], "audio": audio}])
        assert rows[1]["id"] in str(caught.value)


def test_the_model_takes_audio_once(frozen, tiny_processor):
    inputs = tiny_processor.from_rows(tiny_rows(2))
    found = frozen.model.audio_tower.encode(inputs["input_features"], inputs["feature_attention_mask"])
    with pytest.raises(ValueError, match="the same audio twice"):
        frozen(**inputs, audio_embeddings=found)
    text = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(frozen(**text, audio_embeddings=found).logits, frozen(**inputs).logits)
    with pytest.raises(Exception, match="audio tokens and the audio gives"):
        frozen(**text, audio_embeddings=found[:-1])
    with pytest.raises(ValueError, match="are needed"):
        frozen(**text)


def train(folder, model, processor, rows, evaluation, cache=None, options=None, resume=None, **changes):
    trainer = make_trainer(
        model,
        processor,
        folder,
        rows,
        evaluation,
        trainer_options=options,
        **{
            "num_train_epochs": 3,
            "eval_strategy": "epoch",
            "cache_audio_tower": cache is not None,
            "tower_cache_dir": str(cache) if cache else None,
            **changes,
        },
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def scores(trainer):
    return [{k: v for k, v in entry.items() if k.startswith("eval_") and "per_second" not in k and k != "eval_runtime"}
            for entry in trainer.state.log_history if "eval_loss" in entry]  # fmt: skip


VARIANTS = {
    "language model trained": {},
    "windows": {"long": True},
    "lora": {"lora": "language_model"},
    "workers": {"dataloader_num_workers": 2},
    "token batches": {"max_audio_tokens_per_batch": 40},
    "bf16 autocast": {"bf16": True},
    "activation checkpointing": {"gradient_checkpointing": True},
}


@pytest.mark.parametrize("name", mostly_slow(VARIANTS.keys(), "language model trained", "lora", "token batches"))
def test_training_and_evaluation_come_to_the_same_and_the_tower_runs_once_a_clip(
    tmp_path, tiny_model, frozen, tiny_processor, tiny_train, tiny_validation, name
):
    changes = dict(VARIANTS[name])
    rows, evaluation, total = tiny_train.select(range(10)), tiny_validation.select(range(4)), 14
    if changes.pop("long", False):
        tiny_processor.long_audio = "window"
        rows, total = as_dataset(long_rows(6)), 6 + 1 + 2 + 4
    lora = changes.pop("lora", None)
    trainers, clips = [], []
    for cache in (None, tmp_path / "cache"):
        model = copy.deepcopy(frozen)
        clips.append(runs_of_the_tower(model))
        options = {"peft_config": emotion_lora_config(lora)} if lora else None
        torch.manual_seed(0)
        trainers.append(train(tmp_path / "out", model, tiny_processor, rows, evaluation, cache, options, **changes))
    plain, cached = trainers
    assert sum(clips[0]) == 3 * total and sum(clips[1]) == total
    tolerance = 1e-3 if name == "bf16 autocast" else 1e-5
    assert len(scores(plain)) == len(scores(cached)) == 3
    for one, other in zip(scores(plain), scores(cached), strict=True):
        assert one == pytest.approx(other, abs=tolerance)
    assert scores(plain)[0] != scores(plain)[-1]
    if name != "bf16 autocast":
        # Adam turns rounding in gradients near zero into steps; the scores are what must agree
        assert largest_difference(weights(plain), weights(cached)) < 1e-2
    # a second run with the same tower computes nothing
    model = copy.deepcopy(frozen)
    later = runs_of_the_tower(model)
    options = {"peft_config": emotion_lora_config(lora)} if lora else None
    train(tmp_path / "out", model, tiny_processor, rows, evaluation, tmp_path / "cache", options, **changes)
    assert sum(later) == 0


def test_predictions_use_the_cache(tmp_path, frozen, tiny_processor, tiny_train, tiny_validation):
    clips = runs_of_the_tower(frozen)
    trainer = make_trainer(
        frozen, tiny_processor, tmp_path / "o", tiny_train, cache_audio_tower=True, tower_cache_dir=str(tmp_path / "c")
    )
    first, again = (trainer.predict(tiny_validation) for _ in range(2))
    assert sum(clips) == len(tiny_validation)
    np.testing.assert_allclose(first.predictions, again.predictions, atol=1e-6)


def test_a_full_folder_trains_all_the_same(tmp_path, frozen, tiny_processor, tiny_train, tiny_validation, caplog):
    rows, evaluation = tiny_train.select(range(10)), tiny_validation.select(range(4))
    clips = runs_of_the_tower(frozen)
    plain = train(tmp_path / "p", copy.deepcopy(frozen), tiny_processor, rows, evaluation)
    clips.clear()
    with caplog.at_level(logging.WARNING):
        bounded = train(
            tmp_path / "b", frozen, tiny_processor, rows, evaluation, tmp_path / "c", tower_cache_max_gb=4e-6
        )
    kept = len(files(tmp_path / "c"))
    assert 0 < kept < 14 and sum(clips) == 14 + 2 * (14 - kept)
    assert caplog.text.count("has reached tower_cache_max_gb") == 1
    # A correlation over a few rows enlarges differences in the last digit.
    ours, theirs = ({k: v for k, v in scores(run)[-1].items() if "entropy_" not in k} for run in (bounded, plain))
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_damaged_entry_is_computed_again_in_training(tmp_path, frozen, tiny_processor, tiny_train, tiny_validation):
    rows, cache = tiny_train.select(range(8)), tmp_path / "c"
    first = train(tmp_path / "o", copy.deepcopy(frozen), tiny_processor, rows, tiny_validation, cache)
    for damaged in files(cache)[:3]:
        damaged.write_bytes(flip_a_bit(damaged.read_bytes()))
    clips = runs_of_the_tower(frozen)
    again = train(tmp_path / "o", frozen, tiny_processor, rows, tiny_validation, cache)
    assert sum(clips) == 3
    assert scores(again)[-1] == pytest.approx(scores(first)[-1], abs=1e-5)


def test_a_cached_run_resumes_with_the_same_weights(tmp_path, frozen, tiny_processor, tiny_train):
    from test_trainer_exactness import Interrupt

    cache = tmp_path / "cache"
    base = {"eval_strategy": "no"}
    whole = train(tmp_path / "w", copy.deepcopy(frozen), tiny_processor, tiny_train, None, cache, **base)
    options = {"callbacks": [Interrupt(6)]}
    first = train(tmp_path / "p", copy.deepcopy(frozen), tiny_processor, tiny_train, None, cache, options, **base)
    resumed = train(tmp_path / "p", copy.deepcopy(frozen), tiny_processor, tiny_train, None, cache, None, True, **base)
    assert first.state.global_step == 6 and resumed.state.global_step == whole.state.global_step == 12
    assert largest_difference(weights(first), weights(whole)) > 1e-4
    assert largest_difference(weights(resumed), weights(whole)) <= 1e-5


def test_a_checkpoint_with_another_tower_has_entries_of_its_own(tmp_path, frozen, tiny_processor, tiny_train):
    base = {"eval_strategy": "no", "save_strategy": "epoch", "num_train_epochs": 1}
    other = copy.deepcopy(frozen)
    with torch.no_grad():
        for value in other.model.audio_tower.parameters():
            value.mul_(1.1)
    train(tmp_path / "o", other, tiny_processor, tiny_train, None, **base)
    clips = runs_of_the_tower(frozen)
    trainer = make_trainer(
        frozen, tiny_processor, tmp_path / "o", tiny_train, cache_audio_tower=True, tower_cache_dir=str(tmp_path / "c"),
        **{**base, "num_train_epochs": 2},
    )  # fmt: skip
    before = trainer._tower_cache.tower
    trainer.train(resume_from_checkpoint=True)
    assert trainer._tower_cache.tower != before and sum(clips) == len(tiny_train)
    key_ = audio_hash(tiny_train[0]["audio"])
    inputs = tiny_processor.from_rows([tiny_train[0]])
    expected = other.model.audio_tower.encode(inputs["input_features"], inputs["feature_attention_mask"])
    torch.testing.assert_close(trainer._tower_cache.get(key_).embeddings, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("preset", ["paper", "all"])
def test_lora_in_the_tower_is_refused(tmp_path, frozen, tiny_processor, tiny_train, preset):
    with pytest.raises(ValueError, match=r"belong to an adapter|are trained.*lora=language_model"):
        make_trainer(
            frozen, tiny_processor, tmp_path, tiny_train, cache_audio_tower=True, tower_cache_dir=str(tmp_path / "c"),
            trainer_options={"peft_config": emotion_lora_config(preset)},
        )  # fmt: skip


def test_a_trainable_tower_and_dropout_are_refused(tmp_path, tiny_model, tiny_processor, tiny_train):
    options = {"cache_audio_tower": True, "tower_cache_dir": str(tmp_path / "c")}
    with pytest.raises(ValueError, match=r"freeze_audio_tower=true.*switch the cache off"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, **options)
    tower = tiny_model.model.audio_tower.requires_grad_(False)
    check_frozen(tower)
    tower.layers[0].fc1.bias.requires_grad_(True)
    with pytest.raises(ValueError, match=r"1 of its weights .*fc1.bias"):
        check_frozen(tower)
    tower.requires_grad_(False)
    tower.config.attention_dropout = 0.1
    with pytest.raises(ValueError, match=r"attention_dropout=0\.1"):
        check_frozen(tower)
    assert not tiny_model.train().model.audio_tower.training  # so that in the model it never drops out
    make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, **options)
    tower.config.attention_dropout = 0.0
    with pytest.raises(ValueError, match="bf16_full_eval"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, bf16_full_eval=True, **options)


def test_audio_that_changes_from_reading_to_reading_is_refused(tmp_path, frozen, tiny_processor, tiny_train):
    rng = np.random.default_rng(0)

    def perturbed(batch):
        waves = [load_audio(audio) for audio in batch["audio"]]
        batch["audio"] = [{"array": wave * rng.uniform(0.5, 1), "sampling_rate": 16000} for wave in waves]
        return batch

    options = {"cache_audio_tower": True, "tower_cache_dir": str(tmp_path / "c")}
    noisy = tiny_train.with_transform(perturbed)
    with pytest.raises(ValueError, match=r"'clip-1-00'.*other audio each time.*switch the cache off"):
        make_trainer(frozen, tiny_processor, tmp_path, noisy, **options)
    make_trainer(frozen, tiny_processor, tmp_path, noisy)
    make_trainer(frozen, tiny_processor, tmp_path, tiny_train.with_transform(dict), **options)
    tiny_processor.feature_extractor.dither = 0.1
    with pytest.raises(ValueError, match=r"dither=0\.1"):
        make_trainer(frozen, tiny_processor, tmp_path, tiny_train, **options)


def test_the_default_folder_is_in_the_hugging_face_cache(tmp_path, frozen, tiny_processor, tiny_train):
    import os

    trainer = make_trainer(frozen, tiny_processor, tmp_path, tiny_train, cache_audio_tower=True)
    assert str(trainer._tower_cache.folder).startswith(os.environ["HF_HOME"])
    assert json.loads(trainer.args.to_json_string())["tower_cache_max_gb"] == 20.0
