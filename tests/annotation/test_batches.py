"""Batch jobs through the real client: submitted, collected in whatever order and however often, nothing paid twice."""

import contextlib
import json
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from annotation_setup import KEY, annotator, dataset, gemini, generated, reset, votes
from gemini_batches import BatchServer
from gemini_server import camel
from processes import Annotating

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.backends._google_batches import GoogleBatches
from hf_emo_dist.annotation.backends.gemini import GeminiBackend
from hf_emo_dist.annotation.batch import batches as cycle
from hf_emo_dist.annotation.batch import collecting
from hf_emo_dist.annotation.ledger.accounts import batch_jobs
from hf_emo_dist.annotation.ledger.journal import Journal
from hf_emo_dist.annotation.ledger.ledger import Ledger

ROWS, MEMBERS = 6, 3
ALL = ROWS * MEMBERS
HALF = (100 * 0.30 + 96 * 1.00 + 43 * 2.50) / 1e6 / 2  # of what a reply costs
DAY = 86400.0


class Clock:
    """The time, some of it ahead."""

    def __init__(self):
        self.ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


@pytest.fixture(scope="module")
def running():
    with BatchServer() as server:
        yield server


@pytest.fixture
def server(running, monkeypatch):
    monkeypatch.setattr(GoogleBatches, "most_requests", 2 * MEMBERS)  # three jobs
    reset(running).forget()
    return running


@pytest.fixture
def path(tmp_path):
    return tmp_path / "votes.sqlite"


def mine(server, path, **options):
    return annotator(gemini(server), path, **options)


def go(server, path, rows=ROWS, wait=False, **options):
    """One call of the command, in a process of its own as far as it can know."""
    return mine(server, path, **options).annotate_batch(dataset(rows), wait=wait, poll_s=0.01)


def creates(server):
    return [request for request in server.requests if "batchGenerateContent" in request.path]


def paid_once(server):
    return len(server.generated_lines) == ALL and set(server.generated_lines.values()) == {1}


def spending(path):
    with Ledger(path) as ledger:
        return ledger.spending()


def journal(path):
    with Ledger(path) as ledger:
        return ledger.journal.jobs()


@pytest.fixture(scope="module")
def direct(running, tmp_path_factory):
    """The votes of an ordinary run."""
    reset(running).forget()
    return votes(mine(running, tmp_path_factory.mktemp("direct") / "v.sqlite").annotate(dataset(ROWS)).dataset)


# --- the way there and back -------------------------------------------------------------------------------------------


def test_submitted_and_collected_by_another(direct, server, path):
    report = mine(server, path).submit_batch(dataset(ROWS))
    assert not report.complete and report.jobs_running == 3 and report.under_way == report.requests == ALL
    assert "incomplete: 3 batch jobs with 18 requests under way" in report.stop_reason
    held = spending(path)
    assert held.cost_usd == 0 and held.reserved_cost_usd > ALL * HALF and held.reserved_tokens > 0
    found, report = mine(server, path).collect_batch(dataset(ROWS))
    assert report.complete and report.votes == ALL and votes(found) == direct
    assert report.cost_usd == pytest.approx(ALL * HALF) and report.tiers == {"batch": ALL}
    spent = spending(path)
    assert spent.cost_usd == pytest.approx(ALL * HALF) and spent.reserved_cost_usd == spent.reserved_tokens == 0
    assert paid_once(server) and not generated(server) and not server.files  # inputs and replies are deleted
    assert {job.state for job in journal(path)} == {"collected"} and {job.replies for job in journal(path)} == {6}
    # Collected twice, and asked for by an ordinary run: all of it is there.
    before = len(Ledger(path))
    again = mine(server, path).collect_batch(dataset(ROWS)).report
    assert again.complete and again.stored_votes == ALL and again.cost_usd == 0
    assert mine(server, path).annotate(dataset(ROWS)).report.requests == 0 and len(Ledger(path)) == before
    record = next(Ledger(path).records())
    assert record.settings["service_tier"] == "batch" and record.settings["safety"] == "none"


