"""Mixing and perturbing as rows are read."""

import copy
import pickle

import numpy as np
import pytest
from aug_data import EMOTIONS, unbalanced
from tiny_data import tone

from hf_emo_dist import DiMEAug
from hf_emo_dist.audio.clips import load_audio
from hf_emo_dist.augmentation import WaveformPerturbation


@pytest.fixture(scope="module")
def plan():
    return DiMEAug(features="x", target=12, neighbours="any").plan(unbalanced((8, 5, 3), seconds=0.2))


def close(a, b):
    return np.abs(load_audio(a["audio"]) - load_audio(b["audio"])).max() < 1e-4  # PCM of 16 bits


def test_epoch_0_is_the_plan_and_others_are_drawn_anew(plan):
    lazy = plan.lazy()
    rows, mixed = lazy.dataset(), plan.map()
    assert len(rows) == 16 + 12
    for made, expected in zip([rows[i] for i in range(16, 28)], mixed, strict=True):
        assert close(made, expected)
        assert {k: v for k, v in made.items() if k != "audio"} == {k: v for k, v in expected.items() if k != "audio"}
    assert rows[3]["audio"] == plan.dataset[3]["audio"]
    first = rows[20]
    lazy.set_epoch(1)
    second = rows[20]
    assert second["mix_ratio"] != first["mix_ratio"] and second["mixed_from"] == first["mixed_from"]
    assert len(load_audio(second["audio"])) == len(load_audio(first["audio"]))
    by_id = {row["id"]: row for row in plan.dataset}
    a, b = (by_id[name]["emotion_distribution"] for name in second["mixed_from"])
    for name in EMOTIONS:
        expected = second["mix_ratio"] * a[name] + (1 - second["mix_ratio"]) * b[name]
        assert second["emotion_distribution"][name] == pytest.approx(expected, abs=1e-6)
    assert rows.select([20])[0]["mix_ratio"] == copy.deepcopy(rows)[20]["mix_ratio"] == second["mix_ratio"]
    lazy.set_epoch(0)
    assert rows[20]["mix_ratio"] == first["mix_ratio"]


def test_the_order_of_reading_and_the_workers_have_no_say(plan):
    from torch.utils.data import DataLoader

    lazy = plan.lazy()
    lazy.set_epoch(5)
    rows = lazy.dataset()
    straight = {row["id"]: row for row in rows}
    loader = DataLoader(rows, batch_size=5, num_workers=2, collate_fn=list, persistent_workers=True)
    for _ in range(2):
        for row in (row for batch in loader for row in batch):
            assert row["mix_ratio"] == straight[row["id"]]["mix_ratio"] and close(row, straight[row["id"]])
        lazy.set_epoch(6)  # workers that live on hear of it
        straight = {row["id"]: row for row in rows}


def test_a_stream_draws_order_and_ratios_anew(plan):
    lazy = plan.lazy()
    stream = lazy.iterable_dataset(num_shards=2, shuffle_buffer=50)
    epochs = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        epochs.append([(row["id"], row["mix_ratio"]) for row in stream])
    assert epochs[0] == epochs[2] != epochs[1] and sorted(i for i, _ in epochs[0]) == sorted(i for i, _ in epochs[1])
    assert len(epochs[0]) == 28 and len(pickle.dumps(lazy)) > 0


def test_columns_alone_are_those_of_the_plan(plan):
    rows = plan.lazy().dataset()
    assert rows["id"][16:] == plan.rows["id"][:] and rows["mix_ratio"][16:] == plan.rows["mix_ratio"][:]
    assert rows["emotion_distribution"][20] == plan.map()[4]["emotion_distribution"]


def test_a_row_that_cannot_be_mixed_becomes_its_dominant_source(caplog):
    waves = [tone(200 + 10 * i, 0.2, seed=i) for i in range(5)] + [np.zeros(3200, dtype=np.float32)]
    data = unbalanced((2, 2, 2), waves=waves)
    plan = DiMEAug(features="x", target={"sad": 6}, neighbours="any").plan(data)
    for row in list(plan.lazy().dataset())[6:]:
        source = data[data["id"][:].index(row["mixed_from"][0 if row["mix_ratio"] == 1 else 1])]
        assert row["mix_ratio"] in (0.0, 1.0) and row["audio"] == source["audio"]
        assert row["emotion_distribution"] == pytest.approx(source["emotion_distribution"])
    assert "its dominant source is taken instead" in caplog.text


def test_perturbation_is_drawn_from_seed_epoch_and_row():
    perturb = WaveformPerturbation(seed=1)
    kinds = [perturb.draw(f"row {i}") for i in range(3000)]
    share = {name: np.mean([kind == name for kind, _ in kinds]) for name in ("none", "pitch", "tempo")}
    assert share["none"] == pytest.approx(0.7, abs=0.03) and share["pitch"] == pytest.approx(share["tempo"], abs=0.03)
    assert max(abs(amount) for kind, amount in kinds if kind == "pitch") <= 1
    assert all(0.95 <= amount <= 1.05 for kind, amount in kinds if kind == "tempo")
    perturb.set_epoch(1)
    assert [perturb.draw(f"row {i}") for i in range(3000)] != kinds
    perturb.set_epoch(0)
    assert [perturb.draw(f"row {i}") for i in range(3000)] == kinds


def test_pitch_and_tempo_change_as_drawn(monkeypatch):
    wave = tone(440, 1.0)

    def peak(x):
        return np.argmax(np.abs(np.fft.rfft(x))) / len(x) * 16000

    perturb = WaveformPerturbation(p=1.0)
    monkeypatch.setattr(perturb, "draw", lambda row: ("pitch", 1.0))
    shifted = perturb.waveform(wave, "a")
    assert len(shifted) == 16000 and peak(shifted) == pytest.approx(440 * 2 ** (1 / 12), rel=0.01)
    monkeypatch.setattr(perturb, "draw", lambda row: ("tempo", 1.05))
    faster = perturb.waveform(wave, "a")
    assert len(faster) == pytest.approx(16000 / 1.05, abs=1) and peak(faster) == pytest.approx(440, rel=0.01)
    monkeypatch.setattr(perturb, "draw", lambda row: ("tempo", 0.95))
    long = np.tile(wave, 30)
    assert perturb.waveform(long, "a") is long  # 31.6 s would not be heard whole
    short = tone(440, 0.03)
    assert perturb.waveform(short, "a") is short or np.isfinite(perturb.waveform(short, "a")).all()


def test_rows_are_perturbed_as_they_are_read(plan):
    rows = plan.dataset.select(range(8)).with_transform(WaveformPerturbation(p=1.0))
    for row, before in zip(rows, plan.dataset, strict=False):
        wave = load_audio(row["audio"])
        assert np.isfinite(wave).all() and np.abs(wave).max() <= 1 and row["id"] == before["id"]
        assert not np.array_equal(wave, load_audio(before["audio"]))
    untouched = plan.dataset.with_transform(WaveformPerturbation(p=0.0))
    assert untouched[0] == plan.dataset[0] and untouched["transcript"][0] == plan.dataset["transcript"][0]
    both = plan.lazy(perturbation=WaveformPerturbation(p=1.0)).dataset()
    assert np.isfinite(load_audio(both[20]["audio"])).all()


@pytest.mark.parametrize("change", [{"p": 1.5}, {"semitones": -1}, {"tempo": (1.1, 0.9)}])
def test_perturbations_that_do_not_exist(change):
    with pytest.raises(ValueError, match="Need p from 0 to 1"):
        WaveformPerturbation(**change)
