"""`hf-emo-dist ledger` and `hf-emo-dist models` on files."""

import json
import stat
import sys
from pathlib import Path

import pytest

from hf_emo_dist.annotation.ledger.journal import PLANNED, RUNNING, BatchJob
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger
from hf_emo_dist.annotation.types import IN_FLIGHT
from hf_emo_dist.commands.main import main

sys.path.append(str(Path(__file__).parents[1] / "annotation"))
from ledger_records import key, record


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "votes.sqlite"
    with Ledger(file) as ledger:
        ledger.store(
            [
                record(1),
                record(2, model="n", cost_usd=None),
                record(3, created="2025-05-02T00:00:00+00:00"),
                record(4, "unparseable", text="Emotion: sad", row_id="u4"),
                record(5, "rejected", text=None, detail="no\nsuch clip", row_id="u5", cost_usd=None),
                record(6, "rejected", text=None, detail="no such clip", row_id="u6", cost_usd=None),
            ]
        )
    return file


def run(capsys, *words):
    status = main(["ledger", *map(str, words)])
    shown = capsys.readouterr()
    return status, shown.out + shown.err


def test_spending_by_model_and_day(path, capsys):
    status, shown = run(capsys, "spending", path)
    assert status == 0
    rows = [line.split() for line in shown.splitlines()]
    assert rows[1] == ["2025-05-01", "gemini", "m", "4", "1", "3", "400", "0", "40", "0.5000"]
    assert rows[2][:5] == ["2025-05-01", "gemini", "n", "1", "1"] and "1 without a price" in shown
    assert rows[3][:4] == ["2025-05-02", "gemini", "m", "1"]
    assert "In all $0.7500 and 1 replies of which no price is known for 3 votes" in shown


def test_what_is_assumed_and_what_is_reserved_stands_apart(path, capsys):
    shown = run(capsys, "spending", path)[1]
    assert "no service stated" not in shown and "reserved" not in shown
    with Ledger(path) as ledger:
        assert ledger.reserve([Claim(key(7), 0.5), Claim(key(8), 0.25), Claim(key(9), 0.25)]).granted
        ledger.sending({key(7): record(7, "connection", text=None, cost_usd=0.5, assumed_usd=0.5, detail=IN_FLIGHT)})
        ledger.forfeit([key(7)])
        shown = run(capsys, "spending", path)[1]
    assert "Of that $0.5000 no service stated" in shown and "(1 requests were in flight when" in shown
    assert "Beside that $0.5000 is reserved for 2 requests" in shown


def test_jobs_that_the_service_may_not_have_are_told_from_those_under_way(path, capsys):
    jobs = [
        BatchJob(f"j{i}", None, state, "gemini", "e", "m", "p", 200, 0, 1e9, 1e9, (), "")
        for i, state in enumerate((PLANNED, RUNNING))
    ]
    with Ledger(path) as ledger:
        for job in jobs:
            ledger.journal.begin(job, [Claim(job.name)], {}, "s")
    shown = run(capsys, "jobs", path)[1]
    assert "\n200 requests are under way" in shown and "1 planned with 200 requests" in shown
    assert "not known whether the service has taken them" in shown


def test_failures_with_reasons(path, capsys):
    status, shown = run(capsys, "failures", path)
    assert status == 0
    assert shown.startswith("rejected, m: 2 (") and "rows such as u5, u6" in shown and "2 × no such clip" in shown
    assert "unparseable, m: 1" in shown and "ledger reread" in shown
    assert run(capsys, "failures", path, "--plan", "another")[1] == "Every key has a vote.\n"


def test_export_merge_and_reread(path, tmp_path, capsys):
    table, lines = tmp_path / "replies.parquet", tmp_path / "replies.jsonl"
    for output in (table, lines):
        assert "Wrote 6 replies" in run(capsys, "export", path, output)[1]
        assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert len([json.loads(line) for line in lines.read_text().splitlines()]) == 6
    other = tmp_path / "other.sqlite"
    assert "6 new replies; they add $0.7500 to what it has cost" in run(capsys, "merge", other, table)[1]
    for again in (table, lines):
        before = again.read_bytes()
        status, shown = run(capsys, "export", other, again)
        assert status == 2 and "Mend: another name, or --overwrite" in shown and again.read_bytes() == before
        assert "Wrote 6 replies" in run(capsys, "export", path, again, "--overwrite")[1]
    assert "Copied 6 replies" in run(capsys, "copy", path, tmp_path / "copy.sqlite")[1]
    lines.write_text(lines.read_text() + '{"key": "k", "outcome": "ok", "label": "sad", "cost_usd": -1}\n')
    assert "6 new replies, 1 left out" in run(capsys, "merge", tmp_path / "fourth.sqlite", lines)[1]
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[:-1]))
    third = tmp_path / "third.sqlite"
    lines.write_text(lines.read_text().rstrip("\n"))  # as an editor leaves it
    assert "6 new replies" in run(capsys, "merge", third, lines)[1]
    with Ledger(third) as one, Ledger(path) as two:
        assert list(one.records()) == list(two.records())
    shown = run(capsys, "merge", other, path, table, lines)[1].replace(f"{lines}: 0 new replies\n", "", 1)
    assert shown.count("0 new replies") == 2 and "6 rows, which have cost $0.7500" in shown

    status, shown = run(capsys, "reread", other)
    assert status == 0 and "1 replies whose emotions are not known. Mend: --emotions" in shown
    assert "Nothing was stored" in run(capsys, "reread", other, "--emotions", "sad,happy", "--dry_run")[1]
    assert "unparseable → ok: 1" in run(capsys, "reread", other, "--emotions", "sad,happy")[1]
    assert "0 votes won" in run(capsys, "reread", other, "--emotions", "sad,happy")[1]
    shown = run(capsys, "spending", other)[1]
    assert "In all $0.7500" in shown and "for 4 votes" in shown


WRONG = {
    "no ledger to read": (["spending", "{}/none.sqlite"], "There is no ledger"),
    "no ledger to reread": (["reread", "{}/none.sqlite"], "There is no ledger"),
    "another format": (["export", "{}/votes.sqlite", "{}/a.txt"], "neither .parquet nor .jsonl"),
    "no such thing": (["spent", "{}/votes.sqlite"], "one of spending, failures, export, copy, merge, reread"),
    "lines of something else": (["merge", "{}/votes.sqlite", "{}/odd.jsonl"], "That is all of it"),
    "an outcome": (["reread", "{}/votes.sqlite", "--outcomes", "unread"], "unread are not known"),
}


@pytest.mark.parametrize("words, message", WRONG.values(), ids=WRONG)
def test_mistakes_end_with_status_2_and_make_no_file(path, tmp_path, capsys, words, message):
    (tmp_path / "odd.jsonl").write_text('{"a": 1}\n')
    status, shown = run(capsys, *[word.format(tmp_path) for word in words])
    assert status == 2 and message in shown and "Mend" in shown
    assert not (tmp_path / "none.sqlite").exists()


def test_models_are_listed(capsys):
    assert main(["models", "--service", "vertex,openai"]) == 0
    shown = capsys.readouterr().out
    assert "gpt-audio-1.5" in shown and "2026-10-16" in shown and "gemini-4-argon" not in shown
    assert main(["models"]) == 0
    assert "gemini-4-argon" in capsys.readouterr().out
