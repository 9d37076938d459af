"""What a command writes: never over what is there without a word, never beside another run, never half."""

import json
import os
import shutil
import threading
from contextlib import contextmanager

import pytest
import soundfile
from tiny_data import tone

from hf_emo_dist.commands import partial_answers
from hf_emo_dist.commands.main import main
from hf_emo_dist.commands.partial_answers import PartialAnswers
from hf_emo_dist.data.output import one_run

# --- every command's rule

#: Command and output, before anything else can be found wrong.
FILES = {
    "evaluate": ("evaluate no_model no_data --output {}", "scores.json"),
    "clip": ("clip no_data --output {}", "clip.wav"),
    "next-votes": ("next-votes no_data --budget 3 --output {}", "votes.csv"),
    "predict": ("predict clip.wav --model no_model --output {}", "answers.json"),
    "ledger": ("ledger export votes.sqlite {}", "replies.parquet"),
}
FOLDERS = {
    "simulate": "simulate {}",
    "annotate": "annotate no_data {}",
    "augment": "augment no_data {}",
    "read": "read table votes.csv clips {}",
    "read a corpus": "read ravdess recordings {}",
    "backbone": "backbone {}",
    "export": "export no_model {}",
    "export-vllm": "export-vllm no_model {}",
}


def ended(words, capsys):
    status = main(words.split())
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return status, said


@contextmanager
def held_by_another(path):
    """Held as another run would: locks of another thread are another's."""
    ready, leave = threading.Event(), threading.Event()

    def hold():
        with one_run(path):
            ready.set()
            leave.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        leave.set()
        other.join()


