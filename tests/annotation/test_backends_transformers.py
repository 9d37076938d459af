"""A model on this machine as an annotator: batches, what is computed once, keys, errors; and one real tiny model."""

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from annotation_setup import annotator as make_annotator
from annotation_setup import dataset, rows
from tiny_data import tone

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.backends.gemini import GeminiBackend
from hf_emo_dist.annotation.backends.simulated import SimulatedBackend
from hf_emo_dist.annotation.backends.transformers import TransformersBackend
from hf_emo_dist.annotation.readout import weights
from hf_emo_dist.annotation.readout.reader import ReadOut
from hf_emo_dist.annotation.shares import Share
from hf_emo_dist.annotation.types import FatalError
from hf_emo_dist.audio.clips import encode_flac
from hf_emo_dist.audio.decoding import AudioError

EMOTIONS = ["angry", "happy", "neutral", "sad"]


def _number(*parts):
    return 1 + hashlib.sha256(repr(parts).encode()).digest()[0]


class FakeReader:
    """Probabilities from a hash of the question and, if it hears, of the samples."""

    longest_clip_s = None

    def __init__(self, hears=True, fails=lambda request: None):
        self.hears, self.fails = hears, fails
        self.batches, self.written, self.checked = [], [], []
        self.provenance = {"model": "m", "revision": "r", "dtype": "float32", "quantization": None, "device": "cpu"}

    def _of(self, request):
        named = sorted(request.labels)
        shares = np.array([_number(request.text, name) for name in named])
        if self.hears:
            shares += [4 * _number(request.clip, name) for name in named]
        return 0.7 * np.array([dict(zip(named, shares, strict=True))[name] for name in request.labels]) / shares.sum()

    def check(self, labels, system, text):
        self.checked.append((labels, text))

    def read(self, requests):
        self.batches.append(list(requests))
        return [self.fails(one) or ReadOut(np.log(self._of(one)), 40, 10, (2,) * len(one.labels)) for one in requests]

    def write(self, requests, *, temperature, seeds, max_new_tokens):
        self.written.append((temperature, list(seeds), max_new_tokens))
        picked = [one.labels[seed % len(one.labels)] for one, seed in zip(requests, seeds, strict=True)]
        uniform = json.dumps(dict.fromkeys(EMOTIONS, 0.25))
        return [uniform if "share" in one.text else label for one, label in zip(requests, picked, strict=True)]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "elsewhere" / "tiny"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"model_type": "qwen2_audio", "dtype": "float32"}))
    (path / "model.safetensors").write_bytes(b"\x08" + bytes(15) + bytes(range(256)) * 100)
    return path


def backend(folder, reader=None, **options):
    return TransformersBackend(str(folder), reader=reader or FakeReader(), **options)


def annotator(backend, tmp_path, **options):
    return make_annotator(backend, tmp_path / "votes.sqlite", **options)


def records(run, data):
    keys = [entry["key"] for row in data["synthetic_annotations"] for entry in row]
    return list(run.ledger.lookup(keys).values())


def test_a_panel_is_read_off_clip_by_clip(folder, tmp_path):
    reader = FakeReader()
    run = annotator(backend(folder, reader, clips=4), tmp_path, num_annotations=7)
    assert {member.mode for member in run.members} == {"readout"} and {m.temperature for m in run.members} == {None}
    data = dataset(13)
    found, report = run.annotate(data)
    assert report.complete and report.votes == 13 * 7 and report.cost_usd == 0
    # every panel of a clip is together, and each question read once
    assert sorted({len(batch) for batch in reader.batches}) in ([7, 28], [28], [7, 14, 28], [14, 28], [21, 28])
    assert all(len({one.clip for one in batch}) * 7 == len(batch) for batch in reader.batches)
    assert sum(map(len, reader.batches)) == 13 * 7
    row = found[3]
    assert row["synthetic_votes"] == [] and len(row["synthetic_annotations"]) == 7
    assert {entry["mode"] for entry in row["synthetic_annotations"]} == {"readout"}
    assert all(abs(sum(entry["distribution"].values()) - 1) < 1e-9 for entry in row["synthetic_annotations"])
    one = records(run, found)[0]
    assert one.settings["read"] and one.settings["mass"] == pytest.approx(0.7) and one.settings["dtype"] == "float32"
    assert one.settings["revision"].startswith("content-") and set(one.settings["log_probabilities"]) == set(EMOTIONS)
    assert one.text is None and one.label is None and one.model == "tiny" and str(tmp_path) not in str(one)
    assert "91 read-outs: on the labels is 0.7 of the probability" in report.summary()
    assert report.to_dict()["masses"] == {"number": 91, "mean": pytest.approx(0.7), "least": 0.7, "under_half": 0}
    # nothing is read twice, and what is stored counts for the masses
    again, report = run.annotate(data)
    assert again["synthetic_annotations"][:] == found["synthetic_annotations"][:]
    assert report.requests == 0 and report.masses.number == 91 and sum(map(len, reader.batches)) == 91
    assert run.describe()["weights"] == {"revision": one.settings["revision"], "dtype": "float32", "quantization": None}


