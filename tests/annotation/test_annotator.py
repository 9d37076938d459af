"""`Annotator` and `annotate_with_gemini` as users call them, against the local server."""

import hashlib

import pytest
from annotation_setup import KEY, annotator, clip, dataset, gemini, generated, reset, rows, votes
from gemini_server import GeminiServer

from hf_emo_dist.annotation.functions import annotate_with_gemini
from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.run.run_report import AnnotationIncomplete


@pytest.fixture(scope="module")
def _server():
    with GeminiServer(key=KEY) as running:
        yield running


@pytest.fixture
def server(_server):
    return reset(_server)


@pytest.fixture
def environment(server, monkeypatch, tmp_path):
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
    for module in ("functions", "annotator"):
        monkeypatch.setattr(f"hf_emo_dist.annotation.{module}.default_ledger", lambda: tmp_path / "hf" / "votes.sqlite")
    return server


def test_map_with_no_argument_at_all(environment, tmp_path):
    """The four emotions of the paper, ten annotators, the key from the environment, the ledger in the cache folder."""
    found = dataset(2).map(annotate_with_gemini)
    assert [len(row) for row in found["synthetic_votes"]] == [10, 10]
    assert len(generated(environment)) == 20
    assert len(Ledger(tmp_path / "hf" / "votes.sqlite")) == 20
    assert {vote for row in found["synthetic_votes"] for vote in row} <= {"angry", "happy", "neutral", "sad"}
    dataset(2).map(annotate_with_gemini, load_from_cache_file=False)
    assert len(generated(environment)) == 20


def test_each_clip_is_sent_as_it_is_to_every_annotator(server, tmp_path):
    """A clip with another's audio would still look right: the server sees which audio came with which answer."""
    data = dataset(6)
    result = annotator(gemini(server), tmp_path / "v.sqlite", num_annotations=4).annotate(data)
    sent = {}
    for request in generated(server):
        sent.setdefault(request.audio, set()).add(request.text + request.system)
    assert set(sent) == {hashlib.sha256(clip(i)).hexdigest() for i in range(6)}
    assert all(len(texts) == 4 for texts in sent.values())
    replies = {record.key: record.label for record in Ledger(tmp_path / "v.sqlite").records()}
    for row in result.dataset:
        for found in row["synthetic_annotations"]:
            assert found["label"] == replies[found["key"]]


def test_a_corrupt_clip_among_good_ones(server, tmp_path):
    content = rows(5)
    content[1]["audio"] = {"bytes": clip(1)[:300], "path": None}  # breaks off
    content[3]["audio"] = {"bytes": b"no audio at all", "path": None}
    whole = annotator(gemini(server), tmp_path / "v.sqlite").annotate(dataset(content))
    assert set(whole.report.skipped) == {"u001", "u003"} and whole.report.complete
    assert [len(found) for found in votes(whole.dataset).values()] == [3, 0, 3, 0, 3]
    assert len(generated(server)) == 9
    mapped = dataset(content).map(annotator(gemini(server), tmp_path / "v.sqlite"), batched=True, batch_size=2)
    assert votes(mapped) == votes(whole.dataset) and len(generated(server)) == 9


def test_annotations_of_two_annotators_stand_together(server, tmp_path):
    data = dataset(3)
    first = data.map(annotator(gemini(server), tmp_path / "v.sqlite"), batched=True)
    other = annotator(gemini(server, model="gemini-3.8-flash"), tmp_path / "v.sqlite", num_annotations=2)
    both = first.map(other, batched=True)
    assert [len(found) for found in both["synthetic_votes"]] == [5, 5, 5]
    assert {entry["model"] for entry in both[0]["synthetic_annotations"]} == {"gemini-2.5-flash", "gemini-3.8-flash"}
    assert both.map(other, batched=True, load_from_cache_file=False)["synthetic_votes"][:] == both["synthetic_votes"][:]
    assert other.annotate(both).dataset["synthetic_votes"][:] == both["synthetic_votes"][:]


def test_the_order_of_rows_and_the_batches_change_no_vote(server, tmp_path):
    data = dataset(9)
    plain = annotator(gemini(server), tmp_path / "one.sqlite").annotate(data)
    mixed = data.shuffle(seed=3).map(annotator(gemini(server), tmp_path / "two.sqlite"), batched=True, batch_size=4)
    assert votes(mixed) == votes(plain.dataset) and len(generated(server)) == 54
    select = data.select([7, 2, 5])
    again = annotator(gemini(server), tmp_path / "two.sqlite").annotate(select)
    assert votes(again.dataset) == {name: votes(plain.dataset)[name] for name in ("u007", "u002", "u005")}
    assert len(generated(server)) == 54


def test_after_close_the_next_use_opens_again(server, tmp_path):
    run = annotator(gemini(server), tmp_path / "v.sqlite")
    run.annotate(dataset(1))
    run.close()
    run.close()
    assert run.annotate(dataset(2)).report.votes == 3
    with Ledger(tmp_path / "own.sqlite") as given:
        run = annotator(gemini(server), given)
        run.annotate(dataset(1))
        run.close()
        assert len(given) == 3  # it stays its owner's
        run.annotate(dataset(1))


def test_a_stop_in_the_midst_of_map_caches_nothing(server, tmp_path):
    """The replies that came are kept, and the next call goes on after them."""
    data = dataset(12)
    server.fault("forbidden", lambda request: request.number > 20)
    with pytest.raises(AnnotationIncomplete, match="Google refused the request"):
        data.map(annotator(gemini(server), tmp_path / "v.sqlite", concurrency=2), batched=True, batch_size=4)
    records = list(Ledger(tmp_path / "v.sqlite").records())
    assert sum(record.outcome == "ok" for record in records) == 20 and not any(r.final for r in records[20:])
    server.script.clear()
    found = data.map(annotator(gemini(server), tmp_path / "v.sqlite", concurrency=2), batched=True, batch_size=4)
    assert [len(row) for row in found["synthetic_votes"]] == [3] * 12
    assert sum(record.outcome == "ok" for record in Ledger(tmp_path / "v.sqlite").records()) == 36