def test_one_call_waits_for_all(direct, server, path):
    server.looks = 2
    found, report = go(server, path, wait=True)
    assert report.complete and votes(found) == direct and report.votes == ALL and paid_once(server)
    assert len(creates(server)) == 3


def test_a_line_is_what_the_client_sends(server, path):
    backend = gemini(server)
    member = mine(server, path, num_annotations=2, num_distributions=2)
    sent = []
    (utterance,) = member.utterances(dataset(1))
    for job in member.jobs(utterance, None, sends=False):
        clip = job.clip.prepare()
        line = json.loads(backend.batches.line(job.key, job.request, clip, None))
        assert line["key"] == job.key
        sent.append(line["request"])
    seen = []
    understand = server.understand

    def watch(request):
        if "generateContent" in request.path:
            seen.append(json.loads(request.body))
        understand(request)

    server.understand = watch
    try:
        member.annotate(dataset(1))
    finally:
        del server.understand

    def plain(bodies):
        bodies = camel(bodies)
        for body in bodies:  # the client's base64 is that of addresses
            data = body["contents"][0]["parts"][0]["inlineData"]
            data["data"] = data["data"].replace("-", "+").replace("_", "/")
        return sorted(
            bodies, key=lambda body: (body["contents"][0]["parts"][1]["text"], str(body["systemInstruction"]))
        )

    assert plain(sent) == plain(seen) and len(seen) == 4


def test_large_clips_are_stored_and_deleted(direct, server, path):
    small = {"max_inline_bytes": 100_000}
    backend = gemini(server, capabilities=small)
    run = annotator(backend, path)
    found, report = run.annotate_batch(dataset(ROWS), wait=True, poll_s=0.01)
    assert report.complete and votes(found) == direct and not server.files
    assert sum(name.startswith("files/f") for name in server.deleted) == ROWS + 3  # each clip once, and the requests


def test_files_that_a_server_sends_on_within_itself_are_read(direct, server, path):
    server.redirects = True
    assert go(server, path, wait=True).report.complete
    server.fault("elsewhere", when=lambda request: ":download" in request.path)
    report = go(server, path.with_name("other.sqlite"), wait=True).report
    assert not report.complete and "sends requests on to http://127.0.0.1/stolen" in report.stop_reason


def test_a_file_of_replies_without_end_is_not_read(server, path, monkeypatch):
    monkeypatch.setattr(cycle, "_MOST_LINE", 1000)
    monkeypatch.setattr("hf_emo_dist.annotation.backends._google_batches.MOST_BYTES", 1000)
    server.lines = [("sad" * 10_000, lambda number, job: True)]
    report = go(server, path, wait=True).report
    assert not report.complete and "longer than" in report.stop_reason and spending(path).reserved_tokens > 0


# --- what goes wrong --------------------------------------------------------------------------------------------------


def line(*numbers, jobs=(1,)):
    return lambda number, job: number in numbers and job in jobs


LINES = {
    # the lines, what of it is final, requests of the second round, replies that are paid for twice
    "refused": ([(3, line(0, 1))], {"rejected": 2}, 0),
    "failed inside": ([(13, line(0, 1))], {}, 2),
    "no room": ([(8, line(0)), (14, line(1))], {}, 2),
    "denied": ([(7, line(2))], {}, 1),
    "not there": ([("missing", line(0, 1))], {}, 2),
    "twice in the file": ([("twice", line(0, 1))], {}, 0),
    "an answer that is no vote": ([("perhaps", line(0))], {"outside": 1}, 0),
    "cut off": ([("garbage", line(3))], {}, 1),
    "without a key": ([("no key", line(3, 4))], {}, 2),
}


