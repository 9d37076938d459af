"""Records for the ledger's tests."""

import hashlib

from hf_emo_dist.annotation.types import Record


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def record(name: str | int, outcome: str = "ok", **fields) -> Record:
    values = {
        "label": "happy" if outcome == "ok" else None,
        "text": '{"emotion": "happy"}',
        "backend": "gemini",
        "endpoint": "https://example.org",
        "model": "m",
        "model_version": "m-001",
        "focus": "prosody",
        "temperature": 0.5,
        "plan": "p" * 64,
        "settings": {"temperature": 0.5, "thinking": {"budget": 0}},
        "prompt_tokens": 100,
        "output_tokens": 10,
        "cost_usd": 0.25,
        "created": "2025-05-01T10:00:00.000000+00:00",
    }
    return Record(key(name) if isinstance(name, int) else name, outcome, **values | fields)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, now: float = 1.7e9) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
