"""A ledger opens on any disk or says, before money is spent, why not. What it cannot take is kept elsewhere."""

import collections
import contextlib
import errno
import math
import os
import shutil
import sqlite3
import stat
import tempfile
import warnings
from pathlib import Path

import pytest
from ledger_records import key, record

from hf_emo_dist.annotation.ledger import exchange as ledger_exchange
from hf_emo_dist.annotation.ledger import opening
from hf_emo_dist.annotation.ledger.copying import copy_ledger
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, LedgerError
from hf_emo_dist.annotation.ledger.opening import Database
from hf_emo_dist.annotation.ledger.schema import VERSION
from hf_emo_dist.annotation.ledger.taking_in import Taken

DATA = Path(__file__).with_name("data")


def filled(path, count=300):
    with Ledger(path) as ledger:
        ledger.store([record(number) for number in range(count)])
    return path


def text_file(path):
    path.write_text("votes,id\n" * 10)


def folder_there(path):
    path.mkdir()


def other_application(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()


def other_mark(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id = 17")
    connection.close()


def newer_version(path):
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 6}")
    connection.close()


def older_version(path):
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 0")
    connection.close()


def garbage_inside(path):
    filled(path)
    with open(path, "r+b") as file:
        file.seek(4096 * 40)  # a page of replies, which nothing but the check reads now
        file.write(os.urandom(4096))


def cut_off(path):
    filled(path)
    os.truncate(path, 4096 * 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (text_file, "is not an SQLite file. Mend: give another file"),
        (folder_there, "is a folder. Mend"),
        (other_application, "of another application. Mend"),
        (other_mark, "of another application. Mend"),
        (
            newer_version,
            f"newer hf_emo_dist .layout {VERSION + 6}; this one knows up to {VERSION}.*Mend: pip install -U",
        ),
        (older_version, "layout that no release wrote. Mend"),
        (garbage_inside, "(?s)is damaged .*Mend: keep the file"),
        (cut_off, "(?s)is damaged .*Mend: keep the file"),
    ],
)
def test_what_is_no_ledger_is_refused_and_left_alone(tmp_path, make, message):
    path = tmp_path / "votes.sqlite"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(LedgerError, match=message):
        Ledger(path)
    assert before is None or path.read_bytes() == before


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"folder of the ledger .* cannot be made"):
        Ledger(tmp_path / "file" / "votes.sqlite")
    with Ledger(tmp_path / "new" / "folders" / "votes.sqlite") as ledger:
        assert ledger.path.exists()


def refusal(path) -> str:
    """What Ledger(path) says to a user without root's rights."""
    if os.getuid():
        with pytest.raises(LedgerError) as caught:
            Ledger(path)
        return str(caught.value)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.setuid(65534)
        message = "no error"
        try:
            Ledger(path)
        except LedgerError as error:
            message = str(error)
        finally:
            os.write(write, message.encode())
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return pipe.read()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs the permissions of a POSIX system")
@pytest.mark.parametrize(("place", "mode"), [("file", 0o444), ("folder", 0o555), ("file", 0o000)])
def test_read_only(place, mode):
    folder = Path(tempfile.mkdtemp())
    try:
        path = filled(folder / "votes.sqlite", 1)
        folder.chmod(0o777)
        path.chmod(0o666)
        (path if place == "file" else folder).chmod(mode)
        message = refusal(path)
        assert f"The {place} of the ledger" in message and "is read-only. Mend: make it writable" in message
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_too_little_space(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(5 * 2**20))
    with pytest.raises(LedgerError, match=r"5 MiB left.*Mend: free at least 32 MiB"):
        Ledger(tmp_path / "votes.sqlite")
    monkeypatch.undo()
    with Ledger(tmp_path / "votes.sqlite") as ledger:  # and it may run full later
        ledger.store([record(0)])
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(5 * 2**20))
        with pytest.raises(LedgerError, match="5 MiB left"):
            ledger.reserve([Claim(key(0)), Claim(key(1))])
        assert ledger.reserve([Claim(key(0))]).stored and ledger.spending().replies == 1
        monkeypatch.undo()
        assert ledger.reserve([Claim(key(1))]).granted


