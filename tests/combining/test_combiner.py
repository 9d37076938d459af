"""`VoteCombiner` as users meet it: on data sets, on arrays, saved and loaded, and with what does not fit."""

import json
import logging
import pickle

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from votes_of_models import EMOTIONS, K, columns_of, drawn, entry, labels_of

from hf_emo_dist import VoteCombiner, combine_votes
from hf_emo_dist.combining.evidence_columns import annotator_name, columns_as_arrow, evidence_of

WRITTEN = {"human_distribution", "emotion_distribution", "emotion_concentration"}


@pytest.fixture(scope="module")
def votes():
    return drawn(400, seed=1)


@pytest.fixture(scope="module")
def rows(votes):
    _, human, answers, groups = votes
    return Dataset.from_dict(columns_of(human, answers, groups, foci=("words", "voice")))


@pytest.fixture(scope="module")
def fitted(rows):
    return VoteCombiner(emotions=EMOTIONS).fit(rows)


def test_a_map_function_like_the_others(rows, fitted):
    batched = rows.map(fitted, batched=True, batch_size=64)
    single = rows.select(range(20)).map(fitted)
    assert set(batched.column_names) - set(rows.column_names) == WRITTEN
    for name in WRITTEN:
        assert batched[name][:20] == single[name][:]  # to the last bit
    assert fitted(rows[3]) == {name: batched[3][name] for name in WRITTEN}
    as_python = {name: rows[name][:] for name in rows.column_names}
    assert {name: list(values) for name, values in fitted(as_python).items()} == {n: batched[n][:] for n in WRITTEN}
    target = batched[0]["emotion_distribution"]
    assert list(target) == list(EMOTIONS) and sum(target.values()) == pytest.approx(1)
    assert batched[0]["human_distribution"] == combine_votes(rows[0], EMOTIONS)["human_distribution"]


def test_arrays_and_data_sets_say_the_same(votes, rows, fitted):
    _, human, answers, groups = votes
    again = VoteCombiner(emotions=EMOTIONS).fit_counts(human, {"model": answers}, groups=groups)
    mapped = rows.map(fitted, batched=True)
    targets = np.array([list(p.values()) for p in mapped["emotion_distribution"]])
    alpha = again.concentration(human, {"model": answers}, groups=groups)
    np.testing.assert_allclose(alpha / alpha.sum(1, keepdims=True), targets, atol=1e-12)
    np.testing.assert_allclose(alpha.sum(1), np.array(mapped["emotion_concentration"][:]), atol=1e-9)


def test_the_order_of_rows_and_answers_changes_nothing(votes, fitted):
    _, human, answers, groups = votes
    order = np.random.default_rng(0).permutation(len(human))
    columns = columns_of(human[order], answers[order], groups[order], foci=("words", "voice"))
    columns["synthetic_annotations"] = [row[::-1] for row in columns["synthetic_annotations"]]
    # the foci go with the answers as before
    other = VoteCombiner(emotions=EMOTIONS).fit(columns)
    assert other.fitted.map.posterior.to_dict() == fitted.fitted.map.posterior.to_dict()


@pytest.mark.parametrize("method", ["posterior", "weighted", "pool"])
def test_saved_is_loaded(method, rows, votes, tmp_path):
    _, human, answers, groups = votes
    combiner = VoteCombiner(emotions=EMOTIONS, method=method).fit(rows)
    combiner.save(tmp_path / "combiner.json")
    loaded = VoteCombiner.load(tmp_path / "combiner.json")
    for other in (loaded, pickle.loads(pickle.dumps(combiner))):
        np.testing.assert_array_equal(
            other.concentration(human, {"model": answers}, groups=groups),
            combiner.concentration(human, {"model": answers}, groups=groups),
        )
        assert other.summary() == combiner.summary() and other.emotions == EMOTIONS
    assert (tmp_path / "combiner.json").stat().st_size < 200_000
    text = (tmp_path / "combiner.json").read_text()
    assert json.loads(text)["emotions"] == list(EMOTIONS) and '"s0"' not in text  # no speaker's name
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == text


