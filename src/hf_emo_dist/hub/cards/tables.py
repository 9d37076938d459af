"""Parts that the cards of models and of data sets share: annotators, settings and counts as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...markdown import Safe, as_code, as_text


def annotation_rows(about: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Rows (title, Markdown) about synthetic annotators, from the part `annotation` of `preparation.json`."""
    if not about:
        return []
    answered = about.get("model_versions") or []
    panel = about.get("panel") or []
    failures = about.get("failures") or {}
    model, backend, version = (as_code(about.get(key) or "unknown") for key in ("model", "backend", "prompt_version"))
    preset = as_code(about.get("preset") or "none")
    rows: list[tuple[str, Any]] = [
        ("Annotator model", f"{model} through {backend}"),
        ("Version that answered", ", ".join(as_code(name) for name in answered) or "not recorded"),
        ("Prompts", f"version {version}, preset {preset}"),
        ("Panel", f"{len(panel)} annotators: {'; '.join(map(_member, panel[:20]))}" if panel else "not recorded"),
    ]
    if about.get("num_requests") is not None:
        asked, voted = as_text(about["num_requests"]), as_text(about.get("num_votes", "unknown"))
        failed = settings_text(failures) if isinstance(failures, dict) and failures else as_text(failures or "none")
        rows.append(("Requests", f"{asked}; votes: {voted}; failures: {failed}"))
    if isinstance(about.get("cost_usd"), int | float):
        rows.append(("Cost of annotating", f"{about['cost_usd']:.2f} USD"))
    return [(title, Safe(text)) for title, text in rows]


def _member(member: Any) -> str:
    if not isinstance(member, dict):
        return as_code(member)
    parts = [str(member[key]) for key in ("focus", "mode") if member.get(key)]
    if member.get("temperature") is not None:
        parts.append(f"temperature {member['temperature']}")
    return as_code(", ".join(parts))


def settings_text(values: Mapping[str, Any]) -> Safe:
    """Names and values in a row, such as `preset paper, weight 1`."""
    return Safe(
        ", ".join(f"{as_text(str(key).replace('_', ' '))} {as_code(_plain(value))}" for key, value in values.items())
    )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def link(name: str | None, prefix: str = "") -> Safe | None:
    """A link to a repository on the Hub, where `name` is the id of one (see `markdown.hub_id`)."""
    return Safe(f"[{name}](https://huggingface.co/{prefix}{name})") if name else None  # a valid id needs no escape


def count_text(count: int | None, none: str = "not recorded") -> str:
    """A count with thousands apart."""
    return none if count is None else f"{count:,}"


def number_text(value: Any) -> str:
    """A figure with three decimals, a dash where there is none."""
    return f"{value:.3f}" if isinstance(value, int | float) and math.isfinite(value) else "-"
