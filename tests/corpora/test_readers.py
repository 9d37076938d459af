"""What every reader of a corpus does: a row of the table below a corpus."""

import inspect
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import corpus_files
import made_clips
import pytest
from corpus_files import found, read

from hf_emo_dist.corpora import CORPORA, CorpusError, CorpusInfo, ReadOptions, find_reader, read_table, simulate_corpus
from hf_emo_dist.corpora.options import DEFAULTS


class Case(NamedTuple):
    """One hand-written row, with the ids of every split and all that is reported."""

    splits: dict[str, list[str]]
    row: dict[str, object]
    shares: dict[str, float] | None  # those that are not 0; None: nobody voted
    problems: Collection[tuple[str, str, str]] = ()
    options: dict[str, object] | None = None


CASES = {
    "iemocap": Case(
        splits={
            "train": [
                *("Ses01F_impro01_F000", "Ses01F_impro01_M000", "Ses01F_impro01_M001"),
                *("Ses02M_script01_1b_F003", "Ses02M_script01_1b_MXX1"),
            ]
        },
        row={
            "id": "Ses01F_impro01_F000",
            "transcript": "Excuse me.",
            "speaker": "iemocap-Ses01F",
            "human_votes": ["neutral"] * 3,
            "human_vote_weights": [1.0] * 3,
            "human_raters": ["C-E2", "C-E3", "C-E4"],
            "consensus": "neutral",
            "session": 1,
            "dialog": "Ses01F_impro01",
            "style": "improvised",
            "gender": "female",
            "valence": 2.5,
            "arousal": 2.5,
            "dominance": 2.5,
            "fold": 1,
        },
        shares={"neutral": 1.0},
        problems={("empty_transcript", "Ses01F_impro01_M000", "Session1/dialog/transcriptions/Ses01F_impro01.txt:3")},
    ),
    "msp_podcast": Case(
        splits={
            "train": ["MSP-PODCAST_0002_0001"],
            "validation": ["MSP-PODCAST_0003_0001"],
            "test1": ["MSP-PODCAST_0001_0139"],
        },
        row={
            "id": "MSP-PODCAST_0001_0139",
            "transcript": "Wait, what?",
            "speaker": "msp_podcast-30",
            "human_votes": ["other", "neutral", "surprise"],
            "human_raters": ["WORKER00000001", "WORKER00000018", "WORKER00000044"],
            "consensus": "neutral",
            "gender": "male",
            "valence": 4.0,
            "arousal": pytest.approx(2.4),
            "dominance": pytest.approx(2.8),
            "other_texts": ["confused"],
            "secondary_votes": ["concerned", "confused", "neutral", "neutral", "surprise"],
            "secondary_raters": ["WORKER00000001"] * 2 + ["WORKER00000018"] + ["WORKER00000044"] * 2,
        },
        shares={"neutral": 1 / 3, "surprise": 1 / 3, "other": 1 / 3},
        problems={
            ("labels_withheld", "MSP-PODCAST_0009_0001", "Audios/MSP-PODCAST_0009_0001.wav"),
            ("few_raters", "MSP-PODCAST_0001_0139", "Labels/labels_detailed.csv:2"),
            ("empty_transcript", "MSP-PODCAST_0003_0001", "Transcripts/MSP-PODCAST_0003_0001.txt:1"),
        },
        options={"secondary": True},
    ),
    "msp_improv": Case(
        splits={"train": ["MSP-IMPROV-S01A-F01-R-FM01", "MSP-IMPROV-S02H-M02-P-MF03"]},
        row={
            "id": "MSP-IMPROV-S02H-M02-P-MF03",
            "transcript": None,
            "speaker": "msp_improv-M02",
            "human_votes": ["happy", "neutral"],
            "human_raters": ["AMT-1", "AMT-2"],
            "intended": None,
            "consensus": None,
            "gender": "male",
            "valence": 3.5,
            "arousal": 2.5,
            "dominance": 3.0,
            "naturalness": 4.5,
            "scenario": "S02H",
            "recording": "natural interaction",
            "fold": 2,
        },
        shares={"happy": 0.5, "neutral": 0.5},
        problems={
            ("duplicate_rater", "MSP-IMPROV-S01A-F01-R-FM01", "Evalution.txt:5"),
            ("few_raters", "MSP-IMPROV-S02H-M02-P-MF03", "Evalution.txt:9"),
            ("no_audio", "MSP-IMPROV-S02H-M02-P-MF04", "Evalution.txt:13"),
            ("no_labels", "MSP-IMPROV-S02H-M02-P-MF09", "session2/S02H/P/MSP-IMPROV-S02H-M02-P-MF09.wav"),
        },
    ),
    "whiser": Case(
        splits={"train": ["006-040.1-2_13", "006-041.1-2_1"]},
        row={
            "id": "006-040.1-2_13",
            "transcript": None,
            "speaker": None,
            "human_votes": ["sad", "happy", "fear", "happy", "happy"],
            "human_raters": [f"WORKER000143{number}" for number in (25, 32, 42, 43, 44)],
            "consensus": "happy",
            "gender": None,
            "valence": pytest.approx(4.8),
            "arousal": pytest.approx(4.2),
            "dominance": 5.0,
            "other_texts": [],
            "secondary_votes": [
                *("sad", "concerned", "happy", "concerned", "neutral"),
                *("concerned", "fear", "happy", "concerned", "happy"),
            ],
            "secondary_raters": [f"WORKER000143{number}" for number in (25, 25, 32, 32, 42, 42, 42, 43, 43, 44)],
        },
        shares={"happy": 0.6, "sad": 0.2, "fear": 0.2},
        problems={
            ("bad_line", "006-041.1-2_1", "WHiSER/Labels/labels.txt:10"),  # two ratings on one line
            ("few_raters", "006-041.1-2_1", "WHiSER/Labels/labels.txt:8"),
            ("no_labels", "006-042.1-2_1", "wavs/006-042.1-2_1.wav"),
        },
        options={"secondary": True},
    ),
    "cremad": Case(
        splits={"train": ["1001_IEO_HAP_LO", "1002_ITH_FEA_XX"]},
        row={
            "id": "1001_IEO_HAP_LO",
            "transcript": "It's eleven o'clock.",
            "speaker": "cremad-1001",
            "human_votes": ["happy", "neutral", "neutral"],
            "human_raters": ["r1", "r2", "r3"],
            "intended": "happy",
            "level": "LO",
            "sentence": "IEO",
            "modality": "voice",
        },
        shares={"happy": 1 / 3, "neutral": 2 / 3},
        problems={
            ("duplicate_rater", "1002_ITH_FEA_XX", "finishedResponses.csv:9"),
            ("distracted_rater", "1002_ITH_FEA_XX", "finishedResponses.csv:10"),
            ("no_votes", "1002_DFA_ANG_XX", "finishedResponses.csv:11"),  # seen, never heard
        },
        options={"split": "own"},
    ),
    "emozionalmente": Case(
        splits={"train": ["1"], "validation": ["2"], "test": ["3"]},
        row={
            "id": "1",
            "transcript": "Sì, certo",
            "speaker": "emozionalmente-a1",
            "human_votes": ["joy"] * 4 + ["sad"],
            "human_raters": ["u0", "u1", "u2", "u3", "u9"],
            "intended": "joy",
        },
        shares={"joy": 0.8, "sad": 0.2},
    ),
    "dusha": Case(
        splits={"train": ["a1", "a2"], "test": ["b1", "b2"]},
        row={
            "id": "a1",
            "transcript": 'ну "да"',
            "speaker": "dusha-crowd-s-a",
            "human_votes": ["happy", "happy", "other"],
            "human_raters": ["r0", "r1", "r2"],
            "intended": "happy",
            "domain": "crowd",
        },
        shares={"happy": 2 / 3, "other": 1 / 3},
        problems={
            ("control_task", "a3", "crowd_train/raw_crowd_train.tsv:7"),
            ("control_task", "b3", "crowd_test/raw_crowd_test.tsv:7"),
        },
    ),
    "thai_ser": Case(
        splits={"train": ["s001_con_actor001_impro1_1", "z011_mic_actor102_script2_2_2b"]},
        row={
            "id": "s001_con_actor001_impro1_1",
            "transcript": None,
            "speaker": "thai_ser-actor001",
            "human_votes": ["neutral", "neutral", "sad", "other"],
            "human_vote_weights": [1.0, 0.5, 0.5, 1.0],
            "intended": "neutral",
            "consensus": "neutral",
            "gender": "male",
            "age": 30,
            "style": "improvised",
            "microphone": "con",
        },
        shares={"neutral": 0.5, "sad": 1 / 6, "other": 1 / 3},
        problems={
            ("no_answer", "s001_con_actor001_impro1_1", "emotion_label.json"),
            ("bad_line", "z011_mic_actor102_script2_2_2b", "emotion_label.json"),
            ("no_audio", "s001_con_actor002_impro1_2", "emotion_label.json"),
        },
    ),
    "kemdy": Case(
        splits={"train": ["Sess01_script01_User001M_001", "Sess01_script01_User002F_001"]},
        row={
            "id": "Sess01_script01_User001M_001",
            "transcript": "네, 맞아요 b/",
            "speaker": "kemdy-User001M",
            "human_votes": ["neutral"] * 7 + ["disgust", "happy"],
            "human_raters": [
                *("Eval01M", "Eval02F", "Eval03M", "Eval04F", "Eval05M", "Eval06F", "Eval07M", "Eval08F"),
                "Eval10F",
            ],
            "consensus": "neutral",
            "gender": "male",
            "valence": pytest.approx(3.4),
            "arousal": pytest.approx(2.6),
        },
        shares={"neutral": 7 / 9, "disgust": 1 / 9, "happy": 1 / 9},
        problems={
            ("no_answer", "Sess01_script01_User001M_001", "annotation/Sess01_eval.csv:3"),
            ("no_audio", "Sess01_script01_User002F_002", "annotation/Sess01_eval.csv:5"),
        },
        options={"split": "own"},
    ),
    "emonet_voice": Case(
        splits={"train": ["a1b2c3d4_1", "b1b2c3d4_1"]},
        row={
            "id": "a1b2c3d4_1",
            "transcript": None,
            "speaker": None,
            "human_votes": ["strong", "weak", "strong"],
            "human_raters": ["human-1", "human-2", "human-4"],
            "asked": "angry",
        },
        shares={"strong": 2 / 3, "weak": 1 / 3},
        problems={
            ("bad_line", "a1b2c3d4_2", "data/train-00000-of-00001.parquet:2"),
            ("empty_audio", "c1b2c3d4_1", "c1b2c3d4_1.wav"),
            ("bad_line", "d1b2c3d4_1", "data/train-00000-of-00001.parquet:5"),
        },
    ),
    "ravdess": Case(
        splits={"test": ["03-01-02-01-01-01-01", "03-01-05-02-01-02-01", "03-01-06-01-02-01-12"]},
        row={
            "id": "03-01-06-01-02-01-12",
            "transcript": "Dogs are sitting by the door.",
            "speaker": "ravdess-12",
            "intended": "fear",
            "intensity": "normal",
            "gender": "female",
            "channel": "speech",
        },
        shares=None,
        problems={
            ("bad_name", "notes", "Actor_es/notes.wav"),
            ("bad_name", "03-02-05-02-01-02-01", "Actor_01/03-02-05-02-01-02-01.wav"),
        },
    ),
    "emodb": Case(
        splits={"test": ["03a01Fa", "08a02Wc", "16b10Lb"]},
        row={
            "id": "03a01Fa",
            "transcript": "Der Lappen liegt auf dem Eisschrank.",
            "speaker": "emodb-03",
            "intended": "happy",
            "gender": "male",
        },
        shares=None,
    ),
}
every_corpus = pytest.mark.parametrize("name", list(CORPORA))


