import numpy as np
import pytest
from corpus_files import dusha, emozionalmente, wav, write

from hf_emo_dist.corpora.dusha import read_dusha
from hf_emo_dist.corpora.emozionalmente import read_emozionalmente
from hf_emo_dist.corpora.intended import read_emodb, read_ravdess
from hf_emo_dist.corpora.utterances import CorpusError, CorpusReport
from hf_emo_dist.data.label_map import NoVotesError, dominant_classes, map_distributions
from hf_emo_dist.data.loading import emotions_of


def read(reader, root, **options):
    report = CorpusReport()
    dataset = reader(root, report=report, cache_dir=root.parent / "cache", progress=False, **options)
    return dataset, report


def found(report):
    return {(problem.reason, problem.item, problem.where) for problem in report.problems}


def ravdess(root):
    names = ["03-01-06-01-02-01-12", "03-01-02-01-01-01-01", "03-01-05-02-01-02-01", "03-02-05-02-01-02-01", "notes"]
    for name in names:
        wav(root / f"Actor_{name[-2:]}" / f"{name}.wav")
    return root


def test_ravdess_has_intended_emotions_and_no_votes(tmp_path):
    dataset, report = read(read_ravdess, ravdess(tmp_path / "corpus"))
    assert list(dataset) == ["test"]
    rows = {row["id"]: row for row in dataset["test"]}
    row = rows["03-01-06-01-02-01-12"]
    assert row.pop("audio")["bytes"]
    assert row == {
        "id": "03-01-06-01-02-01-12",
        "transcript": "Dogs are sitting by the door.",
        "speaker": "ravdess-12",
        "intended": "fear",
        "intensity": "normal",
        "gender": "female",
        "channel": "speech",
        "corpus": "ravdess",
        "language": "en",
        "restricted": False,
    }
    assert rows["03-01-05-02-01-02-01"]["intensity"] == "strong"
    assert {(reason, item) for reason, item, _ in found(report)} == {
        ("bad_name", "notes"),
        ("bad_name", "03-02-05-02-01-02-01"),
    }
    sung, _ = read(read_ravdess, tmp_path / "corpus", songs=True)
    assert len(sung["test"]) == 4


def test_emodb(tmp_path):
    for name in ("03a01Fa", "16b10Lb", "08a02Wc"):
        wav(tmp_path / "corpus" / "wav" / f"{name}.wav")
    dataset, _ = read(read_emodb, tmp_path / "corpus")
    assert [(r["speaker"], r["intended"], r["gender"]) for r in dataset["test"]] == [
        ("emodb-03", "happy", "male"),
        ("emodb-08", "angry", "female"),
        ("emodb-16", "bored", "female"),
    ]
    assert dataset["test"][0]["transcript"] == "Der Lappen liegt auf dem Eisschrank."
    assert dataset["test"][0]["language"] == "de"
    splits, _ = read(read_emodb, tmp_path / "corpus", split="speaker")
    assert [len(rows) for rows in splits.values()] == [1, 1, 1]


def test_a_corpus_without_votes_is_refused_as_a_target_and_scores_dominant_classes(tmp_path):
    from hf_emo_dist.data.targets import scored_matrix, training_targets
    from hf_emo_dist.training.validation import check_names

    rows = read(read_ravdess, ravdess(tmp_path / "corpus"))[0]["test"]
    for refused in (
        lambda: emotions_of(rows),
        lambda: scored_matrix(rows, ["angry", "sad"]),
        lambda: training_targets(rows, ["angry", "sad"]),
        lambda: check_names(rows, "emotion_distribution", "training"),
    ):
        with pytest.raises(NoVotesError, match=r"intended labels only.*Mend"):
            refused()
    emotions = ["angry", "neutral", "sad"]
    by_id = dict(zip(rows["id"], dominant_classes(rows, emotions, {"calm": "neutral"}).tolist(), strict=True))
    assert by_id == {"03-01-02-01-01-01-01": 1, "03-01-05-02-01-02-01": 0, "03-01-06-01-02-01-12": -1}
    with pytest.raises(ValueError, match="sends 'calm' to 'happy'"):
        dominant_classes(rows, emotions, {"calm": "happy"})
    merged, report = read(read_ravdess, tmp_path / "corpus", merge={"calm": "neutral"}, emotions=emotions)
    assert merged["test"]["intended"][:] == ["neutral", "angry"]
    assert report.counts()["intended_outside"] == 1