def test_pooling_is_the_papers(rows):
    combiner = VoteCombiner(emotions=EMOTIONS, method="pool").fit(rows)
    for row in rows.select(range(30)):
        ours, theirs = combiner(row), combine_votes(row, EMOTIONS)
        assert ours["emotion_distribution"] == pytest.approx(theirs["emotion_distribution"])
        assert ours["human_distribution"] == theirs["human_distribution"]
        assert ours["emotion_concentration"] == len(row["human_votes"]) + len(row["synthetic_annotations"])


def test_a_correction_is_cross_fitted(monkeypatch):
    """Where a richer map is learnt, the votes of a speaker do not shape the map of that speaker's rows."""
    monkeypatch.setattr("hf_emo_dist.combining.choosing.PRECISIONS", (100.0,))
    rng = np.random.default_rng(0)
    _, human, answers, groups = drawn(3000, human=4, seed=2, sharp=4.0)
    # heard as a mixture where the model is torn between two, which no confusion map says
    torn = np.abs(np.sort(answers, axis=1)[:, -1] - np.sort(answers, axis=1)[:, -2]) <= 1
    human[torn] = rng.multinomial(4, [0.05, 0.05, 0.85, 0.05], int(torn.sum()))
    combiner = VoteCombiner(emotions=EMOTIONS).fit_counts(human, {"model": answers}, groups=groups)
    fitted = combiner.fitted
    assert fitted.choice.recipe.correction is not None and len(fitted.parts) == 5 and len(fitted.groups) == 12
    mine = groups == "s3"
    nothing = np.zeros_like(human)
    alpha = combiner.concentration(nothing, {"model": answers}, groups=groups)
    stranger = combiner.concentration(nothing, {"model": answers}, groups=["new"] * len(groups))
    assert np.abs(alpha - stranger).max() > 1e-3  # others' rows come from the map of all
    changed = human.copy()
    changed[mine] = np.roll(changed[mine], 1, axis=1)
    again = VoteCombiner(emotions=EMOTIONS).fit_counts(changed, {"model": answers}, groups=groups)
    assert again.fitted.choice.recipe == fitted.choice.recipe
    after = again.concentration(nothing, {"model": answers}, groups=groups)
    np.testing.assert_allclose(after[mine], alpha[mine], rtol=1e-6)
    assert np.abs(after[~mine] - alpha[~mine]).max() > 1e-3


# --- what rows may hold


def test_every_kind_of_answer_is_evidence_of_its_annotator():
    stated = [0.7, 0.1, 0.1, 0.1]
    entries = [
        entry("sad", model="models/gemini-3.8-flash-002", focus="words"),
        entry("happy", model="gemini-3.8-flash-003", focus="voice"),
        entry(None, stated, model="gemini-3.8-flash", mode="distribution"),
        entry(None, stated, model="qwen", mode="readout"),
        entry("sad", model="qwen", mode="label"),  # drawn from the read-out: no new evidence
        entry("sad", stated, model="other", mode="label"),  # a label with how sure it is: the label
        entry(None, None, model="failed"),
    ]
    columns = {"human_votes": [["Anger", "sad"]], "human_vote_weights": [[1.0, 0.5]]}
    columns |= {"synthetic_annotations": [entries], "synthetic_votes": [["sad"] * 4]}
    columns["mine"] = [dict(zip(EMOTIONS, [0.1, 0.2, 0.3, 0.4], strict=True))]
    found = evidence_of(columns_as_arrow(columns, list(columns)), EMOTIONS, predictions=["mine"])
    np.testing.assert_array_equal(found.human, [[1, 0, 0, 0.5]])
    told = {name: (float(a.number[0]), a.mean[0].round(9).tolist()) for name, a in found.annotators.items()}
    assert told == {
        "gemini-3.8-flash": (2.0, [0, 0.5, 0, 0.5]),
        "gemini-3.8-flash (stated)": (1.0, stated),
        "qwen (read-out)": (1.0, stated),
        "other": (1.0, [0, 0, 0, 1.0]),
        "predicted:mine": (1.0, [0.1, 0.2, 0.3, 0.4]),
    }
    gemini = found.annotators["gemini-3.8-flash"]
    assert gemini.foci == ("voice", "words") and len(gemini.versions) == 2
    bare = evidence_of(columns_as_arrow({**columns, "synthetic_annotations": [None]}, list(columns)), EMOTIONS)
    assert list(bare.annotators) == ["unnamed"] and bare.annotators["unnamed"].number.tolist() == [4.0]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o-audio-preview-2024-12-17", "gpt-4o-audio"),
        ("gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
        ("Voxtral-Mini-3B-2507", "Voxtral-Mini-3B"),
        ("gpt-audio-1.5", "gpt-audio-1.5"),
        ("Qwen/Qwen2-Audio-7B-Instruct", "Qwen/Qwen2-Audio-7B-Instruct"),
        ("gemini-4-argon", "gemini-4-argon"),
        ("gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("rater_101", "rater_101"),
        ("model-100", "model-100"),
    ],
)
def test_versions_of_a_model_are_one_annotator(model, name):
    assert annotator_name(model) == name


