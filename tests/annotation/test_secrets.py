"""The key is in the environment and nowhere else: a search for it through everything that annotation writes or says."""

import io
import logging
import pickle
import traceback
from pathlib import Path

import dill
import pytest
from annotation_setup import annotator, dataset, generated
from gemini_server import GeminiServer

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.functions import annotate_with_gemini
from hf_emo_dist.annotation.ledger.ledger import Ledger

KEY = "AIzaSyOnlyInTheEnvironment-0123456789"


@pytest.fixture
def server(monkeypatch):
    with GeminiServer(key=KEY) as running:
        monkeypatch.setenv("GEMINI_API_KEY", KEY)
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", running.url)
        yield running


@pytest.fixture
def logs():
    """All that is logged, at the lowest level, by every library."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level, before = root.level, dict.fromkeys(root.manager.loggerDict)
    root.addHandler(handler)
    root.setLevel(1)
    for name in before:
        logging.getLogger(name).setLevel(logging.NOTSET)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def files_with(folder, text):
    return [path for path in Path(folder).rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_the_search_finds_what_is_there(tmp_path):
    (tmp_path / "leak.arrow").write_bytes(b"\0\1" + KEY.encode())
    assert len(files_with(tmp_path, KEY)) == 1


FAULTS = {
    "none": None,
    "the service repeats the key": ("echo_key", {"key": KEY}),
    "the service repeats it in a reply": ("text", {"text": f"Your key is {KEY}, happy?"}),
    "in a refusal of a clip": (
        "body",
        {"code": 400, "body": f'{{"error": {{"code": 400, "message": "{KEY}"}}}}'.encode()},
    ),
    "in a failing server's page": ("body", {"code": 500, "body": f"<html>{KEY}</html>".encode()}),
    "in what is no reply": ("body", {"body": f"no reply {KEY}".encode()}),
    "in the name of a model": ("other_model", {"model": f"gemini-{KEY}"}),
    "in a reason": ("safety", {"reason": KEY}),
    "brackets": ("text", {"text": "[" * 50_000 + KEY}),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_key_is_found_nowhere(server, logs, tmp_path, monkeypatch, fault):
    import datasets

    monkeypatch.setattr("hf_emo_dist.annotation.functions.default_ledger", lambda: tmp_path / "home" / "votes.sqlite")
    if fault is not None:
        server.fault(fault[0], **fault[1])
    data = dataset(2)
    data.save_to_disk(tmp_path / "data")  # so that map writes its cache beside it
    data = datasets.load_from_disk(tmp_path / "data")
    said = [logs]
    options = {"num_annotations": 2, "max_tries": 1, "progress": False}
    run = annotator("gemini", tmp_path / "one.sqlite", **{k: v for k, v in options.items() if k != "progress"})
    ways = [
        lambda: run.annotate(data).report,
        lambda: data.map(run, batched=True),
        lambda: data.map(annotate_with_gemini, fn_kwargs={**options, "ledger": str(tmp_path / "two.sqlite")}),
    ]
    for way in ways:
        try:
            result = way()
            said.append(repr(result) + (result.summary() + str(result.to_dict()) if hasattr(result, "summary") else ""))
        except Exception as error:  # noqa: BLE001 - whatever is raised is searched
            said.append("".join(traceback.format_exception(error)) + repr(error.__dict__))
            said.append(repr(pickle.dumps(error)))
    assert generated(server) and all(request.key_ok for request in generated(server))
    run.ledger.to_dataset().to_parquet(str(tmp_path / "export.parquet"))
    for thing in (run, annotate_with_gemini, run.backend):
        said += [repr(thing), repr(pickle.dumps(thing)), repr(dill.dumps(thing, recurse=True)), repr(vars(thing))]
    said.append(repr(run.describe()) + run.plan)
    said[0] = logs.getvalue()
    assert len(said[0]) > 1000  # logging works
    for text in said:
        assert KEY not in text
    assert len(Ledger(tmp_path / "one.sqlite")) or fault is not None
    assert list((tmp_path / "data").glob("cache-*.arrow")) or fault is not None
    assert files_with(tmp_path, KEY) == []


def test_a_full_ledger_needs_no_key(server, tmp_path, monkeypatch):
    data = dataset(2)
    first = data.map(annotator("gemini", tmp_path / "v.sqlite"), batched=True)
    monkeypatch.delenv("GEMINI_API_KEY")
    sent = len(generated(server))
    again = annotator("gemini", tmp_path / "v.sqlite").annotate(data)
    assert again.dataset["synthetic_votes"][:] == first["synthetic_votes"][:] and len(generated(server)) == sent


def test_without_a_key_nothing_is_sent_and_the_mend_is_said(server, tmp_path, monkeypatch):
    monkeypatch.delenv("GEMINI_API_KEY")
    result = Annotator("gemini", ledger=tmp_path / "v.sqlite", progress=False).annotate(dataset(2))
    assert "set GEMINI_API_KEY" in result.report.stop_reason and not generated(server)
    assert len(Ledger(tmp_path / "v.sqlite")) == 0
