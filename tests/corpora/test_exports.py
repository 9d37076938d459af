"""Exports of labelling tools: a row of the table below a tool, in every form that it writes."""

import hashlib
import inspect
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import export_files as files
import pytest
from corpus_files import write

from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora import CorpusReport, TableError
from hf_emo_dist.corpora.exports import EXPORTS, find_export

A, B, C = "a", "b", "c"
#: What most of the fixtures hold: clip → votes, their weights, the raters.
USUAL = {
    A: (["angry", "sad", "angry"], [1.0, 0.5, 0.5], ["1", "2", "2"]),
    B: (["happy"], [1.0], ["1"]),
}
BOB = f"rater-{hashlib.sha256(b'bob@lab.org').hexdigest()[:8]}"


class Case(NamedTuple):
    """An export, the options, the rows it gives, and what is reported: reason and item."""

    tool: str
    make: Any
    rows: dict[str, tuple[list[str], list[float] | None, list[str]]]
    report: Collection[tuple[str, str]] = ()
    options: Mapping[str, Any] = MappingProxyType({})
    columns: Mapping[str, Any] = MappingProxyType({})  # of the first row


POTATO_ROWS = {
    A: (["angry", "sad"], [1.0, 1.0], ["alice", BOB]),
    B: (["happy", "sad"], [0.5, 0.5], ["alice", "alice"]),
    C: (["happy"], [1.0], [BOB]),
}
ARGILLA_ROWS = {
    A: (["angry", "sad"], [1.0, 1.0], ["u1", "u2"]),
    B: (["happy", "sad"], [0.5, 0.5], ["u1", "u1"]),
}
AUDFORMAT_ROWS = {
    A: (["angry", "sad"], None, ["r1", "r2"]),
    B: (["happy"], None, ["r1"]),
    C: (["sad"], None, ["r1"]),
}
CASES = {
    "label_studio": Case(
        "label_studio",
        files.label_studio,
        {**USUAL, B: (["happy"], [1.0], [f"rater-{hashlib.sha256(b'x@y.z').hexdigest()[:8]}"])},
        {
            ("not_submitted", "/data/upload/1/1b2c3d4e-a.wav"),
            ("no_answer", "/data/upload/1/1b2c3d4e-a.wav"),
            ("part_of_clip", "http://localhost:8080/data/local-files/?d=recordings/b.wav"),
            ("no_answer", "s3://bucket/set/c.wav"),
        },
        columns={"speaker": "s1"},
    ),
    "label_studio, min": Case(
        "label_studio", files.label_studio_min, USUAL, {("no_answer", "/data/upload/1/3b2c3d4e-c.wav")}
    ),
    "label_studio, csv": Case(
        "label_studio", files.label_studio_table, USUAL, {("no_answer", "/data/upload/1/3b2c3d4e-c.wav")}
    ),
    "label_studio, tsv": Case(
        "label_studio",
        lambda folder: files.label_studio_table(folder, "\t", "project-1.tsv"),
        USUAL,
        {("no_answer", "/data/upload/1/3b2c3d4e-c.wav")},
    ),
    "potato": Case(
        "potato",
        files.potato,
        POTATO_ROWS,
        {("no_answer", "clip-2"), ("bad_line", "exports")},
        {"items": "items.jsonl"},
        columns={"speaker": "s1"},
    ),
    "potato, csv": Case("potato", files.potato_table, POTATO_ROWS, {("no_answer", "b")}),
    "potato, jsonl": Case("potato", files.potato_lines, POTATO_ROWS),
    "argilla": Case(
        "argilla",
        files.argilla,
        ARGILLA_ROWS,
        {("not_submitted", "/audio/a.wav"), ("no_answer", "/audio/b.wav"), ("no_answer", "c.wav")},
        columns={"speaker": "s1"},
    ),
    "argilla, version 1": Case(
        "argilla",
        files.argilla_version_1,
        ARGILLA_ROWS,
        {("not_submitted", "a.wav")},
        columns={"speaker": "s1"},
    ),
    "prolific": Case(
        "prolific",
        files.prolific,
        {
            A: (["angry", "sad"], [1.0, 1.0], ["p1", "p2"]),
            B: (["happy", "sad"], [0.5, 0.5], ["p1", "p1"]),
        },
        {
            ("not_approved", "https://host/audio/a.wav"),
            ("not_approved", "https://host/audio/b.wav"),
            ("no_answer", "https://host/audio/b.wav"),
        },
        {"participants": "prolific_export.csv", "question": "heard"},
        columns={"headphones": "yes", "speaker": "s1"},
    ),
    "audformat": Case(
        "audformat",
        files.audformat,
        AUDFORMAT_ROWS,
        {("part_of_clip", "audio/b.wav")},
        columns={"speaker": "s1", "transcript": "ja", "arousal": pytest.approx(0.3)},
    ),
    "audformat, parquet": Case(
        "audformat",
        lambda folder: files.audformat(folder, parquet=True),
        AUDFORMAT_ROWS,
        {("part_of_clip", "audio/b.wav")},
    ),
}