def test_only_its_owner_may_read_it(tmp_path):
    old = os.umask(0o022)
    try:
        with Ledger(tmp_path / "votes.sqlite") as ledger:
            ledger.store([record(0)])
            ledger_exchange.append_lines(tmp_path / "votes.sqlite.x.part.jsonl", [("0" * 32, record(1))])
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(old)
    assert len(modes) >= 3 and set(modes.values()) == {0o600}


def test_a_ledger_of_0_1_0_and_its_rescue_file_are_read(tmp_path):
    """Written by that release: two attempts at a key, failures, a stated distribution, lone surrogates, two plans."""
    path = tmp_path / "votes.sqlite"
    for copy in (path, tmp_path / "untouched.sqlite"):
        shutil.copy(DATA / "ledger_0_1_0.db", copy)
    shutil.copy(DATA / "ledger_0_1_0.part.jsonl", tmp_path / "votes.sqlite.host-1-0123456789abcdef.part.jsonl")
    assert Ledger.failures_digest_of(path).startswith("033d6124638d"), (
        "what `Dataset.map` of that release has cached stays"
    )
    with Ledger(path) as ledger:
        found = ledger.lookup([key(number) for number in range(7)])
        assert found == {
            key(0): record(0),
            key(1): record(1, label="sad", attempt=1),
            key(2): record(2, "blocked"),
            key(3): record(3, mode="distribution", label=None, distribution={"sad": 0.25, "happy": 0.75}),
            key(4): record(
                4, text="\0 \ud800", persona="an old man", temperature=None, cost_usd=None, settings={}, plan="q"
            ),
            key(5): record(5, text="\udc00"),
        }
        assert [(one.outcome, one.label) for one in ledger.records() if one.key == key(1)] == [
            ("empty", None), ("ok", "sad"), ("ok", "angry"),
        ]  # fmt: skip
        assert [one.key for one in ledger.failures("p" * 64)] == [key(2)]
        spending = ledger.spending()
        assert (spending.cost_usd, spending.tokens, spending.replies) == (1.75, 880, 8)
        assert ledger.reserve([Claim(key(2), retry=True), Claim(key(6))]).granted == [key(2), key(6)]
        ledger.store([record(2), record(6)])
        assert ledger.lookup([key(2)])[key(2)].attempt == 1
    assert {file.name for file in tmp_path.iterdir()} == {"votes.sqlite", "untouched.sqlite"}
    with Ledger(tmp_path / "other.sqlite") as other:
        assert other.merge(tmp_path / "untouched.sqlite") == 7 and other.merge(path) == 3


def no_log(monkeypatch):
    real = Database._set_journal

    def fails(self, connection, mode):
        if mode == "wal":
            raise sqlite3.OperationalError("disk I/O error")
        real(self, connection, mode)

    monkeypatch.setattr(Database, "_set_journal", fails)


def on_nfs(monkeypatch):
    mounts = Path(tempfile.mkstemp()[1])
    mounts.write_text(
        "/dev/vda / ext4 rw 0 0\nserver:/export /home\\040of/all nfs4 rw 0 0\nserver:/export /tmp nfs4 rw 0 0\n"
    )
    monkeypatch.setattr(opening, "MOUNTS", str(mounts))


@pytest.mark.parametrize("place", [no_log, on_nfs])
def test_without_a_write_ahead_log_there_is_a_rollback_journal(tmp_path, monkeypatch, place):
    path = tmp_path / "votes.sqlite"
    filled(path)
    with Ledger(path) as ledger:
        assert ledger._database.mode == "wal"
    place(monkeypatch)
    if place is on_nfs:
        monkeypatch.setattr(opening, "NETWORK_FILE_SYSTEMS", ("nfs",))
        assert opening.on_network(Path("/tmp/x")) and opening.on_network(Path("/home of/all/x"))
        assert not opening.on_network(Path("/tmpfs/x"))
        monkeypatch.setattr(opening, "on_network", lambda path: True)
    with warnings.catch_warnings(), Ledger(path) as one, Ledger(path) as two:
        warnings.simplefilter("error")
        assert one._database.mode == two._database.mode == "delete"
        assert one.reserve([Claim(key(900))]).granted and two.reserve([Claim(key(900))]).busy
        one.store([record(900)])
        two.store([record(901)])
        assert len(one) == len(two) == 302
    assert {file.name for file in tmp_path.iterdir()} == {"votes.sqlite"}
    assert path.read_bytes()[18:20] == b"\x01\x01", "the file itself says that it has no write-ahead log"


