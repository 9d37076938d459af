import pytest
from corpus_files import emodb, ravdess, read

from hf_emo_dist.corpora.emodb import read_emodb
from hf_emo_dist.corpora.ravdess import read_ravdess
from hf_emo_dist.data.label_map import NoVotesError, dominant_classes
from hf_emo_dist.data.loading import emotions_of


def test_what_file_names_say(tmp_path):
    rows = {row["id"]: row for row in read(read_ravdess, ravdess(tmp_path / "ravdess"), songs=True)[0]["test"]}
    assert len(rows) == 4 and rows["03-02-05-02-01-02-01"]["channel"] == "song"
    assert rows["03-01-05-02-01-02-01"]["intensity"] == "strong"
    spoken, _ = read(read_emodb, emodb(tmp_path / "emodb"))
    assert [(row["speaker"], row["intended"], row["gender"]) for row in spoken["test"]] == [
        ("emodb-03", "happy", "male"),
        ("emodb-08", "angry", "female"),
        ("emodb-16", "bored", "female"),
    ]


def test_intended_emotions_balance_the_splits_of_speakers(tmp_path):
    splits, _ = read(read_emodb, emodb(tmp_path / "corpus"), split="speaker")
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
