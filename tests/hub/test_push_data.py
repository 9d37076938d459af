"""Votes, data sets and metrics on the Hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from hub_repos import metadata_errors
from tiny_data import as_dataset, tiny_rows

from hf_emo_dist import push_dataset, push_votes
from hf_emo_dist.data.writing import write_dataset
from hf_emo_dist.hub import push_metric
from hf_emo_dist.hub.cards.dataset_card import write_dataset_card

ROOT = Path(__file__).parents[2]
SECRET = "I will be late"
REPLIES = [
    {
        "key": f"k{i}", "reply_id": f"{i:032x}", "counts": True, "outcome": "ok" if i % 3 else "blocked",
        "label": "sad" if i % 3 else None, "distribution": [{"emotion": "sad", "share": 1.0}],
        "text": f"They say '{SECRET}'", "detail": SECRET, "backend": "simulated", "endpoint": "http://10.0.0.3",
        "model": "gemini-x", "model_version": "gemini-x-001", "focus": "tone", "mode": "label", "prompt_version": "2",
        "audio": "ab" * 32, "request": "cd" * 32, "row_id": f"clip-{i}", "settings": "{}", "cost_usd": 0.01,
        "prompt": SECRET,
    }
    for i in range(9)
]  # fmt: skip


class Ledger:
    """What the annotation room's ledger offers to this room."""

    def to_dataset(self):
        return Dataset.from_list(REPLIES)


def published(hub, name):
    """The columns and bytes of what lies in a data set repository."""
    files = hub.repo(name, "dataset").files
    shards = [blob.data for path, blob in files.items() if path.endswith(".parquet")]
    return files, pq.read_table(__import__("io").BytesIO(shards[0])), b"".join(blob.data for blob in files.values())


def test_a_ledger_goes_without_what_was_said_or_written(hub):
    report = push_votes(Ledger(), "me/votes", license="cc-by-4.0", vote_source="A program.")
    assert hub.repo("me/votes", "dataset").private
    files, table, everything = published(hub, "me/votes")
    assert {"text", "detail", "prompt", "endpoint"}.isdisjoint(table.column_names) and SECRET.encode() not in everything
    assert {"label", "outcome", "model_version", "focus", "row_id", "cost_usd", "request", "audio"} <= set(
        table.column_names
    )
    assert table.num_rows == 9 and len(hub.repo("me/votes", "dataset").commits) == 2
    assert "text (ask with include_replies=True)" in str(report) and "endpoint (ask with columns=['endpoint'])" in str(
        report
    )
    card = files["README.md"].data.decode()
    assert metadata_errors(card, "dataset") == []
    for line in (
        "Simulated votes",
        "| Replies | 9 |",
        "| Votes | 6 |",
        "| No vote, by reason | blocked `3` |",
        "`gemini-x-001` (9)",
    ):
        assert line in card, line
    push_votes(Ledger(), "me/all", include_replies=True, include_transcripts=True, columns=["endpoint"])
    assert {"text", "detail", "prompt", "endpoint"} <= set(published(hub, "me/all")[1].column_names)


def test_utterances_go_without_recordings_and_transcripts(hub, tiny_train):
    rows = tiny_train.add_column("synthetic_votes", [["sad", "sad"]] * len(tiny_train)).add_column(
        "human_raters", [["anna"] * 5] * len(tiny_train)
    )
    report = push_votes(DatasetDict({"train": rows, "test": rows.select(range(3))}), "me/votes", dry_run=True)
    assert hub.requests == [] and report.private
    push_votes(DatasetDict({"train": rows, "test": rows.select(range(3))}), "me/votes", private=False)
    files, table, everything = published(hub, "me/votes")
    assert not hub.repo("me/votes", "dataset").private
    assert {"audio", "transcript", "human_raters"}.isdisjoint(table.column_names)
    assert b"fLaC" not in everything and b"talking by" not in everything and b"anna" not in everything
    assert [name for name in sorted(files) if "data/" in name] == [
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
    ]
    assert "| `train` | 16 | 80 | 32 | none | none |" in files["README.md"].data.decode()
    with pytest.raises(ValueError, match="no votes in this data"):
        push_votes(Dataset.from_list([{"id": "a", "seconds": 1.0}]), "me/x")
    with pytest.raises(ValueError, match="no columns nonsense"):
        push_votes(rows, "me/x", columns=["nonsense"])


