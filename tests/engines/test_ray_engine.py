"""The Ray engine: what it gives is what `Dataset.map` gives, whoever dies; one ledger serves all workers."""

import os
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest
from annotation_setup import annotator, dataset, gemini, votes
from gemini_server import GeminiServer
from processes import replies, sent, serving, wait_for
from ray_driver import Driver
from tiny_data import TINY_EMOTIONS, tiny_rows

from hf_emo_dist import combine_votes
from hf_emo_dist.annotation import Annotator
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger
from hf_emo_dist.annotation.ledger.limits import Limits, Owner
from hf_emo_dist.annotation.types import IN_FLIGHT, Record
from hf_emo_dist.augmentation import DiMEAug
from hf_emo_dist.combining import VoteCombiner
from hf_emo_dist.data.map_engine import current_engine
from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset
from hf_emo_dist.engines import EngineChoice
from hf_emo_dist.engines.ray_ledger import LedgerActor

OPTIONS = {"emotions": TINY_EMOTIONS, "num_annotations": 3, "num_distributions": 1, "progress": False}


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, with two CPUs; started once, and gone before other tests fork."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR", namespace="hf_emo_dist")
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    made = [{**row, "true_distribution": row["human_distribution"]} for row in tiny_rows(14)]
    return build_dataset(
        made, row_features(TINY_EMOTIONS, true_distribution=True), tmp_path_factory.mktemp("rows") / "rows.arrow"
    )


def engine(workers=2, batch=5):
    from hf_emo_dist.engines import RayEngine

    return RayEngine(workers=workers, rows=batch, progress=False)


# --- what it gives


def check_annotated_alike(rows, folder, workers, batch, twice=True):
    expected = rows.map(Annotator("simulated", ledger=folder / "map.sqlite", **OPTIONS), batched=True, batch_size=6)
    with engine(workers, batch) as ray_engine:
        by_workers = ray_engine.share_ledger(Annotator("simulated", ledger=folder / "ray.sqlite", **OPTIONS))
        found, report = ray_engine.annotate(by_workers, rows)
        again = ray_engine.annotate(by_workers, rows).report if twice else None
    assert current_engine() is None
    assert found.features == expected.features and found.to_list() == expected.to_list()
    assert report.complete and (report.rows, report.votes, report.requests) == (14, 56, 56)
    if again is not None:
        assert (again.votes, again.stored_votes, again.requests) == (0, 56, 0)
    assert len(Ledger(folder / "ray.sqlite")) == 56


def test_annotating_gives_what_map_gives(cluster, rows, tmp_path):
    check_annotated_alike(rows, tmp_path, workers=1, batch=5, twice=False)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "batch"), [(1, 3), (2, 14), (2, 1), (5, 4)])
def test_annotating_whatever_the_workers_and_the_batch(cluster, rows, tmp_path, workers, batch):
    check_annotated_alike(rows, tmp_path, workers, batch)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pyarrow", "default"])
