"""Cards of data sets: of prepared data, whose README gains a section, and of votes, which get one of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...data.output import write_text
from ...data.preparation_file import backends_of, read_preparation
from ...markdown import Safe, as_code, yaml_value
from .rendering import render, with_mark
from .tables import annotation_rows, combine_rows, count_text, settings_text

TAGS = ("speech-emotion-recognition", "soft-labels", "hf-emo-dist")
_START, _END = "<!-- hf-emo-dist: how this was prepared -->", "<!-- /hf-emo-dist -->"


def write_dataset_card(folder: str | Path, counts: Mapping[str, Any] | None = None) -> Path:
    """Put what is known of a prepared data set into its README: votes, annotators, how they were combined, DiME-Aug.

    The section stands between two comments, and is replaced when this is called again; the rest stays as it is.

    Args:
        folder: A data set that `write_dataset` wrote; `preparation.json` in it is read, see `data.preparation_file`.
        counts: Of `data.data_facts`; by default counted from the data.

    Raises:
        OSError: There is no README.
        ValueError: `preparation.json` cannot be read.
    """
    file = Path(folder) / "README.md"
    if not file.is_file():
        raise OSError(
            f"There is no README.md in {folder}. Mend: name a folder that hf-emo-dist read or hf-emo-dist annotate "
            "wrote."
        )
    if counts is None:
        from ...data.data_facts import data_facts
        from ...data.opened import open_dataset

        counts = data_facts(open_dataset(folder).splits)
    section = f"{_START}\n{preparation_section(counts, read_preparation(folder))}\n{_END}\n"
    text = file.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(_START) + r".*?" + re.escape(_END) + r"\n?", re.DOTALL)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}"
    return write_text(file, text)


def preparation_section(counts: Mapping[str, Any], preparation: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown tables of what a data set holds and how it was prepared."""
    lines = [
        "## Votes\n",
        "| split | rows | human votes | synthetic votes | stated distributions | mixed rows |",
        "|---|---|---|---|---|---|",
    ]
    for name, split in counts.get("splits", {}).items():
        cells = [
            count_text(split.get(key) or None, none="none")
            for key in ("human_votes", "synthetic_votes", "stated_distributions", "mixed_rows")
        ]
        lines.append(f"| {as_code(name)} | {count_text(split.get('rows'))} | {' | '.join(cells)} |")
    about = [(title, str(text)) for title, text in annotation_rows(preparation.get("annotation", {}))]
    about += [(title, str(text)) for title, text in combine_rows(preparation.get("combine", {}))]
    for part, title in (("dime_aug", "DiME-Aug"), ("source", "Made from")):
        if preparation.get(part):
            about.append((title, str(settings_text(preparation[part]))))
    if about:
        lines += ["\n## How this was prepared\n", "| | |", "|---|---|"]
        lines += [f"| {title} | {text} |" for title, text in about]
    if any(split.get("mixed_rows") for split in counts.get("splits", {}).values()):
        lines.append(
            "\nMixed rows were made from two others (`mixed_from`); nobody has listened to them, and they hold no "
            "votes."
        )
    return "\n".join(lines)


def vote_card(
    splits: Mapping[str, Any],
    repo_id: str,
    *,
    title: str,
    description: str = "",
    vote_source: str | None = None,
    license: str | None = None,
    preparation: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The README of a data set of votes: of a ledger (a row a reply), or of utterances with their votes."""
    from huggingface_hub import DatasetCardData

    from ...data.data_facts import data_facts

    first = next(iter(splits.values()))
    counts = data_facts(splits)
    is_ledger = "outcome" in first.column_names
    annotation = (preparation or {}).get("annotation", {})
    told = f"{vote_source or ''} {counts.get('description', '')} {' '.join(counts['corpora'])}".lower()
    if is_ledger:
        table = _ledger_section(splits)
        simulated = "simulated" in told or "simulated" in _values(splits, "backend")
    else:
        table = preparation_section(counts, preparation or {})
        simulated = "simulated" in told or "simulated" in backends_of(annotation)
    data = DatasetCardData(
        **yaml_value(
            {
                "pretty_name": title,
                "task_categories": ["audio-classification"],
                "tags": [*TAGS, *(["simulated-votes"] if simulated else [])],
                "annotations_creators": ["machine-generated"] if is_ledger else None,
                "license": license,
                "language": [language for language in counts["languages"] if len(language) in (2, 3)] or None,
                "vote_source": vote_source,
                "configs": [
                    {
                        "config_name": "default",
                        "data_files": [{"split": split, "path": f"data/{split}-*"} for split in splits],
                    }
                ],
            }
        )
    )
    return with_mark(
        render(
            "data_card_template.md",
            metadata=Safe(data.to_yaml()),
            title=title,
            simulated=simulated,
            borrowed="borrowed" in told,
            vote_source=vote_source,
            description=description
            or ("One row is one reply of a synthetic annotator." if is_ledger else "One row is one utterance."),
            emotions=counts.get("emotions"),
            table=Safe(table),
            repo_id=Safe(repo_id),
            columns=first.column_names,
            license=license,
        )
    )


def _ledger_section(splits: Mapping[str, Any]) -> str:
    outcomes = _values(splits, "outcome")
    rows = [("Replies", count_text(sum(outcomes.values()))), ("Votes", count_text(outcomes.get("ok", 0)))]
    failed = {name: count for name, count in outcomes.items() if name != "ok"}
    if failed:
        rows.append(("No vote, by reason", settings_text(failed)))
    for column, title in (
        ("backend", "Services"),
        ("model", "Models asked"),
        ("model_version", "Versions that answered"),
        ("prompt_version", "Prompt versions"),
        ("focus", "Foci"),
        ("mode", "Modes"),
    ):
        found = {name: count for name, count in _values(splits, column).items() if name}
        if found:
            shown = sorted(found, key=lambda name: (-found[name], name))[:20]
            rows.append((title, ", ".join(f"{as_code(name)} ({found[name]:,})" for name in shown)))
    lines = ["## Replies\n", "| | |", "|---|---|", *(f"| {title} | {text} |" for title, text in rows)]
    return "\n".join([*lines, "\nA reply that failed, was blocked or was empty is a row with its reason, and no vote."])


def _values(splits: Mapping[str, Any], column: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for rows in splits.values():
        if column in rows.column_names:
            counts.update(str(value) for value in rows[column] if value is not None)
    return counts
