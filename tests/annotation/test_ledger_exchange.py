"""Export, import and merge: no reply is counted twice, no vote replaced, and what cannot be a reply stays outside."""

import json
import tempfile
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_records import key, record

from hf_emo_dist.annotation.annotation_columns import annotation_columns
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, LedgerError, Limits
from hf_emo_dist.annotation.ledger.plans import Plan, remember
from hf_emo_dist.annotation.rereading import reread
from hf_emo_dist.annotation.types import FAILURES, Record, ledger_key


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


CLIP = {"audio": "a" * 64, "request": "b" * 64, "backend": "gemini", "endpoint": "e", "model": "m", "replicate": 0}
GOOD = {**CLIP, "key": ledger_key(**CLIP), "outcome": "ok", "label": "sad", "settings": "{}", "cost_usd": 0.25}
SIMULATED = {"backend": "simulated", "audio": "", "request": ""}
PRICED = {"model": "gemini-2.5-flash", "audio": "", "request": "", "prompt_tokens": 300, "cost_usd": 0.001}
#: What a stranger's reply holds instead of what is right, and what is said of it.
BAD = {
    "no outcome": ({"outcome": "good"}, "column `outcome`: expected 'ok' or one of empty"),
    "no key": ({"key": None}, "column `key`"),
    "a key of something else": ({"key": "f" * 64}, "column `key`: it is not that of its clip, request and model"),
    "another clip's reply": ({"audio": "c" * 64}, "column `key`: it is not that of its clip"),
    "a name": ({"reply_id": "17"}, "column `reply_id`: expected 32 hexadecimal"),
    "a name of next year": ({"reply_id": f"{2**52:016x}" + "0" * 16}, "column `reply_id`: it is of a day"),
    "settings that are no JSON": ({"settings": "{"}, "column `settings`: expected a JSON object"),
    "settings that are a list": ({"settings": "[1]"}, "column `settings`: expected a JSON object"),
    "settings beyond numbers": ({"settings": '{"a": Infinity}'}, "column `settings`: expected a JSON object"),
    "a cost below 0": ({"cost_usd": -1e6}, "column `cost_usd`: expected a number from 0 to 1000"),
    "a cost without end": ({"cost_usd": float("inf")}, "column `cost_usd`: expected a number"),
    "no number": ({"assumed_usd": float("nan")}, "column `assumed_usd`: expected a number"),
    "tokens below 0": ({"prompt_tokens": -5}, "column `prompt_tokens`: expected a number"),
    "too many tokens": ({"assumed_tokens": 2**50}, "column `assumed_tokens`: expected a number"),
    "no vote": ({"label": None}, "column `label`: expected a label or a distribution"),
    "shares below 0": ({"distribution": '{"sad": 1.5, "angry": -0.5}'}, "column `distribution`"),
    "shares of a number": ({"distribution": "1.5"}, "column `distribution`: expected a list of structs"),
    "a mode": ({"mode": "shouted"}, "column `mode`: expected one of label, distribution"),
    "a label that was not asked for": ({"label": "bored", "plan": "p" * 64}, "column `label`: 'bored' is not among"),
    "shares of labels that were not asked for": (
        {"distribution": '{"bored": 1.0}', "label": None, "plan": "p" * 64},
        "column `distribution`: its labels are bored and not angry, sad",
    ),
    "a price of what is free": ({**SIMULATED, "cost_usd": 9.0}, "column `cost_usd`: 9 USD, where its tokens cost 0"),
    "a price beyond its tokens": ({**PRICED, "cost_usd": 9.0}, "column `cost_usd`: 9 USD, where its tokens cost 0.0"),
    "an assumed price beyond them": ({**PRICED, "assumed_usd": 9.0}, "column `assumed_usd`: 9 USD, where its tokens"),
    "a day that is none": ({"created": "yesterday"}, "column `created`: expected a time"),
    "a day to come": ({"created": "2999-01-01T00:00:00+00:00"}, "column `created`: it is of a day"),
}


def as_table(values, folder):
    return Dataset.from_list([values, {**GOOD, "label": "angry"}]), "row 0, "


def as_lines(values, folder):
    path = folder / "stranger.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in (values, {**GOOD, "label": "angry"})))
    return path, "line 1, "


