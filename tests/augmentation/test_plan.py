import math

import numpy as np
import pytest
from aug_data import EMOTIONS, corpus, unbalanced
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import tone

from hf_emo_dist import DiMEAug
from hf_emo_dist.augmentation import MixPlan
from hf_emo_dist.augmentation.neighbours import find_neighbours, scale_features
from hf_emo_dist.augmentation.targets import balance_vector, dominant_targets, mass_to_add, tilted_weights, whole_counts
from hf_emo_dist.scores.divergences import jensen_shannon_divergence
from hf_emo_dist.votes import distributions_to_matrix, posterior_mean


def dime(**changes):
    return DiMEAug(**{"features": "x", "seed": 0, **changes})


def pairs(plan):
    return list(zip(plan.rows["id_i"], plan.rows["id_j"], strict=True))


def matrix(rows):
    return distributions_to_matrix(rows["emotion_distribution"], EMOTIONS)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.lists(st.integers(0, 14), min_size=3, max_size=3).filter(lambda counts: max(counts) > 3)
)
def test_the_paper_preset_follows_the_papers_rule(seed, counts):
    rows = unbalanced(counts, seed=seed, seconds=0.05)
    plan = DiMEAug(preset="paper", seed=seed, features="x").plan(rows)
    classes = matrix(rows).argmax(1)
    present = np.bincount(classes, minlength=3)
    assert present.tolist() == counts
    level = int(0.30 * max(counts) + 1e-9)
    # a class of one has nothing to mix with, a class of none nothing at all
    wanted = [level if 2 <= n < level else n for n in counts]
    assert plan.report.counts_after == wanted
    assert set(plan.report.unmet) == {EMOTIONS[k] for k in range(3) if counts[k] < 2 and counts[k] < level}
    x = scale_features(np.array(rows["x"]))
    nearest = find_neighbours(x, 2, groups=classes).indices
    place = {row_id: i for i, row_id in enumerate(rows["id"])}
    for first, second in pairs(plan):
        assert place[second] in nearest[place[first]]
    ratios = np.array(plan.rows["mix_ratio"])
    assert ((ratios > 0) & (ratios < 1)).all() and len(set(plan.rows["id"])) == len(plan)


def test_the_papers_ratios_are_uniform_and_candidates_both_taken():
    plan = DiMEAug(preset="paper", features="x", target_ratio=1.0).plan(unbalanced((200, 2, 3), seconds=0.05))
    ratios = np.sort(plan.rows["mix_ratio"])
    assert len(ratios) == 395 and np.abs(ratios - (np.arange(395) + 0.5) / 395).max() < 0.07
    of_three = {pair for pair in pairs(plan) if pair[0] >= "row-202"}
    assert len(of_three) == 6  # each of three with each of its two


PLANS = {
    "default": {},
    "paper": {"preset": "paper"},
    "other speakers": {"speakers": "different"},
    "a count": {"target": 25, "alpha": 0.4},
    "rows by class": {"target": {"sad": 15}, "neighbours": "any"},
}


@pytest.mark.parametrize("changes", PLANS.values(), ids=PLANS.keys())
def test_the_same_plan_whatever_the_order_of_the_rows(changes):
    rows = unbalanced((20, 12, 4), seconds=0.05)
    plan = dime(**changes).plan(rows)
    order = np.random.default_rng(1).permutation(len(rows))
    again = dime(**changes).plan(rows.select(order))
    assert len(plan) and plan.rows[:] == again.rows[:] and plan.report.to_dict() == again.report.to_dict()
    other = dime(**{**changes, "seed": 1}).plan(rows)
    assert plan.rows["mix_ratio"][:] != other.rows["mix_ratio"][:]


def test_mass_goes_to_the_balance():
    rows = unbalanced((60, 30, 8), seconds=0.05)
    before, after = (np.array(m) for r in [dime().plan(rows).report] for m in (r.mass_before, r.mass_after))
    far = [np.abs(m / m.sum() - 1 / 3).sum() for m in (before, after)]
    assert far[1] < 0.35 * far[0]
    given_balance = {"happy": 2, "angry": 1, "sad": 1}
    report = dime(balance=given_balance).plan(rows).report
    goal = np.array([0.25, 0.5, 0.25])
    assert report.balance == goal.tolist()
    shares = [np.array(m) / sum(m) for m in (report.mass_before, report.mass_after)]
    assert np.abs(shares[1] - goal).sum() < 0.5 * np.abs(shares[0] - goal).sum()


