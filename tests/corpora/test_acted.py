import pytest
from corpus_files import emodb, found, ravdess, read, wav, write

from hf_emo_dist.corpora.emodb import read_emodb
from hf_emo_dist.corpora.ravdess import read_ravdess
from hf_emo_dist.corpora.utterances import CorpusError
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


def ravdess_votes(path, rows, header="file,rater,emotion"):
    return write(path, "\n".join([header, *rows]) + "\n")


def test_ravdess_reads_each_take_once(tmp_path):
    root = ravdess(tmp_path / "corpus")
    wav(root / "Actor_12" / "01-01-06-01-02-01-12.wav")  # the sound of the video of a take that is there
    wav(root / "Actor_12" / "01-01-04-01-02-01-12.wav")  # of one that is not
    wav(root / "Actor_12" / "02-01-04-01-02-01-12.wav")  # a video without sound
    rows, report = read(read_ravdess, root)
    assert rows["test"]["id"][:3] == ["03-01-02-01-01-01-01", "03-01-05-02-01-02-01", "01-01-04-01-02-01-12"]
    assert ("same_sound", "01-01-06-01-02-01-12", "Actor_12/01-01-06-01-02-01-12.wav") in found(report)
    assert ("bad_name", "02-01-04-01-02-01-12", "Actor_12/02-01-04-01-02-01-12.wav") in found(report)


def test_ravdess_takes_votes_that_the_user_brings(tmp_path):
    table = ravdess_votes(
        tmp_path / "votes.csv",
        [
            "03-01-06-01-02-01-12.wav,p1,fearful",
            "03-01-06-01-02-01-12,p2,04",
            "03-01-06-01-02-01-12,p2,happy",  # the same rater again
            "03-01-06-01-02-01-12,p3,none of these",
            "03-01-06-01-02-01-12,p4,",
            "03-01-05-02-01-02-01,p1,angry",
            "01-01-06-01-02-01-12.mp4,p9,happy",  # who saw the video
            "03-01-08-01-02-01-12,p9,surprised",
            "clip.wav,p1,sad",
        ],
    )
    rows, report = read(read_ravdess, ravdess(tmp_path / "corpus"), votes=table)
    by_id = {row["id"]: (row["human_votes"], row["human_raters"], row["intended"]) for row in rows["train"]}
    assert by_id == {
        "03-01-06-01-02-01-12": (["fear", "sad"], ["p1", "p2"], "fear"),
        "03-01-05-02-01-02-01": (["angry"], ["p1"], "angry"),
    }
    assert report.info.has_votes and "table" in report.info.vote_source
    assert found(report) >= {
        ("duplicate_rater", "03-01-06-01-02-01-12", "votes.csv:4"),
        ("unknown_label", "03-01-06-01-02-01-12", "votes.csv:5"),
        ("no_answer", "03-01-06-01-02-01-12", "votes.csv:6"),
        ("other_modality", "01-01-06-01-02-01-12", "votes.csv:8"),
        ("no_audio", "03-01-08-01-02-01-12", "votes.csv:9"),
        ("bad_line", "clip", "votes.csv:10"),
        ("no_votes", "03-01-02-01-01-01-01", "Actor_01/03-01-02-01-01-01-01.wav"),
    }


def test_ravdess_votes_without_raters_or_in_another_form(tmp_path):
    root = ravdess(tmp_path / "corpus")
    bare = ravdess_votes(tmp_path / "bare.csv", ["03-01-06-01-02-01-12,sad"] * 2, "file,emotion")
    row = read(read_ravdess, root, votes=bare)[0]["train"][0]
    assert (row["human_votes"], row["human_raters"]) == (["sad", "sad"], None)
    other = ravdess_votes(tmp_path / "other.csv", ["x,1"], "FileName,Proportion correct")
    with pytest.raises(CorpusError, match=r"other.csv has no column file, emotion.*Mend"):
        read(read_ravdess, root, votes=other)
    with pytest.raises(FileNotFoundError, match=r"no table of votes.*Mend"):
        read(read_ravdess, root, votes=tmp_path / "nowhere.csv")
