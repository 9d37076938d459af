"""The ledger's key: fixed for ever, and changed by whatever changes the answer."""

import pytest

from hf_emo_dist.annotation import types
from hf_emo_dist.annotation.types import Record, canonical_json, ledger_key, request_hash

REQUEST = {
    "model": "m-1",
    "temperature": 0.5,
    "text": "Wie klingt das? „ü“",
    "emotions": ["angry", "happy"],
    "thinking": None,
}
PARTS = {
    "audio": "0f" * 32,
    "request": "2ca1c4537021a7d53ddb6cbcfd0a967dd5e44bd3a6e1d1f6cb9bbd8b4e3b0a11",
    "backend": "gemini",
    "endpoint": "https://example.org/v1",
    "model": "m-1",
    "replicate": 3,
}


def test_golden_keys():
    """If this fails, every reply that was ever paid for would be asked for again."""
    assert request_hash(REQUEST) == "632ac6425960d3ebf00a8fe4a3fbe778d7cd0c52947353929a7e46e839eaae61"
    assert ledger_key(**PARTS) == "27ff5fb4ee4e00a70731f4f718fc16acddcd1c7ddb274d9f704b52e308f6b5d0"


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("audio", "1f" * 32),
        ("request", "3" + PARTS["request"][1:]),
        ("backend", "openai"),
        ("endpoint", "https://example.org/v2"),
        ("model", "m-2"),
        ("replicate", 4),
    ],
)
def test_each_part_changes_the_key(part, value):
    assert ledger_key(**PARTS | {part: value}) != ledger_key(**PARTS)


def test_audio_preparation_changes_the_key():
    other = ledger_key(**PARTS, audio_preparation=types.AUDIO_PREPARATION_VERSION + 1)
    assert ledger_key(**PARTS, audio_preparation=types.AUDIO_PREPARATION_VERSION) == ledger_key(**PARTS) != other


@pytest.mark.parametrize(
    ("name", "value"), [("model", "m-2"), ("temperature", 0.6), ("emotions", ["happy", "angry"]), ("thinking", 0)]
)
def test_the_request_decides_and_its_order_does_not(name, value):
    assert request_hash(REQUEST | {name: value}) != request_hash(REQUEST)
    assert request_hash(dict(reversed(REQUEST.items()))) == request_hash(REQUEST)


def test_what_cannot_be_written_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"temperature": float("nan")})
    with pytest.raises(ValueError, match="outcome"):
        Record("k", "okay")