def test_distributions_are_mapped_by_adding_mass():
    rows = [{"joy": 0.25, "sad": 0.5, "bored": 0.25}, {"joy": 0.0, "sad": 0.0, "bored": 1.0}]
    matrix, kept = map_distributions(rows, ["happy", "sad"], {"joy": "happy", "bored": "sad"})
    np.testing.assert_allclose(matrix, [[0.25, 0.75], [0, 1]])
    matrix, kept = map_distributions(rows, ["happy", "sad"], {"joy": "happy", "sad": None})
    np.testing.assert_allclose(matrix, [[1, 0], [0, 0]])
    assert kept.tolist() == [True, False]


def test_emozionalmente(tmp_path):
    root = emozionalmente(tmp_path / "corpus")
    dataset, report = read(read_emozionalmente, root)
    assert {split: rows["id"][:] for split, rows in dataset.items()} == {
        "train": ["1"],
        "validation": ["2"],
        "test": ["3"],
    }
    row = dataset["train"][0]
    assert row["human_votes"] == ["joy"] * 4 + ["sad"]
    assert row["human_raters"] == ["u0", "u1", "u2", "u3", "u9"]
    assert (row["speaker"], row["intended"], row["transcript"]) == ("emozionalmente-a1", "joy", "Sì, certo")
    assert (row["language"], row["restricted"], report.problems) == ("it", False, [])
    assert dataset["validation"][0]["human_distribution"]["neutral"] == pytest.approx(0.8)
    happy, _ = read(read_emozionalmente, tmp_path, merge={"joy": "happy"}, emotions=["happy", "sad"], split="own")
    assert happy["train"][0]["human_distribution"] == {"happy": pytest.approx(0.8), "sad": pytest.approx(0.2)}


def test_emozionalmente_broken(tmp_path):
    root = emozionalmente(tmp_path / "corpus", splits=False)
    samples = root / "metadata" / "samples.csv"
    write(
        samples, samples.read_text() + "audio\\4.wav,,it,a4,fear\n5.wav,Ciao,it,a5,fear\nshort\n6.wav,No,it,a6,fear\n"
    )
    evaluations = root / "metadata" / "evaluations.csv"
    write(
        evaluations,
        evaluations.read_text() + "4.wav,u1,good,fear\n4.wav,u1,good,joy\n4.wav,u2,good,envy\n8.wav,u1,good,joy\n",
    )
    for number in (4, 6, 7):
        wav(root / "audio" / f"{number}.wav")
    dataset, report = read(read_emozionalmente, root)
    assert dataset["train"]["id"][:] == ["1", "2", "3", "4"]
    assert dataset["train"][3]["human_votes"] == ["fear"] and dataset["train"][3]["transcript"] is None
    assert found(report) == {
        ("windows_path", "audio\\4.wav", "metadata/samples.csv:5"),
        ("empty_transcript", "4", "metadata/samples.csv:5"),
        ("no_audio", "5", "metadata/samples.csv:6"),
        ("bad_line", "metadata/samples.csv", "metadata/samples.csv:7"),
        ("no_votes", "6", "metadata/samples.csv:8"),
        ("no_labels", "7", "audio/7.wav"),
        ("duplicate_rater", "4", "metadata/evaluations.csv:18"),
        ("unknown_label", "4", "metadata/evaluations.csv:19"),
        ("no_audio", "8", "metadata/evaluations.csv:20"),
    }


@pytest.mark.parametrize("form", ["tsv", "jsonl"])
def test_dusha(tmp_path, form):
    dataset, report = read(read_dusha, dusha(tmp_path / "corpus", form))
    assert {split: rows["id"][:] for split, rows in dataset.items()} == {"train": ["a1", "a2"], "test": ["b1", "b2"]}
    row = dataset["train"][0]
    assert row["human_votes"] == ["happy", "happy", "other"] and row["human_raters"] == ["r0", "r1", "r2"]
    assert (row["speaker"], row["intended"], row["transcript"]) == ("dusha-crowd-s-a", "happy", 'ну "да"')
    assert report.counts() == {"control_task": 2}
    with pytest.raises(CorpusError, match=r"podcast_train/raw_podcast_train.tsv.*Mend"):
        read(read_dusha, tmp_path / "corpus", parts=["podcast_train"])


@pytest.mark.parametrize("reader", [read_ravdess, read_emodb, read_emozionalmente, read_dusha])
def test_a_folder_that_is_not_the_corpus_is_refused(tmp_path, reader):
    with pytest.raises(CorpusError, match="Mend"):
        read(reader, tmp_path)
    with pytest.raises(FileNotFoundError, match="Mend"):
        read(reader, tmp_path / "nowhere")
