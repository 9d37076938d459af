"""Several processes on one ledger: `num_proc`, two runs that share the work, and two that share a cap."""

import pytest
from annotation_setup import annotator, dataset, generated, rows, votes
from gemini_server import GeminiServer
from processes import Annotating, sent, serving

from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.run.run_report import AnnotationIncomplete


@pytest.fixture
def environment(monkeypatch):
    """A server whose address and key are in the environment: worker processes get no client."""
    with GeminiServer(key="a-key") as server:
        monkeypatch.setenv("GEMINI_API_KEY", "a-key")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        yield server


def by_environment(ledger, **options):
    from hf_emo_dist.annotation.backends.gemini import GeminiBackend

    return annotator(GeminiBackend("gemini-2.5-flash"), ledger, **options)


def test_two_worker_processes_give_the_same_columns(environment, tmp_path):
    content = rows(12)
    content[7]["audio"] = {"bytes": b"RIFF nothing", "path": None}
    content += [{**content[0], "id": "the same clip"}]
    data = dataset(content)
    plain = data.map(by_environment(tmp_path / "one.sqlite"), batched=True)
    asked = len(generated(environment))
    assert asked == 33
    shared = data.map(by_environment(tmp_path / "two.sqlite"), batched=True, batch_size=3, num_proc=2)
    assert len(generated(environment)) == 2 * asked
    assert votes(shared) == votes(plain) and shared.features == plain.features
    assert shared["synthetic_annotations"][:] == plain["synthetic_annotations"][:]
    unbatched = data.map(by_environment(tmp_path / "two.sqlite"), num_proc=2)
    assert votes(unbatched) == votes(plain) and len(generated(environment)) == 2 * asked


def test_a_run_that_stops_in_a_worker_says_so_and_leaves_nothing_cached(environment, tmp_path):
    data = dataset(20)
    run = by_environment(tmp_path / "v.sqlite", max_tokens=12_000)
    with pytest.raises(AnnotationIncomplete, match="the budget is used up") as caught:
        data.map(run, batched=True, batch_size=5, num_proc=2)
    assert caught.value.report.stop_reason
    spent = Ledger(tmp_path / "v.sqlite").spending()
    assert 0 < spent.tokens <= 12_000
    with pytest.raises(AnnotationIncomplete):
        data.map(run, batched=True, batch_size=5)
    more = data.map(by_environment(tmp_path / "v.sqlite"), batched=True, batch_size=5, num_proc=2)
    assert [len(found) for found in votes(more).values()] == [3] * 20
    assert len(generated(environment)) >= 60
    assert len(Ledger(tmp_path / "v.sqlite")) == 60


def test_two_processes_share_the_work(tmp_path):
    """The same data set in the same order, at the same time."""
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    with serving(log, latency=0.04) as url:
        both = [Annotating(url, path, 60, concurrency=4) for _ in range(2)]
        outcomes = [process.outcome()[0] for process in both]
    assert sent(log) == 180 == len(Ledger(path))
    assert outcomes[0]["votes"] == outcomes[1]["votes"]
    done = [outcome["report"]["votes"] for outcome in outcomes]
    assert sum(done) == 180 and min(done) > 40
    assert all(
        outcome["report"]["stored_votes"] == 180 - number for outcome, number in zip(outcomes, done, strict=True)
    )


def test_two_processes_on_one_cap_spend_at_most_the_cap(tmp_path):
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    cap = 0.05
    with serving(log, latency=0.03) as url:
        both = [Annotating(url, path, 200, concurrency=4, max_cost_usd=cap) for _ in range(2)]
        outcomes = [process.outcome()[0] for process in both]
        spent = Ledger(path).spending()
        assert sent(log) == len(Ledger(path))  # nothing was sent that is not counted
        # 0.00023 $ a reply, and 0.0105 $ reserved for each in flight
        assert cap - 0.011 <= spent.cost_usd <= cap and spent.reserved_cost_usd == 0
        assert not any(outcome["complete"] for outcome in outcomes)
        # A resumed run goes on under the same cap: nothing is sent.
        outcome, _ = Annotating(url, path, 200, max_cost_usd=cap).outcome()
        assert outcome["report"]["requests"] == 0 and outcome["report"]["stored_votes"] > 0
    assert Ledger(path).spending().cost_usd == spent.cost_usd
