"""The subcommands as they are typed."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_data import TINY_EMOTIONS, tone

from hf_emo_dist.commands.main import main
from hf_emo_dist.commands.predict import expand

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for i, name in enumerate(("a.wav", "b.flac", "long.wav")):
        soundfile.write(folder / name, tone(200 + 50 * i, 31 if name == "long.wav" else 0.3, seed=i), 16000)
    (folder / "notes.txt").write_text("no audio")
    return folder


def test_predict_draws_bars(checkpoint, clips, capsys):
    assert main(["predict", str(clips / "a.wav"), str(clips / "b.flac"), "--model", str(checkpoint)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(clips / "a.wav") and lines[4] == str(clips / "b.flac")
    shares = [float(line.split()[1].rstrip("%")) for line in lines[1:4]]
    assert sum(shares) == pytest.approx(100, abs=0.2) and shares == sorted(shares, reverse=True)
    assert all(
        line.count("█") == pytest.approx(share * 0.4, abs=0.6) for line, share in zip(lines[1:4], shares, strict=True)
    )


def test_predict_as_json_and_csv(checkpoint, clips, capsys, tmp_path):
    assert main(["predict", str(clips), "--model", str(checkpoint), "--format", "json", "--track"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [Path(answer["file"]).name for answer in answers] == ["a.wav", "b.flac", "long.wav"]
    assert list(answers[0]["distribution"]) == list(TINY_EMOTIONS)
    assert [len(answer["track"]) for answer in answers] == [1, 1, 2]
    out = tmp_path / "out.csv"
    assert main(["predict", str(clips), "--model", str(checkpoint), "--format", "csv", "--output", str(out)]) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    for row, answer in zip(rows, answers, strict=True):
        np.testing.assert_allclose(
            [float(row[e]) for e in TINY_EMOTIONS], [answer["distribution"][e] for e in TINY_EMOTIONS], atol=1e-6
        )
    words = ["predict", str(clips / "long.wav"), "--model", str(checkpoint)]
    assert main([*words, *["--format", "csv", "--track", "--top_k", "1"]]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["end"] for row in rows] == ["15.50", "31.00"]
    assert all(sum(row[e] != "" for e in TINY_EMOTIONS) == 1 for row in rows)


def test_a_folder_stands_for_the_audio_inside_it_and_its_folders(clips, caplog):
    deep = clips / "speaker" / "session"
    deep.mkdir(parents=True)
    soundfile.write(deep / "c.WAV", tone(200, 0.3), 16000)
    (deep / "folder.wav").mkdir()
    with caplog.at_level("INFO"):
        names = [Path(name).name for name in expand([str(clips), str(clips / "a.wav")])]
    assert names == ["a.wav", "b.flac", "long.wav", "c.WAV", "a.wav"]
    assert "4 audio files, 1 of them in its folders; no audio: 1 other" in caplog.text


def test_what_cannot_be_decoded_in_a_folder_is_named_with_what_to_do(checkpoint, clips, capsys):
    for name in ("b.flac", "long.wav"):
        (clips / name).unlink()
    (clips / "x.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(400))
    (clips / "no suffix").write_bytes(b"\x1aE\xdf\xa3" + bytes(400))  # WebM
    (clips / "lfs.mp4").write_text("version https://git-lfs.github.com/spec/v1\n")
    (clips / "gone.wav").symlink_to("nowhere")
    (clips / "renamed").write_bytes((clips / "a.wav").read_bytes())
    assert main(["predict", str(clips), "--model", str(checkpoint)]) == 2
    captured = capsys.readouterr()
    end = captured.err[captured.err.rindex("error: 4 of 6 files") :]
    for name, says in (
        ("x.m4a", "an M4A, MP4 or 3GP file. Mend: convert it, such as with `ffmpeg"),
        ("no suffix", "a WebM or Matroska file. Mend: convert it"),
        ("lfs.mp4", "a Git LFS pointer. Mend: `git lfs pull`"),
        ("gone.wav", "No such file"),
    ):
        assert any(name in line and says in line for line in end.splitlines()), name
    assert "not predicted" in captured.out and str(clips / "renamed") in captured.out


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_predict_names_a_bad_file_and_answers_for_the_others(checkpoint, clips, capsys, form):
    bad = clips / "text.wav"
    bad.write_text("these are words")
    assert main(["predict", str(bad), str(clips / "a.wav"), "--model", str(checkpoint), "--format", form]) == 2
    captured = capsys.readouterr()
    assert f"error: 1 of 2 files could not be predicted: {bad}" in captured.err and "Traceback" not in captured.err
    assert "the file is text" in captured.out and "a.wav" in captured.out
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(captured.out)))
        assert rows[0]["error"] and not rows[1]["error"] and float(rows[1]["sad"]) > 0
    assert main(["predict", str(bad), "--model", str(checkpoint), "--format", form]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{clips}/a.wav", "--model", "./none"], "'./none'"),
        (["{empty}", "--model", "{checkpoint}"], "holds no audio file"),
        (["{clips}", "--model", "{checkpoint}", "--transcript", "Well."], "--transcript is for one file"),
        (["{clips}", "--model", "{checkpoint}", "--window_seconds", "60"], "between 0.1 and 30"),
        (["{clips}", "--model", "{checkpoint}", "--top_k", "0"], "--top_k 0"),
        (["{clips}"], "model is missing"),
        (["{clips}", "--model", "{checkpoint}", "--format", "xml"], "--format must be one of table, json, csv"),
        (["{clips}", "--model", "{checkpoint}", "--batch_size", "0"], "batch_size=0"),
    ],
)
def test_predict_says_what_to_mend(checkpoint, clips, tmp_path, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    words = [word.format(clips=clips, checkpoint=checkpoint, empty=tmp_path / "empty") for word in arguments]
    assert main(["predict", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err and captured.out == ""


def test_ten_clips_of_real_speech_in_one_command(checkpoint, real_data, capsys):
    files = sorted(map(str, (real_data / "ravdess" / "audio").glob("*.flac")))[::70][:10]
    assert main(["predict", *files, "--model", str(checkpoint)]) == 0
    assert capsys.readouterr().out.count("%") == 10 * len(TINY_EMOTIONS)


def test_env_says_what_a_bug_report_needs_and_nothing_of_the_user(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
    assert main(["env"]) == 0
    out = capsys.readouterr().out
    for line in ("hf-emo-dist ", "transformers ", "device ", "libsndfile ", r"logged in to the Hub +yes\n"):
        assert re.search(line, out), line
    assert "hf_abc" not in out and str(Path.home()) + "/" not in out


def test_card_and_push_from_the_shell(checkpoint, capsys, tmp_path):
    card = tmp_path / "card.md"
    assert main(["card", str(checkpoint), "--output", str(card), "--repo_id", "me/mini", "--license", "mit"]) == 0
    assert "license: mit" in card.read_text() and 'model="me/mini"' in card.read_text()
    card.write_text(card.read_text() + "\nI was here.\n")
    assert main(["card", str(checkpoint), "--output", str(card)]) == 2
    assert "was edited by hand" in capsys.readouterr().err
    assert main(["card", str(tmp_path)]) == 2
    assert "is no checkpoint" in capsys.readouterr().err
    assert main(["push", "model", str(checkpoint), "me/mini", "--dry_run", "--private"]) == 0
    out = capsys.readouterr().out
    assert "would be pushed to the model me/mini (private if new)" in out and "model.safetensors" in out
    assert main(["push", "metric", str(ROOT / "metrics" / "js_divergence"), "me/js_divergence", "--dry_run"]) == 0
    assert "app.py" in capsys.readouterr().out
    assert main(["push", "votes", str(tmp_path / "none.sqlite"), "me/votes", "--dry_run"]) == 2
    assert "there is nothing at" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["push", "model", "--help"])
    assert "--dry_run" in capsys.readouterr().out


def test_train_evaluate_and_card_from_the_shell(
    tmp_path, tiny_backbone, tiny_train, tiny_validation, tiny_emotions, capsys
):
    from datasets import DatasetDict

    from hf_emo_dist.data.writing import write_dataset

    splits = DatasetDict(
        {
            "train": tiny_train.select(range(6)),
            "validation": tiny_validation.select(range(4)),
            "test": tiny_validation.select(range(4, 8)),
        }
    )
    data = write_dataset(
        splits,
        tmp_path / "tones",
        description="Tones.",
        vote_source="Simulated votes.",
        emotions=tiny_emotions,
        license="cc0-1.0",
    )
    options = {
        "backbone": tiny_backbone,
        "dataset": data,
        "output_dir": tmp_path / "out",
        "max_steps": 1,
        "use_cpu": "true",
        "num_threads": 1,
        "disable_tqdm": "true",
    }
    assert main(["train", *(str(part) for key, value in options.items() for part in (f"--{key}", value))]) == 0
    assert f"checkpoint: {tmp_path / 'out'}" in capsys.readouterr().out
    card = (tmp_path / "out" / "README.md").read_text()
    assert (
        "Simulated votes" in card
        and "| Split `train` | 6 rows of 4 speakers, 30 human votes |" in card
        and str(tmp_path) not in card
    )
    facts = json.loads((tmp_path / "out" / "training_facts.json").read_text())
    assert facts["hardware"].startswith("CPU, 1 threads") and facts["data"]["license"] == "cc0-1.0"
    scores = tmp_path / "out" / "scores.json"
    words = ["--model", tmp_path / "out", "--dataset", data, "--output", scores, "--num_resamples", 50]
    assert main(["evaluate", *map(str, words)]) == 0
    assert "JS divergence" in capsys.readouterr().out
    assert main(["card", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "**this model**" in card and "(reliability.png)" in card and str(tmp_path) not in card
    assert main(["train", "--output_dir", "x", "--no_such_argument", "1"]) == 2
    assert "no_such_argument" in capsys.readouterr().err
    assert main(["train", "--output_dir", str(tmp_path / "x"), "--backbone", str(tiny_backbone)]) == 2
    assert "--dataset" in capsys.readouterr().err