def left(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", FILES)
def test_a_file_that_is_there_stays(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, name = FILES[command]
    (tmp_path / name).write_text("somebody's work")
    before = left(tmp_path)
    status, said = ended(words.format(name), capsys)
    assert status == 2 and f"{name} is there already. Mend: another name, or --overwrite" in said
    assert left(tmp_path) == before
    (tmp_path / name).unlink()
    with held_by_another(tmp_path / name):
        status, said = ended(words.format(name), capsys)
    assert status == 2 and f"Another run is writing {tmp_path / name}. Mend:" in said and left(tmp_path) == {}


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_that_is_there_stays(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = FOLDERS[command].format("out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years")
    before = left(tmp_path)
    status, said = ended(words, capsys)
    assert status == 2 and "out is not empty. Mend:" in said and left(tmp_path) == before
    status, said = ended(f"{words} --overwrite", capsys)
    assert status == 2 and "out holds files that are not of a" in said and left(tmp_path) == before
    shutil.rmtree(tmp_path / "out")
    with held_by_another(tmp_path / "out"):
        status, said = ended(words, capsys)
    assert status == 2 and f"Another run is writing {tmp_path / 'out'}. Mend:" in said and left(tmp_path) == {}


def test_a_report_that_is_there_stays(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agreement.html").write_text("somebody's work")
    status, said = ended("report agreement a=no_data --output .", capsys)
    assert status == 2 and "agreement.html is there already. Mend: another name, or --overwrite" in said
    status, said = ended("report saturation a=no_data --output .", capsys)  # another study's may stand beside it
    assert status == 2 and "no_data" in said and left(tmp_path) == {"agreement.html": "somebody's work"}


# --- predicting goes on


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("goes on") / "clips"
    folder.mkdir()
    for i in range(7):
        soundfile.write(folder / f"{i}.wav", tone(200 + 50 * i, 31 if i == 2 else 0.2 + 0.1 * i, seed=i), 16000)
    (folder / "3.wav").write_text("no audio")
    # in the encoding of another system: no UTF-8
    soundfile.write(folder / "last.wav", tone(300, 0.3, seed=9), 16000)
    os.rename(folder / "last.wav", os.fsencode(folder) + b"/caf\xe9.wav")
    return folder


def stopped_after(monkeypatch, number, error):
    inner, added = PartialAnswers.add, []

    def add(self, answer):
        if len(added) == number:
            raise error
        added.append(answer)
        inner(self, answer)

    monkeypatch.setattr(PartialAnswers, "add", add)


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_a_stopped_prediction_goes_on_and_ends_as_one_that_was_not(
    form, checkpoint, clips, tmp_path, monkeypatch, capsys
):
    def run(name):
        words = ["predict", str(clips), "--model", str(checkpoint), "--format", form, "--output", str(tmp_path / name)]
        status = main([*words, "--batch_size", "2", "--track"])
        return status, capsys.readouterr().err

    status, said = run("whole")
    assert status == 2 and "1 of 8 files could not be predicted" in said and "Traceback" not in said
    with monkeypatch.context() as patch:
        stopped_after(patch, 6, KeyboardInterrupt)
        status, said = run("out")
    assert status == 130 and "out.partial; run the same command to go on" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.partial", "whole"]
    assert len((tmp_path / "out.partial").read_bytes().splitlines()) == 7
    with open(tmp_path / "out.partial", "ab") as file:
        file.write(b'{"stamp": [1, 2], "file": "half of a li')  # as kill -9 leaves it
    asked = []
    with monkeypatch.context() as patch:
        inner = PartialAnswers.add
        patch.setattr(PartialAnswers, "add", lambda self, answer: (asked.append(answer["file"]), inner(self, answer)))
        status, said = run("out")
    assert status == 2 and "1 of 8 files" in said and len(asked) < 8
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]
    if form == "json":
        assert {os.path.basename(one["file"]) for one in json.loads((tmp_path / "out").read_text())} == {
            os.fsdecode(os.path.basename(name)) for name in os.listdir(os.fsencode(clips))
        }


def test_answers_of_another_model_are_not_gone_on_with(checkpoint, clips, tmp_path, monkeypatch, capsys):
    words = ["predict", str(clips), "--model", str(checkpoint), "--output", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        stopped_after(patch, 3, RuntimeError("the power went"))
        with pytest.raises(RuntimeError):
            main(words)
    before = (tmp_path / "out.partial").read_bytes()
    assert main([*words, "--window_seconds", "10"]) == 2
    assert "made with another window_seconds. Mend: delete it" in capsys.readouterr().err
    assert (tmp_path / "out.partial").read_bytes() == before and not (tmp_path / "out").exists()


def test_a_recording_that_changed_is_predicted_again(tmp_path):
    files = []
    for name in "abc":
        (tmp_path / name).write_text(name)
        files.append(str(tmp_path / name))
    with PartialAnswers(tmp_path / "out", files, {}) as kept:
        for file in files:
            kept.add({"file": file, "track": [{}]})
    for batch_size, done in ((1, 3), (2, 3)):
        with PartialAnswers(tmp_path / "out", files, {}, batch_size) as kept:
            assert kept.done == done
    with PartialAnswers(tmp_path / "out", [*files, "d"], {}, 2) as kept:
        assert kept.done == 2  # the next batch would begin in the middle
    (tmp_path / "b").write_text("another")
    with PartialAnswers(tmp_path / "out", files, {}) as kept:
        assert kept.done == 1 and [answer["file"] for answer in kept.answers()] == files[:1]


def test_nothing_is_left_where_nothing_was_answered(tmp_path):
    with pytest.raises(ValueError, match="no"), PartialAnswers(tmp_path / "out", ["a"], {}):
        raise ValueError("no")
    assert not list(tmp_path.iterdir())


def test_what_was_answered_to_the_terminal_is_json_after_a_stop(checkpoint, clips, monkeypatch, capsys):
    from hf_emo_dist.commands import predict

    inner = predict._answers

    def stops(*args, **kwargs):
        for number, answer in enumerate(inner(*args, **kwargs)):
            if number == 2:
                raise KeyboardInterrupt
            yield answer

    monkeypatch.setattr(predict, "_answers", stops)
    assert main(["predict", str(clips), "--model", str(checkpoint), "--format", "json"]) == 130
    assert [os.path.basename(one["file"]) for one in json.loads(capsys.readouterr().out)] == ["0.wav", "1.wav"]


def test_a_stamp_is_of_what_can_be_looked_at():
    assert partial_answers._stamp("https://host/a.wav") is None and partial_answers._stamp("a\0b") is None