def test_rows_with_few_votes_none_and_mixed_ones(rows, fitted):
    target = dict.fromkeys(EMOTIONS, 0.25)
    cases = [
        {"id": "none", "human_votes": [], "synthetic_annotations": []},
        {"id": "null", "human_votes": None, "synthetic_annotations": None},
        {"id": "model only", "human_votes": [], "synthetic_annotations": [entry("sad")] * 8},
        {"id": "people only", "human_votes": ["sad"] * 3, "synthetic_annotations": []},
        {"id": "mixed", "human_votes": [], "synthetic_annotations": [], "mixed_from": ["a", "b"]},
    ]
    batch = {name: [case.get(name) for case in cases] for name in ("id", "human_votes", "synthetic_annotations")}
    batch |= {"mixed_from": [case.get("mixed_from") for case in cases], "emotion_distribution": [target] * 5}
    found = fitted(batch)
    prior = fitted.fitted.alone
    for row in (0, 1):
        assert list(found["emotion_distribution"][row].values()) == pytest.approx((prior / prior.sum()).tolist())
        assert found["emotion_concentration"][row] == pytest.approx(prior.sum())
        assert found["human_distribution"][row] is None
    assert max(found["emotion_distribution"][2], key=found["emotion_distribution"][2].get) == "sad"
    assert found["human_distribution"][2] is None and found["human_distribution"][3]["sad"] == 1
    assert found["emotion_concentration"][3] == pytest.approx(prior.sum() + 3)
    assert found["emotion_distribution"][4] == target
    assert found["human_distribution"][4] is found["emotion_concentration"][4] is None
    dropped = VoteCombiner.from_dict(
        {**fitted.to_dict(), "settings": {**fitted.to_dict()["settings"], "empty": "drop"}}
    )
    assert dropped(batch)["emotion_distribution"][:2] == [None, None]
    assert [found is None for found in dropped(batch)["emotion_distribution"][2:]] == [False] * 3


def test_labels_travel_by_name(rows, fitted):
    order = list(EMOTIONS[::-1])
    renamed = rows.map(combine_votes, fn_kwargs={"emotions": order}, batched=True)
    assert list(renamed[0]["emotion_distribution"]) == order
    other = VoteCombiner().fit(renamed)  # takes the data's order
    assert other.emotions == tuple(order)
    ours = rows.map(fitted, batched=True)["emotion_distribution"][:50]
    theirs = renamed.map(other, batched=True)["emotion_distribution"][:50]
    assert list(theirs[0]) == order
    for one, two in zip(ours, theirs, strict=True):
        assert two == pytest.approx(one, abs=2e-3)  # where L-BFGS ends depends on the order of the parameters
    again = renamed.map(fitted, batched=True)
    assert again[0]["emotion_distribution"] == ours[0]


def test_weighted_human_votes_count_by_their_weights(votes):
    _, human, answers, groups = votes
    columns = columns_of(human, answers, groups)
    halves = {**columns, "human_votes": [[label for label in row for _ in range(2)] for row in columns["human_votes"]]}
    halves["human_vote_weights"] = [[0.5] * len(row) for row in halves["human_votes"]]
    one, two = (VoteCombiner(emotions=EMOTIONS).fit(given) for given in (columns, halves))
    np.testing.assert_allclose(
        one.concentration(human, {"model": answers}), two.concentration(human, {"model": answers}), rtol=2e-3
    )


