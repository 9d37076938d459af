"""The runner with a backend whose answers are written: nothing is lost, nothing hangs, nothing is asked for twice."""

import asyncio
import os
import pickle
import random
import sqlite3
import threading
import time
from collections import Counter

import pytest
from annotation_setup import annotator, clip, dataset, votes
from scripted import ScriptedBackend

from hf_emo_dist.annotation.capabilities import ModelCapabilities, Prices
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, LedgerError
from hf_emo_dist.annotation.run.run_report import AnnotationIncomplete, RunReport
from hf_emo_dist.annotation.types import Answer, FatalError, TransientError, Usage

FOREVER = 10_000


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "votes.sqlite")


def priced(price=1.0):
    import datetime

    prices = (Prices(price, price, price, datetime.date(2026, 1, 1), "a test"),)
    return ModelCapabilities("scripted-1", known=True, audio=True, prices=prices, audio_tokens_per_second=32.0)


def once(run):
    """A result, within a time in which every run must have ended."""
    box = []

    def target():
        try:
            box.append(run())
        except Exception as error:  # noqa: BLE001 - raised below
            box.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "the run hangs"
    if isinstance(box[0], Exception):
        raise box[0]
    return box[0]


def together(*runs):
    """Each in a thread of its own, at the same time."""
    threads = [threading.Thread(target=run, daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a run hangs"


def random_script(rng, fatal):
    """Answers that go wrong in every way at random."""

    def script(number, request, audio):
        draw = rng.random()
        wait = rng.choice([0.0, 0.0, 0.001, 0.003])
        if draw < 0.5:
            return wait, rng.choice(request["emotions"])
        if draw < 0.6:
            kind = rng.choice(["server", "connection", "timeout"])
            return wait, TransientError(kind, "passing", rng.choice([None, 0.001]))
        if draw < 0.75:
            return wait, TransientError("rate_limit", "slower", rng.choice([None, 0.0, 0.002]))
        if draw < 0.8:
            return wait, rng.choice(["nonsense, this is a sentence", "furious", "", "[" * 50_000])
        if draw < 0.85:
            return wait, Answer(None, rng.choice(["blocked", "truncated", "empty", "rejected"]), "because")
        if draw < 0.9:
            return FOREVER, "never"  # the runner's own time-out
        if draw < 0.92:
            return wait, ValueError("a client that fails at an odd reply")
        if draw < 0.92 + fatal:
            return wait, FatalError("quota", "used up", "wait")
        return wait, request["emotions"][0]

    return script


@pytest.mark.parametrize("seed", range(6))
def test_every_run_ends_and_every_job_is_accounted_for(ledger, seed):
    rng = random.Random(seed)
    data = dataset(10)
    before = threading.active_count()
    for _ in range(6):
        backend = ScriptedBackend(random_script(rng, fatal=rng.choice([0.0, 0.0, 0.02])))
        run = annotator(
            backend,
            ledger,
            num_annotations=rng.choice([1, 3]),
            num_distributions=rng.choice([0, 1]),
            concurrency=rng.choice([1, 2, 7]),
            timeout_s=0.02,
            first_backoff_s=0.001,
            last_backoff_s=0.004,
            max_tries=rng.choice([1, 3]),
            retry_failed=rng.choice([False, True, ("timeout", "server")]),
            requests_per_minute=rng.choice([None, 60_000]),
        )
        report = RunReport()
        wanted = [job.key for row in run.utterances(data) for job in run.jobs(row, report)]
        stop_after = rng.choice([None, rng.uniform(0.0, 0.1)])
        if stop_after is not None:
            from hf_emo_dist.annotation import annotator as module

            original = module.Runner.run

            async def stopped(self, groups, original=original, stop_after=stop_after):
                asyncio.get_running_loop().call_later(stop_after, self.request_stop)
                await original(self, groups)

            module.Runner.run = stopped
        try:
            result = once(lambda run=run: run.annotate(data))
        finally:
            if stop_after is not None:
                module.Runner.run = original
        stored = ledger.lookup(wanted)
        if result.report.complete:
            assert len(stored) == len(wanted)
            failures = sum(map(len, result.report.failures.values()))
            assert result.report.votes + result.report.stored_votes + failures == len(wanted)
        in_columns = sum(len(row["synthetic_annotations"]) for row in result.dataset)
        assert in_columns == sum(record.outcome == "ok" for record in stored.values()) or not result.report.complete
        spent = ledger.spending()
        assert spent.reserved_tokens == 0 and spent.reserved_cost_usd == 0
        assert backend.flying == 0 and backend.most_flying <= run.settings.concurrency
        loop = run.loop.loop()
        assert not [task for task in asyncio.all_tasks(loop) if not task.done()]
        run.close()
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.02)
    assert threading.active_count() <= before + 1


def test_two_runs_in_two_threads_share_the_work(ledger):
    """The same data in the same order: no key is asked for twice, and neither run trails the other.

    Each run's first request waits for the other's, so that a thread that the machine starts late finds work left.
    """
    start = threading.Barrier(2, timeout=20)

    def script(number, request, audio):
        if number == 0:
            start.wait()
        return 0.03, "happy"  # longer than a wait for the lock of the ledger

    backends = [ScriptedBackend(script) for _ in range(2)]
    data = dataset(40)
    results = [None, None]

    def work(i):
        results[i] = annotator(backends[i], ledger, concurrency=4).annotate(data)

    together(lambda: work(0), lambda: work(1))
    assert sum(backend.sent for backend in backends) == 120 == len(ledger)
    assert min(backend.sent for backend in backends) > 20
    assert votes(results[0].dataset) == votes(results[1].dataset)
    assert all(result.report.complete for result in results)
    assert all(result.report.votes + result.report.stored_votes == 120 for result in results)


def test_one_annotator_in_two_threads(ledger):
    backend = ScriptedBackend(lambda *_: (0.002, "happy"))
    run = annotator(backend, ledger, concurrency=4)
    together(*[lambda: run.annotate(dataset(20))] * 2)
    assert backend.sent == 60


def test_a_dead_owner_is_taken_over_and_a_living_one_is_waited_for(ledger):
    """Keys that another ledger object of this process has leased: the run waits until it gives them back."""
    backend = ScriptedBackend()
    run = annotator(backend, ledger)
    data = dataset(2)
    keys = [job.key for row in run.utterances(data) for job in run.jobs(row, RunReport())]
    other = Ledger(ledger.path)
    assert other.reserve([Claim(key) for key in keys[:3]]).granted == keys[:3]
    threading.Timer(0.6, other.close).start()
    began = time.monotonic()
    result = once(lambda: run.annotate(data))
    assert result.report.votes == 6 and time.monotonic() - began > 0.5 and backend.sent == 6


def test_duplicated_clips_are_asked_for_once_and_counted_for_each_row(ledger):
    rows = [{"id": f"r{i}", "audio": {"bytes": clip(i % 2), "path": None}} for i in range(150)]
    backend = ScriptedBackend()
    result = annotator(backend, ledger).annotate(dataset(rows))
    assert backend.sent == 6 and result.report.votes == 6 and result.report.stored_votes == 444
    assert {tuple(found) for found in votes(result.dataset).values()} == {
        tuple(votes(result.dataset)[name]) for name in ("r0", "r1")
    }


def test_mixed_rows_get_no_votes_and_rows_without_ids_do(ledger):
    rows = [{"audio": {"bytes": clip(i), "path": None}, "mixed_from": ["a", "b"] if i == 1 else []} for i in range(3)]
    result = annotator(ScriptedBackend(), ledger).annotate(dataset(rows))
    assert [len(found) for found in result.dataset["synthetic_votes"]] == [3, 0, 3]
    assert {record.row_id for record in ledger.records()} == {"0", "2"}


def test_a_corrupt_clip_is_reported_by_id_and_nothing_is_sent_for_it(ledger):
    rows = [{"id": f"r{i}", "audio": {"bytes": clip(i), "path": None}} for i in range(5)]
    rows[1]["audio"]["bytes"] = b"RIFF no audio at all"
    rows[3]["audio"]["bytes"] = b""
    rows += [{"id": "again", "audio": dict(rows[1]["audio"])}, {"id": "none", "audio": None}]
    backend = ScriptedBackend()
    result = annotator(backend, ledger).annotate(dataset(rows))
    assert set(result.report.skipped) == {"r1", "r3", "again", "none"} and result.report.complete
    assert backend.sent == 9 and [len(found) for found in votes(result.dataset).values()] == [3, 0, 3, 0, 3, 0, 0]
    text = result.report.summary()
    assert "Not sent, 4 clips: " in text
    assert "r3: the file has no bytes. Mend:" in text and "none: the row has no" in text
    assert "r1 (and 1 more): " in text or "again (and 1 more): " in text


def test_a_row_that_cannot_be_read_ends_the_run_after_what_is_in_flight_is_stored(ledger):
    backend = ScriptedBackend(lambda *_: (0.01, "happy"))
    run = annotator(backend, ledger, concurrency=4)

    def rows():
        yield from run.utterances(dataset(70))
        raise KeyError("row 70 has no column 'mood'")

    with pytest.raises(KeyError, match="row 70"):
        once(lambda: run.run(rows(), total=None))
    assert len(ledger) == backend.sent > 0 and ledger.spending().reserved_tokens == 0


def test_a_missing_package_is_said_at_once(ledger):
    backend = ScriptedBackend(lambda *_: ModuleNotFoundError("pip install 'hf-emo-dist[annotate]'"))
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        annotator(backend, ledger, concurrency=2).annotate(dataset(5))
    assert backend.sent <= 2 and ledger.spending().reserved_tokens == 0


def test_a_service_that_refuses_after_a_long_wait_is_not_given_up_at_once(ledger):
    """Hours without a request, such as for want of a lease, are no hours of refusals."""
    backend = ScriptedBackend(lambda number, *_: TransientError("rate_limit", "", 0.01) if number < 2 else "happy")
    run = annotator(backend, ledger, patience_s=0.4, concurrency=1, num_annotations=1)
    data = dataset(1)
    (key,) = [job.key for row in run.utterances(data) for job in run.jobs(row, RunReport())]
    other = Ledger(ledger.path)
    other.reserve([Claim(key)])
    threading.Timer(0.8, other.close).start()
    assert once(lambda: run.annotate(data)).report.votes == 1


def test_leases_are_prolonged_while_a_reply_is_awaited(tmp_path, monkeypatch):
    """A slow reply, and jobs that wait behind it, are not asked for by another process."""
    monkeypatch.setattr(Ledger, "lease_s", 0.2)
    backends = [ScriptedBackend(lambda *_: (0.5, "happy")) for _ in range(2)]
    results = []

    def work(backend):
        results.append(annotator(backend, Ledger(tmp_path / "v.sqlite"), concurrency=2).annotate(dataset(2)))

    together(lambda: work(backends[0]), lambda: work(backends[1]))
    assert sum(backend.sent for backend in backends) == 6 and len(results) == 2


# --- money


def bill(number, request, audio):
    return 0.002, Answer("happy", model_version="scripted-1", usage=Usage(150, 50, 30, 20))  # 200 µ$ at $1 a million


def test_the_cap_in_money_holds_and_a_resumed_run_goes_on_under_it(ledger):
    data = dataset(40)
    cap = 0.012

    def run(**options):
        backend = ScriptedBackend(bill, capabilities=priced())
        result = annotator(backend, ledger, concurrency=4, **options).annotate(data)
        return backend, result

    backend, first = run(max_cost_usd=cap)
    assert "budget is used up" in first.report.stop_reason and "raise max_cost_usd" in first.report.mend
    spent = ledger.spending().cost_usd
    claim = 3000e-6  # at most what is reserved for one request is left over
    assert cap - claim <= spent <= cap and spent == pytest.approx(first.report.votes * 200e-6)
    assert sum(map(len, votes(first.dataset).values())) == first.report.votes == backend.sent
    backend, second = run(max_cost_usd=cap)
    assert backend.sent == 0 and not second.report.complete and ledger.spending().reserved_cost_usd == 0
    with pytest.raises(AnnotationIncomplete) as caught:
        data.map(annotator(ScriptedBackend(bill, capabilities=priced()), ledger, max_cost_usd=cap), batched=True)
    assert "budget" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.report.stop_reason == caught.value.report.stop_reason and str(again) == str(caught.value)
    backend, third = run(max_cost_usd=10)
    assert third.report.complete and backend.sent == 120 - first.report.votes


def test_the_cap_in_tokens_holds(ledger):
    backend = ScriptedBackend(bill)
    result = annotator(backend, ledger, max_tokens=30_000, concurrency=8).annotate(dataset(100))
    assert "budget is used up" in result.report.stop_reason
    assert 30_000 - 3000 <= ledger.spending().tokens <= 30_000


def test_a_cap_in_money_needs_prices(ledger):
    with pytest.raises(ValueError, match="cap max_tokens instead"):
        annotator(ScriptedBackend(), ledger, max_cost_usd=1)


def test_two_runs_on_one_cap(tmp_path):
    results = []

    def work():
        backend = ScriptedBackend(bill, capabilities=priced())
        run = annotator(backend, Ledger(tmp_path / "v.sqlite"), max_cost_usd=0.02, concurrency=4)
        results.append(run.annotate(dataset(60)))

    together(work, work)
    spent = Ledger(tmp_path / "v.sqlite").spending()
    assert 0.017 < spent.cost_usd <= 0.02 and spent.reserved_cost_usd == 0
    assert len(results) == 2 and not any(result.report.complete for result in results)


def test_a_request_that_was_refused_does_not_hide_the_cost(ledger):
    def script(number, request, audio):
        return Answer(None, "rejected", "bad clip") if number == 0 else bill(number, request, audio)

    backend = ScriptedBackend(script, capabilities=priced())
    result = annotator(backend, ledger).annotate(dataset(2))
    # the one that was refused is answered when it is asked once more, after a control
    assert result.report.votes == 6 and backend.sent in (7, 8)
    assert result.report.cost_usd == pytest.approx((backend.sent - 1) * 200e-6)


# --- a ledger that does not take replies


def fill_disk(ledger):
    """SQLite's own error of a full disk, from now on."""
    with ledger._database.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")


def test_a_disk_that_fills_up_names_the_rescue_file_and_loses_nothing(ledger):
    data = dataset(60)

    def script(number, request, audio):
        if number == 30:
            fill_disk(ledger)
        return 0.002, request["emotions"][0]

    backend = ScriptedBackend(script)
    with pytest.raises(LedgerError, match=r"full.*kept in .*part\.jsonl.*Mend") as caught:
        once(lambda: annotator(backend, ledger, concurrency=8).annotate(data))
    assert caught.value.rescue_file.exists()
    sent = backend.sent
    assert 30 < sent < 100
    ledger.close()
    again = ScriptedBackend()
    result = annotator(again, Ledger(ledger.path)).annotate(data)
    assert result.report.complete and again.sent == 180 - sent  # whatever was paid for is there
    assert len(Ledger(ledger.path)) == 180


def test_replies_that_can_be_written_nowhere_are_in_the_error(ledger, monkeypatch):
    def nowhere(*_):
        raise OSError("no space")

    monkeypatch.setattr("hf_emo_dist.annotation.ledger.exchange.append_lines", nowhere)
    backend = ScriptedBackend(
        lambda number, request, audio: (fill_disk(ledger), (0.01 * (number % 4), "happy"))[1] if number < 99 else "sad"
    )
    with pytest.raises(LedgerError, match="written nowhere") as caught:
        once(lambda: annotator(backend, ledger, concurrency=6).annotate(dataset(60)))
    assert len(caught.value.records) + len(ledger) == backend.sent


def corrupt(path, monkeypatch):
    Ledger(path).close()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))