def understand(tool, folder, make, **options):
    report = CorpusReport()
    export = make(folder)
    audio = export if tool == "audformat" else folder / "recordings"
    files.clips(audio / "audio" if tool == "audformat" else audio)
    return find_export(tool)(export, audio, report=report, **options), report


def rows_of(reading, folder):
    dataset = reading.build(folder / "cache", progress=False)
    return {row["id"]: row for part in dataset.values() for row in part}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_export_gives_the_hand_written_votes(tmp_path, case):
    options = {
        name: tmp_path / value if isinstance(value, str) and "." in value else value
        for name, value in case.options.items()
    }
    reading, report = understand(case.tool, tmp_path, case.make, **options)
    rows = rows_of(reading, tmp_path)
    found = {
        name: (row["human_votes"], row.get("human_vote_weights"), row["human_raters"]) for name, row in rows.items()
    }
    assert found == {name: (votes, weights, raters) for name, (votes, weights, raters) in case.rows.items()}
    assert {(problem.reason, problem.item) for problem in report.problems} == set(case.report)
    first = rows[A]
    assert {name: first[name] for name in case.columns} == case.columns
    assert reading.summary().count("\n") < 40


def test_emo_superb_gives_the_shares_before_smoothing(tmp_path):
    reading, _ = understand("emo_superb", tmp_path, files.emo_superb)
    dataset = reading.build(tmp_path / "cache", progress=False)
    assert list(dataset) == ["train", "validation", "test"]
    rows = {row["id"]: row for part in dataset.values() for row in part}
    shares = {name: {e: share for e, share in row["human_distribution"].items() if share} for name, row in rows.items()}
    assert shares[A] == pytest.approx({"angry": 0.4, "happy": 0.6}, abs=1e-3)
    assert shares[B] == pytest.approx({"fear": 0.8, "neutral": 0.2}, abs=1e-3)
    assert shares[C] == {"angry": 1.0}
    assert (rows[A]["speaker"], rows[A]["gender"]) == ("1037", "female")
    assert sum(rows[A]["human_vote_weights"]) == pytest.approx(1.0)  # nobody says how many voted
    ten = find_export("emo_superb")(tmp_path / "labels_consensus_1.csv", tmp_path / "recordings", num_raters=10)
    votes = rows_of(ten, tmp_path / "ten")[A]
    assert sum(votes.get("human_vote_weights") or [1.0] * len(votes["human_votes"])) == pytest.approx(10.0)


