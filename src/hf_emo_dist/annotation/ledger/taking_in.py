"""Replies of a stranger, of an older ledger or of a rescue file: what must hold of one before it enters a ledger."""

from __future__ import annotations

import functools
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..model_data import capabilities_of
from ..types import AUDIO_PREPARATION_VERSION, FAILURES, MODES, OK, Record, ledger_key
from .label_sets import outside
from .replies import Row, content_id, row_of
from .schema import FIELDS, INTEGERS, MOST_TOKENS, MOST_USD, REALS

logger = logging.getLogger(__name__)

_DEFAULTS = vars(Record("", OK))
_TEXTS = frozenset(FIELDS) - INTEGERS - REALS - {"settings", "distribution"}
_ID = re.compile("[0-9a-f]{32}")
_MOST_TEXT = 4_000_000  # characters of a field: a reply of a model that does not stop is some 100,000
#: What costs nothing but time, and where the prices of others stand.
_FREE = ("simulated", "transformers")
_SERVICES = {"gemini": ("gemini", "vertex"), "openai": ("openai",)}
#: By how much a reply may cost more than its tokens by list prices (other contracts, dearer tiers), and the tokens of
#: a request at most.
_PRICE_SLACK, _CENT, _MOST_PRICED = 10.0, 0.01, 2**22
_A_DAY_S = 86400.0  # by which clocks may differ
_SUM = (0.9, 1.1)  # a stated distribution is stored divided by its sum
_NAMED = 5


class BadReply(ValueError):
    """A reply that cannot be taken in: which column of it is wrong, and why."""

    def __init__(self, column: str, why: str) -> None:
        super().__init__(f"column `{column}`: {why}")
        self.column, self.why = column, why


@dataclass
class Taken:
    """What was taken in from elsewhere, and what was left out.

    Attributes:
        source: What it is called.
        rows: Of those that were taken, the names and the rows.
        left_out: Column to how many replies were left out for it.
        named: The first ones of these, in words.
    """

    source: str
    left_out: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)
    good: int = 0

    def leave_out(self, where: str, bad: BadReply) -> None:
        """Note one that is wrong."""
        self.left_out[bad.column] += 1
        if len(self.named) < _NAMED:
            self.named.append(f"{where}, {bad}")

    def sift(
        self,
        entries: Iterable[tuple[str, Mapping[str, Any]]],
        now: float,
        label_sets: Mapping[str, Collection[str]] | None = None,
    ) -> Iterator[tuple[str, Row]]:
        """The names and rows of those that are right; entries are where each stands, and its values; `label_sets` are
        what plans asked for."""
        for where, values in entries:
            try:
                found = reply_of(values, now, label_sets)
            except BadReply as bad:
                self.leave_out(where, bad)
            else:
                self.good += 1
                yield found

    def summary(self) -> str:
        """What was left out, in a few lines; "" where nothing was."""
        if not self.left_out:
            return ""
        count = self.left_out.total()
        more = f"; and {count - len(self.named):,} others" if count > len(self.named) else ""
        replies = "reply is" if count == 1 else "replies are"
        return f"{self.source}: {count:,} {replies} left out, which cannot be so: {'; '.join(self.named)}{more}."


class Added(int):
    """How many replies were new; `left_out` says, by column, how many could not be taken in, `cost_usd`, what they
    add to what the ledger has cost."""

    left_out: Mapping[str, int]
    cost_usd: float

    def __new__(cls, new: int, left_out: Mapping[str, int], cost_usd: float) -> Added:
        """A number with what was left out, and a cost."""
        self = super().__new__(cls, new)
        self.left_out, self.cost_usd = dict(left_out), cost_usd
        return self