@pytest.fixture
def prepared(tmp_path, tiny_emotions):
    data = DatasetDict({"train": as_dataset(tiny_rows(6)), "test": as_dataset(tiny_rows(4, seed=9))})
    folder = write_dataset(
        data,
        tmp_path / "prepared",
        description="Tones.",
        vote_source="Nine listeners.",
        emotions=tiny_emotions,
        license="cc0-1.0",
    )
    preparation = {
        "annotation": {"model": "m<b>", "num_requests": 60, "panel": [{"focus": "tone"}], "failures": {"empty": 2}},
        "source": {"dataset": "/home/anna/raw"},
    }
    (folder / "preparation.json").write_text(json.dumps(preparation))
    (folder / "combiner.json").write_text("{}")
    return folder


def test_the_card_of_prepared_data_grows_a_section_and_keeps_the_rest(prepared):
    before = (prepared / "README.md").read_text()
    write_dataset_card(prepared)
    text = (prepared / "README.md").read_text()
    assert text.startswith(before.rstrip()) and "| `train` | 6 | 30 | none | none | none |" in text
    assert "failures: empty `2`" in text and "`m<b>`" in text
    (prepared / "README.md").write_text(text.replace("Tones.", "My tones."))
    write_dataset_card(prepared)
    assert (prepared / "README.md").read_text() == text.replace("Tones.", "My tones.")
    assert metadata_errors(text, "dataset") == []


def test_shards_of_an_earlier_push_are_not_read_together_with_the_new_ones(hub, prepared):
    rows = as_dataset(tiny_rows(6))
    push_dataset(prepared, "me/data")
    (prepared / "data" / "train-00000-of-00001.parquet").rename(prepared / "data" / "train-00000-of-00002.parquet")
    (prepared / "data" / "test-00000-of-00001.parquet").rename(prepared / "data" / "train-00001-of-00002.parquet")
    push_dataset(prepared, "me/data")
    there = {path for path in hub.repo("me/data", "dataset").files if path.endswith(".parquet")}
    assert there == {"data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"}
    push_votes(rows, "me/votes")
    push_votes(DatasetDict({"test": rows}), "me/votes")
    there = [path for path in hub.repo("me/votes", "dataset").files if path.endswith(".parquet")]
    assert there == ["data/test-00000-of-00001.parquet"]


def test_rows_that_are_marked_as_restricted_stay_private(hub, tmp_path, tiny_emotions):
    """As a reader of a restricted corpus writes them: a column says it, and the card does not."""
    rows = as_dataset(tiny_rows(4)).add_column("restricted", [False, False, True, False])
    open_rows = as_dataset(tiny_rows(4, seed=9)).add_column("restricted", [False] * 4)
    data = DatasetDict({"train": open_rows, "test": rows})
    folder = write_dataset(data, tmp_path / "d", description="D.", vote_source="Nine.", emotions=tiny_emotions)
    for push in (push_dataset, push_votes):
        with pytest.raises(ValueError, match="marked as restricted"):
            push(folder, "me/secret")
    with pytest.raises(ValueError, match="marked as restricted"):
        push_votes(rows, "me/secret")
    assert hub.requests == []
    push_dataset(folder, "me/secret", allow_restricted=True)
    assert hub.repo("me/secret", "dataset").private
    hub.repo("me/secret", "dataset").private = False
    with pytest.raises(ValueError, match="me/secret is public"):
        push_dataset(folder, "me/secret", allow_restricted=True)
    push_dataset(folder, "me/secret", allow_restricted=True, private=False)