def corpus(name, folder):
    """The files of a corpus in a folder, and its reader."""
    return find_reader(name), getattr(corpus_files, name)(folder / "corpus")


@every_corpus
def test_the_rows_are_the_hand_written_ones(tmp_path, name):
    reader, root = corpus(name, tmp_path)
    case = CASES[name]
    dataset, report = read(reader, root, **(case.options or {}))
    assert {split: rows["id"][:] for split, rows in dataset.items()} == case.splits
    row = next(row for rows in dataset.values() for row in rows if row["id"] == case.row["id"])
    audio = row.pop("audio")
    assert audio["path"].rpartition(".")[0] == row["id"]
    assert audio["bytes"] in (corpus_files.clip(audio["path"]), corpus_files.WAV)
    expected = {**case.row, "corpus": name, "language": reader.info.language, "restricted": reader.info.restricted}
    if case.shares is not None:
        shares = pytest.approx({**dict.fromkeys(reader.info.emotions, 0.0), **case.shares})
        expected |= {"human_distribution": shares, "emotion_distribution": shares}
    assert row == expected
    assert found(report) == set(case.problems)
    assert report.kept == sum(len(ids) for ids in case.splits.values())


def clips(root, stem="*"):
    return [path for path in root.rglob(f"{stem}.*") if path.suffix in (".wav", ".flac")]


