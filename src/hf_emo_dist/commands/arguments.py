"""The one way of parsing: the options of a command are the parameters of the functions and dataclasses behind it.

Name, type and default of an option come from the signature, its help from the docstring or from a field's metadata, so
that the command line cannot drift from Python. Defaults < YAML file of `--config` < command line.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, get_args

from .configs import config_file, read_config
from .option import NOTHING, TRUTH, Option, alternatives, options_of, refuse_twice, summary_of


class Options:
    """The options of one command, made from the functions and dataclasses that it calls.

    A parameter without a default may be given by its place or by its name, one that is keyword-only by its name; all
    others are options. A parameter whose type is a dataclass stands for that dataclass's fields. Parameters that no
    text can give are left out, and so are those of `without`.
    """

    def __init__(
        self,
        *targets: Callable[..., Any],  # of a parameter that several have, the first one's default and help hold
        without: Collection[str] = (),  # what the command line does not offer
        unseen: Collection[str] = (),  # what is taken but not told of, so that one YAML file serves two commands
        placed: Sequence[str] = (),  # what has a default, is needed all the same, and may be given by its place
        defaults: Mapping[str, Any] | None = None,  # of the command's own, where it does more than the function
        aliases: Mapping[str, str] | None = None,  # a word for another, such as {"--public": "--private=false"}
        moved: Mapping[str, str] | None = None,  # names of 0.1 that are gone, and the new address of each
        handed: Sequence[type[Any]] = (),  # dataclasses that are told of, but read by another parser, as all unknown is
        about: str | None = None,  # first paragraph of the help; by default that of the first target's docstring
        epilog: str = "",  # last paragraph of the help
    ) -> None:
        self.options: dict[str, Option] = {}
        self.members: dict[Any, tuple[str, ...]] = {}
        self.unseen = frozenset(unseen)
        self.without, self.handed, self.epilog = frozenset(without), handed, epilog
        self.after_dashes: Any = None  # the target that takes what follows `--`
        self.aliases, self.moved = dict(aliases or {}), dict(moved or {})
        self.told = [option for part in handed for option in options_of(part)]
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
        for option in options_of(target):
            inner = _settings_in(option.hint)
            if option.name in self.without:
                continue
            if inner is not None:
                self._add(inner)
            elif alternatives(option.hint) in ([], [type(None)]):
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

    def parser(self, prog: str, words: Collection[str]) -> argparse.ArgumentParser:
        """The parser of all that has a name; words without one are what it does not know."""
        parser = _Parser(
            prog=prog, usage=self.usage(prog), description=self.about.replace("%", "%%"), allow_abbrev=False,
            epilog=self.epilog.replace("%", "%%"), add_help=False,
        )  # fmt: skip
        needed = parser.add_argument_group("needed (by place or by name, or in the file of --config)")
        general = parser.add_argument_group("options")
        told = self.told if {"-h", "--help"} & set(words) else []
        for option in [*self.options.values(), *told]:
            group = needed if option.default is NOTHING else general
            group.add_argument(
                f"--{option.name}",
                dest=option.name,
                metavar=option.metavar(),
                help=argparse.SUPPRESS if option.name in self.unseen else option.described(),
                default=argparse.SUPPRESS,
                action="append" if option.repeats else "store",
            )
        general.add_argument(
            "--config",
            metavar="FILE_OR_NAME",
            help="YAML file with any of these, or the name of one of the package's own",
        )
        general.add_argument("-h", "--help", action="help", help="show this and stop")
        return parser

    def parse(self, words: Sequence[str], prog: str) -> Values:
        """Read the words of a command line, and the YAML file that they name."""
        all_words, words, more, more_keys = list(words), list(words), [], {}
        if "--" in words and self.after_dashes is not None:
            place = words.index("--")
            words, more = words[:place], _with_config_path(words[place + 1 :])
        parsed, rest = self.parser(prog, words).parse_known_args(list(self._spelled(words)))
        if self.handed:
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
            if self.handed:
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
                kinds = [kind for kind in alternatives(self.options[name].hint) if kind is not type(None)]
                # argparse would take the next word for a flag's value, a file's name too
                takes = bool(words) and (
                    words[0].lower() in (*TRUTH, "none", "null") or (len(kinds) > 1 and not _is_option(words[0]))
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
        refuse_twice([key for value in values for key in value], where)
        return {key: entry for value in values for key, entry in value.items()}
    if all(isinstance(value, (list, tuple)) for value in values):
        return type(values[0])(entry for value in values for entry in value)
    return values[-1]


class _Parser(argparse.ArgumentParser):
    """Raises what the command line has wrong, so that it ends as every other mendable error does."""

    def error(self, message: str) -> typing.NoReturn:
        raise ValueError(f"{message}. Mend: {self.prog} --help lists the options.")


class Values:
    """What a command line and its YAML file gave, with the defaults of the rest."""

    def __init__(
        self,
        options: Options,
        given: dict[str, Any],
        words: list[str],
        more: list[str],  # words and keys for another parser
        more_keys: dict[str, Any],
    ) -> None:
        self.options, self.given, self.words, self.more, self.more_keys = options, given, words, more, more_keys

    def __getitem__(self, name: str) -> Any:
        return self.given[name] if name in self.given else self.options.options[name].default

    def call(self, target: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call one of the options' targets with what was given; what was not is left to its own default."""
        words: dict[str, Any] = {}
        for name in self.options.members[target]:
            if name in self.given or name in self.options.defaults:
                words[name] = self[name]
            elif name not in self.options.options:
                hint = next(option.hint for option in options_of(target) if option.name == name)
                words[name] = self.call(_settings_in(hint))
        if target is self.options.after_dashes:
            args = (*args, *self.more)
        return target(*args, **{**words, **more})
