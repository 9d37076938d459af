"""What `augment` and `plan.map` give: the data contract, and what becomes of clips that cannot be mixed."""

import io

import numpy as np
import pytest
import soundfile
from aug_data import EMOTIONS, corpus, unbalanced
from tiny_data import tone

from hf_emo_dist import DiMEAug, combine_votes, speaker_disjoint_split
from hf_emo_dist.audio.clips import load_audio
from hf_emo_dist.augmentation.mixing import BetweenClassMixer, PaperMixer
from hf_emo_dist.data.mixed_rows import refuse_mixed
from hf_emo_dist.data.splits import check_splits, folds_from_column, speaker_folds
from hf_emo_dist.data.writing import write_dataset
from hf_emo_dist.training.validation import check_columns


def dime(**changes):
    return DiMEAug(**{"features": "x", "seed": 0, **changes})


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_mixed_rows_hold_the_contract(preset):
    rows = unbalanced((20, 12, 4), corpus2=["same"] * 36, other=[f"{i}" for i in range(36)])
    both = dime(preset=preset, target_ratio=0.8).augment(rows)
    assert both.select(range(36)).remove_columns(["mixed_from", "mix_ratio"])[:] == rows[:]  # all that was there stays
    assert set(both["mixed_from"][:36]) == {None} and set(both["mix_ratio"][:36]) == {None}
    by_id = {row["id"]: row for row in rows}
    mixed = list(both.select(range(36, len(both))))
    assert len(mixed) > 5 and len({row["id"] for row in both}) == len(both)
    for row in mixed:
        a, b = (by_id[name] for name in row["mixed_from"])
        share = row["mix_ratio"]
        assert 0 < share < 1 and np.float32(share) == share
        p, q, m = (np.array([r["emotion_distribution"][name] for name in EMOTIONS]) for r in (a, b, row))
        assert abs(m.sum() - 1) < 1e-9 and np.abs(m - (share * p + (1 - share) * q)).max() < 1e-6
        source = a if share >= 0.5 else b
        assert (row["transcript"], row["speaker"]) == (source["transcript"], source["speaker"])
        assert row["human_votes"] == [] and row["human_distribution"] is None
        assert row["corpus2"] == "same" and row["other"] is None and row["x"] is None
        wave = load_audio(row["audio"])
        assert (
            row["audio"]["bytes"][:4] == b"fLaC"
            and soundfile.info(io.BytesIO(row["audio"]["bytes"])).samplerate == 16000
        )
        assert len(wave) == len(load_audio(a["audio"])) and np.isfinite(wave).all() and np.abs(wave).max() <= 1


def test_the_same_audio_whatever_the_processes(tmp_path):
    rows = unbalanced((12, 8, 3))
    write_dataset(rows, tmp_path / "d", description="x", vote_source="made up", emotions=EMOTIONS)
    from hf_emo_dist import load_emotion_dataset

    stored = load_emotion_dataset(tmp_path / "d", "train")
    one, two = (dime(features="lexical", num_proc=n).augment(stored) for n in (None, 2))
    assert one[:] == two[:] and len(one) > 26
    again = dime(features="lexical").augment(rows)  # in memory
    assert [row["audio"] for row in again] == [row["audio"] for row in one]


def test_a_mixer_of_ones_own():
    rows = unbalanced((6, 4, 2))
    plan = dime(target=5).plan(rows)
    loud = plan.map(lambda first, second, ratio: np.full(400, 0.5, dtype=np.float32))
    assert all(np.allclose(load_audio(row["audio"]), 0.5, atol=1e-4) for row in loud)
    assert dime(target=5, mixing="paper").plan(rows).mixer == PaperMixer()
    assert dime(target=5, lengths="loop").plan(rows).mixer == BetweenClassMixer("loop")
    assert [r["audio"] for r in plan.map(PaperMixer())] != [r["audio"] for r in plan.map()]


def test_clips_that_cannot_be_mixed_are_left_out_and_named(caplog):
    waves = [tone(200 + 10 * i, 0.3, seed=i) for i in range(9)]
    waves[8] = np.zeros(4800, dtype=np.float32)
    rows = unbalanced((4, 3, 2), waves=waves)
    plan = dime(target={"sad": 10}, neighbours="any").plan(rows)
    mixed, problems = plan.map_with_problems()
    assert (
        len(problems) == 8
        and len(mixed) == 0
        and all("row-008" in text and "silent" in text for text in problems.values())
    )
    assert "8 of 8 rows could not be mixed" in caplog.text
    assert len(dime(target={"sad": 10}).augment(rows)) == 9
    rows = unbalanced((4, 4, 3), waves=[*waves[:8], waves[8], waves[0], waves[1]])
    assert 0 < len(dime(target={"sad": 20}, neighbours="any").plan(rows).map()) < 17  # the others go on


def test_all_silent_clips():
    rows = unbalanced((4, 3, 2), waves=[np.zeros(4800, dtype=np.float32)] * 9)
    assert len(dime(target=6).augment(rows)) == 9
    assert len(dime(target=6, mixing="paper").augment(rows)) == 15  # the paper's way asks for no level


def test_short_beside_long():
    waves = [tone(200, 0.2), tone(300, 25.0), tone(250, 0.2, seed=1)]
    rows = corpus([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]], waves=waves)
    for changes, seconds in (({}, 25.0), ({"mixing": "paper"}, 0.2)):
        mixed = dime(target={"angry": 6}, **changes).plan(rows).map()
        assert {len(load_audio(row["audio"])) for row in mixed} == {int(seconds * 16000)}


