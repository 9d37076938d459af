import json
import re

import numpy as np
import pytest
from tiny_setup import EMOTIONS, make_checkpoint, make_rows

from hf_emo_dist.commands.main import main, run_command
from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset


def call(command, *arguments):
    return main([command, *map(str, arguments)])


def test_command_scores_and_prints_the_table(tones_checkpoint, data_folder, tmp_path, capsys):
    output = tmp_path / "new" / "scores.json"
    status = call(
        "evaluate",
        *("--model", tones_checkpoint, "--dataset", data_folder, "--split", "test", "--output", output),
        *("--num_resamples", 20, "--device", "cpu"),
    )
    assert status == 0
    printed = capsys.readouterr().out
    assert "simulated data" in printed and "| uniform |" in printed and "| mean of training targets |" in printed
    scores = json.loads(output.read_text())
    assert {"js_divergence", "bhattacharyya_coefficient", "num_examples"} <= scores.keys()
    written = {path.name for path in output.parent.iterdir()}
    assert written == {
        "scores.json",
        "scores.md",
        "predictions.parquet",
        "reliability.png",
        "predicted_against_target.png",
    }


def test_the_temperature_command_and_scores_by_group(backbone, tmp_path, capsys):
    from datasets import DatasetDict, Value

    features = row_features(EMOTIONS, {"gender": Value("string")})

    def part(speakers):
        rows = make_rows(speakers, clips=6)
        return build_dataset([{**row, "gender": "fm"[int(row["speaker"][1:]) % 2]} for row in rows], features)

    splits = {"validation": part(["s0", "s1", "s2", "s3"]), "test": part(["s4", "s5", "s6", "s7"])}
    data = write_dataset(
        DatasetDict(splits), tmp_path / "data", description="Tones.", vote_source="Simulated.", emotions=EMOTIONS
    )
    model = make_checkpoint(backbone, EMOTIONS, tmp_path / "model")
    assert call("temperature", model, data, "--device", "cpu") == 0
    told = capsys.readouterr().out
    assert (
        re.search(r"(?m)^temperature [\d.]+ \(simulated data", told)
        and "144 human votes of 24 rows, 4 speakers" in told
    )
    given = ("--by", "gender", "--apply_temperature", "--num_resamples", 20, "--output", tmp_path / "scores.json")
    assert call("evaluate", model, data, *given) == 0
    told = capsys.readouterr().out
    assert "By `gender`" in told and "; applied in the tables above" in told
    clip = tmp_path / "clip.flac"
    clip.write_bytes(splits["test"][0]["audio"]["bytes"])
    shares = []
    for option in ([], ["--apply_temperature"]):
        assert call("predict", clip, "--model", model, "--format", "json", *option) == 0
        shares.append(json.loads(capsys.readouterr().out)[0]["distribution"])
    assert shares[0] != shares[1] and sum(shares[1].values()) == pytest.approx(1)
    assert call("predict", clip, "--model", model, "--concentration") == 2
    assert "loss_type='js'" in capsys.readouterr().err
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**settings, "loss_type": "dirichlet_multinomial"}))
    for form, words in (("table", "as sure as"), ("csv", "concentration,error"), ("json", '"concentration": ')):
        assert call("predict", clip, "--model", model, "--format", form, "--concentration") == 0
        assert words in capsys.readouterr().out


def broken_data(folder, change):
    from datasets import DatasetDict

    rows = make_rows(["s0", "s1"])
    change(rows)
    features = row_features(EMOTIONS)
    dataset = DatasetDict({"test": build_dataset(rows, features)})
    return write_dataset(dataset, folder, description="Tones.", vote_source="Simulated.", emotions=EMOTIONS)


def silence(rows):
    from hf_emo_dist.audio.clips import encode_flac

    for i in (1, 2):
        rows[i]["audio"] = {"bytes": encode_flac(np.zeros(8000, np.float32), 16000), "path": "x.flac"}


def unscored(rows):
    rows[1]["human_distribution"] = None


def corrupt(rows):
    rows[3]["audio"] = {"bytes": b"no audio at all", "path": "x.flac"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (silence, ["s0-1", "s1-0", "silent"]),
        (corrupt, ["s1-1", "not_audio"]),
        (unscored, ["s0-1", "human_distribution"]),
    ],
)
def test_bad_rows_end_in_one_message_that_names_them(
    tones_checkpoint,
    tmp_path,
    capsys,
    change,
    words,
):
    data = broken_data(tmp_path / "data", change)
    out = tmp_path / "scores.json"
    assert call("evaluate", "--model", tones_checkpoint, "--dataset", data, "--output", out) == 2
    told = capsys.readouterr().err
    message = told[told.index("error: ") :]
    assert "Traceback" not in told
    for word in words:
        assert word in message
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"--model": "no/such/model/here"}, ["no/such/model/here"]),
        ({"--dataset": "./nothing"}, ["./nothing"]),
        ({"--split": "dev"}, ["'dev'", "train, test"]),
        ({"--score_column": "consensus"}, ["consensus", "human_distribution"]),
        ({"--device": "warp"}, ["warp"]),
        ({"--output": "scores.txt"}, ["scores.txt", ".json"]),
        ({"--limit": "0"}, ["limit=0"]),
    ],
)
def test_wrong_arguments_end_in_one_line_with_the_mend(
    tones_checkpoint,
    data_folder,
    tmp_path,
    capsys,
    arguments,
    words,
):
    given = {"--model": tones_checkpoint, "--dataset": data_folder, "--output": tmp_path / "scores.json", **arguments}
    assert call("evaluate", *[word for pair in given.items() for word in pair]) == 2
    told = capsys.readouterr().err.strip()
    message = told[told.index("error: ") :]
    assert "Traceback" not in told
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message


def test_a_model_of_other_emotions_is_refused(backbone, data_folder, tmp_path, capsys):
    model = make_checkpoint(backbone, ["angry", "calm"], tmp_path / "model")
    out = tmp_path / "scores.json"
    assert call("evaluate", "--model", model, "--dataset", data_folder, "--output", out) == 2
    told = capsys.readouterr().err
    assert "answers with angry, calm" in told and "angry, happy, sad" in told and "Mend" in told


def test_a_bug_keeps_its_traceback():
    def bug():
        raise AttributeError("ours")

    with pytest.raises(AttributeError):
        run_command(bug)


def test_cross_validate_command(backbone, data_folder, tmp_path, capsys):
    status = call(
        "cross-validate",
        *("--backbone", backbone, "--dataset", data_folder, "--output_dir", tmp_path / "cv", "--num_folds", 2),
        *("--validation_speakers", 1, "--ceiling_columns", "intended", "--num_train_epochs", 1, "--use_cpu", "true"),
        *("--report_to", "none"),
    )
    assert status == 0
    printed = capsys.readouterr().out
    for words in ("simulated data", "knowing intended", "trained model", "regression on frozen tower features"):
        assert words in printed
    assert (tmp_path / "cv" / "cross_validation.json").is_file()