def full_disk(path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2**20})())


def read_only(path, monkeypatch):
    Ledger(path).close()
    real = os.access  # the tests may run as root, who may write anything
    monkeypatch.setattr(os, "access", lambda p, mode: False if str(p) == str(path) else real(p, mode))


UNUSABLE = {
    "no database": (lambda path, _: path.write_bytes(b"this is a text file, and a long one" * 10), "not an SQLite"),
    "corrupt": (corrupt, "is damaged"),
    "another program's": (lambda path, _: sqlite3.connect(path).execute("CREATE TABLE x (y)"), "another application"),
    "a folder": (lambda path, _: path.mkdir(), "is a folder"),
    "a full disk": (full_disk, "has 1 MiB left"),
    "read-only": (read_only, "is read-only"),
}


@pytest.mark.parametrize(("make", "message"), UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("way", ["annotate", "map"])
def test_a_ledger_that_cannot_be_used_is_said_before_anything_is_sent(tmp_path, monkeypatch, make, message, way):
    path = tmp_path / "v.sqlite"
    make(path, monkeypatch)
    backend = ScriptedBackend()
    with pytest.raises(LedgerError, match=rf"(?s){message}.*Mend: "):
        run = annotator(backend, path)
        run.annotate(dataset(1)) if way == "annotate" else dataset(1).map(run, batched=True)
    assert backend.sent == 0


# --- what the columns are


def by_request(number, request, audio):
    """The same answer to the same request."""
    return request["emotions"][len(request["text"] + audio.digest[:3].strip("0")) % 4]


def test_the_same_columns_whatever_the_way(tmp_path):
    """annotate, map single and batched, streams, and within a running event loop."""
    from datasets import Dataset

    data = dataset(5)
    names = iter(range(100))

    def run():
        return annotator(ScriptedBackend(by_request), tmp_path / f"{next(names)}.sqlite", num_distributions=0)

    expected = run().annotate(data).dataset

    async def notebook():
        return data.map(run(), batched=True, batch_size=2)

    stream = data.to_iterable_dataset()
    ways = {
        "single": data.map(run()),
        "batched": data.map(run(), batched=True, batch_size=2),
        "a running loop": asyncio.run(notebook()),
        "a stream": Dataset.from_list(list(stream.map(run()))),
        "a stream, batched": Dataset.from_list(list(stream.map(run(), batched=True, batch_size=2))),
    }
    for name, found in ways.items():
        assert found["synthetic_annotations"][:] == expected["synthetic_annotations"][:], name
        assert votes(found) == votes(expected), name
        if name in ("batched", "a running loop"):  # elsewhere types are inferred from values
            assert found.features == expected.features, name


def test_audio_in_every_shape_has_the_same_votes(tmp_path):
    """As bytes, as a path, as an Audio column that would be decoded (without torchcodec), and as samples."""
    from datasets import Audio, Dataset

    from hf_emo_dist.audio.clips import load_audio

    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.wav")
        paths[-1].write_bytes(clip(i))
    ids = ["a", "b", "c"]
    shapes = {
        "bytes": Dataset.from_dict({"id": ids, "audio": [{"bytes": clip(i), "path": None} for i in range(3)]}),
        "paths": Dataset.from_dict({"id": ids, "audio": [str(path) for path in paths]}),
        "raw bytes": Dataset.from_dict({"id": ids, "audio": [clip(i) for i in range(3)]}),
        "samples": Dataset.from_dict(
            {"id": ids, "audio": [{"array": load_audio(clip(i)).tolist(), "sampling_rate": 16000} for i in range(3)]}
        ),
    }
    shapes["audio feature, not decoded"] = shapes["bytes"].cast_column("audio", Audio(decode=False))
    shapes["audio feature, decoded"] = shapes["bytes"].cast_column("audio", Audio())
    shapes["audio feature of paths"] = shapes["paths"].cast_column("audio", Audio())
    ledger = Ledger(tmp_path / "v.sqlite")
    sent = Counter()
    for name, data in shapes.items():
        backend = ScriptedBackend(by_request)
        run = annotator(backend, ledger)
        whole = run.annotate(data).dataset
        assert [len(found) for found in whole["synthetic_votes"]] == [3, 3, 3], name
        assert data.map(run, batched=True)["synthetic_votes"][:] == whole["synthetic_votes"][:], name
        assert data.map(run)["synthetic_votes"][:] == whole["synthetic_votes"][:], name
        sent[name] = backend.sent
    # The same file is the same clip, however it comes; decoded samples are another.
    assert sent == {**dict.fromkeys(shapes, 0), "bytes": 9, "samples": 9}


def test_an_annotator_that_is_gone_leaves_no_thread_and_no_connection(ledger):
    import gc

    backend = ScriptedBackend()
    before = threading.active_count()
    run = annotator(backend, ledger)
    run.annotate(dataset(1))
    assert threading.active_count() > before
    del run
    gc.collect()
    assert backend.closed == 1
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.02)
    assert threading.active_count() <= before