@pytest.mark.parametrize("faults, final, again", LINES.values(), ids=LINES)
def test_what_failed_is_sent_again_alone(server, path, faults, final, again):
    server.lines = faults
    report = go(server, path, wait=True).report
    failures = {outcome: len(ids) for outcome, ids in report.failures.items()}
    assert report.complete and failures == final and report.votes == ALL - sum(final.values())
    requests = [len(job["lines"]) for job in server.jobs.values()]
    assert requests[:3] == [6, 6, 6] and requests[3:] == [again] * bool(again)
    spent = spending(path)
    assert spent.reserved_tokens == 0 and report.cost_usd == pytest.approx(spent.cost_usd)
    assert report.requests == ALL + again
    # What was generated, at the price of a job, is not more than what is written down.
    if faults[0][0] != "missing":
        assert sum(server.generated_lines.values()) * HALF <= spent.cost_usd + 1e-12
    if faults[0][0] in ("garbage", "no key"):  # paid for, and not known whose: charged at its bound
        assert report.charged_tries == len([1 for n in range(6) if faults[0][1](n, 1)])


@pytest.mark.parametrize(
    ("code", "final", "jobs"), [(13, {"server": 2}, 5), (4, {"server": 2}, 5), (7, {"rejected": 2}, 5), (8, {}, 6)]
)
def test_what_fails_while_others_are_answered_is_not_sent_for_ever(server, path, code, final, jobs):
    server.lines = [(code, lambda number, job: number < 2 and (job == 1 or job > 3))]
    report = go(server, path, wait=True).report
    assert {outcome: len(ids) for outcome, ids in report.failures.items()} == final and report.votes == ALL - 2
    assert len(server.jobs) == jobs and report.complete == bool(final) and spending(path).reserved_tokens == 0
    assert report.charged_tries == (6 if code == 4 else 0)  # what took too long may have been billed
    assert go(server, path, wait=True).report.requests == (0 if final else 2 * 3)


@pytest.mark.parametrize("state", ["FAILED", "EXPIRED", "CANCELLED"])
def test_a_job_that_fails_is_said_and_its_requests_are_sent_again(direct, server, path, state):
    server.states = {2: state}
    mine(server, path).submit_batch(dataset(ROWS))
    found, report = go(server, path)
    half = 3 if state == "CANCELLED" else 0  # of what is cancelled half is done
    assert report.votes == 12 + half and report.under_way == 6 - half and state in "".join(report.batch_jobs.values())
    found, report = go(server, path)
    assert report.complete and votes(found) == direct and spending(path).reserved_tokens == 0
    assert len(creates(server)) == 4 and paid_once(server)


def test_a_job_that_does_not_end_is_given_up_and_collected_if_it_does(direct, server, path):
    server.states = {1: "stuck"}
    clock = Clock()
    mine(server, path).submit_batch(dataset(ROWS))
    assert go(server, path).report.under_way == 6
    clock.ahead = 2.5 * DAY
    found, report = go(server, Ledger(path, clock=clock))
    assert "given up" in "".join(report.batch_jobs.values()) and report.under_way == 6
    assert any(request.path.endswith(":cancel") for request in server.requests)
    found, report = go(server, Ledger(path, clock=clock))
    assert report.complete and votes(found) == direct and len(creates(server)) == 4
    # It turns up: its replies were paid for, and are written down.
    server.states = {}
    before = spending(path).cost_usd
    report = go(server, Ledger(path, clock=clock)).report
    assert report.complete and spending(path).cost_usd == pytest.approx(before + 6 * HALF)
    assert sum(server.generated_lines.values()) * HALF == pytest.approx(spending(path).cost_usd)


def test_jobs_that_bring_nothing_are_not_sent_for_ever(server, path):
    server.states = dict.fromkeys(range(1, 100), "FAILED")
    report = go(server, path, wait=True).report
    assert not report.complete and "brought no reply" in report.stop_reason and len(creates(server)) == 3


