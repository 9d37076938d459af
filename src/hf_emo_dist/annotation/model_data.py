"""The models as data: one YAML file a service in `annotation/models`, each fact with its source and its date.

Nothing here is asked of a service. A model that is not in its service's file has cautious capabilities and no prices.
Users replace any fact with the argument `capabilities` of a backend, on the command line with --capabilities and
--prices.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .._yaml import in_one_line, read_yaml_file
from .capabilities import NOBODY, ModelCapabilities, Prices, Source, Thinking, bare_name, family
from .types import MODES

FOLDER = Path(__file__).parent / "models"
#: Each is a file of `FOLDER`.
SERVICES = ("gemini", "vertex", "openai", "openai-compatible")
#: A fact that is older has to be looked up again: prices and last days change by the month.
OLD_AFTER_DAYS = 61
#: What a service with a `base` does not take from there.
_OWN = ("since", "retired_on", "answered_by", "flex_price", "batch_price", "priority_price", "notes")
_FORMATS = ("wav", "flac", "ogg", "mp3")


@dataclass(frozen=True)
class Service:
    """One service: where audio goes, in words, under whose terms, and its models."""

    name: str
    destination: str
    terms: str
    unlisted: ModelCapabilities
    models: Mapping[str, ModelCapabilities]
    notes: tuple[str, ...] = field(default=())


class ModelDataError(ValueError):
    """A file of models, or a fact that the user gave, is wrong. The message says where and what mends it."""


# --- one fact
def _number(least: float, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
        raise ValueError(f"a number from {least:g}")
    return value


def _share(value: Any) -> float:
    if _number(0, value) > 1:
        raise ValueError("a share of the list price, such as 0.5")
    return float(value)


def _of_type(kind: type, what: str, value: Any) -> Any:
    if not isinstance(value, kind) or not value:
        raise ValueError(what)
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _day(value: Any) -> date:
    if type(value) is not date:
        raise ValueError("a day such as 2026-12-01")
    return value


def _one_of(choices: tuple[str, ...], value: Any) -> str:
    if value not in choices:
        raise ValueError(f"one of {', '.join(choices)}")
    return value


def _some_of(choices: tuple[str, ...], value: Any) -> tuple[Any, ...]:
    values = (value,) if isinstance(value, str) else tuple(value)
    if not values or set(values) - set(choices):
        raise ValueError(f"some of {', '.join(choices)}")
    return values


def _thinking(value: Any) -> Thinking:
    if isinstance(value, Thinking):
        return value
    if not isinstance(value, Mapping) or set(value) - {"kind", "least", "levels"}:
        raise ValueError("a mapping of kind, least and levels")
    kind: Any = _one_of(("none", "budget", "level"), value.get("kind"))
    return Thinking(kind, value.get("least"), tuple(value.get("levels") or ()))


def _prices(value: Any) -> tuple[Prices, ...]:
    found = [_price(entry) for entry in ([value] if isinstance(value, (Mapping, Prices)) else value)]
    ends = [price.until for price in found]
    if None in ends[:-1] or ends[:-1] != sorted(ends[:-1], key=str):
        raise ValueError("prices in the order of their dates, all but the last one with `until`")
    return tuple(found)


def _price(value: Any) -> Prices:
    if isinstance(value, Prices):
        return value
    needed = ("text_in", "audio_in", "output")
    if not isinstance(value, Mapping) or set(needed) - set(value) or set(value) - {*needed, "until"}:
        raise ValueError("text_in, audio_in and output, in US dollars a million tokens, and perhaps until")
    ends = value.get("until")
    text, audio, output = (float(_number(0, value[name])) for name in needed)
    return Prices(text, audio, output, until=None if ends is None else _day(ends))


#: Name of a fact to what reads it: what it raises says what would have been right.
_READ: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "audio": _truth,
        "temperature": _truth,
        "seed": _truth,
        "thinking": _thinking,
        "structured": functools.partial(_one_of, ("enum", "json_schema", "none")),
        "max_inline_bytes": lambda value: int(_number(1, value)),
        "audio_tokens_per_second": lambda value: float(_number(0, value)),
        "audio_formats": functools.partial(_some_of, _FORMATS),
        "longest_clip_s": lambda value: float(_number(0.05, value)),
        "modes": functools.partial(_some_of, MODES),
        "logprobs": _truth,
        "since": _day,
        "retired_on": _day,
        "replaced_by": functools.partial(_of_type, str, "the name of a model"),
        "answered_by": functools.partial(_of_type, str, f"the name of a model, or {NOBODY}"),
        "prices": _prices,
        "flex_price": _share,
        "batch_price": _share,
        "priority_price": lambda value: float(_number(1, value)),
    }
)
#: Facts that may also be not known.
_MAY_BE_NONE = {entry.name for entry in fields(ModelCapabilities) if entry.default is None}


def _fact(name: str, value: Any, where: str) -> Any:
    if name not in _READ:
        raise ModelDataError(f"{where} has an unknown name: {name}. Mend: known are {', '.join(_READ)}.")
    if value is None and name in _MAY_BE_NONE:
        return None
    try:
        return _READ[name](value)
    except (TypeError, ValueError) as error:
        wanted = error if type(error) is ValueError else "another value"
        raise ModelDataError(f"{where}: {name} is {value!r}. Mend: {wanted}.") from None


# --- the files
@functools.cache
def service_data(name: str) -> Service:
    """All that is known of a service and its models.

    Raises:
        ModelDataError: There is no such service.

    Example:
        >>> service_data("vertex").models["gemini-2.5-pro"].retired_on
        datetime.date(2026, 10, 16)
    """
    if name not in SERVICES:
        raise ModelDataError(f"There is no data on a service {name!r}. Mend: one of {', '.join(SERVICES)}.")
    return read_service(FOLDER / f"{name}.yaml")


def read_service(path: Path) -> Service:
    """Read and check the file of a service.

    Raises:
        ModelDataError: It is not as it has to be; the message names model and fact.
    """
    import yaml

    try:
        content = read_yaml_file(path)
    except yaml.YAMLError as error:
        raise ModelDataError(f"{path.name} is not YAML: {in_one_line(error)}. Mend: correct it.") from error
    known = {"service", "base", "destination", "terms", "sources", "notes", "groups", "unlisted", "models"}
    if not isinstance(content, dict) or set(content) - known or "service" not in content:
        raise ModelDataError(f"{path.name} is no file of a service. Mend: give {', '.join(sorted(known))}.")
    sources: dict[str, Source] = {}
    for name, entry in (content.get("sources") or {}).items():
        if not isinstance(entry, dict) or set(entry) != {"address", "read"} or type(entry["read"]) is not date:
            raise ModelDataError(f"{path.name}, source {name}: {entry!r}. Mend: give `address` and the day of `read`.")
        sources[name] = Source(**entry)
    base = service_data(content["base"]) if content.get("base") else None
    unlisted = base.unlisted if base is not None else ModelCapabilities("")
    models = {}
    for model, facts in (content.get("models") or {}).items():
        start = ModelCapabilities(model)
        if base is not None and model in base.models:
            there = base.models[model]
            plain = {entry.name: getattr(start, entry.name) for entry in fields(start) if entry.name in _OWN}
            start = replace(there, **plain, sources=tuple(item for item in there.sources if item[0] not in _OWN))
        models[model] = replace(_with_facts(start, facts or {}, sources, f"{path.name}, {model}"), known=True)
    return Service(
        name=content["service"],
        destination=content.get("destination", ""),
        terms=content.get("terms", ""),
        unlisted=_with_facts(unlisted, content.get("unlisted") or {}, sources, f"{path.name}, unlisted"),
        models=MappingProxyType(models),
        notes=_notes(content.get("notes"), sources, path.name),
    )


def _with_facts(
    base: ModelCapabilities, facts: Mapping[str, Any], sources: Mapping[str, Source], where: str
) -> ModelCapabilities:
    values: dict[str, Any] = {}
    cited = dict(base.sources)
    for name, entry in facts.items():
        if name == "notes":
            values["notes"] = _notes(entry, sources, where)
        elif name == "prices":
            entries = [dict(price) if isinstance(price, dict) else {} for price in entry]
            cites = [_source(price.pop("source", None), sources, f"{where}, prices") for price in entries]
            read = _fact(name, entries, where)
            values[name] = tuple(
                replace(price, as_of=cite.read, source=cite.address) for price, cite in zip(read, cites, strict=True)
            )
            cited[name] = min(cites, key=lambda cite: cite.read)
        else:
            values[name], cited[name] = _cited(entry, sources, f"{where}, {name}")
            values[name] = _fact(name, values[name], where)
    return replace(base, **values, sources=tuple(cited.items()))


def _notes(entries: Any, sources: Mapping[str, Source], where: str) -> tuple[str, ...]:
    return tuple(str(_cited(entry, sources, f"{where}, notes")[0]) for entry in entries or ())


def _cited(entry: Any, sources: Mapping[str, Source], where: str) -> tuple[Any, Source]:
    if not isinstance(entry, dict) or set(entry) != {"is", "source"}:
        raise ModelDataError(f"{where}: {entry!r} has no source. Mend: write it as {{is: VALUE, source: NAME}}.")
    return entry["is"], _source(entry["source"], sources, where)


def _source(name: Any, sources: Mapping[str, Source], where: str) -> Source:
    if name not in sources:
        raise ModelDataError(f"{where}: there is no source {name!r}. Mend: one of {', '.join(sources)}.")
    return sources[name]


# --- what is asked of it
def capabilities_of(service: str, model: str) -> ModelCapabilities:
    """What is known of a model; cautious guesses and no prices for one that is not in the service's file."""
    data = service_data(service)
    if service == "openai-compatible":
        by_last_part = {name.rpartition("/")[2].lower(): entry for name, entry in data.models.items()}
        entry = by_last_part.get(model.rpartition("/")[2].lower())
    else:
        entry = data.models.get(bare_name(model)) or data.models.get(family(model))
    return replace(entry or data.unlisted, model=model)


