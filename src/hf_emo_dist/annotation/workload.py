"""What a run still has to send: a pass over its utterances that sends nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..audio.decoding import AudioError, BadClip, decode, encoded_seconds, source_bytes
from .backends._audio import heard_seconds
from .capabilities import ModelCapabilities
from .ledger.run_ledger import RunLedger
from .reading import Utterance
from .run.estimate import Span, expected_usage
from .run.jobs import Job, RunSettings

_CHUNK = 256


@dataclass
class Workload:
    """Replies that are wanted: those in the ledger, and what the others are expected to use."""

    rows: int = 0
    stored: int = 0
    requests: int = 0
    seconds: float = 0.0  # of audio to send, each clip counted once
    tokens: dict[str, Span] = field(
        default_factory=lambda: dict.fromkeys(("prompt", "audio", "thinking", "output"), Span(0.0, 0.0))
    )


def workload(
    wanted: Iterable[tuple[Utterance, Sequence[Job]]],
    ledger: RunLedger,
    settings: RunSettings,
    num_emotions: int,
    capabilities: ModelCapabilities,
    unusable: dict[str, str],
    long_audio: str | None = None,
) -> Workload:
    """Count what is wanted; clips that cannot be sent are put into `unusable`, row id to reason.

    `long_audio` is what the backend does with clips that are longer than the model hears; None where it looks at none.
    """
    found = Workload()
    seen: set[str] = set()  # rows may have the same clip
    pairs = iter(wanted)
    while chunk := list(islice(pairs, _CHUNK)):  # few look-ups, and not all clips in memory
        found.rows += len(chunk)
        there = ledger.lookup([job.key for _, jobs in chunk for job in jobs])
        for utterance, jobs in chunk:
            missing = []
            for job in jobs:
                record = there.get(job.key)
                answered = record is not None and not settings.asks_again(record)
                if answered or job.key in seen:
                    found.stored += 1
                else:
                    seen.add(job.key)
                    missing.append(job)
            if not missing:
                continue
            try:
                seconds = heard_s(utterance, capabilities, long_audio)
            except BadClip as bad:
                unusable[utterance.row_id] = str(bad.error(utterance.row_id))
                continue
            except AudioError as error:
                unusable[utterance.row_id] = str(error)
                continue
            found.seconds += seconds
            found.requests += len(missing)
            for job in missing:
                for kind, span in expected_usage(job.request, seconds, num_emotions, capabilities).items():
                    found.tokens[kind] += span
    return found


def heard_s(utterance: Utterance, capabilities: ModelCapabilities, long_audio: str | None) -> float:
    """Seconds of a clip that would be sent. Raises `AudioError` or `BadClip` where it cannot be."""
    seconds = duration_s(utterance.audio)
    return seconds if long_audio is None else heard_seconds(seconds, capabilities, long_audio, utterance.row_id)


def duration_s(audio: Any) -> float:
    """Duration of a clip in seconds, from its header where it has one. Raises `AudioError` or `BadClip`."""
    data = source_bytes(audio)
    seconds = None if data is None else encoded_seconds(data)
    return decode(audio if data is None else data).seconds if seconds is None else seconds