def as_ledger(values, folder):
    path = folder / "stranger.sqlite"
    with Ledger(path) as other:
        other.store([record(0), Record(**{**GOOD, "label": "angry", "settings": {}})])
        names = [name for name in values if name not in ("final", "attempt")]
        with other._database.transaction() as connection:
            connection.execute(
                f"UPDATE replies SET {', '.join(f'{name} = ?' for name in names)} WHERE key = ?",
                [*(values[name] for name in names), key(0)],
            )
    return path, "reply "


@pytest.mark.parametrize("form", [as_table, as_lines, as_ledger])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_reply_is_left_out_counted_and_named(tmp_path, caplog, case, form):
    change, message = BAD[case]
    if form is as_ledger and case == "no number":
        pytest.skip("SQLite has none: it stores null")
    source, where = form({**GOOD, **change}, tmp_path)
    with Ledger(tmp_path / "mine") as ledger:
        ledger.remember_plan("p" * 64, Plan(("angry", "sad")))
        added = ledger.import_dataset(source) if form is as_table else ledger.merge(source)
        assert added == 1 and added.cost_usd == 0.25 and added.left_out == {message.split("`")[1]: 1}
        assert f"{where}" in caplog.text and message in caplog.text and "1 reply is left out" in caplog.text
        # and what is there can be read, and spent
        assert [one.label for one in ledger.records()] == ["angry"]
        assert ledger.spending().cost_usd == 0.25 and ledger.to_dataset()["label"][:] == ["angry"]
        assert ledger.reserve([Claim(key(1), cost_usd=0.1)], Limits(max_cost_usd=0.4)).granted
        assert not ledger.reserve([Claim(key(2), cost_usd=0.1)], Limits(max_cost_usd=0.4)).granted


def test_where_nothing_is_a_reply_it_is_said(tmp_path):
    with (
        Ledger(tmp_path / "v") as ledger,
        pytest.raises(ValueError, match=r"row 0, column `key`: .* That is all of it"),
    ):
        ledger.import_dataset(Dataset.from_dict({"key": [""], "outcome": ["ok"]}))


def test_a_vote_that_is_there_stays_whatever_comes(tmp_path):
    with Ledger(tmp_path / "stranger", clock=lambda: 1.0) as other:  # long before
        other.store([record(0, label="theirs"), record(1, label="theirs")])
    with Ledger(tmp_path / "mine") as ledger:
        ledger.store([record(0, label="mine"), record(1, "server")])
        assert ledger.merge(other.path) == 2
        assert {k: r.label for k, r in ledger.lookup([key(0), key(1)]).items()} == {key(0): "mine", key(1): "theirs"}
        ledger.store([record(0, label="later")])
        assert ledger.lookup([key(0)])[key(0)].label == "mine"


def test_a_copy_of_a_vote_by_another_name_is_not_charged_again(tmp_path):
    with Ledger(tmp_path / "theirs") as other, Ledger(tmp_path / "mine") as ledger:
        other.store([record(0), record(1)])
        assert ledger.merge(other.path).cost_usd == 0.5
        with other._database.transaction() as connection:
            connection.execute("UPDATE replies SET reply_id = substr(reply_id, 1, 31) || 'f'")
            connection.execute("UPDATE replies SET reply_id = substr(reply_id, 1, 30) || '0' || id")
        again = ledger.merge(other.path)
        assert again == 0 and again.cost_usd == 0 and ledger.spending().cost_usd == 0.5


