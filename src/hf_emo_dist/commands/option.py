"""One option of a command: a parameter of a function, or a field of a dataclass, and how text becomes its value."""

from __future__ import annotations

import builtins
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from .._name_list import name_list
from .._yaml import in_one_line, read_yaml

NOTHING: Any = inspect.Parameter.empty
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
#: What a number alone is called in `--fractions 0.8,0.1,0.1`.
_SPLITS = {2: ("train", "test"), 3: ("train", "validation", "test")}


@dataclass(frozen=True)
class Option:
    """One option of a command, and how its value is read."""

    name: str
    hint: Any
    default: Any = NOTHING
    help: str = ""
    placed: bool = False  # whether it may be given without its name, by its place

    @property
    def is_flag(self) -> bool:
        """Whether `--name` alone means true."""
        return bool in alternatives(self.hint)

    @property
    def repeats(self) -> bool:
        """Whether it may be given several times."""
        return any(_is_list(part) or _is_mapping(part) for part in alternatives(self.hint))

    @property
    def takes_words(self) -> bool:
        """Whether it stands for one or more words where it is given by its place."""
        return self.placed and any(_is_list(part) for part in alternatives(self.hint))

    def metavar(self) -> str:
        """What stands for the value in the help."""
        shown = list(dict.fromkeys(_metavar(part) for part in alternatives(self.hint) if part is not type(None)))
        return "|".join(kind for kind in shown if kind not in ("PATH", "YAML") or len(shown) == 1)

    def described(self) -> str:
        """The help with the default, for argparse."""
        shown = _shown(self.default)
        told = f" (default: {shown})" if shown and "default:" not in self.help.lower() else ""
        return (self.help.rstrip(".") + told if told else self.help).replace("%", "%%")

    def read(self, value: Any, where: str) -> Any:
        """The value as its type wants it, of text or of what YAML says; `where` it was given is for errors."""
        kinds = alternatives(self.hint)
        if value is None or (isinstance(value, str) and value.strip().lower() in ("none", "null", "")):
            if type(None) in kinds:
                return None
            if value is None:
                raise ValueError(f"{where} needs a value.")
        problem = None
        for kind in kinds:
            if kind is type(None):
                continue
            try:
                return _read(value, kind, where)
            except ValueError as error:
                problem = error
        assert problem is not None
        raise problem


def alternatives(hint: Any) -> list[Any]:
    """The types that a text can be read as, tried in this order; others in a union are for callers from Python."""
    parts = get_args(hint) if isinstance(hint, types.UnionType) or get_origin(hint) is typing.Union else (hint,)
    return [part for part in parts if _readable(part)]


def _readable(kind: Any) -> bool:
    if kind in (bool, int, float, str, Path, dict, type(None)) or get_origin(kind) is Literal:
        return True
    if _is_mapping(kind):
        return True
    return _is_list(kind) and all(part in (str, int, float, Path, ...) or _is_mapping(part) for part in get_args(kind))


