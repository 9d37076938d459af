"""What was bought of a panel: a page to hear clips, see people's votes and the panel's side by side, read replies."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ...annotation.types import FAILURES
from ...data.loading import DatasetLoadError
from ...data.opened import OpenedDataset
from ...data.rows import column_of
from ...evaluation.scoring import Bootstrap, interval_words
from ...markdown import last_part
from ..study import Study, StudyTable
from ..vote_table import Sources, VoteTable
from .choosing import REASONS, choose
from .clip_page import SCRIPT, STYLE, ClipPage
from .clips import Clip, Disagreement, Purchase, disagreement, gather, purchase
from .quoting import visible

# Reasons of an outcome that a table tells of.
_REASONS_TOLD = 3


def bought(
    data: Sources,
    *,
    ledger: Path | None = None,
    most_clips: int = 200,
    most_megabytes: float = 50.0,
    show_transcripts: bool = False,
    num_resamples: int = 500,
    seed: int = 0,
) -> Study:
    """Make a page to hear and read what was bought: clips, human and synthetic votes, raw replies, failures.

    The page holds recordings and replies, and is readable by its owner alone.

    Args:
        data: Votes.
        ledger: SQLite file of the replies (default: none, and the page shows the votes alone).
        most_clips: Clips on the page at most: a third of them by chance from all, up to a third with failures, the rest
            those on which people and panel disagree most.
        most_megabytes: Sound on the page at most, in millions of characters; clips after that have no player.
        show_transcripts: Whether to show the words, and replies that quote them.
        num_resamples: Bootstrap resamples.
        seed: Of the clips that are drawn by chance, of the votes dealt out by chance, and of the bootstrap.
    """
    bootstrap = Bootstrap(num_resamples, seed)
    for option, value in (("most_clips", most_clips), ("most_megabytes", most_megabytes)):
        if not value > 0:
            raise ValueError(f"{option}={value} leaves nothing to see. Mend: a number over 0.")
    opened, table = _opened(data)
    rows = opened.heard(data.split)
    known = disagreement(table, seed)
    plan = opened.preparation.get("annotation", {}).get("plan")
    path = None if ledger is None else Path(ledger)
    found = purchase(rows, table, path, [plan] if plan else [], opened.name)
    failures = np.bincount([one.row for one in found.missing], minlength=len(table.ids))
    there = np.flatnonzero((known.answers > 0) | (failures > 0))
    if not len(there):
        raise ValueError(
            f"No row of {table.source.partition('. Votes:')[0]} has a synthetic answer. Mend: --split with one that "
            "`hf-emo-dist annotate` annotated; --ledger FILE shows requests that failed, too."
        )
    picked = choose([table.ids[row] for row in there], known.divergence[there], failures[there], most_clips, seed)
    clips = gather(rows, table, [(int(there[place]), why) for place, why in picked], known, found)
    page = ClipPage(table.emotions, show_transcripts, most_megabytes, ledger is not None)
    audio = rows.select_columns(["audio"]).select([clip.place for clip in clips])
    sections = page.sections(clips, (row["audio"] for row in audio))

    study = Study("bought", "What was bought, clip by clip", data.facts(), data.notes())
    study.notes += ["the data may not be passed on, and neither may this page"] if opened.restricted else []
    study.sections, study.style, study.script, study.private = sections, STYLE, SCRIPT, True
    study.tables = _tables(rows, table, found, page)
    study.findings = [
        *_findings(table, known, there, bootstrap, found),
        _choice(clips, len(there), most_clips),
        *_told(page, found, show_transcripts),
    ]
    study.facts["protocol"] = (
        "people: whole votes; panel: mean of its answers, labels and stated shares alike; JS divergence in base 2; by "
        "chance: the votes of both put together and dealt out again in the same numbers, 20 times, on rows whose "
        "answers are all labels; 95 % bootstrap intervals over speakers where known"
    )
    study.facts["ledger"] = "none was named" if ledger is None else last_part(ledger)
    study.facts["seeds"] = f"seed {seed}; {num_resamples} resamples"
    study.results = {"rows": len(there), "clips": [_result(clip, page) for clip in clips]}
    if found.bill is not None:
        study.results |= {"cost_usd": found.bill.cost_usd, "assumed_usd": found.bill.assumed_usd}
    return study


def _opened(data: Sources) -> tuple[OpenedDataset, VoteTable]:
    """The one data set with clips, and its votes."""
    (source, *more) = data.opened.values()
    if more:
        data.one("Pages of clips")
    if not isinstance(source, OpenedDataset):
        name = source.source if isinstance(source, VoteTable) else source.name
        raise DatasetLoadError(f"{name} is a table without clips. Mend: name the data set that was annotated.")
    columns = source.heard(data.split).column_names
    if not {"synthetic_annotations", "synthetic_votes"} & set(columns):
        raise DatasetLoadError(
            f"{source.name!r} has neither 'synthetic_annotations' nor 'synthetic_votes': it has {', '.join(columns)}. "
            "Mend: annotate it first (hf-emo-dist annotate), and name what that wrote."
        )
    return source, data.one("Pages of clips")


def _findings(
    table: VoteTable, known: Disagreement, there: np.ndarray, bootstrap: Bootstrap, found: Purchase
) -> list[str]:
    who = ", ".join(f"{name} ({count:,})" for name, count in found.models.most_common(5))
    told = [
        f"{int(known.answers.sum()):,} answers on {len(there):,} of {len(table.ids):,} rows{': ' + who if who else ''}."
    ]

    def words(values: np.ndarray, groups: np.ndarray) -> str:
        return interval_words(bootstrap.interval(values, groups, bounds="js_divergence"))

    dealt = np.flatnonzero(np.isfinite(known.by_chance))
    if len(dealt):
        groups = table.groups()[dealt]
        told.append(
            f"JS divergence of people and panel: {words(known.divergence[dealt], groups)} "
            f"on {len(dealt):,} rows; if both had one opinion, their numbers of votes alone would give "
            f"{words(known.by_chance[dealt], groups)}."
        )
    elif np.isfinite(known.divergence).any():
        both = np.flatnonzero(np.isfinite(known.divergence))
        divergence = words(known.divergence[both], table.groups()[both])
        told.append(f"JS divergence of people and panel: {divergence} on {len(both):,} rows.")
    if found.bill is not None:
        bill = found.bill
        kinds = Counter(one.outcome for one in found.missing)
        without = ", ".join(f"{count:,} {outcome}" for outcome, count in kinds.most_common()) or "none"
        extra = f", of which ${bill.assumed_usd:.4f} by bound, unstated" if bill.assumed_usd else ""
        extra += f", and {bill.unpriced:,} replies of which no price is known" if bill.unpriced else ""
        told.append(
            f"Cost of these rows by list prices: ${bill.cost_usd:.4f}{extra}. Requests without a vote: {without}."
        )
        if unknown := found.unknown():
            told.append(f"{unknown:,} answers of the data set are not in this ledger; their replies are not shown.")
    return told


def _choice(clips: list[Clip], rows: int, most: int) -> str:
    """Which clips the page shows."""
    if len(clips) == rows:
        return f"All {rows:,} clips are shown."
    why = Counter(clip.why for clip in clips)
    parts = ", ".join(f"{why[reason]} because {words}" for reason, words in REASONS.items() if why[reason])
    return (
        f"{len(clips):,} of {rows:,} clips are shown (--most_clips {most}): {parts}. Only those by chance stand for "
        "all clips."
    ).replace("because drawn", "drawn")


def _told(page: ClipPage, found: Purchase, show_transcripts: bool) -> list[str]:
    """What the page leaves out."""
    told = []
    if found.ledger is None:
        told.append("No ledger was named (--ledger FILE): replies, costs and failed requests are not shown.")
    if page.silent:
        told.append(f"{page.silent:,} clips have no player: the page would be too large (--most_megabytes).")
    if not show_transcripts:
        quoting = f"; {page.withheld:,} texts that quote them are withheld" if page.withheld else ""
        told.append(f"Transcripts are not shown (--show_transcripts){quoting}.")
    told.append("This page holds recordings and what services replied: treat it like the data.")
    return told


def _tables(rows: Any, table: VoteTable, found: Purchase, page: ClipPage) -> list[StudyTable]:
    if not found.missing:
        return []
    transcripts = column_of(rows, "transcript")
    reasons: dict[tuple[str, str], Counter[str]] = {}
    for one in found.missing:
        said = transcripts[table.places[one.row]] if transcripts is not None else None
        text = " ".join(page.text(one.detail, said).split())[:200]
        reasons.setdefault((one.outcome, one.model), Counter())[text or "no reason was given"] += 1
    lines = []
    for (outcome, model), texts in sorted(reasons.items(), key=lambda item: -item[1].total()):
        told = "; ".join(f"{count:,} × {text}" for text, count in texts.most_common(_REASONS_TOLD))
        more = len(texts) - _REASONS_TOLD
        told += f"; and {more:,} other reasons" if more > 0 else ""
        lines.append([outcome, visible(model), f"{texts.total():,}", FAILURES.get(outcome, "not known here"), told])
    columns = ["outcome", "model", "requests", "what that means", "reasons"]
    return [StudyTable("Requests without a vote", columns, lines)]


def _result(clip: Clip, page: ClipPage) -> dict[str, Any]:
    """Facts on a clip for JSON: neither words nor replies."""
    return {
        "id": clip.id,
        "why": clip.why,
        "votes": dict(zip(page.emotions, clip.votes, strict=True)),
        "panel": None if clip.panel is None else dict(zip(page.emotions, clip.panel, strict=True)),
        "js_divergence": None if math.isnan(clip.divergence) else clip.divergence,
        "js_divergence_by_chance": None if math.isnan(clip.by_chance) else clip.by_chance,
        "answers": len(clip.requests) - clip.failures,
        "failures": dict(Counter(request.outcome for request in clip.requests if request.outcome != "ok")),
        "cost_usd": clip.cost_usd,
    }
