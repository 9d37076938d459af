import logging

import corpus_files
import pytest
from corpus_files import QUOTED_LABELS, found, msp_podcast, wav, write

from hf_emo_dist.corpora.msp_podcast import read_msp_podcast
from hf_emo_dist.corpora.utterances import CorpusError


def read(root, **options):
    return corpus_files.read(read_msp_podcast, root, **options)


@pytest.mark.parametrize("spelling", ["consensus", "concensus"])
@pytest.mark.parametrize("shape", ["1.6", "detail", "2.0", "json", "txt"])
def test_every_shape_gives_the_same_rows(tmp_path, shape, spelling):
    folder = {"1.6": "label", "txt": "labels"}.get(shape, "Labels")
    dataset, report = read(msp_podcast(tmp_path / "corpus", shape, spelling, folder), secondary=True)
    usual, _ = corpus_files.read(read_msp_podcast, msp_podcast(tmp_path / "usual" / "corpus"), secondary=True)
    assert {split: rows.to_list() for split, rows in dataset.items()} == {
        split: rows.to_list() for split, rows in usual.items()
    }
    unknown = dataset["validation"][0]
    assert (unknown["speaker"], unknown["gender"], unknown["consensus"]) == (None, None, None)
    assert unknown["secondary_votes"] == ["disappointed"] * 5
    assert report.counts() == {"labels_withheld": 1, "few_raters": 1, "empty_transcript": 1}


def test_partitions_file_and_unknown_speakers(tmp_path, caplog):
    root = msp_podcast(tmp_path / "corpus")
    write(
        root / "Partitions.txt", "Test1; MSP-PODCAST_0001_0139.wav\nValidation;MSP-PODCAST_0002_0001.wav ;\nnonsense\n"
    )
    with caplog.at_level(logging.WARNING):
        dataset, report = read(root)
    assert dataset["validation"]["id"][:] == ["MSP-PODCAST_0002_0001", "MSP-PODCAST_0003_0001"]
    assert ("bad_line", "Partitions.txt", "Partitions.txt:3") in found(report)
    assert "1 utterances have no known speaker" in caplog.text
    disjoint, report = read(root, split="folds", num_folds=2)
    assert len(disjoint["train"]) == 2 and report.counts(skipped=True)["unknown_speaker"] == 1


def test_broken_files_are_reported_by_file_and_line_and_the_rest_is_kept(tmp_path):
    root = msp_podcast(tmp_path / "corpus", "txt")
    labels = (
        QUOTED_LABELS.replace("\n", "\r\n")
        + "WORKER00000018; Sad; Sad; A:1.0; V:4.0; D:2.0;\r\n"  # the same rater again
        + "WORKER00000050 Sad\r\n\r\n"
        + "MSP-PODCAST_0002_0001.wav; H; A:2.0; V:4.0; D:2.0;\r\n\r\n"  # no rater line
        + "Audios\\MSP-PODCAST_0003_0001.wav; A; A:2.0; V:4.0; D:2.0;\r\n"
        + "W1; Angry; A:1.0; V:4.0; D:2.0;\r\nW2; Angryy; Angry; A:1.0; V:4.0; D:2.0;\r\n\r\n"
        + "MSP-PODCAST_0004_0001.wav; A; A:2.0; V:4.0; D:2.0;\r\nW1; Sad; Sad; A:1.0; V:4.0; D:2.0;\r\n"
    )
    write(root / "Labels" / "labels.txt", b"\xef\xbb\xbf" + labels.encode())
    wav(root / "Audios" / "MSP-PODCAST_0005_0001.wav")
    dataset, report = read(root)
    assert {row["id"]: row["human_votes"] for rows in dataset.values() for row in rows} == {
        "MSP-PODCAST_0001_0139": ["other", "neutral", "surprise"],
        "MSP-PODCAST_0003_0001": ["angry"],
    }
    name = "Labels/labels.txt"
    assert found(report) >= {
        ("bom", name, f"{name}:1"),
        ("crlf", name, f"{name}:1"),
        ("duplicate_rater", "MSP-PODCAST_0001_0139", f"{name}:5"),
        ("bad_line", "MSP-PODCAST_0001_0139", f"{name}:6"),
        ("no_votes", "MSP-PODCAST_0002_0001", f"{name}:8"),
        ("windows_path", "Audios\\MSP-PODCAST_0003_0001.wav", f"{name}:10"),
        ("unknown_label", "MSP-PODCAST_0003_0001", f"{name}:12"),
        ("no_audio", "MSP-PODCAST_0004_0001", f"{name}:14"),
        ("no_labels", "MSP-PODCAST_0005_0001", "Audios/MSP-PODCAST_0005_0001.wav"),
        ("empty_transcript", "MSP-PODCAST_0003_0001", "Transcripts/MSP-PODCAST_0003_0001.txt:1"),
    }


