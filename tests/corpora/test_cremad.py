import corpus_files
import numpy as np
import pytest
from corpus_files import cremad, found, wav, write

from hf_emo_dist.corpora.cremad import MARKED_CLIPS, read_cremad, votes_only
from hf_emo_dist.corpora.utterances import CorpusError
from hf_emo_dist.data.splits import check_splits


def read(root, **options):
    return corpus_files.read(read_cremad, root, **options)


def test_repeated_and_late_answers_do_not_count(tmp_path):
    rows = {row["id"]: row for row in read(cremad(tmp_path / "corpus"), split="own")[0]["train"]}
    assert rows["1002_ITH_FEA_XX"]["human_votes"] == ["fear", "fear"]  # r2's second answer, r3's late one


def test_votes_are_those_of_the_modality(tmp_path):
    root = cremad(tmp_path / "corpus")
    faces, _ = read(root, split="own", modality="face")
    assert {row["id"]: row["human_votes"] for row in faces["train"]} == {
        "1001_IEO_HAP_LO": ["happy"],
        "1002_DFA_ANG_XX": ["angry"],
    }
    with pytest.raises(ValueError, match=r"modality.*'voice', 'face', 'audiovisual'"):
        read(root, modality="smell")


def test_tabulated_votes_are_read_where_there_are_no_responses(tmp_path):
    root = cremad(tmp_path / "corpus")
    (root / "finishedResponses.csv").unlink()
    table = (
        '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"\n'
        '"100001",0,0,0,1,2,0,"1001_IEO_HAP_LO",3,0.6,"N"\n'
        '"200001",0,0,0,4,0,0,"1001_IEO_HAP_LO",4,1,"H"\n'
        '"300001",1,0,x,4,0,0,"1001_IEO_HAP_LO",4,1,"H"\n'
        '"107443",0,0,0,4,0,0,"ANG_HI_practice",4,1,"H"\n'
    )
    write(root / "processedResults" / "tabulatedVotes.csv", table)
    dataset, report = read(root, split="own")
    assert dataset["train"][0]["human_votes"] == ["happy", "neutral", "neutral"]
    assert dataset["train"][0]["human_raters"] is None
    name = "processedResults/tabulatedVotes.csv"
    assert found(report) == {
        ("bad_line", "1001_IEO_HAP_LO", f"{name}:4"),
        ("bad_name", "ANG_HI_practice", f"{name}:5"),
        ("no_labels", "1002_DFA_ANG_XX", "AudioWAV/1002_DFA_ANG_XX.wav"),
        ("no_labels", "1002_ITH_FEA_XX", "AudioWAV/1002_ITH_FEA_XX.wav"),
    }


