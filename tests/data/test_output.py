"""Files and folders appear whole or not at all, and two runs do not write the same one."""

import json
import multiprocessing
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from hf_emo_dist.data.output import (
    check_folder,
    check_place,
    check_space,
    one_run,
    output_file,
    output_folder,
    write_json,
    write_text,
)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_when_it_is_complete_and_keeps_its_permissions(tmp_path):
    target = write_text(tmp_path / "deep" / "scores.md", "first")
    target.chmod(0o640)
    with output_file(target) as part:
        part.write_text("second")
        assert target.read_text() == "first" and part.suffix == ".md" and part.parent == target.parent
    assert target.read_text() == "second" and stat.S_IMODE(target.stat().st_mode) == 0o640
    assert entries(target.parent) == ["scores.md"]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    assert write_text(tmp_path / "ours", "").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_everything_is_as_it_was(tmp_path, error):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(error), output_file(tmp_path / "a.txt") as part:
        part.write_text("half")
        raise error
    with pytest.raises(error), output_folder(tmp_path / "data set") as part:
        (part / "README.md").write_text("half")
        raise error
    assert entries(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_json_without_nan(tmp_path):
    write_json(tmp_path / "a.json", {"path": Path("x"), "share": 0.5})
    assert json.loads((tmp_path / "a.json").read_text()) == {"path": "x", "share": 0.5}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert json.loads((tmp_path / "a.json").read_text())["share"] == 0.5


def fill(folder: Path, text: str, overwrite: bool = False) -> None:
    with output_folder(folder, overwrite) as part:
        (part / "data").mkdir()
        (part / "data" / "train-00000-of-00001.parquet").write_text(text)
        (part / "README.md").write_text(text)


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "data set"
    fill(folder, "first")
    (folder / "preparation.json").write_text("{}")  # described the first data
    with pytest.raises(FileExistsError, match=r"is not empty.*Mend"):
        fill(folder, "second")
    fill(folder, "second", overwrite=True)
    assert entries(folder) == ["README.md", "data"] and (folder / "README.md").read_text() == "second"
    assert entries(tmp_path) == ["data set"]


@pytest.mark.parametrize("foreign", ["thesis.tex", "data/notes.txt"])
def test_what_is_not_of_a_data_set_is_never_replaced(tmp_path, foreign):
    folder = tmp_path / "mine"
    fill(folder, "data")
    (folder / foreign).write_text("work of years")
    with pytest.raises(FileExistsError, match=foreign):
        fill(folder, "new", overwrite=True)
    assert (folder / foreign).read_text() == "work of years"
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        check_folder(tmp_path / "file", True)


def test_work_that_came_into_the_folder_meanwhile_is_kept(tmp_path):
    with pytest.raises(FileExistsError, match=r"thesis\.tex"), output_folder(tmp_path / "mine", True) as part:
        (part / "README.md").write_text("new")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.tex").write_text("work of years")
    assert entries(tmp_path / "mine") == ["thesis.tex"]


def hold(target: str, ready, leave) -> None:
    with one_run(target):
        ready.set()
        leave.wait(30)


def test_two_runs_do_not_write_the_same_output(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path / "out"), ready, leave))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(BlockingIOError, match=r"Another run is writing .*out\. Mend"):
            fill(tmp_path / "out", "mine")
        fill(tmp_path / "elsewhere", "mine")
    finally:
        leave.set()
        other.join(30)
    fill(tmp_path / "out", "mine")
    assert entries(tmp_path) == ["elsewhere", "out"]


def test_a_run_that_was_killed_holds_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path / "out"), ready, leave))
    other.start()
    assert ready.wait(60)
    other.kill()
    other.join(30)
    with one_run(tmp_path / "out"):
        pass
    assert not os.listdir(tmp_path)


def test_what_cannot_be_written_is_found_beforehand(tmp_path, monkeypatch):
    """A folder that is read-only itself cannot be moved away, though files beside it can be made."""
    folder = tmp_path / "output"
    (folder / "data").mkdir(parents=True)
    check_place(folder)
    real = os.access
    for closed in (folder, folder / "data"):
        monkeypatch.setattr(os, "access", lambda path, mode, closed=closed: path != closed and real(path, mode))
        with pytest.raises(OSError, match=r"cannot be written \(.* is read-only\). Mend: choose another output folder"):
            check_place(folder)
    check_space(folder / "not" / "there", 1000)
    with pytest.raises(OSError, match=r"takes some 1000000000.00 GB. Mend: free some, or choose"):
        check_space(folder / "not" / "there", 10**18)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs the permissions of a POSIX system")
def test_a_read_only_folder_is_refused_to_whom_may_not_write_it(tmp_path):
    place = Path(tempfile.mkdtemp())
    folder = place / "output"
    folder.mkdir()
    try:
        place.chmod(0o777)
        folder.chmod(0o555)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            told = "no error"
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                check_place(folder)
            except OSError as error:
                told = str(error)
            finally:
                os.write(write, told.encode())
                os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        with os.fdopen(read) as pipe:
            assert "is read-only). Mend: choose another output folder" in pipe.read()
    finally:
        folder.chmod(0o755)
        shutil.rmtree(place)