@pytest.mark.parametrize("name", [name for name in CORPORA if name != "emonet_voice"])  # which has Parquet, see below
def test_every_reader_looks_at_what_the_files_are(tmp_path, name):
    reader, root = corpus(name, tmp_path)
    case = CASES[name]
    (clip,) = clips(root, case.row["id"])
    clip.write_bytes(made_clips.POINTER)
    ids = [row_id for ids in case.splits.values() for row_id in ids]
    dataset, report = read(reader, root, **(case.options or {}))
    assert sorted(row_id for rows in dataset.values() for row_id in rows["id"]) == sorted(set(ids) - {case.row["id"]})
    (problem,) = [problem for problem in report.problems if problem.reason == "not_audio"]
    assert (problem.item, problem.where) == (case.row["id"], clip.relative_to(root).as_posix())
    assert "a Git LFS pointer. Mend: `git lfs pull`" in problem.detail
    for clip in clips(root):
        clip.write_bytes(made_clips.POINTER)
    with pytest.raises(CorpusError, match=r"No audio file(.|\n)*not_audio(.|\n)*git lfs pull"):
        read(reader, root, **(case.options or {}))


def test_a_clip_in_a_table_is_looked_at_likewise(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_files, "WAV", made_clips.POINTER)
    reader, root = corpus("emonet_voice", tmp_path)
    with pytest.raises(CorpusError, match=r"No audio file(.|\n)*not_audio(.|\n)*a Git LFS pointer"):
        read(reader, root)


