"""What synthetic votes are worth: a good annotator is found good, a worthless one is said not to help."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from vote_setup import EMOTIONS, draw, truth, vote_table

from hf_emo_dist.commands.main import main
from hf_emo_dist.data.opened import open_dataset
from hf_emo_dist.evaluation.scoring import Bootstrap
from hf_emo_dist.studies import Sources
from hf_emo_dist.studies.worth.targets import METHODS, allocate_votes, compared, folds, make_targets
from hf_emo_dist.studies.worth.voters import first_counts, voters_of
from hf_emo_dist.studies.worth.worth import worth

ROWS = 240
QUICK = {"num_folds": 2, "num_resamples": 30, "seed": 0}


@pytest.fixture(scope="module")
def tables():
    """Votes of people, of an annotator who hears what they hear and of one who guesses."""
    rng = np.random.default_rng(0)
    q = truth(ROWS, rng)
    people = vote_table(draw(q, 8, rng))
    return {"people": people, "good": vote_table(draw(q, 5, rng)), "guess": vote_table(rng.integers(0, 4, (ROWS, 5)))}


@pytest.fixture(scope="module")
def study(tables):
    return worth(Sources(tables), human="people", votes=[1, 3], **QUICK)


def test_a_good_annotator_is_found_good_and_a_worthless_one_worthless(study):
    found = study.results["annotators"]
    good, guess = found["good"]["worth"]["5"], found["guess"]["worth"]["5"]
    assert good["low"] > 0.5 and guess["value"] < 0.2 and good["value"] > 5 * guess["value"]
    assert all(good_row[said] > 0.5 for said, good_row in found["good"]["heard_as"].items())
    assert found["good"]["recommended"]["number"] >= 3 and found["guess"]["recommended"]["number"] <= 1
    assert study.results["held_out"]["gain"]["human"]["low"] > 0
    told = " ".join(study.findings)
    assert "The annotators help" in told and "guess: 5 answers a row are not told apart from worth nothing" in told
    assert "good: 5 answers a row are worth" in told


def test_targets_are_scored_on_the_same_votes_in_every_column(study):
    targets = study.results["targets"]
    assert list(targets) == ["1", "3"] and all(list(found) == list(METHODS) for found in targets.values())
    one, three = targets["1"], targets["3"]
    # good votes bring the posterior nearer; half of the pool are guesses
    assert one["posterior"]["js"]["ratio_to_human"]["high"] < 0.95
    assert one["posterior"]["unbiased_brier"]["value"] < one["pool"]["unbiased_brier"]["value"]
    for method in METHODS:
        assert three[method]["unbiased_brier"]["value"] < one[method]["unbiased_brier"]["value"]
    assert one["human"]["js"]["minus_human"] == {"difference": 0.0, "low": 0.0, "high": 0.0}
    assert study.results["votes_held_out"] == 5 and study.results["scored_rows"] == ROWS


def test_the_report_holds_every_number(study, tmp_path):
    page = study.save(tmp_path).read_text()
    results = json.loads((tmp_path / "worth.json").read_text())["results"]
    assert results["allocation"]["average"] == 3 and sum(results["allocation"]["rows_by_votes"].values()) == ROWS
    assert results["held_out"]["log_likelihood_per_vote"].keys() == {"posterior", "human", "weighted", "pool"}
    assert len(results["annotators"]["good"]["recommended"]["worth"]) == 30
    for words in ("Worth of each annotator", "where they lower the expected error most"):
        assert words in page
    assert {plot.name for plot in study.plots} == {"worth_targets", "worth_answers", "worth_confusion"}
    assert "assumed" in next(table.note for table in study.tables)


def test_guesses_alone_are_said_not_to_help(tables):
    alone = {name: tables[name] for name in ("people", "guess")}
    found = worth(Sources(alone), human="people", votes=[2], **QUICK)
    assert not any("The annotators help" in line for line in found.findings)
    assert any(line.startswith("guess: no answer is worth") for line in found.findings)
    # never much worse than people alone, whatever the annotators are
    assert found.results["targets"]["2"]["posterior"]["js"]["ratio_to_human"]["value"] < 1.05
    assert any("left out: allocation" in note for note in found.notes)


def test_what_is_scored_was_not_fitted_on(tables):
    """Another speaker's row changes a target, a row of the same fold does not, and held-out votes do not."""
    voters = voters_of(Sources(tables), "people", ["good"], ())
    order = voters.in_random_order(0)
    human = first_counts(order, 3, 4)
    fold = folds(voters.evidence(human), voters.groups, 2, 0)
    assert all(len(set(fold[voters.groups == speaker])) == 1 for speaker in set(voters.groups))
    before = make_targets(voters.evidence(human), EMOTIONS, fold, 0).targets["posterior"]
    changed = human.copy()
    changed[np.flatnonzero(fold == 0)] = [3, 0, 0, 0]
    after = make_targets(voters.evidence(changed), EMOTIONS, fold, 0).targets["posterior"]
    same = (fold == 0) & (human[:, 0] == 3)
    assert same.any() and np.array_equal(before[same], after[same])
    assert not np.allclose(before[fold == 1], after[fold == 1])


