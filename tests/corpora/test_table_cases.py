"""Small inputs that went wrong once, and the message that each gets now."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_files import clips, heard, understood, written

from hf_emo_dist.corpora.table.content import TableError
from hf_emo_dist.corpora.table.read import understand_table

#: What → content, options, what the message says.
TEXT = {
    # what holds no table
    "empty": ("", {}, "is empty"),
    "no rows": ("file,angry,sad\n", {}, "has no rows"),
    "no column of files": ("name,angry,sad\na.wav,1,0\n", {}, r"no column 'file' .*--file_column name"),
    "no such column": (
        "file,angry,sad\na.wav,1,0\n",
        {"rater_column": "reter"},
        r"no column 'reter', which --rater_column names \(there are file, angry, sad\)",
    ),
    "no name": ("file,angry,sad,\na.wav,1,0,7\n", {}, "column 4 has no name"),
    "two of one name": ("file,angry,sad,angry\na.wav,1,0,7\n", {}, "two columns 'angry'"),
    "no votes": ("file,note\na.wav,1\n", {}, "has no votes.*--votes_column"),
    "labels of another name": ("file,heard\na.wav,sad|angry\nb.wav,sad\n", {}, "--votes_column 'heard'"),
    "labels of other words": (
        "file,who,heard\n"
        + "".join(
            f"{name}.wav,r{rater},{word}\n" for name in "abc" for rater, word in enumerate(("Wut", "Freude", "neutral"))
        ),
        {},
        r"--votes_column 'heard' \(it may also be who\)",
    ),
    # votes that were lost in silence
    "an unknown emotion among counts": (
        "file,angry,sad,tired\na.wav,1,0,9\n",
        {},
        r"'tired' holds numbers beside the counts of angry, sad: are they votes\?.*--emotions angry,sad,tired; if not, "
        r"--keep tired",
    ),
    "numbers beside counts": (
        "file,take,age,angry,sad\na.wav,1,31,1,0\n",
        {},
        r"'take', 'age' hold numbers.*--keep take,age",
    ),
    "an emotion left out": (
        "file,angry,sad,happy\na.wav,1,0,4\n",
        {"emotions": ["angry", "sad"]},
        r"1 label is none of the emotions \(angry, sad\): 'happy' \(4 votes, first in line 2 \(a.wav\)\).*--outside",
    ),
    "a marked emotion that is not known": (
        "file,count::Angry,count::Tired,count::Sad\na.wav,1,4,0\n",
        {},
        r"'Tired' \(4 votes.*--merge 'Tired=\.\.\.'.*--emotions 'angry,sad,Tired'",
    ),
    "one rater's row of many": (
        "file,rater,angry,sad\na.wav,1,3,4\n",
        {},
        r"line 2 \(a.wav\): 7 votes of one rater.*--keep rater",
    ),
    "shares of nobody knows how many": (
        "file,angry,sad\na.wav,0.3,0.7\nb.wav,0.1,0.9\n",
        {},
        r"2 of 2 rows sum to 1\. Are these shares.*--num_raters.*--amounts counts",
    ),
    "percent of nobody knows how many": (
        "file,angry,sad\na.wav,30,70\nb.wav,33.3,66.7\n",
        {},
        r"2 of 2 rows sum to 100\. Are these percent.*--num_raters.*--amounts counts",
    ),
    "percent in cells": ('file;votes\na.wav;{"angry": 30, "sad": 70}\n', {}, r"1 of 1 rows sum to 100"),
    "shares that are none": (
        "file,angry,sad\na.wav,0.3,0.7\nb.wav,0.1,0.5\n",
        {"amounts": "shares"},
        r"line 3 \(b.wav\): the shares sum to 0.6, not to 1",
    ),
    "counts of many": (
        "file,angry,sad\na.wav,3,7\nb.wav,1,5\n",
        {"num_raters": 10},
        "most rows sum to neither 1 nor 100",
    ),
    "no number of raters": (
        "file,n,angry,sad\na.wav,many,0.3,0.7\n",
        {"num_raters": "n"},
        r"line 2 \(a.wav\), column 'n': 'many' is no number of raters",
    ),
    "a clip in two rows": (
        "file,angry,sad\na.wav,1,0\nb.wav,1,0\na.wav,0,4\n",
        {},
        r"one clip stand in several rows: votes.csv line 2 \(a.wav\); votes.csv line 4 \(a.wav\).*--repeated add",
    ),
    "a clip in two rows, under two ids": (
        "file,id,votes\na.wav,1,sad|angry\n./a.wav,2,sad|angry\n",
        {"several": "votes", "repeated": "add"},
        r"one clip has several values of 'id' \('1' and '2'\)",
    ),
    "a clip in two rows, of two splits": (
        "file,split,votes\na.wav,train,sad\na.wav,test,angry\n",
        {},
        r"one clip has several values of 'split' \('train' and 'test'\)",
    ),
    "a rater's second answer": (
        "file,rater,votes\na.wav,7,sad\na.wav,7.0,angry\n",
        {},
        r"Rater '7' answered twice: votes.csv line 2 \(a.wav\); votes.csv line 3",
    ),
    "tags or votes": (
        "file,votes\na.wav,sad|angry\na.wav,sad\n",
        {},
        r"some clips have several rows, and some cells several labels.*--several tags.*--several votes",
    ),
    "raters twice over": (
        "file,rater,r1,r2\na.wav,x,sad,angry\n",
        {"votes_column": ["r1", "r2"]},
        "one column a rater, and 'rater' names raters too.*--keep rater",
    ),
    "labels and counts": (
        "file,votes,angry,sad\na.wav,sad,1,1\n",
        {},
        r"both labels \(votes\) and count columns \(angry, sad\).*--keep angry,sad",
    ),
    "two columns of one emotion": ("file,angry,anger,sad\na.wav,1,1,0\n", {}, "'angry' and 'anger' are both 'angry'"),
    # quotes, and files that were cut off
    "a quote without an end": (
        'file,note,angry,sad\na.wav,"long,1,0\n' + "".join(f"x{n}.wav,,1,0\n" for n in range(60)),
        {},
        "line 2: a quote is opened and never closed",
    ),
    "a quote that closes in another row": (
        'file,note,angry,sad\na.wav,"long,1,0\nb.wav,x,1,1\nc.wav,late",1,0\n',
        {},
        "line 2: a quote is opened and closed only in line 4, and the lines between are rows",
    ),
    "a quote in a text": ('file,note,angry,sad\na.wav,"so" she said,1,0\n', {}, "line 2: text follows a closing quote"),
    "a cell over the limit of csv": (
        'file,note,angry,sad\na.wav,"' + "x" * 140_000 + '",1,0\n',
        {},
        "line 2: a cell of over 131,072 characters",
    ),
    "a cut last row": ("file,angry,sad\na.wav,1,0\nb.wav,1", {}, "line 3 has 2 cells, the header has 3.*cut off"),
    "a row of too many": ("file,angry,sad\na.wav,1,1,1\n", {}, "line 2 has 4 cells"),
    # cells
    "a negative number": ("file,angry,sad\na.wav,1,-1\n", {}, r"line 2 \(a.wav\), column 'sad': '-1' is not a count"),
    "no number": ("file,angry,sad\na.wav,many,1\n", {}, "'many' is not a count"),
    "nan": ("file,angry,sad\na.wav,1,nan\n", {}, "is not a count"),
    "a number with underscores": ("file,angry,sad\na.wav,1_0,1\n", {}, "'1_0' is not a count"),
    "a broken list": ("file;votes\na.wav;['sad', 'angry]\n", {}, r"line 2 .*column 'votes'.*begins like a list"),
    "a key twice": ('file;votes\na.wav;{"sad": 1, "sad": 2}\n', {}, "the key 'sad' stands twice"),
    "words with a plus": (
        "file,votes\na.wav,sad + angry\nb.wav,sad|angry\n",
        {},
        r"'sad \+ angry' \(1 vote, first in line 2.*with \| between them, angry\|happy",
    ),
    "a label of another language": (
        "file,votes\na.wav,Wut\nb.wav,Wut|neutral\n",
        {},
        r"'Wut' \(2 votes.*--merge 'Wut=\.\.\.'.*--emotions 'neutral,Wut'",
    ),
    "a contract's column": ("file,human_votes,angry,sad\na.wav,x,1,1\n", {}, "'human_votes' is part of the data"),
    "a blank split": ("file,split,angry,sad\na.wav,,1,1\n", {}, "'split' is blank"),
    "a blank file": ("file,angry,sad\n,1,1\n", {}, "'file' is blank"),
    # files
    "a file by another name": ("file,angry,sad\nA.wav,1,1\n", {}, r"not in .*audio; there is 'a.wav'"),
    "a file without extension": ("file,angry,sad\na,1,1\n", {}, r"there is 'a.wav'"),
    "an address": ("file,angry,sad\nhttps://host/a.wav,1,1\n", {}, "are addresses.*download"),
    "an absolute path": ("file,angry,sad\n/proc/self/environ,1,1\n", {}, "lie outside of .*--allow_outside"),
    "a way out": ("file,angry,sad\n../secret.wav,1,1\n", {}, r"lie outside of .*line 2 \(../secret.wav\)"),
    "a way out, in other letters": ("file,angry,sad\n%2e%2e/secret.wav,1,1\n", {}, "lie outside of"),
    "a way out, for Windows": ("file,angry,sad\n..\\secret.wav,1,1\n", {}, "lie outside of"),
    "an address of a file": ("file,angry,sad\nfile:///proc/self/environ,1,1\n", {}, "lie outside of"),
    "a link": ("file,angry,sad\nlink.wav,1,1\n", {}, "lie outside of"),
    "a folder behind a link": ("file,angry,sad\nfolder/secret.wav,1,1\n", {}, "lie outside of"),
}


@pytest.mark.parametrize(("content", "options", "message"), TEXT.values(), ids=TEXT)
def test_what_does_not_fit_ends_in_one_message(tmp_path, content, options, message):
    (tmp_path / "secret.wav").write_bytes(b"RIFF")
    clips(tmp_path / "audio")
    os.symlink(tmp_path / "secret.wav", tmp_path / "audio" / "link.wav")
    os.symlink(tmp_path, tmp_path / "audio" / "folder")
    with pytest.raises(TableError, match=message) as caught:
        understood(tmp_path, content, **options).build(tmp_path / "cache", progress=False)
    assert "Mend: " in str(caught.value) and len(str(caught.value)) < 1500


STRUCTURED = {
    "a list of numbers": ("votes.jsonl", [{"file": "a.wav", "votes": [1.5]}], r"line 1 \(a.wav\).*1.5 in the list"),
    "a number": (
        "votes.jsonl",
        [{"file": "a.wav", "votes": "x"}, {"file": "b.wav", "votes": True}],
        "True is no label",
    ),
    "ratings half with numbers": (
        "votes.jsonl",
        [{"file": "a.wav", "votes": [{"label": "sad", "count": 2}, {"label": "angry"}]}],
        r"line 1 \(a.wav\).*some entries of the list have a number",
    ),
    "structs of other keys": (
        "votes.parquet",
        [{"file": "a.wav", "votes": [{"what": "sad", "when": "now"}]}],
        r"row 1 \(a.wav\), column 'votes'.*'sad' for 'what' is not a count.*angry\|angry\|sad",
    ),
    "no objects": ("votes.jsonl", b'["a.wav"]', "line 1 is not an object"),
    "cut JSON lines": (
        "votes.jsonl",
        b'{"file": "a.wav", "votes": ["sad"]}\n{"file": "b.w',
        "line 2 is not JSON.*cut off",
    ),
    "cut JSON": ("votes.json", b'[{"file": "a.wav", "votes": ["sad"]}, {"fi', "is not JSON.*cut off"),
    "a key twice": ("votes.jsonl", b'{"file": "a.wav", "sad": 2, "sad": 1, "angry": 1}', "line 1.*'sad' stands twice"),
    "nested without end": ("votes.json", b"[" * 100_000, "nested too deeply"),
    "no rows in JSON": ("votes.json", b'{"a": 1}', "is no list of rows"),
    "columns of two lengths": ("votes.json", b'{"file": ["a.wav"], "sad": [1, 2]}', "not of one length"),
    "no Parquet": ("votes.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
    "cut Parquet": ("votes.parquet", None, "cannot be read as Parquet"),
    "no workbook": ("votes.xlsx", b"PK and no more", "is not an Excel workbook"),
    "another format": ("votes.ods", b"", "tables are .csv, .tsv, .xlsx"),
    "latin-1": ("votes.csv", "file,speaker,angry,sad\na.wav,Jos\u00e9,1,0\n".encode("latin-1"), "is not UTF-8 text"),
    "latin-1 in JSON": ("votes.jsonl", '{"file": "\u00e9"}'.encode("latin-1"), "is not UTF-8 text"),
}


@pytest.mark.parametrize(("name", "content", "message"), STRUCTURED.values(), ids=STRUCTURED)
def test_what_does_not_fit_in_other_formats(tmp_path, name, content, message):
    if name.endswith(".xlsx"):
        pytest.importorskip("openpyxl", reason="the extra `tables` is not installed")
    if content is None:
        pq.write_table(pa.table({"file": ["a.wav"] * 100, "sad": [1] * 100, "angry": [1] * 100}), tmp_path / "whole")
        content = (tmp_path / "whole").read_bytes()[:-40]
    with pytest.raises(TableError, match=message) as caught:
        understood(tmp_path, content, name)
    assert "Mend: " in str(caught.value)


WORKBOOKS = {
    "two sheets": ({"A": [["file"], ["a.wav"]], "B": [["x"]]}, r"2 sheets that are not empty \(A, B\).*--sheet 'A'"),
    "a formula without its value": (
        [["file", "angry", "sad"], ["a.wav", "=1+1", 1]],
        r"row 2, column 'angry'.*formula",
    ),
    "an error": ([["file", "angry", "sad"], ["a.wav", "#REF!", 1]], r"row 2, column 'angry' holds the error #REF!"),
    "empty": ([], "is empty"),
    "no such sheet": ([["file"], ["a.wav"]], r"no sheet 'Votes' \(there are Sheet\)"),
}


@pytest.mark.parametrize(("rows", "message"), WORKBOOKS.values(), ids=WORKBOOKS)
def test_workbooks_whose_cells_are_not_known(tmp_path, rows, message):
    pytest.importorskip("openpyxl", reason="the extra `tables` is not installed")
    with pytest.raises(TableError, match=message):
        understood(tmp_path, rows, "votes.xlsx", sheet="Votes" if "Votes" in message else None)


def test_merged_cells_are_refused(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="the extra `tables` is not installed")
    path = written(tmp_path, [["file", "rater", "votes"], ["a.wav", 1, "sad"], [None, 2, "angry"]], "votes.xlsx")
    book = openpyxl.load_workbook(path)
    book.active.merge_cells("A2:A3")
    book.save(path)
    with pytest.raises(TableError, match=r"cells are merged \(A2:A3\).*unmerge"):
        understand_table(path, clips(tmp_path / "audio"))


def test_what_is_asked_for_is_read_from_outside(tmp_path):
    clips(tmp_path, ("there.wav",))
    folder = clips(tmp_path / "audio", ("a.wav", "z.wav"))
    os.symlink(tmp_path / "there.wav", folder / "b.wav")
    os.symlink(folder / "z.wav", folder / "c.wav")  # within the folder a link is a file like any other
    path = written(tmp_path, "file,angry,sad\n../there.wav,1,1\nc.wav,2,1\n")
    assert heard(understand_table(path, folder, allow_outside=True))["there"] == {"angry": 1, "sad": 1}
    path = written(tmp_path, f"file,angry,sad\n{folder}/a.wav,1,1\nc.wav,2,1\n")
    assert list(heard(understand_table(path, folder))) == ["a", "c"]


def test_kept_numbers_are_columns_and_no_votes(tmp_path):
    reading = understood(tmp_path, "file,take,age,angry,sad\na.wav,1,31,1,0\n", keep=["take", "AGE"])
    assert list(reading.own) == ["take", "age"] and heard(reading) == {"a": {"angry": 1}}
    # what cannot be a number of votes is not asked about
    reading = understood(tmp_path, "file,hz,db,code,fold,angry,sad\na.wav,16000,-3,007,2,1,0\n")
    assert list(reading.own) == ["hz", "db", "code", "fold"]


def test_a_cell_of_several_lines_is_one_cell(tmp_path):
    text = 'file,angry,sad,note\na.wav,1,0,"one, two\nthree, four, five\n""six"""\nb.wav,1,0,\n'
    assert understood(tmp_path, text).own["note"][0] == ['one, two\nthree, four, five\n"six"', None]


def test_what_a_terminal_would_obey_is_told_as_text(tmp_path):
    with pytest.raises(TableError, match="not in") as caught:
        understood(tmp_path, "file,angry,sad\n\x1b[2Jgone.wav,1,1\n")
    assert "\x1b" not in str(caught.value) and r"\x1b[2Jgone.wav" in str(caught.value)


def test_the_same_audio_twice_is_told_of(tmp_path, caplog):
    folder = clips(tmp_path / "audio")
    (folder / "b.wav").write_bytes((folder / "a.wav").read_bytes())
    path = written(tmp_path, "file,angry,sad\na.wav,1,0\nb.wav,0,1\n")
    understand_table(path, folder).build(tmp_path / "cache", progress=False)
    assert "1 clips have the same audio as another ('a' and 'b')" in caplog.text