def test_a_whole_data_set_and_a_restricted_one(hub, prepared):
    push_dataset(prepared, "me/data")
    files = hub.repo("me/data", "dataset").files
    assert hub.repo("me/data", "dataset").private and b"anna" not in files["preparation.json"].data
    assert files["combiner.json"].data == b"{}"
    assert (
        files["data/train-00000-of-00001.parquet"].data
        == (prepared / "data" / "train-00000-of-00001.parquet").read_bytes()
    )
    readme = prepared / "README.md"
    readme.write_text(readme.read_text().replace("license: cc0-1.0", "license: cc0-1.0\nrestricted: true"))
    for push in (push_dataset, push_votes):
        with pytest.raises(ValueError, match="marked as restricted"):
            push(prepared, "me/again")
    push_votes(prepared, "me/again", allow_restricted=True)
    assert "Nine listeners." in hub.repo("me/again", "dataset").files["README.md"].data.decode()
    with pytest.raises(OSError, match=r"holds no data/\*\.parquet"):
        push_dataset(prepared / "data", "me/x")
    for source in (prepared / "none", prepared.parent):
        with pytest.raises((OSError, ValueError)):
            push_votes(source / "x", "me/x")


PULL_METRIC = """
import importlib.abc, json, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hf_emo_dist":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import datasets
votes = datasets.load_dataset("me/votes", split="train")
assert "label" in votes.column_names and len(votes) == 9, votes
import evaluate
p, q = json.loads(sys.argv[1])
found = evaluate.load("me/js_divergence").compute(predictions=p, references=q)
try:
    evaluate.load("me/js_divergence").compute(predictions=[[2.0, 3.0]], references=[[0.5, 0.5]])
except ValueError as error:
    found["error"] = str(error)
try:
    import gradio
except ImportError:
    pass
else:
    space = {"__name__": "app"}
    exec(compile(open("app.py").read(), "app.py", "exec"), space)
    assert isinstance(space["page"], gradio.Interface)
    assert space["compute"]("[[1.0, 0.0]]", "[[0.0, 1.0]]") == {"js_divergence": 1.0}
    try:
        space["compute"]("[[1.0", "[[0.0, 1.0]]")
    except gradio.Error:
        found["page"] = "built"
print(json.dumps(found))
"""


def test_a_metric_works_where_the_package_is_not(hub, tmp_path):
    """And its page is built there, and votes load with `datasets` alone.

    All in one process of their own: what evaluate imports there would clash with other tests.
    """
    report = push_metric("js_divergence", "me/js_divergence")
    push_votes(Ledger(), "me/votes")
    space = hub.repo("me/js_divergence", "space")
    assert space.sdk == "gradio" and len(space.commits) == 2 and report.repo_type == "space"
    readme = space.files["README.md"].data.decode()
    assert metadata_errors(readme, "space") == [] and 'evaluate.load("me/js_divergence")' in readme
    assert space.files["js_divergence.py"].data == (ROOT / "metrics/js_divergence/js_divergence.py").read_bytes()
    for path, blob in space.files.items():
        (tmp_path / path).write_bytes(blob.data)
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), 5).tolist(), rng.dirichlet(np.ones(4), 5).tolist()
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path),
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    }
    environment.pop("HF_DATASETS_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", PULL_METRIC, json.dumps([p, q])],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    from hf_emo_dist.scores.divergences import jensen_shannon_divergence

    assert found["js_divergence"] == pytest.approx(jensen_shannon_divergence(p, q).mean(), abs=1e-12)
    assert "Row 0" in found["error"] and found.get("page", "built") == "built"
    with pytest.raises(ValueError, match="give the Space the metric's name, js_divergence"):
        push_metric("js_divergence", "me/other")
    with pytest.raises(OSError, match="holds no"):
        push_metric(tmp_path, "me/x")