def test_mixed_rows_have_no_votes_and_are_not_scored():
    both = dime(target=6).augment(unbalanced((6, 4, 2)))
    combined = both.map(combine_votes, fn_kwargs={"emotions": EMOTIONS})
    for before, after in zip(both, combined, strict=True):
        if before["mixed_from"]:
            assert (
                after["human_distribution"] is None and after["emotion_distribution"] == before["emotion_distribution"]
            )
    with pytest.raises(ValueError, match="mixed"):
        refuse_mixed(both)
    with pytest.raises(ValueError, match="cannot be scored"):
        check_columns(both, EMOTIONS, "emotion_distribution", "evaluation")


def test_the_dominant_sources_words_reach_the_prompt(tiny_processor):
    mixed = dime(target=8, neighbours="any").plan(unbalanced((6, 4, 2))).map()
    tokens = tiny_processor.from_rows(list(mixed))["input_ids"]
    for row, prompt in zip(mixed, tiny_processor.tokenizer.batch_decode(tokens), strict=True):
        first, second = row["mixed_from"]
        heard, other = (first, second) if row["mix_ratio"] >= 0.5 else (second, first)
        assert f"Words of {heard}." in prompt and f"Words of {other}." not in prompt


def test_a_true_distribution_is_mixed_too():
    from hf_emo_dist import simulate_corpus

    rows = simulate_corpus(12, 3, EMOTIONS)["train"].add_column("x", [[float(i), float(i % 3)] for i in range(4)])
    both = dime(target=3, neighbours="any").augment(rows)
    truth = {row["id"]: row["true_distribution"] for row in rows}
    for row in both.filter(lambda row: bool(row["mixed_from"])):
        a, b = (truth[name] for name in row["mixed_from"])
        for name in EMOTIONS:
            expected = row["mix_ratio"] * a[name] + (1 - row["mix_ratio"]) * b[name]
            assert row["true_distribution"][name] == pytest.approx(expected)


def test_a_later_split_keeps_mixed_rows_whose_sources_are_all_trained_on(caplog):
    both = dime(target=60, neighbours="any").augment(unbalanced((12, 8, 4)))
    split = speaker_disjoint_split(both, {"train": 0.75, "test": 0.25})
    check_splits(split)
    where = {row["id"]: name for name, part in split.items() for row in part}
    mixed = [row for row in both if row["mixed_from"]]
    kept = [row for row in mixed if row["id"] in where]
    assert 0 < len(kept) < len(mixed) and "mixed rows are dropped" in caplog.text
    for row in mixed:
        homes = {where[source] for source in row["mixed_from"]}
        assert where.get(row["id"]) == ("train" if homes == {"train"} else None)
    for folds in (speaker_folds(both, 4), folds_from_column(with_folds(both))):
        tested = np.concatenate([test for _, test in folds])
        assert sorted(tested) == list(range(24))  # nobody is scored on what nobody heard
        ids = both["id"][:]
        for train, _ in folds:
            inside = {ids[i] for i in train}
            for row in mixed:
                assert (row["id"] in inside) == (set(row["mixed_from"]) <= inside)
    lost, rest = both["id"][0], both.select(range(1, len(both)))
    kept = set(speaker_disjoint_split(rest, {"train": 1.0})["train"]["id"])
    assert {row["id"] for row in rest} - kept == {row["id"] for row in mixed if lost in row["mixed_from"]}


def with_folds(both):
    return both.add_column("fold", [None if row["mixed_from"] else row["speaker"][-1] for row in both])


def test_a_balanced_split_gets_the_columns_all_the_same():
    both = dime(target=0).augment(unbalanced((2, 2, 2), seconds=0.05))
    assert len(both) == 6 and {"mixed_from", "mix_ratio"} <= set(both.column_names)


def test_it_is_written_and_read_back(tmp_path):
    from hf_emo_dist import load_emotion_dataset

    both = dime(target=6).augment(unbalanced((6, 4, 2)))
    write_dataset(both, tmp_path / "d", description="x", vote_source="made up", emotions=EMOTIONS)
    again = load_emotion_dataset(tmp_path / "d", "train")
    assert again["id"][:] == both["id"][:] and again["mixed_from"][:] == both["mixed_from"][:]
    assert again[-1]["audio"]["bytes"] == both[-1]["audio"]["bytes"]


def test_what_is_made_lies_on_disk_and_is_read_back(monkeypatch):
    from hf_emo_dist.augmentation.features import LexicalFeatures, compute_features
    from hf_emo_dist.augmentation.mixed_dataset import RowMixer

    rows = unbalanced((6, 4, 3), seconds=0.1)  # in memory, and yet memory must not grow with the mixed rows
    plan = dime(target=7, neighbours="any").plan(rows)
    mixed, features = plan.map(), compute_features(rows, "lexical")
    assert mixed.cache_files and features.cache_files

    def never(*args):
        raise AssertionError("made again")

    monkeypatch.setattr(RowMixer, "mix", never)
    monkeypatch.setattr(LexicalFeatures, "features", never)
    assert plan.map()[:] == mixed[:] and compute_features(rows, "lexical")[:] == features[:]
    with pytest.raises(AssertionError, match="made again"):
        plan.map(PaperMixer())  # another mixer, other rows
    with pytest.raises(AssertionError, match="made again"):
        dime(target=7, neighbours="any", seed=1).plan(rows).map()