def test_ray_data_takes_the_same_callables(cluster, rows, tones_checkpoint, tmp_path, form):
    """`ray.data.read_parquet(…).map_batches(f)`: all columns, and those of `Dataset.map`, in order."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import ray.data

    from hf_emo_dist.engines import RayLedger
    from hf_emo_dist.evaluation import DistributionPredictor

    ray.data.DataContext.get_current().execution_options.preserve_order = True
    folder = tmp_path / "parquet"
    folder.mkdir()
    for part, (first, last) in enumerate(((0, 8), (8, 14))):
        pq.write_table(rows.with_format("arrow")[first:last], folder / f"{part}.parquet")
    voted = Annotator("simulated", ledger=tmp_path / "map.sqlite", **OPTIONS)
    combiner = VoteCombiner(TINY_EMOTIONS).fit(rows)
    functions = [
        (voted, Annotator("simulated", ledger=RayLedger(tmp_path / "ray.sqlite"), **OPTIONS)),
        (combine_votes, combine_votes),
        (combiner, combiner),
        (DistributionPredictor(tones_checkpoint), DistributionPredictor(tones_checkpoint)),
    ]
    for ours, theirs in functions:
        expected = rows.map(ours, batched=True, batch_size=4)
        made = ray.data.read_parquet(str(folder)).map_batches(theirs, batch_format=form, batch_size=5)
        table = pa.concat_tables(ray.get(made.to_arrow_refs()), promote_options="default")
        assert table.column_names == expected.column_names
        assert table.to_pylist() == expected.with_format("arrow")[:].to_pylist()


@pytest.mark.slow
def test_mixing_gives_what_map_gives(cluster, rows):
    plan = DiMEAug(seed=0, features="lexical", target=12, neighbours="any").plan(rows)
    expected = plan.map()
    assert len(expected) == 12
    (cached,) = {Path(file["filename"]) for file in plan.made(plan.mixer).cache_files}
    for workers in (1, 2):
        cached.unlink()  # else it would be read, and not made
        with engine(workers):
            found = plan.map()
        assert found.features == expected.features and found.to_list() == expected.to_list()


@pytest.mark.slow
def test_predicting_gives_what_map_gives(cluster, rows, tones_checkpoint):
    from datasets import Features

    from hf_emo_dist.evaluation import DistributionPredictor
    from hf_emo_dist.votes import distribution_feature

    predictor = DistributionPredictor(tones_checkpoint)
    expected = rows.map(predictor, batched=True, batch_size=3)["predicted_distribution"][:]
    features = Features({"predicted_distribution": distribution_feature(TINY_EMOTIONS)})
    for workers, batch in ((1, 4), (2, 5)):
        with engine(workers) as ray_engine:
            tables = list(ray_engine.map(rows, predictor, features, batch, "predicting"))
        assert [row for table in tables for row in table["predicted_distribution"].to_pylist()] == expected


@pytest.mark.slow
def test_the_commands_take_an_engine(cluster, rows, tones_checkpoint, tmp_path, capsys):
    """`annotate` (which prepares: checks, annotates, combines, mixes), `augment` and `predict`: the same files."""
    from datasets import load_dataset

    from hf_emo_dist.commands.main import main

    source = write_dataset(rows, tmp_path / "data", description="Tones.", vote_source="Simulated.")
    clips = tmp_path / "clips"
    clips.mkdir()
    for row in rows.select(range(5)):
        (clips / f"{row['id']}.flac").write_bytes(row["audio"]["bytes"])
    mixing = ["--augment_features", "lexical", "--augment_target", "6", "--augment_neighbours", "any"]
    for name, more in (("local", []), ("ray", ["--engine", "ray", "--workers", "2"])):
        voting = ["--backend", "simulated", "--emotions", ",".join(TINY_EMOTIONS), "--hearing_test", "false"]
        out = tmp_path / name
        words = ["annotate", str(source), str(out / "a"), "--ledger", str(out / "v.sqlite"), *voting, *mixing, *more]
        assert main([*words, "--augment", "default"]) == 0, capsys.readouterr().err
        assert main(["augment", str(source), str(out / "b"), *mixing, *more]) == 0, capsys.readouterr().err
        words = ["predict", str(clips), "--model", str(tones_checkpoint), "--format", "csv", *more]
        assert main([*words, "--output", str(out / "p.csv")]) == 0, capsys.readouterr().err
    for part in ("a", "b"):
        local, by_ray = (load_dataset(str(tmp_path / name / part)) for name in ("local", "ray"))
        for split in local:
            assert by_ray[split].features == local[split].features
            assert by_ray[split].with_format("arrow")[:].equals(local[split].with_format("arrow")[:])
    told = [(tmp_path / name / "a" / "preparation.json").read_text() for name in ("local", "ray")]
    assert told[0] == told[1]
    assert (tmp_path / "ray" / "p.csv").read_text() == (tmp_path / "local" / "p.csv").read_text()


def test_options_of_a_cluster_without_one_are_refused():
    for options in ({"address": "auto"}, {"workers": 2}, {"engine": "ray", "workers": 0}):
        with pytest.raises(ValueError, match="Mend: "):
            EngineChoice(**options)


# --- what a worker raises


@pytest.mark.slow
def test_an_error_of_a_worker_is_raised_as_it_was(cluster, rows):
    def fails(batch):
        raise ValueError(f"Row {batch['id'][0]!r} is odd. Mend: leave it out.")

    with engine() as ray_engine, pytest.raises(ValueError, match=r"^Row 'clip-0-00' is odd\. Mend: leave it out\.$"):
        list(ray_engine.map(rows, fails, rows.features, 5, "failing"))


# --- one ledger

OWNERS = [Owner("a" * 16, "one host", 11, "1"), Owner("b" * 16, "another host", 12, "2")]


def record(key, **more):
    return Record(key, "ok", label="sad", cost_usd=0.5, created="2026-08-01T00:00:00.000+00:00", **more)


def test_leases_are_the_workers_and_caps_are_everybodys(tmp_path):
    actor, limits = LedgerActor(str(tmp_path / "votes.sqlite"), "NORMAL"), Limits(max_cost_usd=1.0)

    def ask(owner, name, *args, again=False):
        return actor.call(OWNERS[owner], "run", name, args, again)

    claims = [Claim(key, cost_usd=0.5) for key in "xyz"]
    assert ask(0, "reserve", claims[:1], limits).granted == ["x"]
    got = ask(1, "reserve", claims, limits)
    assert (got.busy, got.granted, got.over_budget) == (["x"], ["y"], True)
    ask(1, "close")  # its lease is free, and only its
    got = ask(0, "reserve", claims[1:], limits)
    assert (got.granted, got.over_budget) == (["y"], True)
    ask(0, "stop_run", "the budget is used up.", "Mend: raise it.")
    assert ask(1, "reserve", claims).stop == ("the budget is used up.", "Mend: raise it.")
    assert actor.call(OWNERS[1], "another run", "reserve", (claims,), False).stop is None


def test_a_lease_of_another_machine_is_free_when_it_runs_out(tmp_path):
    """Nobody sees whether that process lives; what it had sent may be billed."""
    actor = LedgerActor(str(tmp_path / "votes.sqlite"), "NORMAL")
    claims, lost = [Claim("x", 0.5), Claim("y", 0.5)], Record("x", "connection", cost_usd=0.5, final=False)
    assert actor.call(OWNERS[1], "", "reserve", (claims, None, 0.05), False).granted == ["x", "y"]
    actor.call(OWNERS[1], "", "sending", ({"x": lost},), False)
    assert actor.call(OWNERS[0], "", "reserve", (claims,), False).busy == ["x", "y"]
    time.sleep(0.1)
    assert actor.call(OWNERS[0], "", "reserve", (claims,), False).granted == ["x", "y"]
    assert Ledger(tmp_path / "votes.sqlite").spending().cost_usd == 0.5


def test_a_call_of_which_nobody_knows_whether_it_was_done_is_done_once(tmp_path):
    """The actor died in the midst of it: a new one is told that it was called before."""
    path, limits, claims = str(tmp_path / "votes.sqlite"), Limits(), [Claim("x", cost_usd=0.5), Claim("y", 0.5)]

    def new_actor():
        actor = LedgerActor(path, "NORMAL")
        return lambda name, *args, again: actor.call(OWNERS[0], "run", name, args, again)

    assert new_actor()("reserve", claims, limits, again=False).granted == ["x", "y"]
    ask = new_actor()
    assert ask("reserve", claims, limits, again=True).granted == ["x", "y"]  # and not busy, for nobody would send them
    lost = Record("x", "connection", cost_usd=0.5, created="2026-08-01T00:00:00.000+00:00", final=False)
    ask("sending", {"x": lost}, again=False)
    assert ask("reserve", claims, limits, again=True).busy == ["x"]  # which has left
    for again in (False, True):
        assert ask("charge", [lost], limits, again=again)
        assert Ledger(path).spending().replies == 1
    for again in (False, True, True):
        ask = new_actor()
        ask("store", [record("x"), record("y")], again=again)
        assert Ledger(path).spending().replies == 3 and Ledger(path).spending().reserved_cost_usd == 0


# --- who dies

ROWS, MEMBERS, CONCURRENCY = 60, 3, 4
OPEN = CONCURRENCY + CONCURRENCY // 4


def all_there_once(path, log, kills):
    """Every key has one reply; more were sent only for what was in flight at a kill, and that is charged."""
    there = [record for record in Ledger(path).records() if record.text is not None]
    assert len(there) == ROWS * MEMBERS == len({record.key for record in there})
    lost = [record for record in Ledger(path).records() if record.text is None]
    assert {record.detail for record in lost} <= {IN_FLIGHT}
    assert len(replies(log)) - len(there) <= kills * OPEN
    assert len(replies(log)) <= len(there) + len(lost)
    assert Ledger(path).spending().reserved_tokens == 0


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    with GeminiServer() as server:
        server.keep = False
        run = annotator(gemini(server), tmp_path_factory.mktemp("unbroken") / "votes.sqlite")
        return votes(run.annotate(dataset(ROWS)).dataset)


def kill_a_worker(driver):
    os.kill(driver.workers()[0], signal.SIGKILL)


def kill_the_ledger(driver):
    os.kill(driver.ledger_actor(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [kill_a_worker, kill_the_ledger])
def test_the_run_goes_on_when_one_dies(tmp_path, unbroken, kill):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    with serving(log, latency=0.1) as url:
        driver = Driver(url, path, ROWS, concurrency=CONCURRENCY)
        wait_for(log, 25)
        kill(driver)
        outcome = driver.outcome()
    assert outcome["complete"] and outcome["votes"] == unbroken
    all_there_once(path, log, kills=1)


@pytest.mark.slow
def test_a_driver_that_was_killed_is_started_again(tmp_path, unbroken):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    with serving(log, latency=0.1) as url:
        driver = Driver(url, path, ROWS, concurrency=CONCURRENCY)
        wait_for(log, 40)
        driver.kill()
        outcome = Driver(url, path, ROWS, concurrency=CONCURRENCY, workers=1, batch=7).outcome()
    assert outcome["complete"] and outcome["votes"] == unbroken
    assert outcome["report"]["stored_votes"] >= 40 - 2 * OPEN
    all_there_once(path, log, kills=2)  # of both workers


@pytest.mark.slow
def test_ctrl_c_finishes_what_is_in_flight_everywhere(tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    with serving(log, latency=0.2) as url:
        driver = Driver(url, path, ROWS, concurrency=CONCURRENCY)
        wait_for(log, 20)
        driver.process.send_signal(signal.SIGINT)
        outcome = driver.outcome()
    report = outcome["report"]
    assert not outcome["complete"] and report["stop_reason"] == "it was interrupted." and report["rows"] <= ROWS
    assert 20 <= len(Ledger(path)) == sent(log) == sum(map(len, outcome["votes"].values())) < ROWS * MEMBERS
    assert Ledger(path).spending().reserved_tokens == 0


@pytest.mark.slow
def test_cap_and_rate_hold_over_all_workers(tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    with serving(log) as url:
        outcome = Driver(url, path, ROWS, max_cost_usd=0.03, concurrency=CONCURRENCY).outcome()
        assert not outcome["complete"] and outcome["report"]["stop_reason"].startswith("the budget is used up")
        assert sum(outcome["report"]["votes_a_clip"].values()) == ROWS
        spent = Ledger(path).spending()
        assert 0 < spent.cost_usd <= 0.03 and spent.reserved_cost_usd == 0
        assert sum(map(len, outcome["votes"].values())) == spent.replies == sent(log)
        began = time.monotonic()
        outcome = Driver(url, path, 40, requests_per_minute=600, num_annotations=2).outcome()
        records = list(Ledger(path).records())[spent.replies :]
        times = sorted(datetime.fromisoformat(record.created).timestamp() - record.latency_s for record in records)
    assert outcome["complete"] and time.monotonic() - began > (len(times) - 10) / 10
    assert max(sum(0 <= t - first < 1.0 for t in times) for first in times) <= 25  # of two workers, each unbounded