def _is_list(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and origin is not dict and not _is_mapping(kind) and issubclass(origin, Collection)


def _is_mapping(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    if _is_mapping(kind):
        values = get_args(kind)[1:]
        return {(str,): "A=B,...", (float,): "NAME=SHARE,..."}.get(
            tuple(part for value in values for part in alternatives(value) if part is not type(None)), "YAML"
        )
    if _is_list(kind):
        return "A,B,..." if str in get_args(kind) else "N,N,..."
    return {bool: "true|false", int: "N", float: "X", Path: "PATH"}.get(kind, "TEXT")


def _shown(value: Any) -> str:
    if value is NOTHING or value is None or value == "" or (isinstance(value, (Mapping, Sequence)) and not value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _read(value: Any, kind: Any, where: str) -> Any:
    if get_origin(kind) is Literal:
        for choice in get_args(kind):
            if str(value) == str(choice):
                return choice
        raise ValueError(f"{where} must be one of {', '.join(map(str, get_args(kind)))}, got {value!r}.")
    if kind is bool:
        if str(value).lower() not in TRUTH:
            raise ValueError(f"{where} must be true or false, got {value!r}.")
        return TRUTH[str(value).lower()]
    if kind in (int, float):
        return _number(value, kind, where)
    if _is_mapping(kind):
        return _mapping(value, kind, where)
    if _is_list(kind):
        return _list(value, kind, where)
    if isinstance(value, (Mapping, list, tuple)):
        raise ValueError(f"{where} must be text, got {value!r}.")
    return kind(value)


def _number(value: Any, kind: type[int] | type[float], where: str) -> int | float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if number != number or isinstance(value, bool) or (kind is int and (abs(number) == float("inf") or number % 1)):
        raise ValueError(f"{where} must be a {'whole ' if kind is int else ''}number, got {value!r}.")
    return kind(number)


def _list(value: Any, kind: Any, where: str) -> Any:
    parts = get_args(kind)
    if _is_mapping(parts[0]):  # which a YAML file alone can say
        if isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
            return value
        raise ValueError(f"{where} must be a list of mappings such as [{{focus: voice}}], got {value!r}.")
    of: Any = str if Path in parts else parts[0]
    names = name_list(str(value) if isinstance(value, (int, float)) and of is not str else value, where)
    values = [name if of is str else _number(name, of, where) for name in names]
    if get_origin(kind) is not tuple:
        return values
    if Ellipsis not in parts and len(values) != len(parts):
        raise ValueError(f"{where} must be {len(parts)} values with commas between them, got {value!r}.")
    return tuple(values)


def _mapping(value: Any, kind: Any, where: str) -> dict[str, Any]:
    of = [part for part in alternatives(get_args(kind)[1]) if part is not type(None)] if get_args(kind) else []
    if of not in ([str], [int], [float]):  # values of any type: YAML
        import yaml

        try:
            content = read_yaml(value) if isinstance(value, str) else value
        except yaml.YAMLError as error:
            raise ValueError(f"{where} is not YAML: {in_one_line(error)}.") from error
        if not isinstance(content, dict):
            raise ValueError(f"{where} must be a mapping such as '{{column: true_distribution}}', got {value!r}.")
        return content
    if isinstance(value, Mapping):
        pairs = [(str(key), entry) for key, entry in value.items()]
    else:
        names = name_list(value, where)
        if of == [float] and len(names) in _SPLITS and not any("=" in name for name in names):
            names = [f"{split}={share}" for split, share in zip(_SPLITS[len(names)], names, strict=True)]
        parts: list[str] = []
        for name in names:  # what has no sign belongs to the value before it, which has a comma in it
            parts[-1:] = [f"{parts[-1]},{name}"] if parts and "=" not in name else [*parts[-1:], name]
        if not all("=" in part.strip("=") for part in parts):
            example = "train=0.8,test=0.2" if of == [float] else "excited=happy,joy=happy"
            raise ValueError(f"{where} {value!r} is not NAME=VALUE. Mend: write it such as {example}.")
        pairs = [(old.strip(), new.strip()) for old, _, new in (part.partition("=") for part in parts)]
    refuse_twice([key for key, _ in pairs], where)
    optional = type(None) in alternatives(get_args(kind)[1])
    found: dict[str, Any] = {}
    for key, entry in pairs:
        left_out = optional and (entry is None or str(entry).lower() in ("none", "null", "-"))
        found[key] = None if left_out else str(entry) if of == [str] else _number(entry, of[0], f"{where}, {key}")
    return found


def refuse_twice(names: Sequence[str], where: str) -> None:
    """Refuse a name that was given twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{where} names {', '.join(twice)} twice. Mend: once each.")


# --- the options of functions and dataclasses


def options_of(target: Callable[..., Any]) -> list[Option]:
    """The parameters of a function or a dataclass that a command line can give."""
    found = []
    if is_dataclass(target):
        for entry in fields(target):
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            # a field that mirrors an argument of another function or class takes the words from there, too
            told = entry.metadata.get("help") or _documented(entry.metadata.get("mirrors", target)).get(entry.name, "")
            needed = default is MISSING
            hint = _hint(entry.type, target)
            found.append(Option(entry.name, hint, NOTHING if needed else default, _one_line(told), placed=needed))
        return found
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = _hint(parameter.annotation, target)
        placed = parameter.default is NOTHING and parameter.kind is not parameter.KEYWORD_ONLY
        if hint in (Any, NOTHING):  # a user's own function may leave it out
            hint = str if placed else type(parameter.default) if hint is NOTHING else hint
        found.append(Option(name, hint, parameter.default, _one_line(_documented(target).get(name, "")), placed))
    return found


class _Elsewhere:
    """A type that is imported for type checkers alone: no word of a command line becomes one."""

    def __class_getitem__(cls, key: Any) -> Any:
        return cls


class _Names(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, _Elsewhere)


def _hint(annotation: Any, target: Any) -> Any:
    if not isinstance(annotation, str):
        return annotation
    # `typing.get_type_hints` gives up on the first name that stands under TYPE_CHECKING
    classes = target.__mro__ if isinstance(target, type) else (inspect.unwrap(target),)
    names = _Names()
    for place in reversed(classes):
        names.update(vars(sys.modules[place.__module__]))
    return eval(annotation, {}, names)


def _documented(target: Any) -> dict[str, str]:
    """Parameter to what the section `Args:` or `Attributes:` of the docstring says of it, base classes' included."""
    found: dict[str, str] = {}
    for owner in reversed(target.__mro__) if isinstance(target, type) else (target,):
        section = re.search(r"^(?:Args|Attributes):\n((?:(?:[ ]+.*)?\n)*)", (inspect.getdoc(owner) or "") + "\n", re.M)
        for names, text in re.findall(
            r"^ {4}\**(\w[\w, *]*):[ ]+(.*(?:\n {5,}.*)*)", section[1] if section else "", re.M
        ):
            for name in (name.strip(" *") for name in names.split(",")):
                other = re.match(r"[Aa]s for `(\w+)`", text)
                found[name] = _documented(_beside(owner, other[1])).get(name, text) if other else text
    return found


def _beside(target: Any, name: str) -> Any:
    """What a docstring refers to: something in the same module, or in its room."""
    module = sys.modules[target.__module__]
    return getattr(module, name, None) or getattr(sys.modules[target.__module__.rpartition(".")[0]], name)


def _one_line(text: str) -> str:
    """Text of a docstring without its markup and line breaks."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", text)
    return re.sub(r"\s+", " ", text.replace("`", "")).strip()


def summary_of(target: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    return _one_line((inspect.getdoc(target) or "").partition("\n\n")[0])
