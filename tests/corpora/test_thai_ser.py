import pytest
from corpus_files import found, read, thai_ser, write

from hf_emo_dist.corpora.thai_ser import read_thai_ser
from hf_emo_dist.corpora.utterances import CorpusError


def test_another_microphone_has_the_same_votes(tmp_path):
    root = thai_ser(tmp_path / "corpus")
    (usual, _), (clipped, report) = read(read_thai_ser, root), read(read_thai_ser, root, microphone="clip")
    first, other = usual["train"][0], clipped["train"][0]
    assert (other["id"], other["microphone"]) == ("s001_clip_actor001_impro1_1", "clip")
    assert other["human_votes"] == first["human_votes"]
    assert ("no_labels", "s001_con_actor001_impro1_1") not in {problem[:2] for problem in found(report)}
    with pytest.raises(ValueError, match="microphone"):
        read_thai_ser(root, microphone="mic")


def test_the_authors_folds_are_sessions(tmp_path):
    rows, _ = read(read_thai_ser, thai_ser(tmp_path / "corpus"), split="session")
    assert dict(zip(rows["train"]["id"], rows["train"]["fold"], strict=True)) == {
        "s001_con_actor001_impro1_1": 1,
        "z011_mic_actor102_script2_2_2b": 10,
    }


@pytest.mark.parametrize(("text", "match"), [("{", "not JSON.*Mend"), ("[]", "not an object.*Mend")])
def test_labels_that_are_none_are_refused(tmp_path, text, match):
    root = thai_ser(tmp_path / "corpus")
    write(root / "emotion_label.json", text)
    with pytest.raises(CorpusError, match=match):
        read(read_thai_ser, root)