def test_the_report_says_what_the_rows_hold():
    rows = unbalanced((20, 12, 4), seconds=0.05)
    plan = dime().plan(rows)
    mixed = matrix(plan.map())
    np.testing.assert_allclose(np.array(plan.report.mass_after) - plan.report.mass_before, mixed.sum(0), atol=1e-6)
    counted = np.bincount(mixed.argmax(1), minlength=3)
    assert (np.array(plan.report.counts_after) - plan.report.counts_before).tolist() == counted.tolist()
    text = plan.report.to_markdown()
    assert f"{len(plan)} mixed rows" in text and "| sad |" in text


def test_bounds_are_kept():
    rows = unbalanced((40, 20, 4), seconds=0.05)
    assert len(dime(max_growth=0.25).plan(rows)) == 16
    free = dime(max_growth=math.inf).plan(rows)
    assert len(free) > 16 and free.report.settings["max_growth"] is None
    repeats = [len(dime(target={"sad": 100}, max_repeats=most).plan(rows)) for most in (None, math.inf)]
    assert repeats == [80, 96]  # None is the preset's
    few = dime(max_repeats=2, target={"sad": 40}).plan(rows)
    assert len(few) == 8 and "max_repeats=2" in few.report.unmet["sad"]
    assert np.unique(few.rows["id_i"], return_counts=True)[1].max() <= 2
    assert len(dime(target=17).plan(rows)) == 17 and len(dime(target=0).plan(rows)) == 0
    by_class = dime(target={"sad": 10, "happy": 21}).plan(rows).report
    assert by_class.counts_after == [40, 21, 10]
    assert dime(target={"Sadness": 10}).plan(rows).report.counts_after == [40, 20, 10]


def test_only_compatible_distributions_are_mixed():
    rows = unbalanced((30, 20, 10), seconds=0.05)
    p = dict(zip(rows["id"], posterior_mean(5 * matrix(rows)), strict=True))
    plan = dime(max_divergence=0.05, target=100).plan(rows)
    divergences = [float(jensen_shannon_divergence(p[a], p[b])) for a, b in pairs(plan)]
    assert len(plan) > 20 and max(divergences) <= 0.05
    free = [
        float(jensen_shannon_divergence(p[a], p[b])) for a, b in pairs(dime(neighbours="any", target=100).plan(rows))
    ]
    assert max(free) > 0.2


@pytest.mark.parametrize("rule", ["different", "same"])
def test_speakers(rule):
    rows = unbalanced((30, 20, 10), seconds=0.05)
    who = dict(zip(rows["id"], rows["speaker"], strict=True))
    plan = dime(speakers=rule, target=60, neighbours="any").plan(rows)
    assert len(plan) == 60 and all((who[a] == who[b]) == (rule == "same") for a, b in pairs(plan))


def test_unknown_speakers_are_neither_the_same_nor_different():
    rows = unbalanced((8, 6, 3), seconds=0.05, speakers=[None, "", *["a", "b"] * 7, None])
    named = {i for i, s in zip(rows["id"], rows["speaker"], strict=True) if s}
    for rule in ("same", "different"):
        plan = dime(speakers=rule, target=40, neighbours="any").plan(rows)
        assert len(plan) and {i for pair in pairs(plan) for i in pair} <= named
    with pytest.raises(ValueError, match="speakers='different' needs a column 'speaker'"):
        dime(speakers="different").plan(rows.remove_columns("speaker"))


def test_copies_take_no_neighbours_place():
    p = np.tile([0.1, 0.1, 0.8], (5, 1))
    big = np.tile([0.8, 0.1, 0.1], (60, 1))
    x = np.concatenate([[[0, 0], [0, 0], [0, 0], [1, 0], [2, 0]], np.random.default_rng(0).normal(9, 1, (60, 2))])
    plan = DiMEAug(preset="paper", features="x", target_ratio=1.0).plan(
        corpus(np.concatenate([p, big]), features=x, seconds=0.05)
    )
    partners = {}
    for first, second in pairs(plan):
        partners.setdefault(first, set()).add(second)
    assert partners["row-000"] == partners["row-001"] == {"row-003", "row-004"}
    assert partners["row-003"] == {"row-000", "row-004"}


def test_identical_clips_alone_have_no_neighbour():
    p = np.array([[0.1, 0.1, 0.8]] * 3 + [[0.8, 0.1, 0.1]] * 12)
    x = np.concatenate([np.zeros((3, 2)), np.random.default_rng(0).normal(9, 1, (12, 2))])
    report = DiMEAug(preset="paper", features="x", target_ratio=1.0).plan(corpus(p, features=x, seconds=0.05)).report
    assert report.rows_added == 0 and "none of its utterances has a neighbour" in report.unmet["sad"]
    assert any("target of sad is not reached" in text for text in report.warnings)