def test_allocation_keeps_to_its_budget_and_to_what_rows_have(tables):
    voters = voters_of(Sources(tables), "people", None, ())
    order = voters.in_random_order(0)
    order[:40, 5:] = -1  # these rows have five votes
    evidence = voters.evidence(first_counts(order, 3, 4))
    fold = folds(evidence, voters.groups, 2, 0)
    made = make_targets(evidence, EMOTIONS, fold, 0)
    rows = np.arange(20, ROWS)
    given = allocate_votes(order, evidence, fold, made.combiners, rows, 3)
    assert given.number[rows].sum() == 3 * len(rows) and not given.number[:20].any()
    assert given.number[20:40].max() <= 3 and given.number[rows].min() >= 1 and given.number.max() > 3
    assert np.isnan(given.target[:20]).all() and np.allclose(given.target[rows].sum(axis=1), 1)
    # more votes where annotators and people are in doubt
    sharp = made.targets["posterior"][rows].max(axis=1)
    assert np.corrcoef(sharp, given.number[rows])[0, 1] < -0.3


def test_a_data_set_names_its_annotators(tables):
    from datasets import Dataset

    rng = np.random.default_rng(1)
    rows = []
    for place, votes in enumerate(tables["people"].votes[:60]):
        entries = [
            {
                "label": EMOTIONS[label],
                "distribution": None,
                "model": f"model-{number % 2}",
                "focus": "tone",
                "mode": "label",
            }
            for number, label in enumerate(rng.integers(0, 4, 4))
        ]
        rows.append(
            {
                "id": f"r{place}",
                "speaker": f"s{place % 6}",
                "human_votes": [EMOTIONS[vote] for vote in votes],
                "synthetic_annotations": entries,
                "corpus": "simulated",
            }
        )
    opened = open_dataset(Dataset.from_list(rows), emotions=EMOTIONS)
    data = Sources({"mine": opened})
    voters = voters_of(data, None, None, ())
    assert list(voters.annotators) == ["model-0", "model-1"] and set(voters.annotators["model-0"].number) == {2.0}
    assert voters_of(data, None, ["model-1"], ()).annotators.keys() == {"model-1"}
    entries = rows[7]["synthetic_annotations"]
    expected = [sum(entry["label"] == name for entry in entries[::2]) / 2 for name in EMOTIONS]
    assert voters.annotators["model-0"].mean[7].tolist() == expected
    found = worth(data, votes=[1], **QUICK)
    assert "simulated data" in found.notes and any("the intervals are rough" in note for note in found.notes)
    assert any("1 human vote" in column for column in found.tables[0].columns)