#: Votes that their plan did not ask for, and whether the plan is known to the ledger.
OUTSIDE = {
    "a label": ({"label": "bored"}, True),
    "shares": ({"label": None, "mode": "distribution", "distribution": {"bored": 1.0}}, True),
    "a label of a plan that nobody knows": ({"label": "bored"}, False),
    "shares of such a plan": ({"label": None, "mode": "distribution", "distribution": {"bored": 1.0}}, False),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_vote_that_was_not_asked_for_is_passed_over_and_asked_for_again(tmp_path, caplog, case):
    change, known = OUTSIDE[case]
    emotions = ("happy", "sad")
    with Ledger(tmp_path / "votes.sqlite") as ledger:
        ledger.store([record(0, **change), record(1)])
        if known:
            with ledger._database.transaction() as connection:  # a stranger's word of the plan does not stay
                remember(connection, {"p" * 64: Plan(("bored", "sad"))})
            ledger.remember_plan("p" * 64, Plan(emotions))
        claims = [Claim(key(0)), Claim(key(1))]
        assert ledger.reserve(claims).granted == ([key(0)] if known else [])
        keys = [bytes.fromhex(key(0) + key(1))]
        columns = annotation_columns(ledger, keys, [()], emotions)
        assert columns["synthetic_votes"] == [["happy"]]
        told = [entry.getMessage() for entry in caplog.records if entry.levelname == "ERROR"]
        assert len(told) == 1 and str(ledger.path) in told[0] and key(0) in told[0] and "bored" in told[0]
        if known:
            ledger.store([record(0, label="sad")])
            assert annotation_columns(ledger, keys, [()], emotions)["synthetic_votes"] == [["sad", "happy"]]
            assert not ledger.reserve(claims).granted


#: What one flipped bit may make of a text in the file.
DAMAGE = {
    "settings": ("settings", '{"temperature": 0.5', "happy"),
    "settings that are no text": ("settings", b'{"temper\xffture": 0.5}', "happy"),
    "a number instead of settings": ("settings", "3", "happy"),
    "a stated distribution": ("distribution", '{"sad": 0.25, "happy" 0.75}', None),
    "text": ("text", b"s\xe1d", "happy"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_reply_is_named_and_the_rest_is_read(tmp_path, caplog, case):
    column, damage, label = DAMAGE[case]
    mine = {"label": None, "mode": "distribution", "distribution": {"sad": 0.25, "happy": 0.75}}
    with Ledger(tmp_path / "votes.sqlite") as ledger:
        ledger.remember_plan("p" * 64, Plan(("happy", "sad")))
        ledger.store([record(0, text='{"sad": 0.25, "happy": 0.75}', **({} if label else mine)), record(1)])
        with ledger._database.transaction() as connection:
            connection.execute(f"UPDATE replies SET {column} = CAST(? AS TEXT) WHERE key = ?", (damage, key(0)))
        for _ in range(2):
            found = ledger.lookup([key(0), key(1)])
        assert found[key(1)] == record(1) and found[key(0)].label == label
        assert [one.key for one in ledger.records()] == [key(0), key(1)] and len(ledger.to_dataset()) == 2
        assert ledger.reserve([Claim(key(0)), Claim(key(1)), Claim(key(2))]).granted == [key(2)]
        told = [entry.getMessage() for entry in caplog.records if entry.levelname == "ERROR"]
        if column == "text":
            assert not told and found[key(0)].text == "s\\xe1d"
            return
        (told,) = told
        assert "votes.sqlite" in told and key(0) in told and f"`{column}`" in told and "Mend: " in told
        if label is None:  # what was said is there still
            assert found[key(0)].outcome == "unparseable" and not found[key(0)].distribution
            assert reread(ledger).votes == 1
            assert ledger.lookup([key(0)])[key(0)].distribution == {"sad": 0.25, "happy": 0.75}


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
def test_every_order_of_merging_brings_the_same_replies_and_moves_no_vote(contents):
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, replies in enumerate(contents):
            clock = iter(range(1_700_000_000, 1_800_000_000))
            paths.append(Path(folder, f"{number}"))
            now = 0.0
            with Ledger(paths[-1], synchronous="NORMAL", clock=lambda: now) as ledger:  # noqa: B023
                for place, (name, outcome, wait) in enumerate(replies):
                    now = next(clock) + wait
                    ledger.store([record(name, outcome, label=f"{number} {place}" if outcome == "ok" else None)])
        results = []
        for order in (paths, paths[::-1], paths[1:] + paths[:1]):
            with Ledger(Path(folder, f"merged {len(results)}"), synchronous="NORMAL") as merged:
                votes = {}
                for path in (*order, order[0]):
                    merged.merge(path)
                    counting = merged.lookup([key(n) for n in range(4)])
                    now = {n: one.label for n, one in counting.items() if one.outcome == "ok"}
                    assert votes.items() <= now.items()
                    votes = now
                assert len(merged) == sum(map(len, contents))
                results.append(everything(merged)[:2])
                for n, one in counting.items():
                    had_ok = any(
                        key(name) == n and outcome == "ok" for replies in contents for name, outcome, _ in replies
                    )
                    assert (one.outcome == "ok") == had_ok
        assert all(result == results[0] for result in results)
