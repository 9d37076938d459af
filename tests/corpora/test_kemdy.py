import pytest
from corpus_files import found, kemdy, kemdy_table, read, wav, write

from hf_emo_dist.corpora.kemdy import read_kemdy
from hf_emo_dist.corpora.utterances import CorpusError

F, M = "Sess01_script01_F001", "Sess01_impro01_M001"


def kemdy19(root, theirs="happy"):
    """A session of KEMDy19: both speakers' segments are in both files, and one is in the other's file alone."""
    alone = "Sess01_script02_M001"
    hers = [(F, "sad", ["sad"] * 10), (M, "happy", [theirs] * 10), (alone, "fear", ["fear"] * 10)]
    his = [(F, "sad", ["sad"] * 10), (M, "happy", ["happy"] * 10)]
    write(root / "annotation" / "Session01_F_res.csv", kemdy_table(9, hers))
    write(root / "annotation" / "Session01_M_res.csv", kemdy_table(9, his))
    for segment in (F, M, alone):
        folder = root / "wav" / "Session01" / segment[:-5]
        wav(folder / f"{segment}.wav")
        write(folder / f"{segment}.txt", "어, 그래\n")
    return root


@pytest.mark.parametrize(("theirs", "problems"), [("happy", set()), ("sad", {"duplicate_rater"})])
def test_kemdy19_counts_a_segment_once_as_its_speakers_file_has_it(tmp_path, theirs, problems):
    rows, report = read(read_kemdy, kemdy19(tmp_path / "corpus", theirs), split="own")
    by_id = {row["id"]: (row["speaker"], set(row["human_votes"]), row["transcript"]) for row in rows["train"]}
    assert by_id == {
        F: ("kemdy-Sess01F", {"sad"}, "어, 그래"),
        M: ("kemdy-Sess01M", {"happy"}, "어, 그래"),
        "Sess01_script02_M001": ("kemdy-Sess01M", {"fear"}, "어, 그래"),
    }
    assert {reason for reason, _, _ in found(report)} == problems


def test_an_annotation_file_of_another_form_is_refused(tmp_path):
    root = kemdy(tmp_path / "corpus")
    table = root / "annotation" / "Sess01_eval.csv"
    write(table, table.read_text().replace("Valence", "Pleasure"))
    with pytest.raises(CorpusError, match=r"Sess01_eval.csv does not begin with.*headings.*Mend"):
        read(read_kemdy, root)


def test_a_quote_swallows_no_rows(tmp_path):
    root = kemdy(tmp_path / "corpus")
    table = root / "annotation" / "Sess01_eval.csv"
    write(table, table.read_text().replace("disqust", '"disgust', 1))
    rows, report = read(read_kemdy, root, split="own")
    assert len(rows["train"]) == 2
    assert ("unknown_label", "Sess01_script01_User001M_001", "annotation/Sess01_eval.csv:3") in found(report)
