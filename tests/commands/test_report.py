"""`hf-emo-dist report`: options from the studies' signatures, files on disk, one line for what does not fit."""

import json

import pytest

from hf_emo_dist.commands.main import main
from hf_emo_dist.studies import STUDIES


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", name, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0 and "--output" in told and "--num_resamples" in told and "Bootstrap resamples" in told


def test_what_does_not_fit_ends_in_one_line(tmp_path, capsys):
    (tmp_path / "v.csv").write_text("clip,angry,sad\na,1,2\nb,2,2\n")
    source = str(tmp_path / "v.csv")
    recipe = ["--", "--backbone", "b", "--dataset", "d"]
    for words, message in (
        (["saturation", source, "--where", "x"], "--where 'x'"),
        (["saturation", source], "curve needs 4 votes"),
        (["saturation", source, source], "Two sources"),
        (["saturation", source, "--num_resamples", "0"], "num_resamples=0"),
        (["strata", source, "--by", "clip"], "--stratify_by"),
        (["ablation"], "Nothing says how to train"),
        (["ablation", "--seeds", "a,b", *recipe], "--seeds must be a whole number"),
        (["cross-corpus", "--test", "x"], "--test 'x'"),
        (["satiation", source], "'satiation'"),
    ):
        assert main(["report", *words, "--output", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err


def test_strata_of_a_split(data_folder, tmp_path, capsys):
    words = ["report", "strata", f"tones={data_folder}", "--split", "test", "--train_split", "train", "--halves", "no"]
    words += ["--known", "intended", "--where", "intended=angry", "--paper", "--num_resamples", "20"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "strata.json").read_text())
    assert result["facts"]["rows"] == "only intended=angry" and "paper_protocol" in result["results"]
    assert "simulated data" in capsys.readouterr().out


def test_cross_corpus_takes_named_data_and_a_label_map(tones_checkpoint, data_folder, tmp_path):
    words = ["report", "cross-corpus", "--test", f"tones={data_folder}:test", "--test", f"again={data_folder}:train"]
    words += ["--model", f"given={tones_checkpoint}", "--label_map", "happy=angry,other=-", "--num_resamples", "20"]
    assert main([*words, "--device", "cpu", "--output", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "cross_corpus.json").read_text())
    assert [pair["test"] for pair in result["results"]["pairs"]] == ["tones", "again"]
    assert "happy → angry" in result["facts"]["emotions"] and "other → left out" in result["facts"]["emotions"]


def test_the_ablation_takes_the_recipe_after_two_dashes(backbone, data_folder, tmp_path, capsys):
    words = ["report", "ablation", "--sources", "human", "--augment", "off", "--seeds", "3", "--num_resamples", "20"]
    recipe = ["--backbone", str(backbone), "--dataset", str(data_folder), "--validation_split", "test"]
    recipe += ["--use_cpu", "true", "--num_train_epochs", "1", "--report_to", "none"]
    assert main([*words, "--output", str(tmp_path), "--", *recipe]) == 0
    assert "Lowest JS to the human votes: human" in capsys.readouterr().out
    result = json.loads((tmp_path / "ablation.json").read_text())
    assert [run["seed"] for run in result["results"]["runs"]] == [3]
    assert main([*words, "--output", str(tmp_path), "--", *recipe, "--output_dir", "x"]) == 2
    assert "--output_dir is set by --output" in capsys.readouterr().err


def test_a_study_of_ones_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_studies.py").write_text(
        "from hf_emo_dist.studies import Sources, Study\n"
        "def rows(data: Sources, *, least: int = 1) -> Study:\n"
        "    '''Count rows.\n\n    Args:\n        data: Votes.\n        least: At least so many.\n    '''\n"
        "    return Study('rows', 'Rows', data.facts(), findings=[f'{len(data.one(\"Rows\").ids)} of {least}'])\n"
    )
    (tmp_path / "v.csv").write_text("clip,angry,sad\na,1,2\nb,2,2\n")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "own_studies:rows", "v.csv", "--least", "3", "--output", "out"]) == 0
    assert "2 of 3" in capsys.readouterr().out and (tmp_path / "out" / "rows.html").is_file()
