"""What hears nothing on folds of speakers: by hand, on real votes, and whatever does not fit."""

import json
import logging

import numpy as np
import pytest

from hf_emo_dist.commands.main import main
from hf_emo_dist.evaluation.fold_figures import FoldedVotes, constant_predictions, fold_figures
from hf_emo_dist.evaluation.scoring import Bootstrap
from hf_emo_dist.scores import compute_scores, jensen_shannon_divergence, multilabel_macro_f1
from hf_emo_dist.studies import Sources
from hf_emo_dist.studies.folds import folds

FIGURES = ("js_divergence", "bhattacharyya_coefficient")
NAMES = ["angry", "disgust", "fear", "happy", "neutral", "sad"]


def drawn(actors, clips=6, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for actor in actors:
        for clip in range(clips):
            intended = ["ANG", "SAD", "NEU"][clip % 3]
            meant = np.array(NAMES) == {"ANG": "angry", "SAD": "sad", "NEU": "neutral"}[intended]
            shares = rng.dirichlet(np.where(meant, 3, 0.3))
            rows.append((f"{actor}_C{clip}_{intended}_XX", actor, intended, *rng.multinomial(6, shares)))
    return rows


def table(path, rows, *more):
    lines = ["clip,actor,intended," + ",".join([*NAMES, *(name for name, _ in more)])]
    lines += [",".join(map(str, [*row, *(value for _, value in more)])) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_the_figures_are_those_worked_out_by_hand(tmp_path):
    rows = drawn([1001, 1018, 1019, 1037, 1091])
    source = table(tmp_path / "votes.csv", rows, ("modality", "voice"))
    study = folds(Sources([source]), protocol="emo_superb", known=["intended"], num_resamples=50)
    q = np.array([row[3:] for row in rows]) / 6
    fold = np.array([{1001: 1, 1018: 1, 1019: 2, 1037: 3, 1091: 5}[row[1]] for row in rows])
    intended = np.array([row[2] for row in rows])
    mean, known = np.empty_like(q), np.empty_like(q)
    for place in range(len(q)):
        others = fold != fold[place]
        mean[place] = q[others].mean(axis=0)
        known[place] = q[others & (intended == intended[place])].mean(axis=0)
    labels = np.round(0.94 * q + 0.01, 6)
    for name, predicted in (("uniform", np.full_like(q, 1 / 6)), ("mean_of_other_folds", mean), ("known", known)):
        expected = compute_scores(predicted, q)
        for figure in ("js_divergence", "bhattacharyya_coefficient"):
            found = study.results[name][figure]
            assert found["value"] == pytest.approx(expected[figure])
            assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
        by_fold = [multilabel_macro_f1(predicted[fold == number], labels[fold == number]) for number in (1, 2, 3, 5)]
        assert study.results[name]["multilabel_macro_f1"]["value"] == pytest.approx(np.mean(by_fold))
        for number, f1, own in zip((1, 2, 3, 5), by_fold, study.results["folds"], strict=True):
            assert own["fold"] == number and own[name]["multilabel_macro_f1"] == pytest.approx(f1)
            js = jensen_shannon_divergence(predicted[fold == number], q[fold == number]).mean()
            assert own[name]["js_divergence"] == pytest.approx(js)
    floor = study.results["floor"]["js_divergence"]
    assert 0 < floor["low"] < floor["value"] < floor["high"] < study.results["uniform"]["js_divergence"]["value"]
    assert "bhattacharyya_coefficient" not in study.results["floor"]
    assert any("4 of the protocol's 5 folds" in note for note in study.notes)


def test_real_votes_give_the_known_figures(real_data, tmp_path, capsys):
    """Of 7,442 voice rows they are .378/.657, .291/.738, .186/.834 and .079: here are the 4,901 of 60 actors."""
    source = real_data / "cremad_votes" / "votes.csv"
    if not source.is_file():
        pytest.skip("no CREMA-D votes")
    words = ["report", "folds", str(source), "--protocol", "emo_superb", "--known", "intended,level"]
    assert main([*words, "--output", str(tmp_path), "--num_resamples", "200"]) == 0
    results = json.loads((tmp_path / "folds.json").read_text())["results"]
    found = {
        name: tuple(round(results[name][figure]["value"], 3) for figure in FIGURES if figure in results[name])
        for name in ("uniform", "mean_of_other_folds", "known", "floor")
    }
    assert found == {
        "uniform": (0.378, 0.657),
        "mean_of_other_folds": (0.297, 0.732),
        "known": (0.19, 0.831),
        "floor": (0.079,),
    }
    assert [(fold["fold"], fold["rows"], fold["speakers"]) for fold in results["folds"]] == [
        (1, 1463, 18),
        (2, 1470, 18),
        (3, 1476, 18),
        (4, 492, 6),
    ]
    told = capsys.readouterr().out
    assert "4 of the protocol's 5 folds have rows: a subset" in told and "later than 10 s" in told


def responses(folder):
    """The corpus's own responses: of three actors of three folds, one response late."""
    head = '"",localid,pos,ans,ttr,queryType,numTries,clipNum,questNum,subType,clipName,sessionNums,respEmo,respLevel,'
    lines, late = [head + "dispEmo,dispVal,dispLevel"], [",localid,sessionNums,queryType,questNum,ttr"]
    number = 0
    for actor in (1001, 1019, 1037):
        for letter in "AASN":
            for query in (1, 2):
                number += 1
                clip = f"{actor}_IEO_ANG_HI"
                start = f"{number},r{number},1,{letter}_80,900,{query},0,7,{number},4,{clip},{number}"
                lines.append(f"{start},{letter},80,A,HI,80")
    late.append("1,r1,1,1,1,20000")
    (folder / "finishedResponses.csv").write_text("\n".join(lines) + "\n")
    (folder / "finishedEmoResponses.csv").write_text("\n".join(late) + "\n")
    return str(folder / "finishedResponses.csv")


@pytest.mark.parametrize(
    ("options", "angry", "noted"),
    [
        ({}, 2, False),
        ({"late_responses": "drop"}, 1, True),
        ({"late_responses": "keep"}, 2, False),
    ],
)
def test_the_corpus_own_responses_are_a_table(tmp_path, options, angry, noted):
    study = folds(Sources([responses(tmp_path)]), protocol="emo_superb", num_resamples=20, **options)
    assert study.results["rows"] == 3  # those on the voice alone
    # fold 1 has 2 angry of 4 votes, or 1 of 3; each is predicted from the others
    q = np.array([[angry / (angry + 2), 1 / (angry + 2)], [0.5, 0.25], [0.5, 0.25]])
    full = np.column_stack([q, np.zeros((3, 3)), q[:, 1]])
    mean = np.array([full[[1, 2]].mean(0), full[[0, 2]].mean(0), full[[0, 1]].mean(0)])
    expected = jensen_shannon_divergence(mean, full).mean()
    assert study.results["mean_of_other_folds"]["js_divergence"]["value"] == pytest.approx(expected)
    assert any("late responses: drop" in note for note in study.notes) == noted


def test_the_authors_own_table_is_a_table(tmp_path):
    lines = ['"","A","D","F","H","N","S","fileName","numResponses"']
    for number, actor in enumerate((1001, 1019, 1037), start=1):
        lines.append(f'"10000{number}",2,0,0,0,1,0,"{actor}_IEO_ANG_HI",3')
        lines.append(f'"20000{number}",0,0,0,0,0,9,"{actor}_IEO_ANG_HI",9')
    (tmp_path / "tabulatedVotes.csv").write_text("\n".join(lines) + "\n")
    source = str(tmp_path / "tabulatedVotes.csv")
    study = folds(Sources([source]), protocol="emo_superb", known=["intended", "level"], num_resamples=20)
    assert study.results["rows"] == 3 and study.results["known"]["js_divergence"]["value"] == pytest.approx(0, abs=1e-9)
    faces = folds(Sources([source], where={"modality": "face"}), protocol="emo_superb", num_resamples=20)
    assert faces.results["uniform"]["js_divergence"]["value"] > study.results["uniform"]["js_divergence"]["value"]


def test_folds_of_ones_own_keep_speakers_together(tmp_path):
    rows = drawn(["s1", "s2", "s3", "s4"])
    source = table(tmp_path / "votes.csv", rows)
    study = folds(Sources([source]), num_folds=2, num_resamples=20, known=["intended"])
    assert [fold["speakers"] for fold in study.results["folds"]] == [2, 2]
    lines = (tmp_path / "votes.csv").read_text().splitlines()
    named = [lines[0] + ",part", *(f"{line},{'x' if ',s1,' in line or ',s2,' in line else 'y'}" for line in lines[1:])]
    (tmp_path / "named.csv").write_text("\n".join(named) + "\n")
    study = folds(Sources([str(tmp_path / "named.csv")]), fold_column="part", num_resamples=20)
    assert [fold["rows"] for fold in study.results["folds"]] == [12, 12]
    broken = [named[0], named[1].replace(",x", ",y"), *named[2:]]
    (tmp_path / "broken.csv").write_text("\n".join(broken) + "\n")
    with pytest.raises(ValueError, match=r"Speaker 's1' is in the folds 'y' and 'x'"):
        folds(Sources([str(tmp_path / "broken.csv")]), fold_column="part")


def test_a_cell_that_no_other_fold_has_gets_the_mean_and_is_said(tmp_path, caplog):
    rows = drawn([1001, 1019, 1037])
    rows[0] = (rows[0][0], rows[0][1], "ODD", *rows[0][3:])
    with caplog.at_level(logging.WARNING, logger="hf_emo_dist"):
        folds(Sources([table(tmp_path / "v.csv", rows)]), protocol="emo_superb", known=["intended"], num_resamples=20)
    assert "ODD" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "emo"}, "Unknown protocol 'emo'"),
        ({"protocol": "emo_superb", "fold_column": "actor"}, "folds of its own"),
        ({"protocol": "emo_superb"}, "Speaker 's1' is none of cremad's"),
        ({"num_folds": 9}, "from 2 to the number of speakers"),
        ({"fold_column": "nothing"}, "no column 'nothing'"),
        ({"num_folds": 3, "known": ["mood"]}, "no column 'mood'"),
        ({"late_responses": "keep"}, "finishedResponses.csv"),
        ({"num_resamples": 0}, "num_resamples=0"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, options, message):
    source = table(tmp_path / "votes.csv", drawn(["s1", "s2", "s3"]))
    with pytest.raises(ValueError, match=message):
        folds(Sources([source]), **options)


def test_it_finds_nothing_where_there_is_nothing():
    """All rows are draws of one distribution: the mean of the others is the truth, and scores what the floor says."""
    rng = np.random.default_rng(0)
    counts = rng.multinomial(5, [0.5, 0.3, 0.15, 0.05], 3000).astype(float)
    shares, fold = counts / 5, np.arange(3000) % 5
    predictions, _ = constant_predictions(shares, fold, (np.arange(3000) % 7).tolist())
    votes = FoldedVotes(shares, counts, fold, np.array([f"s{i % 50}" for i in range(3000)]), shares)
    found = fold_figures(predictions, votes, Bootstrap(200))
    floor, mean = found["floor"]["js_divergence"], found["mean_of_other_folds"]["js_divergence"]
    assert mean["value"] == pytest.approx(floor["value"], abs=0.003)
    known = found["known"]["js_divergence"]
    assert known["low"] < mean["value"] < known["high"]


def test_a_data_set_is_a_source_and_its_name_and_splits_are_kept(data_folder, tmp_path):
    study = folds(Sources([str(data_folder)]), fold_column="fold", known=["intended"], num_resamples=20)
    assert study.results["rows"] == 22 and "simulated data" in study.notes
