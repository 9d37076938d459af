"""`next-votes` as it is typed: which utterances should get the next human votes."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from datasets import Dataset

from hf_emo_dist import VoteCombiner
from hf_emo_dist.combining.worth import expected_error
from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora.simulated import simulate_corpus
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.writing import write_dataset
from hf_emo_dist.preparation.prepare import PrepareSettings, prepare_dataset


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("next")
    write_dataset(simulate_corpus(36, 9, seed=0), folder / "data", description="simulated", vote_source="SIMULATED.")
    options = {"backend": "simulated", "num_annotations": 4, "ledger": str(folder / "votes.sqlite")}
    prepare_dataset(PrepareSettings(dataset=str(folder / "data"), output=str(folder / "out"), **options))
    return folder / "out"


def asked(folder, tmp_path, capsys, *words, name="votes.csv"):
    """Votes to ask for and gain by id, and what was printed."""
    file = tmp_path / name
    assert main(["next-votes", str(folder), "--output", str(file), "--overwrite", *words]) == 0
    if file.suffix == ".csv":
        rows = list(csv.DictReader(file.open()))
    elif file.suffix == ".jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    else:
        rows = Dataset.from_parquet(str(file)).to_list()
    assert list(rows[0]) == ["id", "votes", "expected_gain"]
    return {row["id"]: (int(row["votes"]), float(row["expected_gain"])) for row in rows}, capsys.readouterr().out


def test_the_folder_s_combiner_decides_and_the_fall_is_told(prepared, tmp_path, capsys):
    found, told = asked(prepared, tmp_path, capsys, "--budget", "20")
    rows = load_emotion_dataset(prepared, "train")
    assert set(found) <= set(rows["id"]) and sum(votes for votes, _ in found.values()) == 20
    gains = [gain for _, gain in found.values()]
    assert gains == sorted(gains, reverse=True) and min(gains) > 0
    before = expected_error(VoteCombiner.load(prepared / "combiner.json").rows_and_concentration(rows)[1]).sum()
    percent = float(re.search(r"by ([\d.]+)% \(simulated data, simulated annotators\)", told)[1])
    assert percent == pytest.approx(100 * sum(gains) / before, abs=0.06)
    assert f"20 votes for {len(found)} of {len(rows)} utterances" in told and f"Wrote {tmp_path / 'votes.csv'}" in told
    for name in ("votes.parquet", "votes.jsonl"):
        same = asked(prepared, tmp_path, capsys, "--budget", "20", name=name)[0]
        assert same.keys() == found.keys()
        np.testing.assert_allclose(list(same.values()), list(found.values()), atol=1e-9)


def test_bounds_splits_and_combiners_are_obeyed(prepared, tmp_path, capsys):
    found, _ = asked(prepared, tmp_path, capsys, "--budget", "5", "--split", "test", "--most_per_row", "1")
    assert set(found) <= set(load_emotion_dataset(prepared, "test")["id"]) and len(found) == 5
    # one that is named goes before the folder's; without either it is fitted on the training rows
    alone = tmp_path / "alone"
    shutil.copytree(prepared, alone)
    (alone / "combiner.json").unlink()
    own, _ = asked(prepared, tmp_path, capsys, "--budget", "9")
    fitted, _ = asked(alone, tmp_path, capsys, "--budget", "9")
    assert fitted == own
    rows = load_emotion_dataset(prepared, "train")
    other = VoteCombiner(method="weighted", weight=2.0).fit(rows)
    other.save(tmp_path / "other.json")
    for folder in (prepared, alone):
        named, _ = asked(folder, tmp_path, capsys, "--budget", "9", "--combiner", str(tmp_path / "other.json"))
        assert named.keys() != own.keys() or [v for v in named.values()] != [v for v in own.values()]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--budget", "0", "--output", "{folder}/v.csv"], "budget=0 asks for no vote. Mend: a number from 1"),
        (["--budget", "5", "--output", "{folder}/v.txt"], "v.txt is of no known kind. Mend: a name that ends in .csv"),
        (["--budget", "5", "--output", "{folder}/v.csv", "--most_per_row", "0"], "most_per_row=0 leaves no vote. Mend"),
        (["--budget", "5", "--output", "{folder}/v.csv", "--split", "dev"], "no split 'dev'"),
        (["--budget", "5", "--output", "{folder}/v.csv", "--combiner", "no.json"], "There is no combiner at no.json"),
        (["--budget", "5", "--output", "{folder}/v.csv", "--combiner", "{folder}/other.json"], "fitted for calm, sad"),
        (
            ["--budget", "5", "--output", "{folder}/v.csv", "--combiner", "{folder}/pool.json"],
            "Pooled votes do not say",
        ),
        (["--budget", "5"], "output is missing"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(prepared, tmp_path, capsys, words, problem):
    VoteCombiner(["calm", "sad"]).fit_counts([[1, 2], [2, 1]], {}).save(tmp_path / "other.json")
    VoteCombiner(method="pool").fit(load_emotion_dataset(prepared, "train")).save(tmp_path / "pool.json")
    assert main(["next-votes", str(prepared), *(word.format(folder=tmp_path) for word in words)]) == 2
    assert problem in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"other.json", "pool.json"}