def test_the_same_words_are_no_copies_but_the_same_clip_is():
    p, x = np.tile([0.1, 0.1, 0.8], (4, 1)), np.zeros((4, 2))
    waves = [tone(200 + 50 * i, 0.1) for i in (0, 0, 1, 2)]
    rows = corpus(p, features=x, waves=waves)
    plan = dime(features="lexical", target={"sad": 44}, num_neighbours=3).plan(rows)
    partners = {}
    for first, second in pairs(plan):
        partners.setdefault(first, set()).add(second)
    assert partners["row-000"] == partners["row-001"] == {"row-002", "row-003"}
    assert partners["row-003"] == {"row-000", "row-002"}


def test_rows_without_features_or_distribution_are_left_out_and_named():
    rows = unbalanced((10, 5, 4), seconds=0.05)
    x = np.array(rows["x"])
    x[2], x[17] = np.nan, np.inf
    rows = unbalanced((10, 5, 4), seconds=0.05, features=x)
    plan = dime(target=50, neighbours="any").plan(rows)
    assert plan.report.left_out == {"features that are not finite": ["row-002", "row-017"]}
    assert not {"row-002", "row-017"} & {i for pair in pairs(plan) for i in pair}
    assert sum(plan.report.mass_before) == pytest.approx(19)  # they count all the same
    with pytest.raises(ValueError, match="No row has finite features"):
        dime().plan(unbalanced((3, 2, 1), seconds=0.05, features=np.full((6, 2), np.nan)))


def test_a_class_that_nobody_voted_for():
    p = np.array([[0.7, 0.3, 0.0], [0.6, 0.4, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0]])
    report = dime().plan(corpus(p, seconds=0.05)).report
    assert report.unmet == {"sad": "no utterance has any share of it"}


def test_balanced_data_stays_as_it_is():
    p = np.tile(np.eye(3), (4, 1))
    plan = dime().plan(corpus(p, seconds=0.05))
    assert len(plan) == 0 and not plan.report.warnings and len(plan.map()) == 0


def test_the_guard_warns_of_redundant_rows(caplog):
    p = np.tile(np.eye(3) * 0.4 + 0.2, (10, 1))
    report = dime(target=30, neighbours="any").plan(corpus(p, seconds=0.05)).report
    assert any("hardly change the balance" in text for text in report.warnings)
    assert "hardly change the balance" in caplog.text
    rows = unbalanced((60, 60, 2), seconds=0.05)
    report = DiMEAug(preset="paper", features="x", target_ratio=1.0).plan(rows).report
    assert any("repeat few utterances: 2 sources" in text for text in report.warnings)


def test_a_plan_is_saved_and_read(tmp_path):
    rows = unbalanced((20, 12, 4), seconds=0.05)
    plan = dime(alpha=0.5, seed=3).plan(rows)
    path = plan.save(tmp_path / "deep" / "plan.parquet")
    again = MixPlan.load(path, rows.select(range(len(rows))[::-1]), plan.mixer)
    assert again.rows[:] == plan.rows[:] and again.report == plan.report
    assert (again.seed, again.alpha, repr(again)) == (3, 0.5, repr(plan))
    assert [row["audio"] for row in again.map()] == [row["audio"] for row in plan.map()]
    with pytest.raises(ValueError, match=r"lacks \d+ sources of the plan"):
        MixPlan.load(path, rows.select(range(3)))
    plan.rows.to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="not a plan of DiMEAug"):
        MixPlan.load(tmp_path / "other.parquet", rows)


def test_only_training_data_is_augmented():
    from datasets import DatasetDict, NamedSplit

    rows = unbalanced((4, 3, 2), seconds=0.05)
    for split in ("validation", "test", "test[:10]"):
        part = rows.select(range(len(rows)))
        part._split = NamedSplit(split.partition("[")[0])
        with pytest.raises(ValueError, match="only training data is augmented"):
            dime().plan(part)
    with pytest.raises(TypeError, match=r"dataset\['train'\]"):
        dime().plan(DatasetDict(train=rows))
    with pytest.raises(TypeError, match="streaming=False"):
        dime().plan(rows.to_iterable_dataset())
    with pytest.raises(ValueError, match="were mixed already"):
        dime().plan(dime(target=5).augment(rows))


def wrong_labels(rows):
    return rows.rename_column("emotion_distribution", "old").add_column(
        "emotion_distribution", [{"joy": 0.5, "rage": 0.5}] * len(rows)
    )