def resolve_capabilities(
    service: str, model: str, given: ModelCapabilities | Mapping[str, Any] | None
) -> ModelCapabilities:
    """The capabilities that a backend uses: those given, or those of the data with the given facts in their place.

    Raises:
        ModelDataError: A given fact has an unknown name or a wrong value.

    Example:
        >>> given = {"prices": {"text_in": 1, "audio_in": 1, "output": 4}, "structured": "json_schema"}
        >>> resolve_capabilities("openai", "my-deployment", given).prices[0].output
        4.0
    """
    if isinstance(given, ModelCapabilities):
        return given
    base = capabilities_of(service, model)
    if given is None:
        return base
    values = {name: _fact(name, value, "`capabilities`") for name, value in given.items() if name != "known"}
    # What the user says is as old as the user says.
    sources = tuple(item for item in base.sources if item[0] not in values)
    return replace(base, **{"known": True, **{k: given[k] for k in given if k == "known"}, **values}, sources=sources)


def old_facts(capabilities: ModelCapabilities, today: date) -> dict[str, Source]:
    """The facts that were read more than two months before a day, those that the user gave left out.

    Example:
        >>> list(old_facts(capabilities_of("gemini", "gemini-2.5-pro"), date(2026, 11, 26)))
        ['prices']
    """
    return {name: cite for name, cite in capabilities.sources if (today - cite.read).days > OLD_AFTER_DAYS}


