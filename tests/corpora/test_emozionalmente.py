import pytest
from corpus_files import emozionalmente, found, read, wav, write

from hf_emo_dist.corpora.emozionalmente import read_emozionalmente


def test_joy_is_happy_only_where_it_is_merged(tmp_path):
    root = emozionalmente(tmp_path / "corpus")
    apart, _ = read(read_emozionalmente, root)
    assert apart["validation"][0]["human_distribution"]["neutral"] == pytest.approx(0.8)
    happy, _ = read(
        read_emozionalmente, tmp_path, merge={"joy": "happy"}, emotions=["happy", "sad"]
    )  # the folder above
    assert happy["train"][0]["human_distribution"] == {"happy": pytest.approx(0.8), "sad": pytest.approx(0.2)}


def test_broken_files_are_reported_by_file_and_line_and_the_rest_is_kept(tmp_path):
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