#: An export with something wrong, and what is said of it.
ERRORS = {
    "two questions": (
        "label_studio",
        lambda folder: write(
            folder / "p.json",
            '[{"data": {"audio": "a.wav"}, "annotations": [{"result": [{"from_name": "gut", "value": '
            '{"choices": ["x"]}}, {"from_name": "laut", "value": {"choices": ["y"]}}]}]}]',
        ),
        {},
        r"p.json: several questions have answers: 'gut' \(x\); 'laut' \(y\). Mend: .*--question",
    ),
    "no such question": (
        "label_studio",
        files.label_studio,
        {"question": "mood"},
        r"'mood' \(there are 'emotion'.*Mend",
    ),
    "no audio": (
        "label_studio",
        lambda folder: write(folder / "p.json", '[{"data": {"text": "x"}, "annotations": []}]'),
        {},
        r"none of the keys \(text\) does. Mend: .*--audio_key",
    ),
    "two clips, one file": (
        "label_studio",
        lambda folder: write(
            folder / "p.json",
            files.json.dumps(
                [files.label_studio_task(k, f"s3://x/{k}/a.wav", (1, [files.emotion("Sad")], {})) for k in (1, 2)]
            ),
        ),
        {},
        r"'s3://x/1/a.wav' and 's3://x/2/a.wav' would both be the file 'a.wav'.*Mend",
    ),
    "no JSON": ("label_studio", lambda folder: write(folder / "p.json", "[{]"), {}, r"p.json is not JSON .*Mend"),
    "an open quote": (
        "prolific",
        lambda folder: write(folder / "p.csv", 'PROLIFIC_PID,clip,heard\n1,a.wav,"sad\n2,b.wav,sad\n'),
        {},
        r"p.csv line 2: .*quote.*Mend",
    ),
    "a cut row": (
        "prolific",
        lambda folder: write(folder / "p.csv", "PROLIFIC_PID,clip,heard\n1,a.wav,sad\n2,b.w"),
        {},
        r"p.csv line 3: 2 cells, the header has 3.*Mend",
    ),
    "no participants": (
        "prolific",
        lambda folder: write(folder / "p.csv", "who,clip,heard\n1,a.wav,sad\n"),
        {},
        r"no column names the participants \(there are who, clip, heard\).*Mend.*PROLIFIC_PID",
    ),
    "a consensus": (
        "audformat",
        lambda folder: write(
            folder / "db" / "db.yaml",
            "raters: {gold: {type: other}}\nschemes: {emotion: {labels: [anger]}}\n"
            "tables: {e: {type: filewise, columns: {emotion: {scheme_id: emotion, rater_id: gold}}}}\n",
        ).parent,
        {},
        r"what was concluded, of no human rater. Mend",
    ),
    "a header of words": (
        "audformat",
        lambda folder: write(folder / "db" / "db.yaml", "tables:\n  emotion: a table\n").parent,
        {},
        r"db.yaml is not a header of audformat \(tables\). Mend",
    ),
    "no Parquet": ("argilla", lambda folder: write(folder / "p.parquet", "PAR1"), {}, r"p.parquet .*as Parquet.*Mend"),
    "no address": (
        "label_studio",
        lambda folder: write(
            folder / "p.json",
            files.json.dumps([files.label_studio_task(1, "http://[1/none.wav", (1, [files.emotion("Sad")], {}))]),
        ),
        {"emotions": ["sad", "happy"]},
        r"http://\[1/none.wav.*Mend",
    ),
    "no header": ("audformat", lambda folder: write(folder / "db" / "x", "").parent, {}, r"no db.yaml in it. Mend"),
    "no table": ("audformat", files.audformat, {"tables": ["other"]}, r"no table 'other' \(there are emotion.*Mend"),
    "other smoothing": (
        "emo_superb",
        lambda folder: files.emo_superb(folder, files.EMO_SUPERB.replace("0.386,0.01", "0.4,0.0")),
        {},
        r"line 2 is no row of shares smoothed by 0.05 \(angry 0.4.*Mend.*--smoothing",
    ),
    "no shares": (
        "emo_superb",
        lambda folder: files.emo_superb(folder, "FileName,angry\na.wav,1\n"),
        {},
        r"FileName and one an emotion are needed. Mend",
    ),
    "an unknown label": (
        "argilla",
        lambda folder: write(
            folder / "r.jsonl",
            '{"clip": "a.wav", "emotion.responses": ["sleepy"], "emotion.responses.users": ["u"]}\n'
            '{"clip": "b.wav", "emotion.responses": ["sad"], "emotion.responses.users": ["u"]}\n',
        ),
        {},
        r"'sleepy'.*record 1.*Mend.*--merge",
    ),
    "nothing submitted": (
        "argilla",
        lambda folder: write(
            folder / "r.jsonl",
            '{"clip": "a.wav", "q.responses": ["sad"], "q.responses.status": ["draft"]}\n{"clip": "b.wav"}\n',
        ),
        {},
        r"no question has an answer.*Mend",
    ),
    "no responses": ("argilla", lambda folder: write(folder / "r.jsonl", '{"clip": "a.wav"}\n{"clip": "b.wav"}'), {},
                     r"no column holds responses \(there are clip\). Mend"),
}  # fmt: skip


