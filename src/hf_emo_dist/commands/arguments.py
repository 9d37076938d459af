"""The one way of parsing: the options of a command are the parameters of the functions and dataclasses behind it.

Name, type and default of an option come from the signature, its help from the docstring or from a field's metadata, so
that the command line cannot drift from Python. Defaults < YAML file of `--config` < command line.
"""

from __future__ import annotations

import argparse
import builtins
import difflib
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from .._name_list import name_list
from .configs import config_file, read_config

__all__ = ["Option", "Options", "Values", "summary_of"]

NOTHING: Any = inspect.Parameter.empty
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
#: What a number alone is called in `--fractions 0.8,0.1,0.1`.
_SPLITS = {2: ("train", "test"), 3: ("train", "validation", "test")}


# --- one option


@dataclass(frozen=True)
class Option:
    """One option of a command, and how its value is read.

    Attributes:
        name: Of the parameter; on the command line with two dashes before it.
        hint: Its type.
        default: Its default; `NOTHING` where it has none.
        help: What the docstring or the field's metadata says of it.
        placed: Whether it may be given without its name, by its place.
    """

    name: str
    hint: Any
    default: Any = NOTHING
    help: str = ""
    placed: bool = False

    @property
    def is_flag(self) -> bool:
        """Whether `--name` alone means true."""
        return bool in _alternatives(self.hint)

    @property
    def takes_words(self) -> bool:
        """Whether it stands for one or more words where it is given by its place."""
        return self.placed and any(_is_list(part) for part in _alternatives(self.hint))

    def metavar(self) -> str:
        """What stands for the value in the help."""
        shown = list(dict.fromkeys(_metavar(part) for part in _alternatives(self.hint) if part is not type(None)))
        return "|".join(kind for kind in shown if kind not in ("PATH", "YAML") or len(shown) == 1)

    def described(self) -> str:
        """The help with the default, for argparse."""
        shown = _shown(self.default)
        told = f" (default: {shown})" if shown and "default:" not in self.help.lower() else ""
        return (self.help.rstrip(".") + told if told else self.help).replace("%", "%%")

    def read(self, value: Any, where: str) -> Any:
        """The value as its type wants it.

        Args:
            value: Text of the command line, a list of texts, or what YAML says.
            where: Where it was given, for errors: `--name`, or `name in file.yaml`.

        Raises:
            ValueError: It does not fit.
        """
        kinds = _alternatives(self.hint)
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


def _alternatives(hint: Any) -> list[Any]:
    """The types that a text can be read as, tried in this order; others in a union are for callers from Python."""
    parts = get_args(hint) if isinstance(hint, types.UnionType) or get_origin(hint) is typing.Union else (hint,)
    return [part for part in parts if _readable(part)]


def _readable(kind: Any) -> bool:
    if kind in (bool, int, float, str, Path, dict, type(None)) or get_origin(kind) is Literal:
        return True
    if _is_mapping(kind):
        return True
    return _is_list(kind) and all(part in (str, int, float, Path, ...) for part in get_args(kind))


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
            tuple(part for value in values for part in _alternatives(value) if part is not type(None)), "YAML"
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
        if str(value).lower() not in _TRUTH:
            raise ValueError(f"{where} must be true or false, got {value!r}.")
        return _TRUTH[str(value).lower()]
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
    of: Any = str if Path in parts else parts[0]
    names = name_list(str(value) if isinstance(value, (int, float)) and of is not str else value, where)
    values = [name if of is str else _number(name, of, where) for name in names]
    if get_origin(kind) is not tuple:
        return values
    if Ellipsis not in parts and len(values) != len(parts):
        raise ValueError(f"{where} must be {len(parts)} values with commas between them, got {value!r}.")
    return tuple(values)


def _mapping(value: Any, kind: Any, where: str) -> dict[str, Any]:
    of = [part for part in _alternatives(get_args(kind)[1]) if part is not type(None)] if get_args(kind) else []
    if of not in ([str], [int], [float]):  # values of any type: YAML
        import yaml

        try:
            content = yaml.safe_load(value) if isinstance(value, str) else value
        except yaml.YAMLError as error:
            raise ValueError(f"{where} is not YAML: {error}.") from error
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
    _refuse_twice([key for key, _ in pairs], where)
    optional = type(None) in _alternatives(get_args(kind)[1])
    found: dict[str, Any] = {}
    for key, entry in pairs:
        left_out = optional and (entry is None or str(entry).lower() in ("none", "null", "-"))
        found[key] = None if left_out else str(entry) if of == [str] else _number(entry, of[0], f"{where}, {key}")
    return found


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{where} names {', '.join(twice)} twice. Mend: once each.")