def without_locks(monkeypatch):
    def fails(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(opening.fcntl, "lockf", fails)


@pytest.mark.skipif(opening.fcntl is None, reason="locks by other means")
def test_a_disk_without_locks_is_refused_and_its_ledger_can_be_merged_elsewhere(tmp_path, monkeypatch):
    def fails(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    path = filled(tmp_path / "votes.sqlite", 3)
    before = path.read_bytes()
    monkeypatch.setattr(opening.fcntl, "lockf", fails)
    for file in (path, tmp_path / "new.sqlite"):
        with pytest.raises(LedgerError, match=r"cannot be locked. Mend: .* local disk.*Ledger\(path\).merge\(other\)"):
            Ledger(file)
    assert [file.name for file in tmp_path.iterdir()] == ["votes.sqlite"] and path.read_bytes() == before
    monkeypatch.undo()
    with Ledger(tmp_path / "local" / "votes.sqlite") as local:
        assert local.merge(path) == 3


def test_a_line_that_breaks_off_is_left_out_and_a_damaged_one_kept(tmp_path, caplog):
    path = filled(tmp_path / "votes.sqlite", 1)
    lines = [ledger_exchange.line_of(f"{number:032x}", record(number)) for number in (5, 6, 7)]
    (tmp_path / "votes.sqlite.a.part.jsonl").write_text("\n" + lines[0] + "\n\n" + lines[1][:40])
    # of a merge that was killed, and its writer has made a new one since
    (tmp_path / "votes.sqlite.b.part.jsonl.1f2e3d4c.merging").write_text(lines[1] + "\n")
    (tmp_path / "votes.sqlite.b.part.jsonl").write_text(lines[2] + "\n")
    (tmp_path / "votes.sqlite.c.part.jsonl").write_text(
        '{"reply_id": "17"}\n' + lines[1].replace("gemini", "other") + "\n"
    )
    (tmp_path / "another.sqlite.d.part.jsonl").write_text(lines[1].replace("6" * 3, "7" * 3) + "\n")
    with Ledger(path) as ledger:
        names = [key(5), key(6), key(7)]
        assert set(ledger.lookup(names)) == set(names) and len(ledger) == 4
    another, main, damaged = sorted(file.name for file in tmp_path.iterdir())
    assert (another, main) == ("another.sqlite.d.part.jsonl", "votes.sqlite")
    assert damaged.startswith("votes.sqlite.c.part.jsonl") and damaged.endswith(".damaged") and damaged in caplog.text


def fill_the_disk(ledger):
    connection = ledger._database.connect()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_loses_nothing_that_was_paid_for(tmp_path):
    paid = [record(number, text="\ud800" + "x" * 3000) for number in range(20)]
    with Ledger(tmp_path / "votes.sqlite") as ledger:
        ledger.store([record(100)])
        assert ledger.reserve([Claim(one.key) for one in paid]).granted
        fill_the_disk(ledger)
        with pytest.raises(LedgerError, match=r"is full. The 20 replies that came are kept in .*part.jsonl") as caught:
            ledger.store(paid)
        assert "Mend: when that is mended, open the ledger again" in str(caught.value)
        assert Path(caught.value.rescue_file).parent == tmp_path and not caught.value.records
        assert len(ledger) == 1, "all of a call or nothing"
    with Ledger(tmp_path / "votes.sqlite") as ledger:
        assert len(ledger) == 21 and ledger.lookup([paid[3].key])[paid[3].key] == paid[3]
        assert ledger.spending().cost_usd == pytest.approx(21 * 0.25)
    assert not ledger_exchange.rescue_files(tmp_path / "votes.sqlite")


def test_where_even_the_folder_is_full_the_temporary_one_is_used(tmp_path, monkeypatch):
    there = tmp_path / "tmp"
    there.mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(there))
    real = ledger_exchange.append_lines

    def fails(path, replies):
        if path.parent != there or not there.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, replies)

    monkeypatch.setattr(ledger_exchange, "append_lines", fails)
    with Ledger(tmp_path / "votes.sqlite") as ledger:
        fill_the_disk(ledger)
        big = record(0, text="x" * 9000)
        with pytest.raises(LedgerError, match=r"Ledger\('.*votes.sqlite'\).merge\('.*/tmp/.*jsonl'\)") as caught:
            ledger.store([big])
        rescued = caught.value.rescue_file
        shutil.move(rescued, tmp_path / "saved.part.jsonl")
        there.rmdir()
        with pytest.raises(LedgerError, match="1 reply that came could be written nowhere") as caught:
            ledger.store([big])
        assert caught.value.records == (big,)
    with Ledger(tmp_path / "votes.sqlite") as ledger:
        assert ledger.merge(tmp_path / "saved.part.jsonl") == 1 and ledger.merge(tmp_path / "saved.part.jsonl") == 0
        assert ledger.lookup([key(0)])[key(0)] == big


