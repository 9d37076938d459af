"""Random tables, whole and damaged: typed errors alone, and no vote that is lost without being counted."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import random
import string

import pytest
from table_files import clips, written

from hf_emo_dist.corpora.table.content import TableError
from hf_emo_dist.corpora.table.read import understand_table
from hf_emo_dist.corpora.table.reading import TableReading

EMOTIONS = ("angry", "happy", "neutral", "sad", "fear")
SPELLED = {"angry": ("Anger", "ANG", "angry "), "sad": ("Sadness", "sad"), "happy": ("happiness",)}
STRANGE = ("tired", "Wut", "x|y", "", "nan", "'", "[", "sad + angry", "\u00c4rger", "0", "42")
FORMATS = [".csv", ".tsv", ".jsonl", ".json", ".parquet"]
if importlib.util.find_spec("openpyxl"):
    FORMATS.append(".xlsx")


class Invented:
    """A random table, and how many votes stand in it."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        draw = self.draw
        self.format = draw.choice(FORMATS)
        self.clips = draw.sample(["a.wav", "b.wav", "c.wav", "d.wav"], draw.randint(1, 4))
        self.names = draw.sample(EMOTIONS, draw.randint(2, 5))
        self.votes = 0.0
        self.options: dict = {"emotions": [*self.names]}
        self.rows: list[dict] = []
        getattr(self, f"_{draw.choice(['counts', 'long', 'wide', 'cells', 'mappings', 'ratings', 'shares'])}")()
        if draw.random() < 0.5:
            for row in self.rows:
                row["note"] = draw.choice([None, "x", 'so, "said"', "two\nlines", "\u00e9"])
        if draw.random() < 0.3:
            for row in self.rows:
                row["speaker"] = draw.choice([None, 7, "s"]) if len(self.rows) == len(self.clips) else 7
        if draw.random() < 0.3:
            draw.shuffle(self.rows)

    def label(self) -> str:
        name = self.draw.choice(self.names)
        return self.draw.choice(SPELLED.get(name, (name, name.upper())))

    def _counts(self) -> None:
        prefix = self.draw.choice(["", "count::", "n_"])
        for clip in self.clips:
            row = {"file": clip}
            for name in self.names:
                number = self.draw.choice([0, 0, 1, 2, 7, 0.5, 2.25])
                self.votes += number
                row[prefix + name] = number if number or self.draw.random() < 0.5 else None
            self.rows.append(row)
        self.options |= {"amounts": "counts"}

    def _shares(self) -> None:
        unit = self.draw.choice([1, 100])
        for clip in self.clips:
            people = self.draw.randint(1, 12)
            counts = [0] * len(self.names)
            for _ in range(people):
                counts[self.draw.randrange(len(counts))] += 1
            shares = {name: round(count / people * unit, 4) for name, count in zip(self.names, counts, strict=True)}
            self.rows.append({"file": clip, "people": people, **shares})
            self.votes += people
        self.options |= {"num_raters": "people", "amounts": "percent" if unit == 100 else "shares"}

    def _long(self) -> None:
        named = self.draw.random() < 0.7
        for clip in self.clips:
            for rater in range(self.draw.randint(1, 5)):
                tags = [self.label() for _ in range(self.draw.choice([1, 1, 2, 3]))]
                self.votes += 1
                self.rows.append({"file": clip, "votes": "|".join(tags), **({"rater": f"r{rater}"} if named else {})})
        if not named:
            self.options["several"] = "tags"

    def _wide(self) -> None:
        width = self.draw.randint(2, 4)
        for clip in self.clips:
            row: dict = {"file": clip}
            for rater in range(width):
                row[f"r{rater}"] = self.label() if self.draw.random() < 0.8 else None
                self.votes += row[f"r{rater}"] is not None
            self.rows.append(row)
        self.options["votes_column"] = [f"r{rater}" for rater in range(width)]

    def _cells(self) -> None:
        sign = self.draw.choice(["|", "; ", ",", None])
        for clip in self.clips:
            votes = [self.label() for _ in range(self.draw.randint(1, 6))]
            self.votes += len(votes)
            self.rows.append({"file": clip, "votes": votes if sign is None else sign.join(votes)})
        self.options["several"] = "votes"

    def _mappings(self) -> None:
        for clip in self.clips:
            counts = {name: self.draw.randint(0, 5) for name in self.names}
            self.votes += sum(counts.values())
            self.rows.append({"file": clip, "votes": counts})
        self.options |= {"amounts": "counts"}

    def _ratings(self) -> None:
        for clip in self.clips:
            number = self.draw.randint(1, 4)
            self.votes += number
            self.rows.append(
                {"file": clip, "votes": [{"label": self.label(), "rater": f"r{n}"} for n in range(number)]}
            )

    def write(self, folder):
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        if self.format in (".csv", ".tsv"):
            text = io.StringIO()
            writer = csv.writer(text, delimiter="\t" if self.format == ".tsv" else self.draw.choice(",;"))
            writer.writerow(columns)
            for row in self.rows:
                cells = [row.get(column) for column in columns]
                writer.writerow([json.dumps(c) if isinstance(c, (list, dict)) else c for c in cells])
            return written(folder, text.getvalue(), f"votes{self.format}")
        if self.format == ".xlsx":
            cells = [
                [json.dumps(c) if isinstance(c, (list, dict)) else c for c in map(row.get, columns)]
                for row in self.rows
            ]
            return written(folder, [columns, *cells], "votes.xlsx")
        try:
            return written(folder, self.rows, f"votes{self.format}")
        except (TypeError, ValueError):  # Parquet has one type a column
            rows = [{name: None if cell is None else str(cell) for name, cell in row.items()} for row in self.rows]
            return written(folder, rows, f"votes{self.format}")

    def damage(self) -> None:
        """Change a few cells, rows or columns into what tables hold that nobody looked after."""
        draw = self.draw
        for _ in range(draw.randint(1, 3)):
            row = draw.choice(self.rows)
            column = draw.choice(list(row))
            kind = draw.randrange(8)
            if kind == 0:
                row[column] = draw.choice(STRANGE)
            elif kind == 1:
                row[column] = draw.choice([None, -1, 1e9, math.nan, math.inf, True, 10**400, [], {}, [1.5], {"": 1}])
            elif kind == 2:
                row.pop(column)
            elif kind == 3:
                self.rows.append(dict(row))
            elif kind == 4:
                name = draw.choice(["tired", "age", "votes", "rater", "split", "id", "human_votes", "audio", " "])
                for one in self.rows:
                    one[name] = draw.choice([1, 0, 3, "x", None])
            elif kind == 5:
                row["file"] = draw.choice(
                    ["../a.wav", "/proc/self/environ", "A.WAV", "a", "\0", "x" * 5000, "\ud800.wav", 3]
                )
            elif kind == 6:
                for name in ("emotions", "amounts", "several", "votes_column", "num_raters"):
                    if draw.random() < 0.5:
                        self.options.pop(name, None)
            else:
                self.options |= {
                    "outside": draw.choice(["drop_vote", "drop_utterance", "other"]),
                    "on_missing": "skip",
                    "on_empty": "skip",
                    "repeated": draw.choice(["first", "last", "add"]),
                    "keep": ["tired", "age", "id"],
                }