def test_a_service_that_refuses_all_of_a_job_is_nobodys_clip(server, path):
    server.lines = [(3, lambda number, job: True)]
    report = go(server, path, wait=True).report
    assert not report.complete and "answered none of the 6 requests" in report.stop_reason
    assert all(not record.final for record in Ledger(path).records())
    server.lines = []
    go(server, path)
    assert go(server, path, wait=True).report.complete and paid_once(server)


def test_replies_that_are_gone_count_as_what_they_may_have_cost(server, path):
    mine(server, path).submit_batch(dataset(ROWS))
    server.fault("status", when=lambda request: ":download" in request.path, code=404, times=1)
    go(server, path)
    report = go(server, path).report
    assert report.complete and len(creates(server)) == 4
    spent = spending(path)
    assert spent.cost_usd > (ALL + 6) * HALF == pytest.approx(sum(server.generated_lines.values()) * HALF)


def test_what_does_not_state_its_usage_is_charged_at_its_bound(server, path):
    describe = server.generated
    try:
        server.generated = lambda *args, **options: _without_usage(describe(*args, **options))
        go(server, path, wait=True)
    finally:
        del server.generated
    assert all(record.assumed_usd == record.cost_usd > HALF for record in Ledger(path).records())


def _without_usage(reply):
    body = json.loads(reply.body)
    del body["usageMetadata"]
    reply.body = json.dumps(body).encode()
    return reply


# --- submitting -------------------------------------------------------------------------------------------------------

CREATING = {
    # fault, whether the server has made the job, what the first call says
    "broken after": ("taken_and_not_said", {}, True, "under way"),
    "503 after": ("taken_and_not_said", {"how": "send", "status": 503, "body": {}}, True, "under way"),
    "broken before": ("reset_after", {}, False, "not known whether"),
    "500 before": ("status", {"code": 500}, False, "not known whether"),
    "429": ("rate_limit", {}, False, "takes no further batch job now"),
    "400": ("bad_request", {}, False, "refused a batch job"),
    "403": ("forbidden", {}, False, "permission"),
    "404": ("status", {"code": 404}, False, "not known there"),
}


@pytest.mark.parametrize("fault, options, taken, words", CREATING.values(), ids=CREATING)
def test_a_job_is_never_made_twice(direct, server, path, fault, options, taken, words):
    server.fault(fault, when=lambda request: "batchGenerateContent" in request.path, times=1, **options)
    report = mine(server, path).submit_batch(dataset(ROWS))
    assert not report.complete and words in report.stop_reason
    assert len(server.jobs) == (3 if taken else 0)
    clock = Clock()
    if words.startswith("not known"):
        assert mine(server, path).submit_batch(dataset(ROWS)).under_way == ALL  # in the time of grace nothing of it
        clock.ahead = 2 * cycle.GRACE_S
    found, report = go(server, Ledger(path, clock=clock), wait=True)
    assert report.complete and votes(found) == direct and paid_once(server) and len(server.jobs) == 3
    assert spending(path).reserved_tokens == 0