def reply_of(
    values: Mapping[str, Any], now: float, label_sets: Mapping[str, Collection[str]] | None = None
) -> tuple[str, Row]:
    """The name and the row of a reply whose fields came from elsewhere.

    Args:
        values: Fields of a record, and `reply_id`; what is missing or None is the field's default.
        now: Seconds since 1970: no reply is of a later day. Without end for what this ledger's own processes wrote.
        label_sets: Plan to the emotions that it asked for.

    Raises:
        BadReply: A value cannot be.
    """
    found = {name: values[name] for name in FIELDS if values.get(name) is not None}
    for name in _TEXTS & found.keys():
        found[name] = _text(name, found[name])
    if not found.get("key"):
        raise BadReply("key", f"expected the key of a reply, got {values.get('key')!r}")
    if found.get("outcome") != OK and found.get("outcome") not in FAILURES:
        raise BadReply("outcome", f"expected 'ok' or one of {', '.join(FAILURES)}, got {values.get('outcome')!r}")
    if found.get("mode", "label") not in MODES:
        raise BadReply("mode", f"expected one of {', '.join(MODES)}, got {found['mode']!r}")
    for name in (INTEGERS | REALS) & found.keys():
        found[name] = _number(name, found[name])
    try:
        found["settings"] = _settings(found.get("settings"))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadReply("settings", f"expected a JSON object ({error})") from error
    try:
        found["distribution"] = _distribution(found.get("distribution"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadReply("distribution", f"expected a list of structs with `emotion` and `share` ({error!r})") from error
    if found["outcome"] == OK and not found.get("label") and found["distribution"] is None:
        raise BadReply("label", "expected a label or a distribution, since its outcome is ok")
    record = Record(**{name: found.get(name, default) for name, default in _DEFAULTS.items()})
    emotions = (label_sets or {}).get(record.plan)
    if record.outcome == OK and emotions is not None:
        wrong = outside(emotions, record.label, record.distribution)
        if wrong is not None:
            raise BadReply(*wrong)
    _check_key(record)
    if math.isfinite(now):
        _check_cost(record)
    _check_created(record.created, now)
    reply_id = values.get("reply_id")
    if reply_id is None:
        return content_id(record), row_of(record)
    if not (isinstance(reply_id, str) and _ID.fullmatch(reply_id)):
        raise BadReply("reply_id", f"expected 32 hexadecimal digits, got {_short(reply_id)}")
    if int(reply_id[:16], 16) > (now + _A_DAY_S) * 1e6:
        raise BadReply("reply_id", f"it is of a day that is still to come ({reply_id})")
    return reply_id, row_of(record)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bytes):  # lone surrogates, as the ledger keeps them
        try:
            value = value.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise BadReply(name, "expected text, got bytes that are none") from error
    if not isinstance(value, str):
        raise BadReply(name, f"expected text, got {_short(value)}")
    if len(value) > _MOST_TEXT:
        raise BadReply(name, f"{len(value):,} characters are more than any reply has")
    return value


def _number(name: str, value: Any) -> Any:
    if name == "final" and value in (0, 1):
        return bool(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadReply(name, f"expected a number, got {_short(value)}")
    most = MOST_USD if name.endswith("_usd") else MOST_TOKENS
    if not (math.isfinite(value) and 0 <= value <= most):
        raise BadReply(name, f"expected a number from 0 to {most:g}, got {_short(value)}")
    if name in REALS:
        return float(value)
    if value != int(value):
        raise BadReply(name, f"expected a whole number, got {value!r}")
    return int(value)


def _settings(value: Any) -> dict[str, Any]:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogatepass")
    if isinstance(value, str):
        value = json.loads(value) if value else {}
    if not isinstance(value or {}, Mapping):
        raise TypeError(f"got {_short(value)}")
    json.dumps(value or {}, allow_nan=False)
    return dict(value or {})


def _distribution(value: Any) -> dict[str, float] | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogatepass")
    if isinstance(value, str):
        value = json.loads(value)
    if value is None or isinstance(value, Mapping):
        shares = {str(emotion): float(share) for emotion, share in (value or {}).items() if share is not None}
    else:
        shares = {str(item["emotion"]): float(item["share"]) for item in value}
    if not shares:
        return None
    if not all(share >= 0 for share in shares.values()) or not _SUM[0] <= sum(shares.values()) <= _SUM[1]:
        raise ValueError(f"shares from 0 that sum to 1, got {_short(shares)}")
    return shares


def _check_key(record: Record) -> None:
    """Compute the key anew, where the reply says what it was made of: what was asked of whom about which clip."""
    if not (record.audio and record.request):  # nobody can tell
        return
    of = {name: getattr(record, name) for name in ("audio", "request", "backend", "endpoint", "model", "replicate")}
    versions = range(1, AUDIO_PREPARATION_VERSION + 1)
    if record.key not in (ledger_key(**of, audio_preparation=version) for version in versions):
        raise BadReply("key", f"it is not that of its clip, request and model ({record.key[:80]})")


def _check_cost(record: Record) -> None:
    """Bound what a reply says that it has cost by what its tokens can cost, where the model has prices."""
    price = _dearest(record.backend, record.model)
    if price is None:
        return
    counts = (record.prompt_tokens, record.thinking_tokens, record.output_tokens, record.assumed_tokens)
    most = _PRICE_SLACK * price * min(sum(count or 0 for count in counts), _MOST_PRICED) + (_CENT if price else 0.0)
    for name in ("cost_usd", "assumed_usd"):
        value = getattr(record, name) or 0.0
        if value > most:
            raise BadReply(name, f"{value:g} USD, where its tokens cost {most:g} of {record.model!r:.80} at most")


@functools.lru_cache(maxsize=256)
def _dearest(backend: str, model: str) -> float | None:
    """US dollars a token at the highest price that is known of a model; None where none is."""
    if backend in _FREE:
        return 0.0
    prices = [one for service in _SERVICES.get(backend, ()) for one in capabilities_of(service, model).prices]
    return max((max(one.text_in, one.audio_in, one.output) for one in prices), default=0.0) / 1e6 if prices else None


def _check_created(created: str, now: float) -> None:
    if not created:
        return
    try:
        moment = datetime.fromisoformat(created).timestamp()
    except (ValueError, OverflowError) as error:
        raise BadReply("created", f"expected a time in ISO 8601, got {_short(created)}") from error
    if moment > now + _A_DAY_S:
        raise BadReply("created", f"it is of a day that is still to come ({created})")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