def total(reading: TableReading) -> float:
    return math.fsum(weight for place in reading.used for weight in reading.votes.clips[place].weights)


def check(reading: TableReading) -> None:
    balance = reading.votes.balance
    assert balance.adds_up, balance
    assert total(reading) == pytest.approx(balance.kept, rel=1e-5)
    assert all(len(reading.votes.clips[place].labels) for place in reading.used)
    assert len({reading.ids[place] for place in reading.used}) == len(reading.used) == reading.report.kept
    skipped = sum(reading.report.counts(skipped=True).values())
    assert len(reading.votes.clips) - len(reading.used) <= skipped
    assert reading.summary()


def fuzz(tmp_path, seeds) -> dict[str, int]:
    folder = clips(tmp_path / "audio", ("a.wav", "b.wav", "c.wav", "d.wav"))
    outcomes = {"whole": 0, "read": 0, "refused": 0}
    not_written = 0
    for seed in seeds:
        table = Invented(seed)
        reading = (
            understand_table(table.write(tmp_path), folder, on_empty="skip", **table.options) if table.votes else None
        )
        if reading is not None:
            check(reading)
            assert reading.votes.balance.read == pytest.approx(table.votes, rel=1e-5), seed
            assert total(reading) == pytest.approx(table.votes, rel=1e-5), seed
            outcomes["whole"] += 1
        table.damage()
        text = table.draw.random() < 0.3
        try:
            path = table.write(tmp_path)
        except Exception:  # noqa: BLE001 - of the writers of six formats: what theirs cannot hold
            not_written += 1
            continue
        if text:  # the bytes themselves
            data = bytearray(path.read_bytes())
            for _ in range(table.draw.randint(1, 4)):
                data[table.draw.randrange(len(data))] = ord(table.draw.choice('"\n,;|x\0\xff' + string.digits))
            data = data[: table.draw.choice([len(data), table.draw.randrange(len(data))])]
            path.write_bytes(data)
        try:
            reading = understand_table(path, folder, **table.options)
            check(reading)
            if seed % 7 == 0:
                rows = reading.build(tmp_path / "cache", progress=False)
                assert sum(map(len, rows.values())) == len(reading.used)
            outcomes["read"] += 1
        except TableError as error:
            assert "Mend: " in str(error) or "data contract" in str(error), seed
            str(error).encode()
            outcomes["refused"] += 1
    assert not_written < 0.1 * len(seeds), not_written  # else a writer is broken, and nothing is tried
    return outcomes


def test_random_tables(tmp_path):
    outcomes = fuzz(tmp_path, range(150))
    assert min(outcomes.values()) > 20, outcomes


@pytest.mark.slow
def test_many_random_tables(tmp_path):
    outcomes = fuzz(tmp_path, range(1000, 3000))
    assert min(outcomes.values()) > 300, outcomes
