from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.emotions import PAPER_EMOTIONS, UnknownEmotionError
from hf_emo_dist.votes import (
    ambiguity_strata,
    combine_votes,
    count_votes,
    counts_to_distribution,
    distribution_feature,
    distributions_to_matrix,
    dominant,
    dominant_ties,
    entropy,
    matrix_to_distributions,
    posterior_mean,
    vote_counts_matrix,
    votes_to_distribution,
)

# The same examples every time, and no deadline: imports and busy machines make first calls slow.
steady = settings(deadline=None, derandomize=True)

EMOTIONS = list(PAPER_EMOTIONS)
labels = st.sampled_from([*EMOTIONS, "Anger", "SADNESS"])
count_rows = st.lists(st.lists(st.integers(0, 20), min_size=4, max_size=4), min_size=1, max_size=20)


# --- counting


@steady
@given(st.lists(labels))
def test_every_vote_is_counted_once(votes: list[str]) -> None:
    counts = count_votes(votes, EMOTIONS)
    assert counts.dtype == np.float64
    assert counts.sum() == len(votes)
    assert counts[0] == sum(vote in ("angry", "Anger") for vote in votes)


@steady
@given(st.lists(labels, min_size=1), st.randoms())
def test_order_of_votes_does_not_matter_and_order_of_emotions_only_permutes(votes: list[str], random: Any) -> None:
    shuffled = random.sample(votes, len(votes))
    np.testing.assert_array_equal(count_votes(votes, EMOTIONS), count_votes(shuffled, EMOTIONS))
    np.testing.assert_array_equal(count_votes(votes, EMOTIONS)[::-1], count_votes(votes, EMOTIONS[::-1]))


def test_weights() -> None:
    # A rater who gave two tags gives each one half.
    np.testing.assert_allclose(count_votes(["sad", "angry", "sad"], EMOTIONS, weights=[1, 0.5, 0.5]), [0.5, 0, 0, 1.5])


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.nan], [np.inf, 1.0]])
def test_bad_weights(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weight"):
        count_votes(["sad", "angry"], EMOTIONS, weights=weights)


def test_votes_outside_the_emotions() -> None:
    with pytest.raises(UnknownEmotionError, match=r"'disgust'.*outside='drop'"):
        count_votes(["sad", "disgust"], EMOTIONS)
    np.testing.assert_array_equal(count_votes(["sad", "disgust"], EMOTIONS, outside="drop"), [0, 0, 0, 1])
    with pytest.raises(UnknownEmotionError):  # No label at all is never just "outside".
        count_votes(["sad", None], EMOTIONS, outside="drop")  # type: ignore[list-item]
    with pytest.raises(ValueError, match="`outside` must be one of"):
        count_votes(["sad"], EMOTIONS, outside="ignore")  # type: ignore[arg-type]


def test_votes_as_one_string_are_refused() -> None:
    with pytest.raises(TypeError, match="split"):
        count_votes("sad|angry", EMOTIONS)


# --- distributions


@steady
@given(count_rows)
def test_distributions_sum_to_one_and_keep_proportions(rows: list[list[int]]) -> None:
    result = counts_to_distribution(rows, empty="uniform")
    assert result is not None
    np.testing.assert_allclose(result.sum(axis=1), 1.0)
    for counts, row in zip(rows, result, strict=True):
        expected = np.asarray(counts) / sum(counts) if sum(counts) else np.full(4, 0.25)
        np.testing.assert_allclose(row, expected)


def test_empty_votes() -> None:
    with pytest.raises(ValueError, match=r"No votes.*empty='drop'"):
        votes_to_distribution([], EMOTIONS)
    assert votes_to_distribution([], EMOTIONS, empty="drop") is None
    np.testing.assert_array_equal(votes_to_distribution([], EMOTIONS, empty="uniform"), [0.25] * 4)
    assert votes_to_distribution(["awe"], EMOTIONS, empty="drop", outside="drop") is None
    with pytest.raises(ValueError, match=r"row\(s\) \[1\]"):
        counts_to_distribution([[1, 0], [0, 0]])
    np.testing.assert_array_equal(counts_to_distribution([[1, 0], [0, 0]], empty="drop"), [[1, 0], [np.nan, np.nan]])


@pytest.mark.parametrize("counts", [[-1, 2], [np.nan, 1], [[[1, 2]]], 3])
def test_bad_counts(counts: Any) -> None:
    with pytest.raises(ValueError, match="Counts must"):
        counts_to_distribution(counts)


@steady
@given(count_rows, st.floats(0.01, 100))
def test_posterior_lies_between_prior_and_votes(rows: list[list[int]], concentration: float) -> None:
    prior = np.array([0.1, 0.2, 0.3, 0.4])
    result = posterior_mean(rows, concentration, prior)
    np.testing.assert_allclose(result.sum(axis=1), 1.0)
    voted = counts_to_distribution(rows, empty="drop")
    assert voted is not None
    voted = np.where(np.isnan(voted), prior, voted)
    assert (result >= np.minimum(prior, voted) - 1e-12).all()
    assert (result <= np.maximum(prior, voted) + 1e-12).all()


def test_concentration_is_the_total_of_the_prior() -> None:
    np.testing.assert_allclose(posterior_mean([4, 0], concentration=4.0), [0.75, 0.25])
    np.testing.assert_allclose(posterior_mean([0, 0], prior=[0.9, 0.1]), [0.9, 0.1])
    with pytest.raises(ValueError, match="concentration"):
        posterior_mean([1, 1], concentration=0.0)
    with pytest.raises(ValueError, match="prior"):
        posterior_mean([1, 1], prior=[0.9, 0.3])


# --- entropy, strata, dominant class


def test_entropy() -> None:
    rows = [[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, 0, 0]]
    np.testing.assert_allclose(entropy(rows), [2, 0, 1])
    np.testing.assert_allclose(entropy(rows, base=np.e), np.array([2, 0, 1]) * np.log(2))
    np.testing.assert_allclose(entropy(rows, normalized=True), [1, 0, 0.5])
    np.testing.assert_allclose(entropy(rows, normalized="present"), [1, 0, 1])
    assert not np.signbit(entropy(rows)).any()


@steady
@given(st.lists(st.floats(0, 2), min_size=1, max_size=50, unique_by=lambda x: round(x, 8)), st.integers(1, 5))
def test_strata_are_of_like_size_and_in_order(entropies: list[float], n: int) -> None:
    strata = ambiguity_strata(entropies, n)
    assert set(strata) <= set(range(n))
    if len(entropies) >= n:
        sizes = np.bincount(strata, minlength=n)
        assert sizes.max() - sizes.min() <= 1
    assert (np.diff(strata[np.argsort(entropies)]) >= 0).all()


@steady
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30), st.randoms())
def test_equal_entropies_share_a_stratum_whatever_their_order(entropies: list[float], random: Any) -> None:
    order = random.sample(range(len(entropies)), len(entropies))
    strata = ambiguity_strata(entropies)
    np.testing.assert_array_equal(ambiguity_strata([entropies[i] for i in order]), strata[order])
    for value in set(entropies):
        assert len({stratum for entropy_, stratum in zip(entropies, strata, strict=True) if entropy_ == value}) == 1