@every_corpus
def test_a_folder_that_is_not_the_corpus_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="Mend"):
        read(find_reader(name), tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"There is no.*Mend"):
        read(find_reader(name), tmp_path / "nowhere")


@pytest.mark.parametrize(
    "function", [*map(find_reader, CORPORA), read_table, simulate_corpus], ids=lambda f: f.__name__
)
def test_every_option_is_in_the_signature_and_documented(function):
    described = inspect.getdoc(function).partition("Args:\n")[2].partition("\n\n")[0]
    names = [line.strip().partition(":")[0] for line in described.splitlines() if line[4] != " "]
    parameters = inspect.signature(function).parameters
    assert names == list(parameters)
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


@every_corpus
def test_readers_show_the_shared_options_with_their_defaults_and_what_is_known_of_the_corpus(name):
    reader = find_reader(name)
    parameters = inspect.signature(reader).parameters
    assert not any(isinstance(parameter.annotation, str) for parameter in parameters.values())
    shared = {option: parameters[option].default for option in ReadOptions.__annotations__}
    assert shared == {**DEFAULTS, "split": reader.info.split}
    assert isinstance(reader.info, CorpusInfo) and reader.info.name == name


# The example of docs/corpora.md.
OWN = (
    (Path(__file__).parents[2] / "docs" / "corpora.md")
    .read_text("utf-8")
    .partition("```python\n")[2]
    .partition("```")[0]
)


def test_a_reader_of_ones_own_is_found_as_module_and_name(tmp_path, monkeypatch):
    (tmp_path / "my_corpora.py").write_text(OWN + "\ndef no_reader(source): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    reader = find_reader("my_corpora:read_mine")
    assert reader.info.title == "Mine" and "seed: Of splits" in reader.__doc__
    assert list(inspect.signature(reader).parameters)[:4] == ["source", "loud", "report", "emotions"]
    corpus_files.wav(tmp_path / "clips" / "s1-a.wav")
    rows = read(reader, tmp_path / "clips", emotions=["sad", "angry"])[0]["train"]
    assert (rows["id"][:], rows["speaker"][:], rows["human_votes"][:]) == (["s1-a"], ["mine-s1"], [["sad"]])
    with pytest.raises(ValueError, match=r"no_reader.*not a reader.*Mend.*corpus_reader"):
        find_reader("my_corpora:no_reader")
    with pytest.raises(ValueError, match=r"Unknown corpus 'iemocop'.*Mend.*'iemocap'"):
        find_reader("iemocop")