def test_the_consensus_alone_is_refused(tmp_path):
    root = msp_podcast(tmp_path / "corpus")
    (root / "Labels" / "labels_detailed.csv").unlink()
    with pytest.raises(CorpusError, match="consensus file alone has no votes"):
        read(root)
    with pytest.raises(CorpusError, match="raters' file, not the consensus"):
        read(root, labels=root / "Labels" / "labels_consensus.csv")


@pytest.mark.parametrize(("text", "match"), [("{", "not JSON.*Mend"), ("[]", "not an object of files.*Mend")])
@pytest.mark.parametrize("name", ["labels_detailed.json", "labels_consensus.json"])
def test_json_that_is_none_is_refused(tmp_path, name, text, match):
    root = msp_podcast(tmp_path / "corpus", "txt" if "consensus" in name else "detail")
    for path in root.glob(f"Labels/{name.partition('.')[0]}.*"):
        path.unlink()
    write(root / "Labels" / name, text)
    with pytest.raises(CorpusError, match=match):
        read(root)


def release_1_8(root):
    """The files that release 1.8 has instead of a consensus: other spellings, and speakers in a file of their own."""
    msp_podcast(root, "txt", folder="labels")
    (root / "labels" / "labels_consensus.csv").unlink()
    (root / "labels" / "labels.txt").rename(root / "labels" / "Labels.txt")
    write(
        root / "partitions.txt",
        "Test1; MSP-PODCAST_0001_0139.wav\nTrain; MSP-PODCAST_0002_0001.wav\n"
        "Validation; MSP-PODCAST_0003_0001.wav\nTest3; MSP-PODCAST_0009_0001.wav\n",
    )
    write(
        root / "Speaker_ids.txt",
        "Speaker_30; Male\nSpeaker_31; Female\n\nMSP-PODCAST_0001_0139.wav; 30\nMSP-PODCAST_0002_0001.wav; Speaker_31\n"
        "MSP-PODCAST_0003_0001.wav; Unknown\nno pair\n",
    )
    return root


def test_release_1_8_gives_the_rows_of_the_others(tmp_path):
    dataset, report = read(release_1_8(tmp_path / "corpus"))
    usual, _ = read(msp_podcast(tmp_path / "usual" / "corpus"))
    # Its blocks' first lines state other means than the consensus file of the fixture does.
    stated = {"valence": 4.0, "arousal": 2.0, "dominance": 2.0}
    for split, rows in usual.items():
        expected = [row if split == "test1" else {**row, **stated, "consensus": None} for row in rows]
        assert dataset[split].to_list() == expected
    assert report.counts() == {"labels_withheld": 1, "few_raters": 1, "bad_line": 1, "empty_transcript": 1}
    assert ("bad_line", "Speaker_ids.txt", "Speaker_ids.txt:7") in found(report)


@pytest.mark.parametrize("shape", ["1.6", "2.0", "json", "detail", "txt"])
def test_attributes_that_no_file_states_are_the_raters_means(tmp_path, shape):
    root = msp_podcast(tmp_path / "corpus", shape)
    (root / "Labels" / "labels_consensus.csv").unlink()
    if shape == "txt":  # a block's first line may lack them
        path = root / "Labels" / "labels.txt"
        write(path, path.read_text().replace("; X; A:2.0; V:4.0; D:2.0;", "; X;"))
    row = next(row for row in read(root)[0]["train"] if row["id"] == "MSP-PODCAST_0002_0001")
    assert (row["arousal"], row["valence"], row["dominance"]) == (1.0, 4.0, 2.0)
