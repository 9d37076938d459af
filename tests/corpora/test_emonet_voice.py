import pytest
from corpus_files import emonet_voice, read

from hf_emo_dist.corpora.emonet_voice import read_emonet_voice
from hf_emo_dist.corpora.utterances import CorpusError


def test_the_clips_on_one_emotion(tmp_path):
    root = emonet_voice(tmp_path / "corpus")
    rows, _ = read(read_emonet_voice, root, asked="Anger")
    assert rows["train"]["asked"][:] == ["angry"]
    assert read(read_emonet_voice, root)[0]["train"]["asked"][:] == ["angry", "jealousy & envy"]


def test_clips_without_speakers_are_in_no_split_by_speakers(tmp_path):
    with pytest.raises(CorpusError, match="unknown_speaker"):
        read(read_emonet_voice, emonet_voice(tmp_path / "corpus"), split="speaker")


def test_parquet_of_another_data_set_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "corpus").mkdir()
    pq.write_table(pa.table({"audio": [1], "label": ["x"]}), tmp_path / "corpus" / "a.parquet")
    with pytest.raises(CorpusError, match=r"a.parquet has no column audioId \(there are audio, label\).*Mend"):
        read(read_emonet_voice, tmp_path / "corpus")
