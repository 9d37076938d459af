"""Which columns of a data set of votes are published: the votes, and nothing that anybody said or wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What was said, or what was sent to an annotator and may hold it.
TRANSCRIPTS = ("transcript", "text", "sentence", "words", "prompt", "system_prompt", "request")
# What an annotator wrote beyond its label or distribution.
REPLIES = (
    "raw", "raw_text", "raw_reply", "reply", "response", "output", "reasoning", "thinking", "rationale", "explanation",
    "detail",
)  # fmt: skip
# Columns whose strings are names, labels or numbers of this library's own.
_KNOWN = frozenset((
    "id", "row_id", "reply_id", "key", "speaker", "corpus", "language", "gender", "split", "fold", "file", "intended",
    "intensity", "consensus", "donor", "human_votes", "human_vote_weights", "human_distribution",
    "emotion_distribution", "true_distribution", "synthetic_votes", "synthetic_annotations", "mixed_from",
    "mix_ratio", "label", "labels", "distribution", "model", "model_requested", "model_version", "model_answered",
    "focus", "wording", "persona", "temperature", "mode", "replicate", "outcome", "backend", "plan", "prompt_version",
    "preset", "panel", "member", "emotions", "created", "settings", "preparation", "version", "audio_hash", "emotion",
    "votes", "counts", "attempt", "audio_tokens",
))  # fmt: skip
# Names of people, or what identifies a recording beyond its id.
_PERSONAL = ("human_raters", "rater", "raters", "annotator_id", "worker_id")


def choose_columns(
    features: Mapping[str, Any],
    *,
    include_transcripts: bool = False,
    include_replies: bool = False,
    columns: Sequence[str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Return the columns to publish, and the others with how to publish them after all: name → words."""
    asked = set(columns or ())
    missing = asked - set(features)
    if missing:
        raise ValueError(
            f"There are no columns {', '.join(sorted(missing))}. Mend: name some of {', '.join(features)}."
        )
    transcripts, replies = "ask with include_transcripts=True", "ask with include_replies=True"
    allowed = {None, *([transcripts] if include_transcripts else []), *([replies] if include_replies else [])}
    # In a ledger `text` is a reply, and these two are digests.
    in_ledger = {"text": replies, "request": None, "audio": None} if {"outcome", "key"} <= set(features) else {}
    kept, withheld = [], {}
    for name, feature in features.items():
        how = None
        if name in in_ledger:
            how = in_ledger[name]
        elif type(feature).__name__ in ("Audio", "Image", "Video") or name == "audio":
            how = "recordings; push_dataset publishes them"
        elif name in TRANSCRIPTS:
            how = transcripts
        elif name in REPLIES or any(part in (*REPLIES, *TRANSCRIPTS) for part in _parts(feature)):
            how = replies
        elif name in _PERSONAL or (name not in _KNOWN and _holds_text(feature)):
            how = f"ask with columns=['{name}']"
        if how in allowed or name in asked:
            kept.append(name)
        else:
            withheld[name] = str(how)
    return kept, withheld


def _parts(feature: Any) -> list[str]:
    """Names of the fields of a struct, or of a list of structs."""
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", feature)
    return list(inner) if isinstance(inner, Mapping) else []


def _holds_text(feature: Any) -> bool:
    """Whether free text can stand in a column: strings and bytes, but not the field names of a struct of numbers."""
    if isinstance(feature, Mapping):
        return any(_holds_text(entry) for entry in feature.values())
    if isinstance(feature, list):
        return any(_holds_text(entry) for entry in feature)
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return _holds_text(inner)
    dtype = str(getattr(feature, "dtype", "string"))
    return not dtype.startswith(("int", "uint", "float", "bool", "double", "time", "date", "duration"))