def test_a_ledger_that_was_deleted_while_in_use_says_so(tmp_path):
    with Ledger(tmp_path / "votes.sqlite") as ledger:
        ledger.store([record(0)])
        for file in tmp_path.iterdir():
            file.unlink()
        with pytest.raises(LedgerError, match=r"deleted or replaced.*kept in"):
            ledger.store([record(1)])
    with Ledger(tmp_path / "votes.sqlite") as ledger:
        assert set(ledger.lookup([key(0), key(1)])) == {key(1)}


def test_a_lock_that_another_program_holds_is_waited_for_and_then_named(tmp_path):
    path = filled(tmp_path / "votes.sqlite", 1)
    with Ledger(path, busy_timeout_s=0.05) as ledger:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert ledger.lookup([key(0)]), "reading goes on"
        with pytest.raises(LedgerError, match="held by another process"):
            ledger.reserve([Claim(key(1))])
        with pytest.raises(LedgerError, match=r"held by another process.*kept in"):
            ledger.store([record(1)])
        holder.execute("COMMIT")
        holder.close()
    with Ledger(path) as ledger:
        assert ledger.lookup([key(1)])


def test_lines_that_are_written_while_another_process_takes_the_file_away(tmp_path, monkeypatch):
    path = tmp_path / "votes.sqlite.a.part.jsonl"
    ledger_exchange.append_lines(path, [("0" * 32, record(0))])
    real = os.fsync

    def taken(handle):
        monkeypatch.setattr(os, "fsync", real)
        path.rename(tmp_path / "taken")  # and read before the lines are in it
        real(handle)

    monkeypatch.setattr(os, "fsync", taken)
    ledger_exchange.append_lines(path, [("1" * 32, record(1))])
    bad = Taken("a rescue file")
    (found,) = bad.sift(ledger_exchange.entries_of_lines(path, bad), math.inf)
    assert found[0] == "1" * 32 and not bad.left_out


def test_a_file_that_another_process_is_making_is_no_other_application_s(tmp_path):
    from hf_emo_dist.annotation.ledger.schema import check_owner

    path = tmp_path / "votes.sqlite"
    path.touch()

    class Slow:
        """A connection between whose first two looks the other process finishes."""

        def __init__(self):
            self.connection, self.looks = sqlite3.connect(path), 0

        def execute(self, statement):
            if self.looks == 1:
                Ledger(path).close()
            self.looks += 1
            return self.connection.execute(statement)

    check_owner(Slow(), path)