@pytest.fixture
def by_column(tables, tmp_path):
    """A table of counts with people and annotators under one another, told apart by a column."""
    path = tmp_path / "votes.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "actor", "who", *EMOTIONS])
        for who in ("good", "people"):
            table = tables[who]
            for row, counts in enumerate(table.counts()[:80].astype(int)):
                writer.writerow([table.ids[row], table.columns["speaker"][row], who, *counts])
    return path


def test_the_command_reads_annotators_by_a_column(by_column, tmp_path, capsys):
    words = ["report", "worth", str(by_column), "--by", "who", "--human", "people", "--votes", "1,4,9"]
    words += ["--num_folds", "2", "--num_resamples", "20", "--output", str(tmp_path / "out")]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "good: 5 answers a row" in told and "left out: 9 human votes a row" in told
    results = json.loads((tmp_path / "out" / "worth.json").read_text())["results"]
    assert results["votes"] == [1, 4] and results["people"] == "people" and results["speakers"] == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "who"], r"Whose votes are people's: good, people\? Mend: --human NAME"),
        (["--by", "who", "--human", "them"], "no votes of 'them'"),
        ([], "are about 'row-00000'.*--by modality --human voice"),
        (["--where", "who=people"], "Nobody but people voted in 'votes'.*Mend: annotate the data set first"),
        (["--by", "who", "--human", "people", "--annotators", "me"], "no annotator 'me'. Mend: name some of good"),
        (["--by", "who", "--human", "people", "--predictions", "p"], "no column of predictions"),
        (["--by", "who", "--human", "people", "--votes", "7"], "0 of 80 rows have 9 human votes.*Mend: more human"),
        (["--by", "who", "--human", "people", "--where", "actor=s1"], "one speaker only"),
        (["--by", "who", "--human", "people", "--num_folds", "1"], "num_folds=1"),
    ],
)
def test_what_does_not_fit_is_said(by_column, tmp_path, capsys, words, message):
    assert main(["report", "worth", str(by_column), *words, "--output", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_annotators_about_other_rows_or_of_other_labels_are_refused(tables):
    other = replace(tables["good"], ids=[f"x{row}" for row in range(ROWS)])
    with pytest.raises(ValueError, match="No row of 'good' has the id of a row"):
        voters_of(Sources({"people": tables["people"], "good": other}), "people", None, ())
    other = replace(tables["good"], emotions=("angry", "happy", "neutral", "fear"))
    with pytest.raises(ValueError, match="the same labels for all, --emotions"):
        voters_of(Sources({"people": tables["people"], "good": other}), "people", None, ())
    # rows in another order and labels in another order are the same answers
    back = np.arange(ROWS)[::-1]
    turned = replace(tables["good"].select(back), emotions=EMOTIONS[::-1], votes=3 - tables["good"].votes[back])
    found = voters_of(Sources({"people": tables["people"], "good": turned}), "people", None, ()).annotators["good"]
    given = voters_of(Sources(tables), "people", None, ()).annotators["good"]
    assert np.array_equal(found.mean, given.mean) and np.array_equal(found.number, given.number)


def test_speakers_that_are_not_known_are_said(tables):
    nobody = {name: replace(tables[name].select(np.arange(60)), columns={}) for name in ("people", "good")}
    found = worth(Sources(nobody), human="people", votes=[1], **QUICK)
    assert any("speakers are not known" in note for note in found.notes) and found.results["speakers"] is None
    assert "utterances (speakers are not known)" in found.facts["protocol"]


def test_comparison_of_the_better_of_two_targets():
    held = np.array([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [0.0, 4.0]])
    good, bad = np.array([[0.9, 0.1], [0.1, 0.9]] * 2), np.full((4, 2), 0.5)
    found = compared({"human": bad, "other": good}, held, np.array(["a", "a", "b", "b"]), Bootstrap(20, 0))
    assert found["other"]["unbiased_brier"]["value"] == pytest.approx(0.02)
    assert found["other"]["unbiased_brier"]["minus_human"]["difference"] == pytest.approx(0.02 - 0.5)
    assert found["other"]["unbiased_brier"]["ratio_to_human"]["value"] == pytest.approx(0.04)
