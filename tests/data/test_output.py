"""Files and folders appear whole or not at all, and two runs do not write the same one."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_emo_dist.data import output
from hf_emo_dist.data.full_disk import DiskFullError
from hf_emo_dist.data.output import (
    check_folder,
    check_place,
    check_space,
    claimed,
    claimed_file,
    one_run,
    output_file,
    output_files,
    output_folder,
    put_right,
    working_folder,
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
    with pytest.raises(OSError, match=r"takes some 1,000,000,000,000.0 MB. Mend: free some, or choose"):
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


# --- killed between the writer's steps


def killed_before(owner: object, name: str, call: int, work: Callable[[], None]) -> None:
    """Do some work in a process that is killed (-9) just before a function is called for the so-manieth time."""
    child = os.fork()
    if child == 0:
        try:
            inner, calls = getattr(owner, name), 0

            def counted(*args: object, **kwargs: object) -> object:
                nonlocal calls
                calls += 1
                if calls == call:
                    os.kill(os.getpid(), signal.SIGKILL)
                return inner(*args, **kwargs)

            setattr(owner, name, counted)
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def no_swap(*_: object) -> bool:
    return False


#: When a run is killed that replaces a folder, whether names can be swapped, and what lies there then.
FOLDER_MOMENTS = {
    "while it fills": (output, "_flush_all", 1, True, "first"),
    "when it is full": (output, "_take_place", 1, True, "first"),
    "after the swap": (shutil, "rmtree", 1, True, "second"),
    "before the first rename": (Path, "rename", 1, False, "first"),
    "between the renames": (Path, "rename", 2, False, None),
    "after the renames": (shutil, "rmtree", 1, False, "second"),
}


@pytest.mark.parametrize("moment", FOLDER_MOMENTS)
@pytest.mark.parametrize("is_read_first", [False, True])
def test_a_folder_is_the_old_or_the_new_one_whenever_its_writer_is_killed(tmp_path, monkeypatch, moment, is_read_first):
    owner, name, call, swaps, there = FOLDER_MOMENTS[moment]
    folder = tmp_path / "data set"
    fill(folder, "first")
    if not swaps:
        monkeypatch.setattr(output, "_swap", no_swap)
    killed_before(owner, name, call, lambda: fill(folder, "second", overwrite=True))
    assert (folder / "README.md").read_text() == there if there else not folder.exists()
    if is_read_first:  # a reader may come before the next run
        put_right(folder)
        assert (folder / "README.md").read_text() == (there or "first")
    fill(folder, "third", overwrite=True)
    assert entries(tmp_path) == ["data set"] and entries(folder) == ["README.md", "data"]
    assert {path.read_text() for path in folder.rglob("*") if path.is_file()} == {"third"}


@pytest.mark.parametrize("there", [False, True])
def test_without_a_way_to_swap_a_folder_is_replaced_all_the_same(tmp_path, monkeypatch, there):
    monkeypatch.setattr(output, "_swap", no_swap)
    if there:
        fill(tmp_path / "out", "first")
    fill(tmp_path / "out", "second", overwrite=True)
    assert entries(tmp_path) == ["out"] and (tmp_path / "out" / "README.md").read_text() == "second"


def write_set(
    folder: Path, text: str, names: tuple[str, ...] = ("scores.json", "scores.md", "plot.png"), **how
) -> None:
    with output_files(folder / "scores.json", gone=["by_group.png"], **how) as part:
        for name in names:
            (part / name).write_text(text)


SET_MOMENTS = {
    "while it fills": (output, "_flush_all", 1, {"old"}),
    "when it is full": (output, "_move_set", 1, {"old"}),
    "when the scores are away": (Path, "replace", 1, {"old"}),
    "between two files": (Path, "replace", 2, {"old", "new"}),
    "before the last": (Path, "replace", 3, {"new"}),
    "after the last": (shutil, "rmtree", 1, {"new"}),
}


@pytest.mark.parametrize("moment", SET_MOMENTS)
def test_where_the_scores_are_the_files_beside_them_are_their_own(tmp_path, moment):
    owner, name, call, texts = SET_MOMENTS[moment]
    write_set(tmp_path, "old", ("scores.json", "scores.md", "plot.png", "by_group.png"))
    killed_before(owner, name, call, lambda: write_set(tmp_path, "new", overwrite=True))
    files = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file() and path.name[0] != "."}
    assert set(files.values()) == texts
    if "scores.json" in files:
        assert len(set(files.values())) == 1
    put_right(tmp_path / "scores.json")
    files = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file() and path.name[0] != "."}
    assert (
        len(set(files.values())) == 1
        and "scores.json" in files
        and ("by_group.png" in files) == ("old" in files.values())
    )
    write_set(tmp_path, "third", overwrite=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("scores.json", "scores.md", "plot.png"), "third"
    )


def test_a_set_is_refused_as_a_whole(tmp_path):
    write_text(tmp_path / "plot.png", "somebody's")
    with pytest.raises(FileExistsError, match=r"plot\.png is there already\. Mend: .*--overwrite"):
        write_set(tmp_path, "new")
    assert entries(tmp_path) == ["plot.png"] and (tmp_path / "plot.png").read_text() == "somebody's"


# --- what killed runs have left


def test_hidden_parts_are_swept_when_their_owner_is_gone(tmp_path):
    def leave(act: Callable[[], None]) -> None:
        killed_before(os, "getppid", 1, act)

    def file() -> None:
        with output_file(tmp_path / "a.json") as part:
            part.write_text("half")
            os.getppid()

    def folder() -> None:
        with claimed(tmp_path / "out"), working_folder(tmp_path / "out") as work:
            (work / "rows.arrow").write_text("large")
            with output_folder(tmp_path / "out") as part:
                (part / "data").mkdir()
                os.getppid()

    leave(file)
    leave(folder)
    assert len([name for name in entries(tmp_path) if name.startswith((".a.json.part-", ".out."))]) == 4
    with output_file(tmp_path / "a.json") as mine:  # one whose owner lives stays
        write_text(tmp_path / "a.json", "whole")
        mine.write_text("mine")
    fill(tmp_path / "out", "whole")
    assert entries(tmp_path) == ["a.json", "out"] and (tmp_path / "a.json").read_text() == "mine"


def test_what_another_name_has_left_is_not_swept(tmp_path):
    for name in (".out2.part-abcdefgh", ".out.parts", ".output.work-abcdefgh", ".out.part-abc"):
        (tmp_path / name).mkdir()
    before = entries(tmp_path)
    fill(tmp_path / "out", "whole")
    assert entries(tmp_path) == sorted([*before, "out"])


def test_an_output_is_held_from_before_the_work(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()

    def work() -> None:
        with claimed(tmp_path / "out"), claimed_file(tmp_path / "a.json"):
            ready.set()
            leave.wait(30)
            fill(tmp_path / "out", "theirs")

    other = context.Process(target=work)
    other.start()
    try:
        assert ready.wait(30)
        for claim in (claimed, claimed_file):
            name = tmp_path / ("out" if claim is claimed else "a.json")
            with pytest.raises(BlockingIOError, match=r"Another run is writing .*Mend"), claim(name, overwrite=True):
                pytest.fail("both runs have it")
    finally:
        leave.set()
        other.join(30)
    with pytest.raises(FileExistsError, match="is not empty"), claimed(tmp_path / "out"):
        pass
    assert entries(tmp_path) == ["out"]


# --- a full disk


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ValueError("database or disk is full"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_says_which_one(tmp_path, error, wrapped):
    def full() -> None:
        if not wrapped:
            raise error
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("An error occurred while generating the dataset") from cause

    fill(tmp_path / "out", "old")
    for writes in (
        lambda: output_folder(tmp_path / "out", overwrite=True),
        lambda: output_file(tmp_path / "a.json"),
        lambda: working_folder(tmp_path / "out"),
    ):
        with pytest.raises(DiskFullError, match=r"The disk of .* is full: [\d,]+ MB of .*Mend: make room"), writes():
            full()
    assert entries(tmp_path) == ["out"] and (tmp_path / "out" / "README.md").read_text() == "old"


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match=r"^no$"), output_file(tmp_path / "a.json"):
        raise RuntimeError("no")


def test_a_full_disk_is_that_of_the_output_and_not_of_its_hidden_folder(tmp_path):
    with working_folder(tmp_path / "out") as work:
        assert output._seen(work / "train.arrow") == tmp_path / "out"
    assert output._seen(tmp_path / "a.json") == tmp_path / "a.json"


def test_a_name_that_is_no_utf_8_is_written_as_json_says_it(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    text = write_text(tmp_path / "a.json", json.dumps([name], ensure_ascii=False)).read_text()
    assert text == r'["caf\udce9.wav"]' and json.loads(text) == [name]