BAD = {
    "ids twice": (lambda rows: corpus(np.eye(3), ids=["a", "a", "b"], seconds=0.05), {}, "'a' stands twice"),
    "no ids": (lambda rows: rows.remove_columns("id"), {}, "no column 'id'"),
    "no audio": (lambda rows: rows.remove_columns("audio"), {}, "load_emotion_dataset"),
    "no rows": (lambda rows: rows.select([]), {}, "has no rows"),
    "other labels": (wrong_labels, {"emotions": EMOTIONS}, "emotions are angry, happy, sad"),
    "no such features": (lambda rows: rows, {"features": "embeddings"}, "no column 'embeddings'"),
    "features of text": (lambda rows: rows, {"features": "corpus"}, "lists of numbers"),
    "no backbone": (lambda rows: rows, {"features": "backbone"}, "needs a checkpoint"),
    "unknown emotion": (lambda rows: rows, {"target": {"joy": 3}}, "Unknown emotion 'joy'"),
    "half a row": (lambda rows: rows, {"target": {"sad": 1.5}}, "whole numbers"),
    "no balance": (lambda rows: rows, {"balance": {"sad": 0}}, "not all 0"),
}


@pytest.mark.parametrize(("data", "changes", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(data, changes, message):
    with pytest.raises(ValueError, match=message):
        dime(**changes).plan(data(unbalanced((4, 3, 2), seconds=0.05)))


WRONG = {
    "preset": "papper",
    "neighbours": "near",
    "speakers": "all",
    "target": "mas",
    "target_ratio": 1.5,
    "alpha": 0.0,
    "num_neighbours": 0,
    "mixing": "loud",
    "metric": "l1",
    "index": "hnsw",
    "max_growth": -1,
    "max_repeats": -1,
    "lengths": "cut",
}


@pytest.mark.parametrize(("name", "value"), WRONG.items())
def test_settings_that_do_not_exist(name, value):
    with pytest.raises(ValueError, match=f"`{name}`"):
        DiMEAug(**{name: value})
    with pytest.raises(AttributeError, match=r'Mend: DiMEAug\(preset="paper"'):
        DiMEAug.paper(**{name: value})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([np.inf, 1, 3, 20]))
def test_draws_add_up_and_keep_their_bound(seed, number, most):
    rng = np.random.default_rng(seed)
    sources, wanted = rng.dirichlet(np.ones(3), size=25), rng.dirichlet(np.ones(3))
    draws = tilted_weights(sources, wanted, number, most)
    mean = draws @ sources / draws.sum()
    assert draws.sum() == pytest.approx(min(number, 25 * most)) and (draws >= 0).all()
    assert draws.max() <= most + 1e-9
    # nearer to what is wanted than an even draw is, unless the bound forbids it
    if most == np.inf:
        assert np.linalg.norm(mean - wanted) <= np.linalg.norm(sources.mean(0) - wanted) + 1e-6
    counts = whole_counts(draws, rng)
    assert (np.abs(counts - draws) < 1 + 1e-6).all() and abs(counts.sum() - draws.sum()) <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.one_of(st.none(), st.integers(0, 200)))
def test_mass_is_raised_from_below(seed, ratio, limit):
    mass = np.random.default_rng(seed).uniform(1, 100, 4)
    balance = balance_vector("uniform", ["a1", "b1", "c1", "d1"])
    added = mass_to_add(mass, balance, ratio, limit)
    assert (added >= 0).all() and (limit is None or added.sum() <= limit + 1e-6)
    level = (mass + added)[added > 0]
    assert len(level) == 0 or np.ptp(level) < 1e-6
    if limit is None:
        assert ((mass + added) >= ratio * mass.max() - 1e-9).all()


def test_the_papers_level_is_rounded_down():
    assert dominant_targets(np.array([70, 20, 3]), 0.3).tolist() == [70, 21, 21]
    assert dominant_targets(np.array([79, 24, 3]), 0.3).tolist() == [79, 24, 23]


def test_rows_without_a_distribution_are_left_out_and_named():
    rows = unbalanced((10, 5, 4), seconds=0.05)
    structs = [None if i == 3 else struct for i, struct in enumerate(rows["emotion_distribution"])]
    feature = rows.features["emotion_distribution"]
    rows = rows.remove_columns("emotion_distribution").add_column("emotion_distribution", structs, feature=feature)
    plan = dime(target=30, neighbours="any").plan(rows)
    assert plan.report.left_out == {"no emotion_distribution": ["row-003"]} and plan.report.rows_before == 18
    assert len(plan) == 30 and "row-003" not in {i for pair in pairs(plan) for i in pair}
