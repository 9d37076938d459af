import json
import os
import re

import corpus_files
import pytest
from corpus_files import WAV, emozionalmente, found, iemocap, wav, write

from hf_emo_dist.corpora.building import read_files
from hf_emo_dist.corpora.emozionalmente import read_emozionalmente
from hf_emo_dist.corpora.iemocap import read_iemocap
from hf_emo_dist.corpora.utterances import CorpusError, CorpusReport


def big(root, count=60):
    """An Emozionalmente of many clips, each with bytes of its own."""
    samples, evaluations = ["file_name,sentence,actor,emotion_expressed"], ["file_name,evaluator,emotion_recognized"]
    for i in range(count):
        samples.append(f"{i:03d}.wav,Sì,a{i % 10},joy")
        evaluations.append(f"{i:03d}.wav,u1,{('joy', 'anger', 'fear')[i % 3]}")
        write(root / "audio" / f"{i:03d}.wav", WAV + bytes([i]))
    write(root / "metadata" / "samples.csv", "\n".join(samples))
    write(root / "metadata" / "evaluations.csv", "\n".join(evaluations))
    return root


def read(root, **options):
    return corpus_files.read(read_emozionalmente, root, **options)


@pytest.mark.parametrize("num_proc", [1, 2, 5])
def test_threads_read_the_right_bytes_in_order(tmp_path, num_proc):
    dataset, report = read(big(tmp_path / "corpus"), num_proc=num_proc)
    assert [audio["bytes"][-1] for audio in dataset["train"]["audio"]] == list(range(60))
    assert report.kept == 60


def test_few_files_are_read_ahead(tmp_path):
    paths = [str(wav(tmp_path / f"{i}.wav")) for i in range(400)]
    asked = []
    found = read_files((asked.append(path) or path for path in paths), 2)
    next(found)
    assert len(asked) <= 50
    assert sum(1 for _ in found) == 399


def test_unreadable_and_empty_files_are_left_out(tmp_path):
    root = big(tmp_path / "corpus")
    write(root / "audio" / "003.wav", b"")
    (root / "audio" / "004.wav").unlink()
    os.symlink(tmp_path / "gone", root / "audio" / "004.wav")
    odd = {
        "005": (lambda path: path.symlink_to("/dev/zero"), "unreadable_audio", "a device"),
        "006": (os.mkfifo, "unreadable_audio", "a named pipe"),
        "007": (lambda path: write(path, b"<html>"), "not_audio", "an HTML page"),
        "008": (lambda path: write(path, b"\0\0\0 ftypM4A " + bytes(9)), "not_audio", "M4A.*Mend: convert it"),
        "009": (lambda path: write(path, bytes(range(150, 250))), "not_audio", "like no audio"),
    }
    for name, (make, _, _) in odd.items():
        (root / "audio" / f"{name}.wav").unlink()
        make(root / "audio" / f"{name}.wav")
    dataset, report = read(root, num_proc=2)
    assert len(dataset["train"]) == 53 == report.kept
    assert found(report) == {
        ("empty_audio", "003", "audio/003.wav"),
        ("unreadable_audio", "004", "audio/004.wav"),
        *((reason, name, f"audio/{name}.wav") for name, (_, reason, _) in odd.items()),
    }
    for name, (_, _, says) in odd.items():
        (problem,) = [problem for problem in report.problems if problem.item == name]
        assert re.search(says, problem.detail), name


def test_the_limit_draws_by_seed_and_id(tmp_path):
    root = big(tmp_path / "corpus")
    first, report = read(root, limit=10)
    assert report.kept == 10 and report.not_drawn == 50 and report.problems == []
    ids = first["train"]["id"][:]
    assert ids == sorted(ids)
    assert read(root, limit=10)[0]["train"]["id"][:] == ids
    assert read(root, limit=10, seed=1)[0]["train"]["id"][:] != ids
    larger = read(root, limit=20)[0]["train"]["id"][:]
    assert set(ids) < set(larger)


def test_an_earlier_data_set_survives_a_later_reading(tmp_path):
    root = big(tmp_path / "corpus")
    first, _ = read(root)
    second, _ = read(root, limit=5)
    assert len(first["train"]) == 60 and first["train"][59]["id"] == "059" and len(second["train"]) == 5


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"emotions": ["angry", "boredom"]}, "no label for bored.*Mend"),
        ({"emotions": ["angry"]}, "at least two"),
        ({"emotions": ["angry", "joy", ""]}, "non-empty.*Mend"),
        ({"outside": "keep"}, "outside.*drop_vote"),
        ({"split": "random"}, "split.*paper_random"),
        ({"merge": {"bored": "sad"}}, "merge.*Mend"),
        ({"limit": 0}, "limit"),
        ({"num_folds": 1}, "num_folds"),
        ({"test_fold": 1}, "test_fold"),
        ({"split": "session"}, "no sessions"),
        ({"split": "folds", "num_folds": 50}, "number of speakers, 10"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        read(big(tmp_path / "corpus", 20), **options)
    assert not list((tmp_path / "cache").glob("*")) if (tmp_path / "cache").exists() else True


def test_an_unknown_option_is_refused(tmp_path):
    with pytest.raises(TypeError, match="Unknown option emotion"):
        read(big(tmp_path / "corpus", 3), emotion=["angry"])


def test_a_corpus_of_which_nothing_is_left_says_why(tmp_path):
    root = emozionalmente(tmp_path / "corpus")
    for clip in (root / "audio").iterdir():
        clip.unlink()
    with pytest.raises(CorpusError, match="no_audio \\(3\\)"):
        read(root)


def test_other_is_a_class_of_its_own_only_when_asked(tmp_path):
    dataset, _ = read(emozionalmente(tmp_path / "corpus"), emotions=["joy", "angry"], outside="other")
    assert dataset["train"][0]["human_distribution"] == {"joy": 0.8, "angry": 0.0, "other": 0.2}


def test_combining_the_votes_anew_gives_the_same_distribution(tmp_path):
    from hf_emo_dist import combine_votes

    rows = read_iemocap(iemocap(tmp_path / "corpus"), cache_dir=tmp_path / "cache", progress=False)["train"]
    for row in rows:
        again = combine_votes(row)["human_distribution"]
        assert again == pytest.approx(row["human_distribution"], abs=1e-7)


def test_the_report_is_written_in_full(tmp_path):
    report = CorpusReport(tmp_path)
    for i in range(30):
        report.skip("no_audio", f"clip-{i}", f"labels.txt:{i}")
    report.note("crlf", "labels.txt", "labels.txt:1")
    report.outside["bored"] += 2
    assert "and 20 more" in report.summary() and "clip-29" not in report.summary()
    report.write(tmp_path)
    as_json, as_text = tmp_path / "reading_report.json", tmp_path / "reading_report.txt"
    content = json.loads(as_json.read_text())
    assert content["skipped"] == {"no_audio": 30} and content["notes"] == {"crlf": 1}
    assert content["votes_outside"] == {"bored": 2} and len(content["problems"]) == 31
    assert content["problems"][29]["where"] == "labels.txt:29"
    assert "clip-29 (labels.txt:29)" in as_text.read_text()