def test_raters_who_give_two_tags_do_not_look_like_agreement():
    """Tags of weight 1/2 are votes, not averages of many: the prior is that of the raters' single votes."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([0.5] * K, 1500)
    single = np.array([rng.multinomial(3, shares) for shares in truth], dtype=float)
    double = np.array([rng.multinomial(2, shares) + rng.multinomial(2, shares) / 2 for shares in truth])
    one, two = (VoteCombiner(emotions=EMOTIONS).fit_counts(human, {}).fitted.alone for human in (single, double))
    assert one.sum() == pytest.approx(2, rel=0.15)
    assert two.sum() == pytest.approx(2, rel=0.4)
    ints = {"human_votes": [["sad", "happy"]] * 3, "human_vote_weights": [[1, 1]] * 3}
    assert VoteCombiner(emotions=EMOTIONS).fit(ints).fitted.about["votes"] == 6


def test_votes_of_absurd_weight_take_no_memory():
    combiner = VoteCombiner(emotions=EMOTIONS).fit_counts([[1e9, 0, 0, 0]] * 3, {"model": [[0, 1e9, 0, 0]] * 3})
    assert np.isfinite(combiner.concentration([[1, 0, 0, 0]], {})).all()


@pytest.mark.parametrize("rows", [5, 10, 20, 80])
@pytest.mark.parametrize("human", [1, 3])
def test_few_rows_and_noise_give_smoothed_human_votes(rows, human):
    """Of answers that say nothing, nothing is learnt: no rich map, no weight to speak of."""
    _, votes, _, groups = drawn(rows, human, seed=rows)
    label = np.random.default_rng(rows).integers(0, K, rows)
    noise = 10.0 * np.eye(K)[label]  # one random label, said ten times
    combiner = VoteCombiner(emotions=EMOTIONS).fit_counts(votes, {"noise": noise}, groups=groups)
    alpha = combiner.concentration(np.zeros((K, K)), {"noise": 10 * np.eye(K)})
    alone = combiner.fitted.alone / combiner.fitted.alone.sum()
    assert combiner.fitted.choice.recipe.correction is None
    assert np.abs(alpha / alpha.sum(1, keepdims=True) - alone).max() < 0.35
    assert "The annotators help: +" not in combiner.summary() or rows < 20


def test_predictions_of_a_model_of_ones_own_are_an_annotator(votes, rows):
    truth = votes[0]
    given = rows.add_column("mine", [dict(zip(EMOTIONS, map(float, p), strict=True)) for p in truth])
    combiner = VoteCombiner(emotions=EMOTIONS, predictions=["mine"]).fit(given)
    assert list(combiner.fitted.annotators) == ["model", "predicted:mine"]
    assert combiner.fitted.worth["predicted:mine"]["1"][0] > combiner.fitted.worth["model"]["10"][0]
    assert "predicted:mine" in combiner.summary()


# --- what the data cannot tell is said


def test_one_human_vote_a_row_leaves_the_scale_unknown(caplog):
    _, human, answers, groups = drawn(500, human=1, seed=3)
    combiner = VoteCombiner(emotions=EMOTIONS).fit_counts(human, {"model": answers}, groups=groups)
    assert "assumed" in caplog.text and "No row has two human votes" in combiner.summary()
    assert combiner.fitted.alone.sum() == pytest.approx(1 / 0.35 - 1, rel=0.02)
    other = VoteCombiner(emotions=EMOTIONS, agreement=0.2).fit_counts(human, {"model": answers}, groups=groups)
    assert other.fitted.alone.sum() == pytest.approx(4, rel=0.02)
    two = VoteCombiner(emotions=EMOTIONS, agreement=0.2).fit_counts(2 * human, {"model": answers}, groups=groups)
    assert "measured" in two.summary()


def test_without_any_human_vote_a_stated_weight_is_used(caplog):
    _, human, answers, groups = drawn(50, seed=4)
    combiner = VoteCombiner(emotions=EMOTIONS).fit_counts(0 * human, {"model": answers}, groups=groups)
    assert "No row has a human vote" in caplog.text and "assumed" in combiner.summary()
    alpha = combiner.concentration(0 * human, {"model": answers})
    np.testing.assert_allclose(alpha, (1 / 0.35 - 1) / K + 0.25 * answers)
    given = VoteCombiner(emotions=EMOTIONS, method="weighted", weight=0.5).fit_counts(human, {"model": answers})
    assert given.fitted.weight == 0.5 and "given" in given.summary()


def test_with_few_human_votes_targets_lean_to_smoothed_human_votes():
    _, human, answers, groups = drawn(300, seed=5)
    shares = []
    for rows in (2, 10, 40, 300):
        combiner = VoteCombiner(emotions=EMOTIONS).fit_counts(human[:rows], {"model": answers[:rows]}, groups[:rows])
        shares.append(float(combiner.fitted.map.posterior.annotators["model"].weight(np.array([8.0]))[0]))
    assert shares[0] < 1.0 and shares[0] < shares[-1] and all(np.isfinite(shares))


def test_a_class_that_nobody_voted_for_stays_possible():
    _, human, answers, groups = drawn(200, seed=6)
    human[:, 1] = 0
    human[human.sum(axis=1) == 0, 2] = 1
    combiner = VoteCombiner(emotions=EMOTIONS).fit_counts(human, {"model": answers}, groups=groups)
    alpha = combiner.concentration(human, {"model": answers}, groups=groups)
    assert np.isfinite(alpha).all() and (alpha > 0).all()
    assert (alpha / alpha.sum(1, keepdims=True))[:, 1].max() < 0.2


def test_annotators_that_come_and_go(votes, rows, caplog):
    _, human, answers, groups = votes
    combiner = VoteCombiner(emotions=EMOTIONS).fit_counts(human, {"model": answers}, groups=groups)
    alone = combiner.concentration(human, {}, groups=["new"] * len(human))
    np.testing.assert_allclose(alone, combiner.fitted.alone + human)
    assert caplog.text == ""
    both = combiner.concentration(human, {"model": answers, "stranger": answers}, groups=groups)
    np.testing.assert_array_equal(both, combiner.concentration(human, {"model": answers}, groups=groups))
    assert caplog.text.count("stranger voted here") == 1 and "count nothing" in caplog.text
    caplog.clear()
    combiner = VoteCombiner(emotions=EMOTIONS).fit(rows)
    combiner({"human_votes": [["sad"]], "synthetic_annotations": [[entry("sad", model="model-20270101")]]})
    assert "model-20270101 was not seen" in caplog.text and "count what those of model do" in caplog.text


def test_a_number_of_answers_that_goes_with_the_answers_is_told(caplog):
    _, human, answers, groups = drawn(600, seed=7)
    few = answers.max(axis=1) >= 6  # as where asking stops once answers agree
    stopped = answers.copy()
    stopped[few] = np.round(stopped[few] / 2)
    columns = columns_of(human, stopped, groups)
    columns["pilot"] = (~few).tolist()
    with caplog.at_level(logging.WARNING):
        VoteCombiner(emotions=EMOTIONS).fit(columns)
    assert "goes with what was answered" in caplog.text
    caplog.clear()
    fitted = VoteCombiner(emotions=EMOTIONS, pilot="pilot").fit(columns).fitted
    assert caplog.text == "" and fitted.about["rows"] == int((~few).sum())
    by_chance = answers * np.random.default_rng(0).integers(1, 3, len(answers))[:, None]
    VoteCombiner(emotions=EMOTIONS).fit_counts(human, {"model": by_chance}, groups=groups)
    assert caplog.text == ""


# --- what does not fit

ROW = {"id": ["x"], "human_votes": [["sad"]]}
BAD_ROWS = [
    ({"id": ["x"], "votes": [["sad"]]}, "No column 'human_votes'"),
    ({**ROW, "human_votes": [["awe"]]}, "Row 'x': Unknown emotion 'awe'"),
    ({**ROW, "human_votes": ["sad"]}, "must be lists of labels"),
    ({**ROW, "human_votes": [[3]]}, "Votes must be labels"),
    ({**ROW, "human_vote_weights": [[1.0, 2.0]]}, "Row 'x': 1 votes but 2 weights"),
    ({**ROW, "human_vote_weights": [[-1.0]]}, "Row 'x': vote weights must be finite"),
    ({**ROW, "human_vote_weights": [["x"]]}, "must be lists of numbers"),
    ({**ROW, "human_vote_weights": [1.0]}, "must be lists, one number a vote"),
    ({**ROW, "synthetic_votes": [["awe"]]}, "Row 'x': synthetic vote: Unknown emotion 'awe'"),
    ({**ROW, "synthetic_annotations": [[entry("awe")]]}, "Row 'x': synthetic vote: Unknown emotion 'awe'"),
    (
        {**ROW, "synthetic_annotations": [[{**entry(mode="stated"), "distribution": {"sad": 0.5, "awe": 0.5}}]]},
        "Row 'x': a stated distribution has the labels",
    ),
    (
        {**ROW, "synthetic_annotations": [[entry(None, [0.5, 0.5, 0.5, 0.5], mode="stated")]]},
        "Row 'x': a stated distribution is",
    ),
    ({**ROW, "human_distribution": [{"sad": 1.0, "awe": 0.0}]}, "fitted for angry, happy, neutral, sad"),
]


@pytest.mark.parametrize(("given", "message"), BAD_ROWS, ids=[message[:30] for _, message in BAD_ROWS])
def test_rows_that_do_not_fit(given, message, fitted):
    with pytest.raises((ValueError, TypeError)) as error:
        fitted(given)
    assert message in str(error.value.args[0]) and "Mend" in str(error.value.args[0])


BAD_CALLS = [
    (lambda: VoteCombiner(method="mean"), "`method` must be one of"),
    (lambda: VoteCombiner(weight=0.5), "with method='weighted'"),
    (lambda: VoteCombiner(method="weighted", weight=-1), "a number from 0 up"),
    (lambda: VoteCombiner(agreement=1.0), "no Fleiss' kappa"),
    (lambda: VoteCombiner(predictions="mine"), "is one text"),
    (lambda: VoteCombiner(emotions=EMOTIONS)(ROW), "not fitted"),
    (lambda: VoteCombiner().fit(ROW), "`emotions` is needed"),
    (lambda: VoteCombiner().fit_counts([[1, 2]], {}), "`emotions` is needed"),
    (lambda: VoteCombiner(EMOTIONS).fit_counts([[1, 2]], {}), "must be of shape"),
    (lambda: VoteCombiner(EMOTIONS).fit_counts([[1, 2, 0, 0]], {"a": np.ones((2, 4))}), "Votes of 'a' must be"),
    (lambda: VoteCombiner(EMOTIONS).fit_counts([[1, -2, 0, 0]], {}), "row 0: votes must be finite"),
    (lambda: VoteCombiner(EMOTIONS).fit_counts([[1, np.nan, 0, 0]], {}), "row 0: votes must be finite"),
    (lambda: VoteCombiner(EMOTIONS).fit_counts([[1, 2, 0, 0]], {}, groups=["a", "b"]), "1 rows but 2 groups"),
    (lambda: VoteCombiner(EMOTIONS, pilot="first").fit(ROW), "no column 'first'"),
    (lambda: VoteCombiner(EMOTIONS, pilot="first").fit({**ROW, "first": [False]}), "true in none"),
    (lambda: VoteCombiner(EMOTIONS, pilot="first").fit({**ROW, "first": ["no"]}), "a column of booleans"),
    (lambda: VoteCombiner(EMOTIONS).to_dict(), "not fitted"),
    (lambda: VoteCombiner(EMOTIONS).fit(DatasetDict(train=Dataset.from_dict(ROW))), "These are splits (train)"),
    (lambda: VoteCombiner(EMOTIONS).fit(Dataset.from_dict(ROW).to_iterable_dataset()), "This is a stream"),
    (lambda: VoteCombiner(EMOTIONS, predictions=["mine"]).fit(ROW), "No column 'mine'"),
    (lambda: VoteCombiner(EMOTIONS, empty="error").fit(ROW)({"id": ["y"], "human_votes": [[]]}), "'y': nobody voted"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message[:30] for _, message in BAD_CALLS])
def test_calls_that_do_not_fit(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value.args[0])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "fitted": {}}', "null"])
def test_a_file_that_is_no_combiner_is_named(text, tmp_path):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match=r"odd\.json is (no combiner|damaged).*Mend"):
        VoteCombiner.load(tmp_path / "odd.json")


def test_outside_votes_may_be_dropped(votes):
    _, human, answers, groups = votes
    columns = columns_of(human, answers, groups)
    columns["human_votes"][0] = ["awe", *columns["human_votes"][0]]
    combiner = VoteCombiner(emotions=EMOTIONS, outside="drop").fit(columns)
    assert combiner.fitted.about["votes"] == human.sum()
    assert labels_of(human[:1])[0] == columns["human_votes"][0][1:]