def test_votes_only_needs_no_audio(tmp_path):
    root = cremad(tmp_path / "corpus")
    votes = votes_only(root)
    assert votes.ids == ["1001_IEO_HAP_LO", "1002_DFA_ANG_XX", "1002_ITH_FEA_XX"]
    assert votes.speakers == ["1001", "1002", "1002"] and votes.intended == ["happy", "angry", "fear"]
    assert votes.emotions == ("angry", "happy", "neutral", "sad", "fear", "disgust")
    np.testing.assert_array_equal(votes.counts["voice"], [[0, 1, 2, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 2, 0]])
    ids, speakers, counts = votes.of("face")
    assert (ids, speakers) == (["1001_IEO_HAP_LO", "1002_DFA_ANG_XX"], ["1001", "1002"])
    np.testing.assert_array_equal(counts, [[0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    with pytest.raises(CorpusError, match=r"no audio.*votes_only"):
        read(root, audio_dir=tmp_path)
    with pytest.raises(CorpusError, match="columns"):
        votes_only(write(tmp_path / "other.csv", "a,b\n1,2\n"))


def test_real_votes_without_audio(real_data):
    table = real_data / "cremad_votes" / "votes.csv"
    if not table.is_file():
        pytest.skip("no CREMA-D votes")
    votes = votes_only(table)
    assert len(votes.ids) == 4901 and len(set(votes.speakers)) == 60
    assert [votes.counts[m].sum() for m in ("voice", "face", "audiovisual")] == [45177, 47259, 47331]
    row = votes.ids.index("1001_IEO_HAP_HI")
    assert dict(zip(votes.emotions, votes.counts["voice"][row], strict=True)) == {
        **{"angry": 2, "happy": 6, "neutral": 2},
        **{"sad": 0, "fear": 0, "disgust": 0},
    }


def test_audio_beside_a_table_of_counts(tmp_path):
    lines = ["clip,actor,sentence,intended,level,modality,angry,disgust,fear,happy,neutral,sad"]
    for actor in range(1001, 1007):
        lines.append(f"{actor}_IEO_SAD_MD,{actor},IEO,SAD,MD,voice,0,1,0,0,{actor % 4},2")
        wav(tmp_path / "clips" / f"{actor}_IEO_SAD_MD.wav")
    table = write(tmp_path / "votes.csv", "\n".join(lines) + "\n")
    dataset, _ = read(table, audio_dir=tmp_path / "clips", split="folds", num_folds=3)
    assert sorted(set(dataset["train"]["fold"])) == [0, 1, 2]
    check_splits(dataset["train"], fold_column="fold")
    splits, _ = read(table, audio_dir=tmp_path / "clips")  # by speaker
    assert list(splits) == ["train", "validation", "test"]
    check_splits(splits)


def with_marked_clips(root):
    """The corpus with two more responses: to a marked clip of an actor of the last fold, and to one of the fourth."""
    file = root / "finishedResponses.csv"
    lines = file.read_text().splitlines()
    for number, clip in ((90, "1076_MTI_SAD_XX"), (91, "1064_IEO_DIS_MD")):
        lines.append(f"{number},r1,{number},S_80,900,1,0,7,{number},4,{clip},9,S,80,H,LO,20")
        wav(root / "AudioWAV" / f"{clip}.wav")
    file.write_text("\n".join(lines) + "\n")
    return root


MARKED = ("1064_IEO_DIS_MD", "1076_MTI_SAD_XX")


@pytest.mark.parametrize(
    ("options", "clips", "late", "skipped"),
    [
        ({}, ("1001_IEO_HAP_LO", "1002_ITH_FEA_XX"), False, True),
        ({"late_responses": "keep"}, ("1001_IEO_HAP_LO", "1002_ITH_FEA_XX"), True, True),
        ({"marked_clips": "keep"}, ("1001_IEO_HAP_LO", "1002_ITH_FEA_XX", *MARKED), False, False),
        ({"protocol": "emo_superb"}, ("1001_IEO_HAP_LO", "1002_ITH_FEA_XX", *MARKED), True, False),
        (
            {"protocol": "emo_superb", "late_responses": "drop", "marked_clips": "drop"},
            ("1001_IEO_HAP_LO", "1002_ITH_FEA_XX"),
            False,
            True,
        ),
    ],
)
def test_late_responses_and_marked_clips(tmp_path, options, clips, late, skipped):
    root = with_marked_clips(cremad(tmp_path / "corpus"))
    options = options if "protocol" in options else {**options, "split": "own"}
    dataset, report = read(root, **options)
    rows = {row["id"]: row for row in dataset["train"]}
    assert sorted(rows) == sorted(clips)
    assert rows["1002_ITH_FEA_XX"]["human_votes"] == ["fear", "fear", "sad"] if late else ["fear", "fear"]
    named = {(p.item, p.skipped, p.detail) for p in report.problems if p.reason == "wrong_recording"}
    assert named == {(clip, skipped, MARKED_CLIPS[clip]) for clip in MARKED}
    assert report.counts().get("distracted_rater", 0) == (0 if late else 1)
    if "protocol" in options and not skipped:
        assert {name: row["fold"] for name, row in rows.items()} == {
            "1001_IEO_HAP_LO": 1,
            "1002_ITH_FEA_XX": 1,
            "1064_IEO_DIS_MD": 4,
            "1076_MTI_SAD_XX": 5,
        }


def test_a_protocol_makes_three_splits_of_its_folds(tmp_path):
    root = with_marked_clips(cremad(tmp_path / "corpus"))
    splits, _ = read(root, protocol="emo_superb", test_fold=4)
    # the fold after the one that is tested chooses
    assert {name: rows["id"][:] for name, rows in splits.items()} == {
        "train": ["1001_IEO_HAP_LO", "1002_ITH_FEA_XX"],
        "validation": ["1076_MTI_SAD_XX"],
        "test": ["1064_IEO_DIS_MD"],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "emo_superb", "modality": "face"}, "votes on the voice, not on face.*Mend"),
        ({"protocol": "emo_superb", "split": "folds"}, "folds of its own.*Mend"),
        ({"protocol": "emo"}, "'emo_superb'"),
        ({"late_responses": "some"}, "late_responses.*'keep', 'drop'"),
        ({"marked_clips": "some"}, "marked_clips.*'keep', 'drop'"),
    ],
)
def test_what_does_not_fit_a_protocol_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        read(cremad(tmp_path / "corpus"), **options)


def test_late_responses_that_cannot_be_told_apart_are_said(tmp_path):
    root = cremad(tmp_path / "corpus")
    (root / "finishedEmoResponses.csv").unlink()
    _, report = read(root, split="own")
    assert ("no_response_times", "finishedEmoResponses.csv", "finishedEmoResponses.csv") in found(report)
    lines = ["clip,modality,A,D,F,H,N,S"]
    lines += [f"{actor}_IEO_SAD_MD,voice,0,1,0,0,1,2" for actor in (1001, 1037)]
    for actor in (1001, 1037):
        wav(tmp_path / "clips" / f"{actor}_IEO_SAD_MD.wav")
    table = write(tmp_path / "votes.csv", "\n".join(lines) + "\n")
    with pytest.raises(CorpusError, match=r"late_responses='keep', and votes.csv holds counts.*Mend"):
        read(table, audio_dir=tmp_path / "clips", late_responses="keep")
    _, report = read(table, audio_dir=tmp_path / "clips", protocol="emo_superb")
    assert report.counts() == {"no_response_times": 1}