# --- the options of functions and dataclasses


def _options_of(target: Callable[..., Any]) -> list[Option]:
    """The parameters of a function or a dataclass that a command line can give."""
    if is_dataclass(target):
        return [
            Option(
                entry.name,
                _hint(entry.type, target),
                NOTHING if entry.default is entry.default_factory is MISSING else _default(entry),
                _one_line(str(entry.metadata.get("help") or _field_help(entry, target))),
                placed=entry.default is entry.default_factory is MISSING,
            )
            for entry in fields(target)
            if entry.init
        ]
    found = []
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = _hint(parameter.annotation, target)
        placed = parameter.default is NOTHING and parameter.kind is not parameter.KEYWORD_ONLY
        if hint in (Any, NOTHING):  # a user's own function may leave it out
            hint = str if placed else type(parameter.default) if hint is NOTHING else hint
        found.append(Option(name, hint, parameter.default, _one_line(_documented(target).get(name, "")), placed))
    return found


def _field_help(entry: Any, target: Any) -> str:
    # a field that mirrors an argument of another function or class takes the words from there, too
    return _documented(entry.metadata.get("mirrors", target)).get(entry.name, "")


def _default(entry: Any) -> Any:
    return entry.default if entry.default is not MISSING else entry.default_factory()


class _Elsewhere(type):
    """A type that is imported for type checkers alone: no word of a command line becomes one."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, key: Any) -> Any:
        return cls


class _Unknown(metaclass=_Elsewhere):
    pass


class _Names(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, _Unknown)


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


class Options:
    """The options of one command, made from the functions and dataclasses that it calls.

    A parameter without a default may be given by its place or by its name, one that is keyword-only by its name; all
    others are options. A parameter whose type is a dataclass stands for that dataclass's fields. Parameters that no
    text can give are left out, and so are those of `without`.

    Args:
        targets: Functions and dataclasses; a parameter that several of them have is one option, with the first one's
            default and help.
        without: Parameters that the command line does not offer.
        unseen: Parameters that are taken but not told of, so that one YAML file serves two commands.
        placed: Parameters with a default that are needed all the same and may be given by their place, in this order.
        defaults: Defaults of the command's own, where it does more than the function: name to value.
        aliases: Word that stands for another, such as ``{"--public": "--private=false"}``.
        moved: Names of 0.1 that are gone, and the new address of each.
        handed: A dataclass whose fields are told of, but handed on as words and keys with all others that are not
            known: another parser reads them.
        about: First paragraph of the help. Default: that of the first target's docstring.
        epilog: Last paragraph of the help.
    """

    def __init__(
        self,
        *targets: Callable[..., Any],
        without: Collection[str] = (),
        unseen: Collection[str] = (),
        placed: Sequence[str] = (),
        defaults: Mapping[str, Any] | None = None,
        aliases: Mapping[str, str] | None = None,
        moved: Mapping[str, str] | None = None,
        handed: type[Any] | None = None,
        about: str | None = None,
        epilog: str | None = None,
    ) -> None:
        self.options: dict[str, Option] = {}
        self.members: dict[Any, tuple[str, ...]] = {}
        self.unseen = frozenset(unseen)
        self.without, self.handed, self.epilog = frozenset(without), handed, epilog
        self.after_dashes: Any = None  # the target that takes what follows `--`
        self.aliases, self.moved = dict(aliases or {}), dict(moved or {})
        self.told = _options_of(handed) if handed is not None else []
        self.about = about if about is not None else summary_of(targets[0])
        for target in targets:
            self._add(target)
        for name in placed:
            self.options[name] = replace(self.options.pop(name), default=NOTHING, placed=True)
        self.defaults = dict(defaults or {})
        for name, value in self.defaults.items():
            self.options[name] = replace(self.options[name], default=value, placed=False)

    def _add(self, target: Any) -> None:
        names = []
        if not is_dataclass(target) and any(
            parameter.kind is parameter.VAR_POSITIONAL for parameter in inspect.signature(target).parameters.values()
        ):
            self.after_dashes = target
        for option in _options_of(target):
            inner = _settings_in(option.hint)
            if option.name in self.without:
                continue
            if inner is not None:
                self._add(inner)
            elif _alternatives(option.hint) in ([], [type(None)]):
                continue  # an object, which the command gives, such as what the function before it made
            else:
                self.options.setdefault(option.name, option)
            names.append(option.name)
        self.members[target] = tuple(names)

    @property
    def places(self) -> list[Option]:
        """The options that may be given by their place, in this order."""
        return [option for option in self.options.values() if option.placed]

    def usage(self, prog: str) -> str:
        """The usage line."""
        placed = [option.name.upper() + " ..." * option.takes_words for option in self.places]
        named = [
            f"--{option.name} {option.metavar()}"
            for option in self.options.values()
            if option.default is NOTHING and not option.placed
        ]
        more = ["[-- ARGUMENTS OF TRAINING]"] if self.after_dashes else []
        return " ".join([prog, *placed, *named, "[--config FILE_OR_NAME] [options]", *more])

    def parser(self, prog: str, words: Collection[str] = ("--help",)) -> argparse.ArgumentParser:
        """The parser of all that has a name; words without one are what it does not know."""
        parser = _Parser(
            prog=prog, usage=self.usage(prog), description=_escaped(self.about), allow_abbrev=False,
            epilog=_escaped(self.epilog), add_help=False,
        )  # fmt: skip
        needed = parser.add_argument_group("needed (by place or by name, or in the file of --config)")
        general = parser.add_argument_group("options")
        told = self.told if {"-h", "--help"} & set(words) else []
        for option in [*self.options.values(), *told]:
            group = needed if option.default is NOTHING else general
            repeats = any(_is_list(part) or _is_mapping(part) for part in _alternatives(option.hint))
            group.add_argument(
                f"--{option.name}",
                dest=option.name,
                metavar=option.metavar(),
                help=argparse.SUPPRESS if option.name in self.unseen else option.described(),
                default=argparse.SUPPRESS,
                action="append" if repeats else "store",
            )
        general.add_argument(
            "--config",
            metavar="FILE_OR_NAME",
            help="YAML file with any of these, or the name of one of the package's own",
        )
        general.add_argument("-h", "--help", action="help", help="show this and stop")
        return parser

    def parse(self, words: Sequence[str], prog: str) -> Values:
        """Read the words of a command line, and the YAML file that they name.

        Raises:
            ValueError: A word, a key or a value does not fit; the message says where it was given.
            FileNotFoundError: There is no such YAML file.
            SystemExit: After `--help`.
        """
        all_words, words, more, more_keys = list(words), list(words), [], {}
        if "--" in words and self.after_dashes is not None:
            place = words.index("--")
            words, more = words[:place], _with_config_path(words[place + 1 :])
        parsed, rest = self.parser(prog, words).parse_known_args(list(self._spelled(words)))
        if self.handed is not None:
            rest, more = [], rest
        rest = [word for word in rest if word != "--"]
        given: dict[str, Any] = {}
        texts = vars(parsed)
        config = texts.pop("config", None)
        if config is not None:
            content = read_config(config)
            for name in content:
                self._refuse_moved(name)
            unknown = {name: value for name, value in content.items() if name not in self.options}
            if self.handed is not None:
                more_keys = unknown
            elif unknown:
                known = ", ".join(sorted(self.options))
                raise ValueError(f"{config} has unknown keys: {', '.join(unknown)}. Mend: the known ones are {known}.")
            for name in content.keys() - unknown.keys():
                given[name] = self.options[name].read(content[name], f"{name} in {config}")
        for name, text in texts.items():
            option = self.options[name]
            values = [option.read(part, f"--{name}") for part in text] if isinstance(text, list) else []
            given[name] = _joined(values, f"--{name}") if values else option.read(text, f"--{name}")
        named = [option.name for option in self.places if option.name in texts]
        given |= self._placed(rest, named, given, prog)
        missing = [
            option.name for option in self.options.values() if option.default is NOTHING and option.name not in given
        ]
        if missing:
            told = ", ".join(f"{name} is missing" for name in missing)
            raise ValueError(f"{told}. Mend: {self.usage(prog)}")
        return Values(self, given, all_words, more, more_keys)

    def _spelled(self, words: Sequence[str]) -> Iterator[str]:
        """The words with aliases replaced, and with a value for each flag."""
        words = list(words)
        while words:
            word = words.pop(0)
            word = self.aliases.get(word, word)
            name = word[2:]
            if word.startswith("--"):
                self._refuse_moved(name.partition("=")[0])
            if name.startswith("no_") and name not in self.options and self._flag(name[3:]):
                yield f"--{name[3:]}=false"
            elif word.startswith("--") and self._flag(name):
                kinds = [kind for kind in _alternatives(self.options[name].hint) if kind is not type(None)]
                # argparse would take the next word for a flag's value, a file's name too
                takes = bool(words) and (
                    words[0].lower() in (*_TRUTH, "none", "null") or (len(kinds) > 1 and not _is_option(words[0]))
                )
                yield f"{word}={words.pop(0) if takes else 'true'}"
            else:
                yield word

    def _flag(self, name: str) -> bool:
        return name in self.options and self.options[name].is_flag

    def _refuse_moved(self, name: str) -> None:
        if name in self.moved and name not in self.options:
            raise ValueError(f"{name} of version 0.1 is gone. Mend: {self.moved[name]}.")

    def _placed(self, rest: Sequence[str], named: Collection[str], given: Collection[str], prog: str) -> dict[str, Any]:
        """The values of what is given by its place: `named` on the command line are not, `given` in the file may be."""
        words = [word for word in rest if not _is_option(word)]
        unknown = [word for word in rest if _is_option(word)]
        if unknown:
            name = unknown[0].lstrip("-").partition("=")[0]
            near = difflib.get_close_matches(name.replace("-", "_"), self.options, 1)
            told = f"did you mean --{near[0]}? " if near else ""
            told_of = " ".join(rest[rest.index(unknown[0]) :])
            raise ValueError(f"unrecognized arguments: {told_of}. Mend: {told}{prog} --help lists the options.")
        places = [option for option in self.places if option.name not in named]
        left = [option for option in places if option.name not in given]
        places = left if len(words) <= len(left) else places  # what the file leaves open goes first
        found: dict[str, Any] = {}
        for position, option in enumerate(places):
            if not words:
                break
            if option.takes_words:
                count = max(1, len(words) - (len(places) - position - 1))
                found[option.name], words = words[:count], words[count:]
            else:
                found[option.name] = option.read(words.pop(0), option.name.upper())
        if words:
            raise ValueError(f"unrecognized arguments: {' '.join(words)}. Mend: {self.usage(prog)}")
        return found


def _with_config_path(words: Sequence[str]) -> list[str]:
    """The words with the path of the YAML file that they name."""
    found: list[str] = []
    for word in words:
        if word.startswith("--config="):
            found += ["--config", str(config_file(word.removeprefix("--config=")))]
        else:
            found.append(str(config_file(word)) if found[-1:] == ["--config"] else word)
    return found


def _settings_in(hint: Any) -> Any:
    """The dataclass that a type is, or None; what it may also be, and can be written as text, goes first."""
    parts = get_args(hint) or (hint,)
    return next((part for part in parts[:1] if isinstance(part, type) and is_dataclass(part)), None)


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and not re.fullmatch(r"-[\d.][\d.e+-]*", word)


def _joined(values: list[Any], where: str) -> Any:
    """One value of an option that was given several times."""
    if all(isinstance(value, dict) for value in values):
        _refuse_twice([key for value in values for key in value], where)
        return {key: entry for value in values for key, entry in value.items()}
    if all(isinstance(value, (list, tuple)) for value in values):
        return type(values[0])(entry for value in values for entry in value)
    return values[-1]


def _escaped(text: str | None) -> str | None:
    return text.replace("%", "%%") if text else text


class _Parser(argparse.ArgumentParser):
    """Raises what the command line has wrong, so that it ends as every other mendable error does."""

    def error(self, message: str) -> typing.NoReturn:
        raise ValueError(f"{message}. Mend: {self.prog} --help lists the options.")


class Values(Mapping[str, Any]):
    """What a command line and its YAML file gave, with the defaults of the rest."""

    def __init__(
        self,
        options: Options,
        given: Mapping[str, Any],
        words: Sequence[str] = (),
        more: Sequence[str] = (),
        more_keys: Mapping[str, Any] | None = None,
    ) -> None:
        self.options, self.given, self.words = options, dict(given), list(words)
        self.more, self.more_keys = list(more), dict(more_keys or {})

    def __getitem__(self, name: str) -> Any:
        return self.given[name] if name in self.given else self.options.options[name].default

    def __iter__(self) -> Iterator[str]:
        return iter(self.options.options)

    def __len__(self) -> int:
        return len(self.options.options)

    def call(self, target: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call one of the options' targets with what was given; what was not is left to its own default."""
        words: dict[str, Any] = {}
        for name in self.options.members[target]:
            if name in self.given or name in self.options.defaults:
                words[name] = self[name]
            elif name not in self.options.options:
                hint = next(option.hint for option in _options_of(target) if option.name == name)
                words[name] = self.call(_settings_in(hint))
        if target is self.options.after_dashes:
            args = (*args, *self.more)
        return target(*args, **{**words, **more})
