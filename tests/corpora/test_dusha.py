import pytest
from corpus_files import dusha, read

from hf_emo_dist.corpora.dusha import read_dusha
from hf_emo_dist.corpora.utterances import CorpusError


@pytest.mark.parametrize("form", ["tsv", "jsonl"])
def test_both_forms_of_the_answers(tmp_path, form):
    dataset, report = read(read_dusha, dusha(tmp_path / "corpus", form))
    assert {split: rows["id"][:] for split, rows in dataset.items()} == {"train": ["a1", "a2"], "test": ["b1", "b2"]}
    assert dataset["train"][0]["human_votes"] == ["happy", "happy", "other"]
    assert dataset["train"][0]["transcript"] == 'ну "да"'
    assert report.counts() == {"control_task": 2}


def test_parts_are_chosen_by_name(tmp_path):
    root = dusha(tmp_path / "corpus")
    assert list(read(read_dusha, root, parts=["crowd_test"])[0]) == ["test"]
    with pytest.raises(CorpusError, match=r"podcast_train/raw_podcast_train.tsv.*Mend"):
        read(read_dusha, root, parts=["podcast_train"])
    with pytest.raises(ValueError, match="`parts` must be among crowd_train"):
        read(read_dusha, root, parts=["crowd"])