def copies_of_a_killed_run(tmp_path, monkeypatch):
    """A ledger as a process leaves it that was killed: the last replies are in the write-ahead log."""
    monkeypatch.setattr(opening, "CHECKPOINT_S", 1e9)
    ledger = Ledger(tmp_path / "votes.sqlite")
    ledger.store([record(number) for number in range(40)])
    there = tmp_path / "there"
    there.mkdir()
    for file in tmp_path.glob("votes.sqlite*"):
        shutil.copy(file, there / file.name)
    ledger.close()
    return there


def replies_in(path):
    """In the file alone, whatever lies beside it."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'replies'").fetchone():
            return 0
        return connection.execute("SELECT COUNT(*) FROM replies").fetchone()[0]


def test_a_ledger_is_copied_with_what_its_log_and_rescue_files_hold(tmp_path, monkeypatch):
    there = copies_of_a_killed_run(tmp_path, monkeypatch)
    assert (there / "votes.sqlite-wal").stat().st_size and replies_in(there / "votes.sqlite") < 40
    line = ledger_exchange.line_of(f"{7:032x}", record(50))
    (there / "votes.sqlite.host-1-0.part.jsonl").write_text(line + "\n")
    before = {file.name: file.read_bytes() for file in there.iterdir() if not file.name.endswith("-shm")}
    copy = tmp_path / "elsewhere" / "copy.sqlite"
    assert copy_ledger(there / "votes.sqlite", copy) == 41 == replies_in(copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600 and [file.name for file in copy.parent.iterdir()] == [copy.name]
    assert before == {file.name: file.read_bytes() for file in there.iterdir() if not file.name.endswith("-shm")}
    with pytest.raises(FileExistsError, match="Mend: another name, or --overwrite"):
        copy_ledger(there / "votes.sqlite", copy)
    assert copy_ledger(there / "votes.sqlite", copy, overwrite=True) == 41
    (copy.parent / "new.sqlite-wal").write_bytes(b"of another")
    with pytest.raises(FileExistsError, match="of another ledger"):
        copy_ledger(there / "votes.sqlite", copy.parent / "new.sqlite")
    with pytest.raises(LedgerError, match="There is no ledger"):
        copy_ledger(tmp_path / "none", copy.parent / "b")


@pytest.mark.parametrize(("free", "rescued", "refused"), [(4, False, False), (4, True, False), (1, False, True)])
def test_a_copy_needs_the_room_that_it_takes(tmp_path, monkeypatch, free, rescued, refused):
    filled(tmp_path / "v", 3)
    if rescued:
        line = ledger_exchange.line_of(f"{7:032x}", record(50))
        (tmp_path / "v.host-1-0.part.jsonl").write_text(line + "\n")
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, free * 2**20))
    if not refused:
        assert copy_ledger(tmp_path / "v", tmp_path / "copy") == 3 + rescued
        return
    with pytest.raises(LedgerError, match=r"disk of the copy .*/copy has 1 MiB left.*Mend: free 1\.\d MiB there"):
        copy_ledger(tmp_path / "v", tmp_path / "copy")


def test_replies_go_into_the_file_as_they_come_and_when_it_is_opened(tmp_path, monkeypatch):
    there = copies_of_a_killed_run(tmp_path, monkeypatch)
    with Ledger(there / "votes.sqlite"):
        assert replies_in(there / "votes.sqlite") == 40
    monkeypatch.setattr(opening, "CHECKPOINT_S", 0.0)
    with Ledger(tmp_path / "new.sqlite") as ledger:
        for number in range(3):
            ledger.store([record(number)])
            assert replies_in(tmp_path / "new.sqlite") == number + 1


def test_a_log_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    there = copies_of_a_killed_run(tmp_path, monkeypatch)
    real = sqlite3.connect

    def connect(path, *arguments, **options):
        if "mode=ro" in str(path) and "immutable" not in str(path):
            raise sqlite3.OperationalError("unable to open database file")
        return real(path, *arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(LedgerError, match=r"The last replies of .* are in votes.sqlite-wal"):
        opening.open_to_read(there / "votes.sqlite")