def described_old(facts: Mapping[str, Source]) -> str:
    """Old facts in words, by where and when they were read."""
    places: dict[Source, list[str]] = {}
    for name, cite in facts.items():
        places.setdefault(cite, []).append(name)
    return "; ".join(f"{', '.join(names)} ({cite.address}, read {cite.read})" for cite, names in places.items())


# --- as a table
_COLUMNS = (
    "model", "USD in, audio in, out", "flex", "batch", "audio tokens/s", "longest clip", "modes", "temperature",
    "log-probabilities", "ends on", "then answers", "oldest fact",
)  # fmt: skip


def models_table(services: Iterable[str], today: date) -> str:
    """The models of some services with what is known of them, as a table for the terminal."""
    lines = []
    for name in services:
        data = service_data(name)
        rows = [_COLUMNS, *(_row(has, today) for has in data.models.values())]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
        lines += [f"{name}: {data.destination or 'a server of your own'}"]
        for row in rows:
            lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        lines += [f"- {note}" for note in data.notes]
        for model, has in data.models.items():
            lines += [f"- {model}: {note}" for note in has.notes]
            for price, later in itertools.pairwise((*has.prices, None)):
                if price is not None and price.until is not None:
                    then = "not known" if later is None else _dollars(later)
                    lines.append(f"- {model}: {_dollars(price)} until {price.until}, then {then}.")
        old = [
            f"{model}: {described_old(facts)}" for model, has in data.models.items() if (facts := old_facts(has, today))
        ]
        if old:
            lines.append(f"Older than two months on {today}; look them up before you rely on them:")
            lines += [f"- {line}" for line in old]
        lines.append("")
    return "\n".join(lines)


def _row(has: ModelCapabilities, today: date) -> tuple[str, ...]:
    price = has.prices_on(today)
    return (
        has.model,
        "not known" if price is None else _dollars(price),
        _shown(has.flex_price, "× {:g}"),
        _shown(has.batch_price, "× {:g}"),
        _shown(has.audio_tokens_per_second, "{:g}"),
        _shown(has.longest_clip_s, "{:g} s"),
        ", ".join(has.modes),
        "yes" if has.temperature else "no" if "temperature" in dict(has.sources) else "not known: not sent",
        _shown(has.logprobs),
        _shown(has.retired_on) + (" (RETIRED)" if has.is_retired(today) else ""),
        _shown(has.answered_by) if has.retired_on else "",
        _shown(min((cite.read for _, cite in has.sources), default=None)),
    )


def _dollars(price: Prices) -> str:
    return f"{price.text_in:.2f}, {price.audio_in:.2f}, {price.output:.2f}"


def _shown(value: Any, form: str = "{}") -> str:
    if value is None:
        return "not known"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else form.format(value)