def test_temperatures_of_one_question_cost_one_read_out(folder, tmp_path):
    reader = FakeReader()
    run = annotator(backend(folder, reader), tmp_path, preset="paper", num_annotations=10)
    assert len({member.temperature for member in run.members}) == 10
    found, _ = run.annotate(dataset(6))
    assert sum(map(len, reader.batches)) == 6 * 5 and len(found[0]["synthetic_annotations"]) == 10
    first, sixth = (found[0]["synthetic_annotations"][place]["distribution"] for place in (0, 5))
    cold, warm = run.members[0].temperature, run.members[5].temperature
    ratio = [np.log(shares["angry"] / shares["sad"]) for shares in (first, sixth)]
    assert ratio[0] * cold == pytest.approx(ratio[1] * warm)
    # labels are drawn from (clip, request), as sampling would
    panel = [{"focus": "voice", "mode": "label", "temperature": t} for t in (0.3, 0.3, 1.0)]
    panel.append({"focus": "voice", "mode": "distribution"})
    run = annotator(backend(folder, reader), tmp_path, panel=panel)
    found, report = run.annotate(dataset(5))
    assert report.votes == 20 and len(found[0]["synthetic_votes"]) == 3
    seeds = [seed for _, some, _ in reader.written for seed in some]
    assert len(set(seeds)) == 20 and {temperature for temperature, *_ in reader.written} == {0.3, 1.0, None}


def test_map_and_worker_processes_find_the_same_keys(folder, tmp_path):
    run = annotator(backend(folder), tmp_path)
    data = dataset(5)
    one = data.map(run, batched=True, batch_size=2, load_from_cache_file=False)
    assert one["synthetic_annotations"][:] == run.annotate(data).dataset["synthetic_annotations"][:]
    copy = pickle.loads(pickle.dumps(run))  # as `Dataset.map` with num_proc does: the reader is not in it
    assert copy.backend._given is None and copy.backend._reader is None
    assert copy.stored(data)["synthetic_annotations"][:] == one["synthetic_annotations"][:]


def changed(file, place):
    """Another byte in a file of the same size and time."""
    content, times = bytearray(file.read_bytes()), file.stat()
    content[place] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    return {}


def written_at(file):
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(bytes(100))
    return {}


KEYS = {  # what is changed, and whether it is another question
    "nothing": (lambda folder: {}, False),
    "how many clips at once": (lambda folder: {"clips": 2, "token_budget": 100}, False),
    "the same precision, said": (lambda folder: {"dtype": "torch.float32"}, False),
    "precision": (lambda folder: {"dtype": "bfloat16"}, True),
    "quantization": (lambda folder: {"quantization": "4bit"}, True),
    "family": (lambda folder: {"family": "mine:Family"}, True),
    "weights": (lambda folder: (folder / "model.safetensors").write_bytes(bytes(100)) and {}, True),
    "tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{}") and {}, True),
    "one layer in the midst of the weights": (lambda folder: changed(folder / "model.safetensors", 20_000), True),
    "an adapter beside them": (lambda folder: written_at(folder / "speech" / "adapter.safetensors"), True),
    "a checkpoint of a training within": (lambda folder: written_at(folder / "checkpoint-5" / "a.safetensors"), False),
    "where it lies": (lambda folder: {"model": str(folder.rename(folder.parents[1] / "tiny"))}, False),
}


