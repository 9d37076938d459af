"""`hf-emo-dist push WHAT SOURCE REPO_ID`: a checkpoint, votes, a data set or a metric to the Hub."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from .arguments import Options, Values

KINDS = {
    "model": "a checkpoint with its processor and card",
    "votes": "votes from a ledger or a data set: no recordings, and no transcripts or replies unless asked (private)",
    "dataset": "a whole prepared data set with its recordings (private)",
    "metric": "an evaluate module as a Space; js_divergence and others come with this package",
}


def kinds() -> Mapping[str, str]:
    """What can be pushed."""
    return KINDS


def _function(kind: str) -> Callable[..., Any]:
    from .. import hub

    if kind not in KINDS:
        raise ValueError(f"There is no push {kind!r}. Mend: one of {', '.join(KINDS)}.")
    return getattr(hub, f"push_{kind}")  # type: ignore[no-any-return]


def options(kind: str) -> Options:
    """Those of `push_model`, `push_votes`, `push_dataset` or `push_metric`; a token has no place on a command line."""
    return Options(_function(kind), without=("token",), aliases={"--public": "--private=false"})


def run(kind: str, values: Values) -> None:
    """Push, or list what would be pushed."""
    sys.stdout.write(f"{values.call(_function(kind))}\n")