@pytest.mark.parametrize(("tool", "make", "options", "message"), ERRORS.values(), ids=ERRORS)
def test_what_does_not_fit_is_said_with_its_place(tmp_path, tool, make, options, message):
    with pytest.raises(TableError, match=message):
        understand(tool, tmp_path, make, **options)


def test_a_clip_outside_of_the_folder_is_not_read(tmp_path):
    write(tmp_path / "secret.wav", files.WAV)
    task = files.label_studio_task(1, str(tmp_path / "secret.wav"), (1, [files.emotion("Anger", "Sad")], {}))
    make = lambda folder: write(folder / "p.json", files.json.dumps([task]))  # noqa: E731
    with pytest.raises(TableError, match=r"not in .*recordings"):
        understand("label_studio", tmp_path, make)


def test_records_of_the_hub(tmp_path, monkeypatch):
    import datasets

    def load_dataset(name):
        if name != "owner/records":
            raise FileNotFoundError(f"{name} does not exist")
        return datasets.DatasetDict({"train": datasets.Dataset.from_parquet(str(parquet))})

    (parquet,) = files.argilla(tmp_path).iterdir()
    files.clips(tmp_path / "recordings")
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    rows = rows_of(find_export("argilla")("owner/records", tmp_path / "recordings"), tmp_path)
    assert rows[A]["human_raters"] == ["u1", "u2"]
    with pytest.raises(TableError, match=r"no such data set on the Hub.*owner/nothing does not exist.*Mend"):
        find_export("argilla")("owner/nothing", tmp_path / "recordings")
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere.json.*Mend"):
        find_export("argilla")(tmp_path / "nowhere.json", tmp_path / "recordings")


@pytest.mark.parametrize("tool", EXPORTS)
def test_every_option_is_in_the_signature_and_documented(tool):
    reader = find_export(tool)
    described = inspect.getdoc(reader).partition("Args:\n")[2].partition("\n\n")[0]
    names = [line.strip().partition(":")[0] for line in described.splitlines() if line[4] != " "]
    assert sorted(names) == sorted(inspect.signature(reader).parameters)
    assert reader.title and reader.example.startswith(f"hf-emo-dist read {tool} ")


def test_the_command_tells_and_writes(tmp_path, capsys):
    from hf_emo_dist import load_emotion_dataset

    export, audio = files.label_studio(tmp_path), files.clips(tmp_path / "recordings")
    words = ["read", "label_studio", str(export), str(audio), str(tmp_path / "out")]
    assert main([*words, "--dry_run"]) == 0
    told = capsys.readouterr().out
    assert "Nothing was written" in told and "1 (not_submitted)" not in told and "not_submitted (1)" in told
    assert not (tmp_path / "out").exists()
    assert main([*words, "--emotions", "angry,sad,happy", "--vote_source", "Us."]) == 0
    rows = load_emotion_dataset(tmp_path / "out")["train"]
    assert rows["human_votes"][:] == [["angry", "sad", "angry"], ["happy"]]
    assert "not_submitted" in (tmp_path / "out" / "reading_report.txt").read_text()