@pytest.mark.parametrize("change, other", KEYS.values(), ids=KEYS)
def test_the_key_covers_what_changes_an_answer(folder, tmp_path, change, other):
    def keys(**options):
        made = TransformersBackend(options.pop("model", str(folder)), reader=FakeReader(), **options)
        run = annotator(made, tmp_path)
        utterance = next(iter(run.utterances(dataset(1))))
        return [job.key for job in run.jobs(utterance, None, sends=False)]

    before = keys()
    assert (keys(**change(folder)) != before) == other


def test_large_weights_are_hashed_once_for_all_processes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(weights, "_LARGE", 1000)
    file, read = folder / "model.safetensors", []
    os.utime(file, (1e9, 1e9))
    whole = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda data, name: read.append(data.name) or whole(data, name))
    found = []
    for _ in range(2):
        found += [weights.content_of(folder), weights.content_of(folder)]
        weights._DIGESTS.clear()  # as in another process
    assert len(set(found)) == 1 and read.count(str(file)) == 1
    (tmp_path / "home" / "hf_emo_dist" / "weights.json").write_text("{")  # broken: read again
    assert weights.content_of(folder) == found[0] and read.count(str(file)) == 2


def test_a_clip_that_fails_alone_is_its_own(folder, tmp_path):
    bad = []

    def fails(request):
        bad.append(request.clip) if not bad else None
        return ValueError("The prompt has too many tokens. Mend: cut it.") if request.clip == bad[0] else None

    found, report = annotator(backend(folder, FakeReader(fails=fails)), tmp_path).annotate(dataset(12))
    assert list(report.failures) == ["rejected"] and len(report.failures["rejected"]) == 3 and report.complete
    assert sorted(map(len, found["synthetic_annotations"]))[:2] == [0, 3]


def test_labels_that_sum_above_1_are_one_failed_record_of_their_clip(folder, tmp_path):
    class Above(FakeReader):
        odd = None

        def read(self, requests):
            self.odd = self.odd or requests[0].clip
            return [
                replace(out, log_probabilities=out.log_probabilities + 2 * (one.clip == self.odd))
                for one, out in zip(requests, super().read(requests), strict=True)
            ]

    run = annotator(backend(folder, Above()), tmp_path)
    report = run.annotate(dataset(12)).report
    assert report.stop_reason is None and report.votes == 33 and list(report.failures) == ["unreadable"]
    (told,) = {record.detail for record in run.ledger.counting(("unreadable",))}
    assert "tiny at local: The probabilities of the labels sum to 5.17" in told


OTHER_WEIGHTS = {  # what the data has read-outs of, and what is said of it; None: the same weights, or nothing to tell
    "another precision": ({"dtype": "bfloat16"}, {}, "dtype bfloat16"),
    "quantised": ({"quantization": "4bit"}, {}, "quantization 4bit"),
    "another folder of this name": ({"model": True}, {}, "revision content-"),
    "the same precision, said": ({"dtype": "float32"}, {}, None),
    "another panel of the same weights": ({}, {"num_annotations": 2}, None),
    "labels, which are votes": ({"dtype": "bfloat16"}, {"mode": "label"}, None),
}


@pytest.mark.parametrize("options, asked, told", OTHER_WEIGHTS.values(), ids=OTHER_WEIGHTS)
def test_read_outs_of_one_model_by_other_weights_are_no_second_annotator(folder, tmp_path, options, asked, told):
    other = folder
    if options.get("model"):
        other = shutil.copytree(folder, tmp_path / "third" / "tiny")
        (other / "tokenizer.json").write_text("{}")
    first = {name: value for name, value in options.items() if name != "model"}
    found = annotator(backend(other, **first), tmp_path, **asked).annotate(dataset(3)).dataset
    reader = FakeReader()
    again = annotator(backend(folder, reader), tmp_path, num_annotations=5)
    if told is None:
        assert again.annotate(found).report.complete
        return
    calls = (again.check_ready, again.annotate, lambda data: data.map(again, batched=True, load_from_cache_file=False))
    for call in calls:
        with pytest.raises(ValueError, match=f"9 read-outs of tiny .* {told}.* Mend: .*data set without them"):
            call(found)
    assert not reader.batches


def test_read_outs_that_the_ledger_does_not_know_are_told_of(folder, tmp_path, caplog):
    found = annotator(backend(folder, dtype="bfloat16"), tmp_path).annotate(dataset(3)).dataset
    (tmp_path / "other").mkdir()
    again = annotator(backend(folder), tmp_path / "other")
    assert again.annotate(found).report.complete
    assert "9 read-outs of tiny, of which this ledger does not know the weights" in caplog.text


