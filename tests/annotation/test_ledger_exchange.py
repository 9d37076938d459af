"""Export, import and merge: the same reply is never counted twice, and no order of merging changes what counts."""

import tempfile
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_records import key, record

from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, LedgerError
from hf_emo_dist.annotation.types import FAILURES


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "votes.sqlite") as opened:
        opened.store([record(n, outcome, detail="why") for n, outcome in enumerate(FAILURES)])
        opened.store(
            [record(0), record(1, "empty"), record(50, text="\0 ü 🙂", temperature=None, persona="an old man")]
        )
        opened.store(
            [
                record(60, mode="distribution", label=None, distribution={"sad": 0.25, "happy": 0.75}),
                record(61, mode="distribution", label=None, distribution={"angst": 1.0}, settings={}),
            ]
        )
        yield opened


def everything(ledger):
    return sorted(map(repr, ledger.records())), Ledger.failures_digest_of(ledger.path), ledger.spending()


@pytest.mark.parametrize("form", ["as it is", "iterable", "parquet", "without reply_id"])
def test_round_trip_through_a_data_set(ledger, tmp_path, form):
    dataset = ledger.to_dataset()
    assert len(dataset) == len(ledger) == len(FAILURES) + 5
    assert sum(dataset["counts"]) == len(FAILURES) + 3
    assert dataset[-2]["distribution"] == [{"emotion": "sad", "share": 0.25}, {"emotion": "happy", "share": 0.75}]
    if form == "iterable":
        dataset = dataset.to_iterable_dataset()
    elif form == "parquet":
        dataset.to_parquet(tmp_path / "long.parquet")
        dataset = Dataset.from_parquet(str(tmp_path / "long.parquet"), cache_dir=str(tmp_path))
    elif form == "without reply_id":
        # known by their content then; `created` tells which attempt was first
        dataset = dataset.map(lambda row, n: {"created": f"2025-01-01T00:00:{n:02d}+00:00"}, with_indices=True)
        dataset = dataset.remove_columns(["reply_id", "counts", "attempt", "persona"])
    with Ledger(tmp_path / "other.sqlite") as other:
        assert other.import_dataset(dataset) == len(ledger) and other.import_dataset(dataset) == 0
        if form == "without reply_id":
            assert Ledger.failures_digest_of(other.path) == Ledger.failures_digest_of(ledger.path)
            assert {k: r.outcome for k, r in other.lookup([key(0), key(1)]).items()} == {key(0): "ok", key(1): "empty"}
        else:
            assert everything(other) == everything(ledger)
            assert ledger.import_dataset(dataset) == 0 and ledger.merge(other.path) == 0
            assert other.reserve([Claim(key(0))]).stored


def test_an_empty_ledger_has_the_columns_too(tmp_path, ledger):
    with Ledger(tmp_path / "empty.sqlite") as empty:
        assert empty.to_dataset().features == ledger.to_dataset().features and len(empty.to_dataset()) == 0


def test_what_arrow_cannot_hold_is_escaped(tmp_path):
    with Ledger(tmp_path / "votes.sqlite") as ledger:
        ledger.store([record(0, text="a\ud800b")])
        dataset = ledger.to_dataset()
        assert dataset[0]["text"] == "a\\ud800b" and ledger.import_dataset(dataset) == 0


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("outcome", ["ok", "good"], "Row 1, column `outcome`: expected 'ok' or one of empty"),
        ("key", ["k", None], "Row 1, column `key`"),
        ("reply_id", ["0" * 32, "17"], "Row 1, column `reply_id`: expected 32 hexadecimal"),
        ("settings", ["{}", "{"], "Row 1, column `settings`: expected a JSON object"),
        ("cost_usd", ["much", "more"], "Row 0, column `cost_usd`: expected a number"),
        ("distribution", [1.5, 2.5], "Row 0, column `distribution`: expected a list of structs"),
    ],
)
def test_a_bad_row_is_named(tmp_path, column, values, message):
    dataset = Dataset.from_dict({"key": ["a", "b"], "outcome": ["ok", "ok"]} | {column: values})
    with Ledger(tmp_path / "v") as ledger, pytest.raises(ValueError, match=message):
        ledger.import_dataset(dataset)


def test_what_is_no_ledger_is_not_merged(tmp_path, ledger):
    with pytest.raises(ValueError, match="no column `outcome`"):
        ledger.import_dataset(Dataset.from_dict({"key": ["a"]}))
    with pytest.raises(LedgerError, match="There is no ledger"):
        ledger.merge(tmp_path / "nowhere")
    (tmp_path / "text").write_text("not a ledger, though long enough")
    with pytest.raises(LedgerError, match="not an SQLite file"):
        ledger.merge(tmp_path / "text")
    assert ledger.merge(ledger.path) == 0


REPLIES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["ok", "ok", "empty", "server"]), st.integers(0, 2)), max_size=8
)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.lists(REPLIES, min_size=3, max_size=3))
def test_no_order_of_merging_changes_what_counts(contents):
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, replies in enumerate(contents):
            clock = iter(range(1_700_000_000, 1_800_000_000))
            paths.append(Path(folder, f"{number}"))
            now = 0.0
            with Ledger(paths[-1], synchronous="NORMAL", clock=lambda: now) as ledger:  # noqa: B023
                for name, outcome, wait in replies:
                    now = next(clock) + wait
                    ledger.store([record(name, outcome, label=f"{number} {now}" if outcome == "ok" else None)])
        results = []
        for order in (paths, paths[::-1], paths[1:] + paths[:1]):
            with Ledger(Path(folder, f"merged {len(results)}"), synchronous="NORMAL") as merged:
                for path in (*order, order[0]):
                    merged.merge(path)
                assert len(merged) == sum(map(len, contents))
                counting = merged.lookup([key(n) for n in range(4)])
                results.append((everything(merged)[:2], counting))
                for n, one in counting.items():
                    had_ok = any(
                        key(name) == n and outcome == "ok" for replies in contents for name, outcome, _ in replies
                    )
                    assert (one.outcome == "ok") == had_ok
        assert all(result == results[0] for result in results)
