"""A dataclass as a command line and a YAML file, where torch is not wanted: `trl.TrlParser` does the same for training, and loads it.

Defaults < YAML file < command line; unknown keys of the file are refused.
"""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Collection, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["add_dataclass_arguments", "from_arguments"]

T = TypeVar("T")


def add_dataclass_arguments(
    parser: argparse.ArgumentParser, kind: type[Any], positional: Sequence[str] = (), without: Collection[str] = ()
) -> None:
    """Add an option for each field of a dataclass, with the help of its metadata, and ``--config``.

    Args:
        parser: Where they are added.
        kind: The dataclass; fields are strings, numbers, truth values, mappings (given as YAML), or one of these or None.
        positional: Fields that may be given without their name, in this order.
        without: Fields that the command line does not offer.
    """
    hints = typing.get_type_hints(kind)
    for name in positional:
        parser.add_argument(name, nargs="?", default=argparse.SUPPRESS, help=_help(kind, name))
    parser.add_argument("--config", help="YAML file with any of these options; the command line goes first")
    for entry in fields(kind):
        if entry.name in without:
            continue
        shown = argparse.SUPPRESS if entry.name in positional else _help(kind, entry.name)
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": shown, "dest": entry.name}
        kind_of = _plain(hints[entry.name])
        if kind_of is bool:
            options |= {"nargs": "?", "const": "true", "metavar": "true|false"}
        else:
            options["metavar"] = {int: "N", float: "X", dict: "YAML"}.get(kind_of, "TEXT")
        parser.add_argument(f"--{entry.name}", **options)


def from_arguments(args: argparse.Namespace, kind: type[T]) -> T:
    """Make the dataclass of parsed arguments and of the YAML file that they name.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A key is unknown, or a value is not of its type; the message says where it was given.
    """
    import yaml

    known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, tuple[Any, str]] = {}
    if getattr(args, "config", None):
        file = Path(args.config).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f"No configuration file at {args.config}. Mend: check the path.")
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{args.config} is not YAML in UTF-8 ({error}).") from error
        if not isinstance(content, dict) or set(content) - known:
            unknown = ", ".join(sorted(map(str, set(content) - known))) if isinstance(content, dict) else "no mapping"
            raise ValueError(f"{args.config} has unknown keys: {unknown}. Known are {', '.join(sorted(known))}.")
        values |= {name: (value, f"{name} in {args.config}") for name, value in content.items()}
    given = {name: value for name, value in vars(args).items() if name in known}
    values |= {name: (value, f"--{name}") for name, value in given.items()}
    hints = typing.get_type_hints(kind)
    return kind(**{name: _converted(value, hints[name], where) for name, (value, where) in values.items()})


def _plain(hint: Any) -> Any:
    """The type in `X | None`, or the type."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return typing.get_origin(hint) or hint


def _optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _converted(value: Any, hint: Any, where: str) -> Any:
    import yaml

    kind = _plain(hint)
    if value is None or (_optional(hint) and isinstance(value, str) and value.lower() in ("none", "null", "")):
        if _optional(hint):
            return None
        raise ValueError(f"{where} needs a value.")
    if kind is bool:
        text = str(value).lower()
        if text not in ("true", "false", "yes", "no", "1", "0"):
            raise ValueError(f"{where} must be true or false, got {value!r}.")
        return text in ("true", "yes", "1")
    if kind in (int, float):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if number != number or isinstance(value, bool) or (kind is int and number != int(number)):
            raise ValueError(f"{where} must be a {'whole ' if kind is int else ''}number, got {value!r}.")
        return kind(number)
    if kind is dict:
        content = yaml.safe_load(value) if isinstance(value, str) else value
        if not isinstance(content, dict):
            raise ValueError(f"{where} must be a mapping such as '{{column: true_distribution}}', got {value!r}.")
        return content
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _help(kind: type[Any], name: str) -> str:
    entry = next(entry for entry in fields(kind) if entry.name == name)
    text = str(entry.metadata.get("help", ""))
    default = None if entry.default is MISSING else entry.default
    told = (
        f" (default: {str(default).lower() if isinstance(default, bool) else default})"
        if default not in (None, "")
        else ""
    )
    return (text + told).replace("%", "%%")