def test_dominant_takes_the_first_of_a_tie_and_ties_are_marked() -> None:
    np.testing.assert_array_equal(dominant([[0.1, 0.4, 0.4, 0.1], [0, 0, 0, 1]]), [1, 3])
    np.testing.assert_array_equal(dominant_ties([0.1, 0.4, 0.4, 0.1]), [False, True, True, False])


# --- struct columns


@steady
@given(count_rows)
def test_structs_and_matrices_convert_both_ways(rows: list[list[int]]) -> None:
    matrix = counts_to_distribution(rows, empty="uniform")
    structs = matrix_to_distributions(matrix, EMOTIONS)
    shuffled = [dict(reversed(struct.items())) for struct in structs]
    np.testing.assert_allclose(distributions_to_matrix(shuffled, EMOTIONS), matrix, rtol=1e-14)
    np.testing.assert_allclose(distributions_to_matrix(structs, EMOTIONS[::-1])[:, ::-1], matrix, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_columns_of_datasets_and_arrow(dtype: str) -> None:
    matrix = np.array([[0.1, 0.2, 0.3, 0.4], [1 / 3, 1 / 3, 1 / 3, 0]])
    features = Features({"p": {emotion: Value(dtype) for emotion in EMOTIONS[::-1]}})
    dataset = Dataset.from_dict({"p": matrix_to_distributions(matrix, EMOTIONS)}, features=features)
    for column in (dataset["p"], dataset.data.column("p"), dataset.with_format("arrow")["p"][:]):
        result = distributions_to_matrix(column, EMOTIONS)
        np.testing.assert_allclose(result, matrix, atol=1e-7)
        np.testing.assert_allclose(result.sum(axis=1), 1.0, rtol=1e-15)


def test_feature_keeps_values_exactly() -> None:
    features = Features({"p": distribution_feature(EMOTIONS)})
    structs = matrix_to_distributions([[0.1, 0.2, 0.3, 0.4]], EMOTIONS)
    assert list(Dataset.from_dict({"p": structs}, features=features)["p"]) == structs


GOOD = {"angry": 0.5, "happy": 0.5, "neutral": 0.0, "sad": 0.0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (None, "null"),
        (dict.fromkeys(EMOTIONS), "null"),
        (GOOD | {"sad": None}, "missing, NaN"),
        (GOOD | {"sad": float("nan")}, "missing, NaN"),
        (GOOD | {"sad": -0.1, "happy": 0.6}, "negative"),
        (GOOD | {"sad": float("inf")}, "infinite"),
        (GOOD | {"sad": 0.5}, "sums to 1.5, not 1"),
        ({"angry": 0.5, "happy": 0.5}, "without neutral, sad"),
        (GOOD | {"fear": 0.0}, "with fear"),
    ],
)
def test_what_is_no_distribution_is_refused_by_id_and_column(row: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as info:
        distributions_to_matrix([GOOD, row], EMOTIONS, ids=["first", "second"], column_name="human_distribution")
    text = str(info.value)
    assert "'second'" in text and "'human_distribution'" in text and "Mend:" in text


def test_bare_vectors_are_refused() -> None:
    with pytest.raises(TypeError, match="matrix_to_distributions"):
        distributions_to_matrix([[0.5, 0.5]], ["angry", "sad"])
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        matrix_to_distributions([[0.5, 0.5]], EMOTIONS)


def test_vote_counts_matrix() -> None:
    counts = vote_counts_matrix([["sad", "Anger"], None, []], EMOTIONS, weights_column=[[0.5, 1.0], None, []])
    np.testing.assert_array_equal(counts, [[1, 0, 0, 0.5], [0] * 4, [0] * 4])
    with pytest.raises(UnknownEmotionError, match=r"'row-b'.*'awe'"):
        vote_counts_matrix([["sad"], ["awe"]], EMOTIONS, ids=["row-a", "row-b"])


# --- combine_votes

ROWS: list[dict[str, Any]] = [
    {"id": "a", "human_votes": ["sad", "sad", "angry"], "synthetic_votes": ["angry"], "mixed_from": []},
    {"id": "b", "human_votes": ["happy"], "synthetic_votes": None, "mixed_from": []},
    {"id": "c", "human_votes": ["neutral", "Happiness"], "synthetic_votes": ["sad", "sad"], "mixed_from": []},
]


def dataset_of(rows: list[dict[str, Any]]) -> Dataset:
    features = Features(
        {
            "id": Value("string"),
            "human_votes": List(Value("string")),
            "synthetic_votes": List(Value("string")),
            "mixed_from": List(Value("string")),
        }
    )
    return Dataset.from_list(rows, features=features)


def test_pooling_counts_one_vote_each() -> None:
    result = combine_votes(ROWS[0], emotions=EMOTIONS)
    assert set(result) == {"human_distribution", "emotion_distribution"}
    assert result["human_distribution"] == {"angry": 1 / 3, "happy": 0.0, "neutral": 0.0, "sad": 2 / 3}
    assert result["emotion_distribution"] == {"angry": 0.5, "happy": 0.0, "neutral": 0.0, "sad": 0.5}


def test_map_agrees_with_batched_map() -> None:
    dataset = dataset_of(ROWS)
    single = dataset.map(combine_votes, fn_kwargs={"emotions": EMOTIONS})
    batched = dataset.map(combine_votes, batched=True, batch_size=2, fn_kwargs={"emotions": EMOTIONS})
    assert single.to_list() == batched.to_list()
    assert single.features == batched.features
    assert single.features["human_distribution"] == distribution_feature(EMOTIONS)
    # Without emotions the struct that is there says which, in its order.
    again = single.map(combine_votes, batched=True)
    assert again.to_list() == single.to_list()


@pytest.mark.parametrize("with_id", [True, False])
def test_rows_and_batches_are_told_apart(with_id: bool) -> None:
    rows = [row if with_id else {key: row[key] for key in row if key != "id"} for row in ROWS]
    batch = {key: [row[key] for row in rows] for key in rows[0]}
    results = combine_votes(batch, emotions=EMOTIONS)
    singles = [combine_votes(row, emotions=EMOTIONS) for row in rows]
    assert results == {key: [single[key] for single in singles] for key in singles[0]}
    empty_row = {key: [] if key == "human_votes" else value for key, value in rows[1].items()}
    assert combine_votes(empty_row, emotions=EMOTIONS, empty="drop") == dict.fromkeys(singles[0])
    none_batch = {"human_votes": [None, ["sad"]]}
    assert combine_votes(none_batch, emotions=EMOTIONS, empty="drop")["human_distribution"][0] is None


def test_weights_of_sources_and_stated_distributions() -> None:
    stated = {"angry": 0.5, "happy": 0.5, "neutral": 0.0, "sad": 0.0}
    row = {
        "id": "a",
        "human_votes": ["sad", "sad"],
        "human_vote_weights": [1.0, 0.5],
        "synthetic_votes": ["neutral"],
        "synthetic_annotations": [
            {"label": "neutral", "distribution": None},
            {"label": None, "distribution": stated},
            {"label": None, "distribution": dict.fromkeys(EMOTIONS)},
        ],
    }
    result = combine_votes(row, EMOTIONS, human_weight=2.0, synthetic_weight=0.5, distribution_weight=4.0)
    # Human 2 * 1.5 sad, synthetic 0.5 neutral, stated 2 angry and 2 happy: 7.5 in all.
    assert result["emotion_distribution"] == pytest.approx(
        {"angry": 2 / 7.5, "happy": 2 / 7.5, "neutral": 0.5 / 7.5, "sad": 3 / 7.5}
    )
    assert result["human_distribution"]["sad"] == 1.0
    del row["synthetic_votes"]  # The labels are then those of the annotations.
    assert combine_votes(row, EMOTIONS, human_weight=2.0, synthetic_weight=0.5, distribution_weight=4.0) == result
    with pytest.raises(ValueError, match="synthetic_weight"):
        combine_votes(row, EMOTIONS, synthetic_weight=-1)


@steady
@given(st.lists(labels, min_size=1), st.lists(labels))
def test_synthetic_votes_never_touch_the_human_distribution(human: list[str], synthetic: list[str]) -> None:
    alone = combine_votes({"human_votes": human}, EMOTIONS)
    both = combine_votes({"human_votes": human, "synthetic_votes": synthetic}, EMOTIONS)
    assert both["human_distribution"] == alone["human_distribution"] == alone["emotion_distribution"]
    pooled = votes_to_distribution([*human, *synthetic], EMOTIONS)
    assert pooled is not None
    assert list(both["emotion_distribution"].values()) == pytest.approx(pooled.tolist())


def test_mixed_rows_keep_their_target() -> None:
    target = {"angry": 0.3, "happy": 0.7, "neutral": 0.0, "sad": 0.0}
    row = {"id": "m", "human_votes": [], "mixed_from": ["a", "b"], "emotion_distribution": target}
    assert combine_votes(row) == {"human_distribution": None, "emotion_distribution": target}


def test_rows_with_synthetic_votes_only() -> None:
    row = {"id": "x", "human_votes": [], "synthetic_votes": ["sad"]}
    with pytest.raises(ValueError, match=r"'x'.*no human vote"):
        combine_votes(row, EMOTIONS)
    dropped = combine_votes(row, EMOTIONS, empty="drop")
    assert dropped["human_distribution"] is None
    assert dropped["emotion_distribution"]["sad"] == 1.0


def test_errors_name_the_row_or_the_column() -> None:
    with pytest.raises(UnknownEmotionError, match=r"'x'.*'awe'"):
        combine_votes({"id": "x", "human_votes": ["awe"]}, EMOTIONS)
    with pytest.raises(UnknownEmotionError, match=r"'x'.*synthetic.*'awe'"):
        combine_votes({"id": "x", "human_votes": ["sad"], "synthetic_votes": ["awe"]}, EMOTIONS)
    with pytest.raises(KeyError, match=r"human_votes.*rename_column"):
        combine_votes({"id": "x", "votes": ["sad"]}, EMOTIONS)
    with pytest.raises(ValueError, match=r"emotions=\["):
        combine_votes({"id": "x", "human_votes": ["sad"]})


def test_function_and_errors_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(combine_votes)) is combine_votes
    error = pickle.loads(pickle.dumps(UnknownEmotionError("text")))
    assert str(error) == "text"


def test_real_crowd_votes() -> None:
    default = Path(__file__).parents[2] / "shared" / "data"
    table = Path(os.environ.get("HF_EMO_DIST_TEST_DATA", default)) / "cremad_votes" / "votes.csv"
    if not table.exists():
        pytest.skip(f"no {table}")
    emotions = ["angry", "disgust", "fear", "happy", "neutral", "sad"]
    counts = np.loadtxt(table, delimiter=",", skiprows=1, usecols=range(6, 12))
    votes = [[e for e, n in zip(emotions, row, strict=True) for _ in range(int(n))] for row in counts]
    np.testing.assert_array_equal(vote_counts_matrix(votes, emotions), counts)
    p = counts_to_distribution(counts)
    assert p is not None
    # Real vote vectors repeat, so there are many ties; the strata must be ordered all the same.
    h = entropy(p)
    strata = ambiguity_strata(h)
    means = [h[strata == k].mean() for k in range(3)]
    assert means[0] < means[1] < means[2]