def test_an_older_copy_of_a_ledger_finds_its_jobs(direct, server, path):
    mine(server, path).submit_batch(dataset(2))
    copy = path.with_name("copy.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as old, contextlib.closing(sqlite3.connect(copy)) as new:
        old.backup(new)
    mine(server, path).submit_batch(dataset(4))
    _, report = go(server, copy, rows=4, wait=True)
    assert report.complete and len(server.jobs) == 2 and set(server.generated_lines.values()) == {1}


def test_a_cap_bounds_what_is_under_way_at_once(direct, server, path):
    backend = gemini(server, max_output_tokens=64)
    bound = max(job.claim(backend.capabilities, "batch").cost_usd for job in _jobs(backend, path))
    cap = 7.5 * bound
    run = annotator(backend, path, max_cost_usd=cap)
    report = run.submit_batch(dataset(ROWS))
    assert 6 <= report.under_way <= 8 and "the cap lets no more" in report.stop_reason
    held = spending(path)
    assert held.cost_usd + held.reserved_cost_usd <= cap
    _, report = run.annotate_batch(dataset(ROWS), wait=True, poll_s=0.01)
    assert spending(path).cost_usd <= cap and spending(path).reserved_cost_usd == 0
    if not report.complete:
        assert "the cap lets no more" in report.stop_reason


def _jobs(backend, path):
    run = annotator(backend, path.with_name("none.sqlite"))
    for utterance in run.utterances(dataset(ROWS)):
        for job in run.jobs(utterance, None, sends=False):
            job.clip.prepared = job.clip.prepare()
            yield job


def test_an_ordinary_run_does_not_ask_for_what_a_job_holds(server, path):
    mine(server, path).submit_batch(dataset(2))
    report = mine(server, path).annotate(dataset(4)).report
    assert report.votes == 6 and len(generated(server)) == 6
    assert not report.complete and "batch job" in report.stop_reason and report.under_way == 6


def test_the_hearing_is_tested_by_single_requests_before_a_job_is_made(server, path):
    first = mine(server, path).annotate_batch(dataset(40), hearing_test=True).report
    asked = len(generated(server))
    assert first.hearing_test.verdict == "undecided" and asked == first.hearing_test.requests + len(server_own(path))
    assert creates(server) and first.under_way
    again = mine(server, path).annotate_batch(dataset(40), wait=True, hearing_test=True, poll_s=0.01).report
    assert again.complete and again.hearing_test == first.hearing_test and len(generated(server)) == asked
    assert set(server.generated_lines.values()) == {1}


def server_own(path):
    """The votes of clips that were bought by single requests."""
    with Ledger(path) as ledger:
        plans = {record.plan for record in ledger.records() if " " not in record.row_id}
        return [record for record in ledger.records() if record.plan in plans and " " not in record.row_id]


def test_no_job_is_made_for_a_server_that_does_not_hear(server, path):
    server.fault("text", text="sad")
    report = mine(server, path).annotate_batch(dataset(20), hearing_test=True).report
    assert not report.complete and "does not hear" in report.stop_reason and not creates(server)


def test_clips_in_a_job_are_not_asked_again_to_test_the_hearing(server, path):
    mine(server, path).submit_batch(dataset(20))
    report = mine(server, path).annotate(dataset(20), hearing_test=True).report
    assert "batch jobs that are under way" in report.hearing_test.reason and not generated(server)


def test_a_reply_of_another_model_stops_and_counts_when_it_may(server, path):
    server.lines = [("other model", lambda number, job: True)]
    report = go(server, path, wait=True).report
    assert not report.complete and "--answers_as gemini-3.5-flash" in report.mend
    assert len(report.failures["other_model"]) == ALL
    report = go(server, path, wait=True, answers_as="gemini-3.5-flash").report
    assert report.complete and paid_once(server)


def test_who_has_no_batch_jobs_says_so(server, path, monkeypatch):
    with pytest.raises(ValueError, match=r"has no batch jobs here. Mend: leave --batch out"):
        Annotator("simulated", ledger=path, progress=False).submit_batch(dataset(1))
    with pytest.raises(ValueError, match="one of the two"):
        annotator(gemini(server, service_tier="flex"), path).submit_batch(dataset(1))
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    assert GeminiBackend().batches is None


def test_the_key_is_written_nowhere(server, path):
    server.fault("echo_key", when=lambda request: "batchGenerateContent" in request.path, key=KEY)
    report = mine(server, path).submit_batch(dataset(1))
    assert KEY not in report.summary() and "[secret]" in report.stop_reason
    go(server, path, wait=True)
    Ledger(path).close()
    assert KEY.encode() not in path.read_bytes()


# --- kill -9 ----------------------------------------------------------------------------------------------------------

KILLED = {
    "while requests go up": lambda request: "upload" in request.path,
    "before the job is made": lambda request: "batchGenerateContent" in request.path,
    "while it looks": lambda request: "/batches/" in request.path,
    "while replies come down": lambda request: ":download" in request.path,
    "before files are deleted": lambda request: request.method == "DELETE",
}


@pytest.mark.parametrize("when", KILLED.values(), ids=KILLED)
def test_whoever_is_killed_leaves_nothing_paid_twice(direct, server, path, when):
    killed = Killed(server, path)
    killed.at("never", when)
    clock = Clock()
    clock.ahead = 2 * cycle.GRACE_S
    go(server, Ledger(path, clock=clock), wait=True)
    found, report = go(server, Ledger(path, clock=clock))
    assert report.complete and votes(found) == direct and paid_once(server)
    assert spending(path).reserved_tokens == 0 and not any(name.startswith("files/batch") for name in server.files)


def test_killed_when_the_job_is_made_and_not_said(direct, server, path):
    Killed(server, path).at("taken_and_not_said", KILLED["before the job is made"], how="never")
    assert len(server.jobs) == 1
    found, report = go(server, path, wait=True)  # at once: it is found by its name
    assert report.complete and votes(found) == direct and paid_once(server) and len(server.jobs) == 1


class Killed:
    """A process that is killed when the server does not answer it."""

    def __init__(self, server, path):
        self.server, self.path = server, path

    def at(self, kind, when, **options):
        seen = len(self.server.requests)
        self.server.fault(kind, when=when, times=1, **options)
        process = None
        deadline = time.monotonic() + 30
        for _ in range(3):  # one call submits, the next one collects
            process = Annotating(self.server.url, self.path, ROWS, way="batch", num_annotations=MEMBERS)
            while process.runs() and self.server.script[-1][2]:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            if not self.server.script[-1][2]:
                break
        time.sleep(0.05)
        process.kill()
        assert len(self.server.requests) > seen and not self.server.script[-1][2]
        self.server.script.clear()


def test_killed_in_the_midst_of_storing(direct, server, path, monkeypatch):
    monkeypatch.setattr(collecting, "_TOGETHER", 2)
    mine(server, path).submit_batch(dataset(ROWS))
    stored = []

    def dies(self, records):
        if len(stored) == 3:
            raise SystemExit
        stored.append(take_in(self, records))
        return stored[-1]

    take_in = Journal.take_in
    monkeypatch.setattr(Journal, "take_in", dies)
    with pytest.raises(BaseException):  # noqa: B017 - however the loop's thread hands it on
        go(server, path)
    monkeypatch.setattr(Journal, "take_in", take_in)
    found, report = go(server, path)
    assert report.complete and votes(found) == direct and paid_once(server)
    records = list(Ledger(path).records())
    assert len(records) == ALL == len({record.key for record in records})


# --- several at once, and ledgers of before ---------------------------------------------------------------------------


def at_once(*calls):
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_two_that_submit_and_collect_at_once_do_it_once(direct, server, path):
    Ledger(path).close()
    both = [mine(server, path) for _ in range(2)]
    at_once(*(lambda run=run: run.submit_batch(dataset(ROWS)) for run in both))
    assert sum(len(job["lines"]) for job in server.jobs.values()) == ALL
    server.latency = 0.02
    at_once(*(lambda run=run: run.collect_batch(dataset(ROWS)) for run in both))
    found, report = go(server, path)
    assert report.complete and votes(found) == direct and paid_once(server)
    assert len(list(Ledger(path).records())) == ALL and spending(path).cost_usd == pytest.approx(ALL * HALF)
    assert {job.state for job in journal(path)} == {"collected"}


def test_a_ledger_of_before_has_no_jobs_and_takes_some(server, path):
    shutil.copy(Path(__file__).parent / "data" / "ledger_0_1_0.db", path)
    assert batch_jobs(path) == [] == journal(path)
    stored = len(Ledger(path))
    assert go(server, path, wait=True).report.complete and len(Ledger(path)) == stored + ALL
    assert len(batch_jobs(path)) == 3
