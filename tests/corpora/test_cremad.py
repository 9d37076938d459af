import corpus_files
import numpy as np
import pytest
from corpus_files import cremad, found, wav, write

from hf_emo_dist.corpora.cremad import read_cremad, votes_only
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
