"""Delimited text: as the csv module reads it, but for quotes that nobody closed."""

from __future__ import annotations

import csv
import io
import random

import pytest
from corpus_files import write

from hf_emo_dist.corpora.csv_text import csv_records
from hf_emo_dist.corpora.label_files import iter_csv
from hf_emo_dist.corpora.utterances import CorpusReport


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_csv_writes_is_read(delimiter):
    """Text of several lines, quotes and delimiters in it, as long as no line of it looks like a row."""
    draw = random.Random(0)
    parts = ["a", 'say "so"', "", "x,y", "u;v", "line\nline", '"', "\t", " "]
    for _ in range(300):
        width = draw.randint(2, 5)
        rows = [[f"{number}.wav", *("".join(draw.choices(parts, k=draw.randint(0, 4))) for _ in range(width - 1))]
                for number in range(draw.randint(1, 6))]  # fmt: skip
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([["file", *"bcdef"[: width - 1]], *rows])
        found = [record for record in csv_records(text.getvalue().split("\n"), delimiter) if any(record.cells)]
        assert not any(record.problem for record in found)
        # leading spaces of a cell are not kept
        assert [[cell.lstrip(" ") for cell in record.cells] for record in found[1:]] == [
            [cell.lstrip(" ") for cell in row] for row in rows
        ]


@pytest.mark.parametrize("place", range(1, 8))
@pytest.mark.parametrize("cell", ['"open', 'open"', '"op"en', '"'])
def test_a_stray_quote_costs_its_own_line_at_most(place, cell):
    lines = ["file,note,sad", *(f"{n}.wav,note {n},{n}" for n in range(8))]
    lines[place] = lines[place].replace(f"note {place - 1}", cell)
    found = list(csv_records(lines, ","))
    good = {tuple(record.cells) for record in found if not record.problem}
    assert good >= {tuple(line.split(",")) for number, line in enumerate(lines) if number != place}
    assert [record.line for record in found if record.problem] == ([] if cell == 'open"' else [place + 1])


def test_two_stray_quotes_do_not_hide_the_rows_between():
    lines = ["file,note,sad", *(f"{n}.wav,{'quote' if n in (2, 5) else 'x'},{n}" for n in range(8))]
    lines = [line.replace("quote", '"quote' if line.startswith("2") else 'quote"') for line in lines]
    found = list(csv_records(lines, ","))
    assert [(record.line, record.cells == []) for record in found if record.problem] == [(4, True)]
    assert len(found) == 9


def test_readers_of_corpora_name_the_line_and_go_on(tmp_path):
    path = write(tmp_path / "t.csv", 'file,emotion\na.wav,sad\nb.wav,"sad\nc.wav,sad\n')
    report = CorpusReport(tmp_path)
    assert [row["file"] for _, row in iter_csv(path, report)] == ["a.wav", "c.wav"]
    assert [(p.reason, p.where, p.detail) for p in report.problems] == [
        ("bad_line", "t.csv:3", "a quote is opened and never closed")
    ]
