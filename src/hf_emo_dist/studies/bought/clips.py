"""What is known of the clips of a page: what people and panel said, and what the ledger has of each request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...annotation.ledger.looking import Attempt, Bill, Failed, attempts, bill_of, failed
from ...annotation.types import OK, Record
from ...audio.clips import audio_hash
from ...audio.decoding import AudioError
from ...data.rows import column_of
from ...scores.divergences import jensen_shannon_divergence
from ..vote_table import FloatArray, VoteTable, count_labels, first_of, shares_of, shuffle_votes

# Times that the votes of people and panel are mixed, to tell how much they differ by chance.
_SHUFFLES = 20


@dataclass(frozen=True)
class Request:
    """What one member of the panel was asked about a clip, and what came of it."""

    label: str | None
    distribution: Mapping[str, float] | None
    model: str
    focus: str
    how: str  # temperature, mode and the like, in words
    outcome: str = OK
    detail: str = ""
    reply: Record | None = None  # the one that counts; None without a ledger
    earlier: tuple[Record, ...] = ()  # tries and replies before or after it, which do not count


@dataclass(frozen=True)
class Clip:
    """One clip of the page."""

    place: int  # among the rows of the data set
    id: str
    why: str  # key of `choosing.REASONS`
    about: Mapping[str, str]  # speaker and the like
    transcript: str | None
    votes: Sequence[float]  # of people, by emotion
    people: Sequence[float] | None  # shares of these; None where nobody voted
    panel: Sequence[float] | None
    target: Sequence[float] | None
    target_votes: float | None  # how many votes the target is worth, where the data says so
    divergence: float  # NaN where people or panel said nothing
    by_chance: float  # what it would be if both had one opinion; NaN where that cannot be told
    requests: Sequence[Request]

    @property
    def failures(self) -> int:
        """Requests that have no vote."""
        return sum(request.outcome != OK for request in self.requests)

    @property
    def cost_usd(self) -> float | None:
        """What all tries of this clip have cost; None where no cost is known."""
        records = [r for request in self.requests for r in (request.reply, *request.earlier) if r is not None]
        costs = [record.cost_usd for record in records if record.cost_usd is not None]
        return sum(costs) if costs else None


@dataclass(frozen=True)
class Disagreement:
    """People and panel, (N, …) rows."""

    panel: FloatArray  # (N, K) mean of the panel's answers, NaN where there is none
    answers: NDArray[np.int64]  # (N,)
    divergence: FloatArray  # (N,) base 2
    by_chance: FloatArray  # (N,) mean over votes that were mixed and dealt out again; only where all answers are labels


def disagreement(table: VoteTable, seed: int) -> Disagreement:
    """How far the panel is from people, and how far it would be by chance if both had one opinion.

    For the latter each row's votes of both are put together and dealt out again in the same numbers (Fisher's
    permutation), which (seed, id) decides.
    """
    counts, size = table.counts(), len(table.emotions)
    panel, answers = np.zeros_like(counts), np.zeros(len(counts), dtype=np.int64)
    labels = np.zeros(len(counts), dtype=np.int64)
    if table.synthetic is not None:
        labels = (table.synthetic >= 0).sum(axis=1)
    if table.annotations is not None:
        np.add.at(panel, table.annotations.row, table.annotations.distribution)
        np.add.at(answers, table.annotations.row, 1)
    elif table.synthetic is not None:
        panel, answers = count_labels(table.synthetic, size), labels
    both = (counts.sum(axis=1) > 0) & (answers > 0)
    panel = np.divide(panel, answers[:, None], out=np.full_like(panel, np.nan), where=answers[:, None] > 0)
    divergence, by_chance = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    if both.any():
        divergence[both] = jensen_shannon_divergence(shares_of(counts[both]), panel[both])
    dealt = np.flatnonzero(both & (answers == labels))
    if len(dealt) and table.synthetic is not None:
        pooled = np.concatenate([table.votes, table.synthetic], axis=1)[dealt]
        ids, number = [table.ids[row] for row in dealt], (table.votes[dealt] >= 0).sum(axis=1)
        total, pool = np.zeros(len(dealt)), count_labels(pooled, size)
        for deal in range(_SHUFFLES):
            first = count_labels(first_of(shuffle_votes(pooled, ids, seed, deal), number), size)
            total += jensen_shannon_divergence(shares_of(first), shares_of(pool - first))
        by_chance[dealt] = total / _SHUFFLES
    return Disagreement(panel, answers, divergence, by_chance)


@dataclass(frozen=True)
class Missing:
    """A request without a vote, of the row at this place of the table."""

    row: int
    key: str
    outcome: str
    model: str
    detail: str


@dataclass
class Purchase:
    """What the ledger has of a data set.

    Attributes:
        keys: Of the answers in each row of the table; "" for one without.
        models: Who answered, by the data set's own word.
        ledger: Its file; None where none was named.
        missing: Requests without a vote.
        bill: What answers and failures have cost; None without a ledger.
    """

    keys: list[list[str]]
    models: Counter[str]
    ledger: Path | None = None
    missing: list[Missing] = field(default_factory=list)
    bill: Bill | None = None

    def unknown(self) -> int:
        """Answers of the data set that the ledger does not have."""
        assert self.bill is not None
        return sum(key not in self.bill.keys for row in self.keys for key in row)


def purchase(rows: Any, table: VoteTable, ledger: Path | None, plans: Sequence[str], name: str) -> Purchase:
    """Read what was bought for the rows of a table.

    Args:
        rows: Those of the data set, audio as bytes.
        table: The ones that are looked at.
        ledger: Of replies; None for none.
        plans: That the data set says it was annotated by.
        name: Of the data set, for errors.

    Raises:
        LedgerError: There is no such ledger, or it cannot be read.
        ValueError: The ledger has nothing of this data set.
    """
    entries = column_of(rows, "synthetic_annotations") or []
    given = [entries[place] or [] if entries else [] for place in table.places]
    keys = [[str(entry.get("key") or "") for entry in row] for row in given]
    models = Counter(str(entry.get("model") or "not known") for row in given for entry in row)
    found = Purchase(keys, models, ledger)
    if ledger is None:
        return found
    wanted = sorted({key for row in keys for key in row if key})
    found.bill = bill_of(ledger, wanted)
    without = failed(ledger, {*found.bill.plans, *plans})
    if without:
        found.missing = [one for one in _missing(without, rows, table) if one.key not in keys[one.row]]
    if found.missing:
        found.bill = bill_of(ledger, sorted({*wanted, *(missing.key for missing in found.missing)}))
    if not found.bill.keys:
        raise ValueError(
            f"The ledger {ledger} has none of the {len(wanted):,} replies that {name!r} names, and no failure of its "
            "clips: it is another data set's. Mend: --ledger with the file that `hf-emo-dist annotate` wrote for it, "
            "or leave it out, and the page shows the votes alone."
        )
    return found


def _missing(without: Sequence[Failed], rows: Any, table: VoteTable) -> list[Missing]:
    """Whose failures they are: by the clip itself, since ids are the data set's affair and two rows may hold one clip.

    Of rows with one clip, those that are told the same words as the one that was asked about, as requests name them.
    """
    clips: dict[str, list[int]] = {}
    for row, digest in enumerate(_hashes(rows, table.places)):
        clips.setdefault(digest, []).append(row)
    words = column_of(rows, "transcript")
    said = [None if words is None else words[place] for place in table.places]
    found = []
    for one in without:
        there = clips.get(one.audio, []) if one.audio else []
        asked = {said[row] for row in there if table.ids[row] == one.row_id}
        same = [row for row in there if not asked or said[row] in asked]
        found += [Missing(row, one.key, one.outcome, one.model, one.detail) for row in same]
    return found


def _hashes(rows: Any, places: NDArray[np.int64]) -> list[str]:
    """`audio_hash` of the clip of each row at these places; "" for one that cannot be read."""
    found = []
    arrow = rows.select_columns(["audio"]).select(places).with_format("arrow")
    for batch in arrow.iter(batch_size=64):
        for audio in batch.column("audio").to_pylist():
            try:
                found.append(audio_hash(audio))
            except AudioError:
                found.append("")
    return found


def gather(
    rows: Any, table: VoteTable, chosen: Sequence[tuple[int, str]], known: Disagreement, bought: Purchase
) -> list[Clip]:
    """The chosen rows of a table, with all that came of their requests."""
    counts = table.counts()
    missing: dict[int, list[Missing]] = {}
    for one in bought.missing:
        missing.setdefault(one.row, []).append(one)
    came: dict[str, list[Attempt]] = {}
    if bought.ledger is not None:
        wanted = {key for row, _ in chosen for key in bought.keys[row]}
        wanted |= {one.key for row, _ in chosen for one in missing.get(row, ())}
        came = attempts(bought.ledger, sorted(wanted - {""}))
    names = [name for name in rows.column_names if name != "audio"]
    places = table.places[[row for row, _ in chosen]]
    content = rows.select_columns(names).select(places)
    clips = []
    for (row, why), values in zip(chosen, content, strict=True):
        said = counts[row].sum() > 0
        entries = values.get("synthetic_annotations") or []
        if not entries:  # bare votes
            entries = [{"label": label} for label in values.get("synthetic_votes") or []]
        requests = [_answered(entry, came.get(str(entry.get("key") or ""), [])) for entry in entries]
        requests += [_failed(one, came.get(one.key, [])) for one in missing.get(row, ())]
        about = {name: values.get(name) for name in ("speaker", "corpus", "language", "intended", "consensus")}
        clips.append(
            Clip(
                place=int(table.places[row]),
                id=table.ids[row],
                why=why,
                about={name: str(value) for name, value in about.items() if value not in (None, "")},
                transcript=values.get("transcript") or None,
                votes=counts[row].tolist(),
                people=shares_of(counts[row : row + 1])[0].tolist() if said else None,
                panel=known.panel[row].tolist() if known.answers[row] else None,
                target=_shares(values.get("emotion_distribution"), table.emotions),
                target_votes=values.get("emotion_concentration"),
                divergence=float(known.divergence[row]),
                by_chance=float(known.by_chance[row]),
                requests=requests,
            )
        )
    return clips


def _shares(struct: Mapping[str, float | None] | None, emotions: Sequence[str]) -> list[float] | None:
    found = [(struct or {}).get(name) for name in emotions]
    return None if any(share is None for share in found) else [float(share or 0.0) for share in found]


def _answered(entry: Mapping[str, Any], came: Sequence[Attempt]) -> Request:
    counting = next((attempt.record for attempt in came if attempt.counts), None)
    stated = {name: share for name, share in (entry.get("distribution") or {}).items() if share is not None}
    return Request(
        label=entry.get("label"),
        distribution=stated or None,
        model=str(entry.get("model") or "unnamed"),
        focus=str(entry.get("focus") or ""),
        how=_how(entry, counting),
        reply=counting,
        earlier=tuple(attempt.record for attempt in came if not attempt.counts),
    )


def _failed(missing: Missing, came: Sequence[Attempt]) -> Request:
    counting = next((attempt.record for attempt in came if attempt.counts), None)
    return Request(
        label=None,
        distribution=None,
        model=(counting and counting.model_version) or missing.model,
        focus=counting.focus if counting else "",
        how=_how({}, counting),
        outcome=missing.outcome,
        detail=missing.detail,
        reply=counting,
        earlier=tuple(attempt.record for attempt in came if not attempt.counts),
    )


def _how(entry: Mapping[str, Any], record: Record | None) -> str:
    """How a member was asked, beside its focus."""

    def value(name: str) -> Any:
        found = entry.get(name)
        return getattr(record, name, None) if found is None else found

    temperature, words = value("temperature"), []
    if value("mode") == "distribution":
        words.append("states shares")
    elif value("mode") == "readout":
        mass = record.settings.get("mass") if record is not None else None
        on_labels = "" if mass is None else f" ({mass:.3g} of it on the labels)"
        words.append(f"probabilities read off{on_labels}")
    if temperature is not None:
        words.append(f"temperature {round(float(temperature), 4):g}")
    words += [f"{name} {value(name)}" for name in ("wording", "replicate") if value(name)]
    if value("persona"):
        words.append(f"as {value('persona')}")
    return ", ".join(words)