def test_a_service_that_takes_no_clip_at_all_ends_the_run(ledger):
    """A setting that the model does not take: not one failure a request for ten thousand clips, and none is final."""
    wrong = ScriptedBackend(lambda *_: Answer(None, "rejected", "temperature is not supported"))
    result = once(lambda: annotator(wrong, ledger, concurrency=2).annotate(dataset(60)))
    assert "temperature is not supported" in result.report.stop_reason and not result.report.failures
    assert 8 <= wrong.sent < 35 and len(ledger) == wrong.sent
    # mended: all are asked for
    right = ScriptedBackend()
    result = once(lambda: annotator(right, ledger, concurrency=2).annotate(dataset(60)))
    assert result.report.complete and right.sent == 180


def test_some_clips_that_are_refused_do_not_end_a_run(ledger):
    refused = {}

    def script(number, request, audio):
        if refused.setdefault(audio.digest, len(refused) % 3 == 1):
            return Answer(None, "rejected", "bad clip")
        return "happy"

    backend = ScriptedBackend(script)
    result = once(lambda: annotator(backend, ledger, concurrency=1).annotate(dataset(30)))
    assert result.report.complete and result.report.votes == 60 and len(result.report.failures["rejected"]) == 30
    assert 120 <= backend.sent <= 121  # each refusal twice, and perhaps one control