STOPS = {
    "labels": (ValueError("The labels 'a' and 'A' are the same word. Mend: name each once."), "name each once"),
    "of its own": (RuntimeError("device-side assert"), "device-side assert"),
}


@pytest.mark.parametrize("error, message", STOPS.values(), ids=STOPS)
def test_what_fails_for_all_stops_the_run_and_says_why(folder, tmp_path, error, message):
    class Broken(FakeReader):
        def read(self, requests):
            raise error

    report = annotator(backend(folder, Broken()), tmp_path).annotate(dataset(20)).report
    assert not report.complete and message in f"{report.stop_reason} {report.mend}" and not report.votes


def test_slow_batches_are_neither_timed_out_nor_throttled(folder, tmp_path):
    run = annotator(backend(folder, clips=2), tmp_path, timeout_s=1e-6, concurrency=1)
    assert run.annotate(dataset(9)).report.complete
    assert run._evidence.pace.allowed == 2 * 2 * 3


@pytest.mark.parametrize("hears, verdict", [(True, "hears"), (False, "does not hear")])
def test_a_deaf_model_gives_the_very_same_read_out(folder, tmp_path, hears, verdict):
    reader = FakeReader(hears)
    data = dataset([{**one, "transcript": None} for one in rows(40)])
    for options in ({}, {"num_annotations": 1}):
        (where := tmp_path / str(len(options))).mkdir()
        report = annotator(backend(folder, reader), where, **options).annotate(data, hearing_test=True).report
        assert report.hearing_test.verdict == verdict, report.hearing_test.summary()
        assert report.complete == hears


def test_time_is_told_by_a_pilot_or_said_to_be_unknown(folder, tmp_path):
    run = annotator(backend(folder), tmp_path)
    estimate = run.estimate(dataset(12))
    assert estimate.seconds is None and "not known: a pilot measures" in estimate.table() + estimate.summary()
    assert estimate.cost_usd.high == 0 and estimate.to_dict()["seconds"] is None
    measured = run.estimate(dataset(12), pilot=4)
    assert measured.stored == 12 and measured.seconds.high > 0 and "not known" not in measured.table()


def test_a_clip_over_what_the_family_hears_is_told_before_the_model_is_loaded(folder):
    clip = {"array": tone(200, 30.5), "sampling_rate": 16000}
    with pytest.raises(AudioError, match=r"Row 'a': 30.50 s, and tiny hears 30 s .* --long_audio truncate"):
        TransformersBackend(str(folder)).prepare(clip, "a")
    cut = TransformersBackend(str(folder), long_audio="truncate").prepare(clip, "a")
    assert cut.seconds == 30 and len(cut.data) == 4 * 16000 * 30


REFUSED = {
    "a service without log-probabilities": (
        lambda folder: Annotator(GeminiBackend("gemini-2.5-flash"), mode="readout"), "gives no log-probabilities",
    ),
    "such an annotator on a panel": (
        lambda folder: Annotator("gemini", panel=[{"focus": "voice", "mode": "readout"}]), "--backend transformers",
    ),
    "a mode that is none of a preset's": (
        lambda folder: Annotator(backend(folder), mode="distribution"), "'label' or 'readout'",
    ),
    "a mode beside a panel": (
        lambda folder: Annotator(backend(folder), mode="readout", panel=[{"focus": "voice"}]), "and there is a panel",
    ),
    "too hot": (
        lambda folder: Annotator(backend(folder), panel=[{"focus": "voice", "mode": "readout", "temperature": 3}]),
        "from 0 to 2",
    ),
    "the same twice": (
        lambda folder: Annotator(backend(folder), panel=[{"focus": "voice", "mode": "readout"}] * 2),
        "draw_votes",
    ),
    "more than there are questions": (lambda folder: Annotator(backend(folder), num_annotations=21), "draw_votes"),
    "quantization": (lambda folder: backend(folder, quantization="8bit"), "'4bit'"),
    "another name of a precision": (lambda folder: backend(folder, dtype="bf16"), "'bf16' .* dtype='bfloat16'"),
    "no precision": (lambda folder: backend(folder, dtype="int9"), "'int9' .* one of auto, "),
    "no clips": (lambda folder: backend(folder, clips=0), "`clips` is 0"),
    "no such option": (
        lambda folder: Annotator("transformers", panel=[{"focus": "voice", "backend": "transformers"}]), "model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("call, message", REFUSED.values(), ids=REFUSED)
def test_wrong_settings_are_refused_early_with_the_mend(folder, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(folder)
    assert "Mend: " in str(caught.value)


NO_MODEL = {  # model, options, config.json, message
    "no such folder": ("./nowhere", {}, None, "There is no folder"),
    "no such folder, further down": ("models/nowhere/here", {}, None, "There is no folder"),
    "not a model's folder": ("empty", {}, None, "has no config.json"),
    "a revision of a folder": ("tiny", {"revision": "main"}, {}, "leave it out"),
    "broken": ("tiny", {}, "{", "cannot be read"),
    "not known": ("tiny", {}, {"model_type": "bert"}, "no audio-language model that is known"),
    "deaf": ("tiny", {}, {"model_type": "gemma4", "audio_config": None}, "hears nothing"),
    "not on the Hub, nor in its cache": ("nobody/nothing", {}, None, "Hub"),
}


@pytest.mark.parametrize("model, options, config, message", NO_MODEL.values(), ids=NO_MODEL)
def test_a_model_that_cannot_be_asked_is_told_before_anything_is_loaded(
    tmp_path, monkeypatch, model, options, config, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("empty", "tiny"):
        (tmp_path / name).mkdir()
    if config is not None:
        (tmp_path / "tiny" / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(FatalError, match=message) as caught:
        Annotator(TransformersBackend(model, **options), ledger=tmp_path / "votes.sqlite", progress=False).check_ready(
            dataset(2)
        )
    assert "Mend: " in str(caught.value) and not (tmp_path / "votes.sqlite").exists()


# --- several processes
def test_shares_are_whole_and_each_begins_with_its_own(monkeypatch):
    order = np.array([5, 3, 8, 1, 9, 2, 7])
    parts = [Share(rank, 3).first(order) for rank in range(3)]
    assert all(sorted(part) == sorted(order) for part in parts)
    assert all(part[: len(order[rank::3])].tolist() == order[rank::3].tolist() for rank, part in enumerate(parts))
    assert Share().first(order).tolist() == order.tolist()
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert Share.own() == Share(2, 4, 0)
    monkeypatch.setenv("WORLD_SIZE", "?")
    assert Share.own() == Share()


def test_simulated_annotators_can_be_read_out(tmp_path):
    data = dataset(
        [{**one, "true_distribution": dict(zip(EMOTIONS, (0.4, 0.3, 0.2, 0.1), strict=True))} for one in rows(4)]
    )
    run = annotator(SimulatedBackend(seed=1), tmp_path, mode="readout", num_annotations=5)
    found, report = run.annotate(data)
    assert report.votes == 20 and report.masses.least == pytest.approx(1) and found[0]["synthetic_votes"] == []


# --- a real model, tiny and random
@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    from hf_emo_dist.modeling.mini import build_mini_backbone

    return build_mini_backbone(tmp_path_factory.mktemp("models") / "mini", hidden_size=16, text_layers=1)


def test_a_tiny_model_annotates_alike_alone_and_in_batches(mini, tmp_path):
    data = dataset(
        [
            {**one, "audio": {"bytes": encode_flac(tone(200 + 20 * i, 0.5)), "path": None}}
            for i, one in enumerate(rows(6))
        ]
    )
    run = annotator(TransformersBackend(str(mini)), tmp_path, num_annotations=4, num_distributions=1)
    run.check_ready(data)
    found, report = run.annotate(data)
    assert report.complete and report.masses.number == 24
    assert {outcome for outcome in report.failures} <= {"unparseable", "outside", "empty"}  # of what it wrote
    (tmp_path / "alone").mkdir()
    alone = annotator(TransformersBackend(str(mini), clips=1), tmp_path / "alone", num_annotations=4)
    single = alone.annotate(data.select([3])).dataset[0]["synthetic_annotations"]
    for one, other in zip(found[3]["synthetic_annotations"], single, strict=False):
        assert one["key"] == other["key"]
        for name in EMOTIONS:
            assert one["distribution"][name] == pytest.approx(other["distribution"][name], abs=1e-5)
    # the model is let go, shared in between, and loaded again when it is asked
    kept = run.backend._reader
    assert kept is not None and kept.provenance["dtype"] == "float32"
    run.close()
    assert run.backend._reader is None
    run.annotate(dataset(1))
    assert run.backend._reader is not None


def _cut(mini, file):
    (mini / file).write_bytes((mini / file).read_bytes()[:5000])


def _without(mini, file):
    (mini / file).unlink()


def _without_tower(mini, file):
    from safetensors.torch import load_file, save_file

    kept = {name: value for name, value in load_file(mini / file).items() if "audio_tower" not in name}
    save_file(kept, mini / file, {"format": "pt"})


def _narrower(mini, file):
    config = json.loads((mini / "config.json").read_text())
    config["text_config"]["intermediate_size"] += 4
    (mini / "config.json").write_text(json.dumps(config))


BROKEN = {
    "weights that were cut off": (_cut, "SafetensorError"),
    "weights of other sizes": (_narrower, "RuntimeError"),
    "no audio tower in the weights": (_without_tower, "audio_tower"),
    "no weights": (_without, "model.safetensors"),
}


@pytest.mark.parametrize("breaks, told", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_loaded_stops_the_run_before_any_clip(mini, tmp_path, breaks, told):
    broken = shutil.copytree(mini, tmp_path / "broken")
    breaks(broken, "model.safetensors")
    run = annotator(TransformersBackend(str(broken)), tmp_path)
    report = run.annotate(dataset(9)).report
    assert not report.votes and not report.failures and not report.unfinished
    assert "broken cannot be loaded" in report.stop_reason and told in report.stop_reason
    assert "Mend: get the files of the model again" in report.stop_reason


def test_a_prompt_over_the_context_is_told_before_any_clip(mini, tmp_path):
    panel = [{"focus": "voice", "mode": "readout"}, {"focus": "word " * 3000, "mode": "readout"}]
    run = annotator(TransformersBackend(str(mini)), tmp_path, panel=panel)
    with pytest.raises(FatalError, match=r"\d+ tokens .* takes 4096.* Mend: .*a longer context"):
        run.check_ready(dataset(3))  # by its tokenizer alone
    assert run.backend._reader is None
    report = run.annotate(dataset(9)).report
    assert "takes 4096" in report.stop_reason and "a longer context" in report.stop_reason
    assert "the transcript" not in report.stop_reason and not report.votes and not report.failures
    # what a transcript adds is its clip's own
    rows_ = [{**one, "transcript": "word " * (3000 if not i else 1)} for i, one in enumerate(rows(3))]
    for i, one in enumerate(rows_):
        one["audio"] = {"bytes": encode_flac(tone(220 + 20 * i, 0.5)), "path": None}
    run = annotator(TransformersBackend(str(mini)), tmp_path, num_annotations=1)
    run.check_ready(dataset(rows_))
    report = run.annotate(dataset(rows_)).report
    assert report.votes == 2 and report.failures == {"rejected": ["u000"]}


@pytest.mark.slow
def test_two_processes_share_a_run(mini, tmp_path):
    from datasets import load_dataset

    from hf_emo_dist.annotation.ledger.ledger import Ledger

    command = [sys.executable, "-m", "hf_emo_dist", "simulate", tmp_path / "data", "--num_utterances", "60"]
    subprocess.run([*map(str, command)], check=True, capture_output=True, timeout=300)
    # what `accelerate launch` starts for several GPUs
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "hf_emo_dist", "annotate"]
    command += [tmp_path / "data", tmp_path / "out", "--backend", "transformers", "--model", mini, "--ledger"]
    command += [tmp_path / "votes.sqlite", "--num_annotations", "5", "--no_hearing_test"]
    command += ["--backend_options", "{clips: 2}"]
    done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, timeout=500)
    assert done.stdout.count("Wrote") == 1 and done.stderr.count(f"Loading {mini.name}") == 2
    told = re.findall(r"process (\d) of 2, train: .* (\d+) new votes", done.stdout)
    new = {process: int(number) for process, number in told}
    rows = load_dataset("parquet", data_files=str(tmp_path / "out" / "data" / "train*.parquet"))["train"]
    assert sorted(new) == ["1", "2"] and sum(new.values()) == 5 * len(rows) and min(new.values()) >= len(rows)
    assert [len(row) for row in rows["synthetic_annotations"]] == [5] * len(rows)
    assert sum(1 for _ in Ledger(tmp_path / "votes.sqlite").counting(("ok",))) == 5 * len(rows)
