"""Signatures as command line and YAML: the command line goes first, and what is wrong is named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from hf_emo_dist._name_list import name_list
from hf_emo_dist.commands.arguments import Options

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass
class Settings:
    """Some of it.

    Attributes:
        share: At most 100 % of it.
    """

    share: float | None = None
    on: bool = True
    emotions: Sequence[str] | None = field(default=None, metadata={"help": "Which."})


def study(
    source: str | Path,
    *,
    settings: Settings,
    given: "Dataset | None" = None,
    number: int = 3,
    flag: bool = False,
    mode: Literal["a", "b"] = "a",
    names: tuple[str, ...] = ("x", "y"),
    pair: int | tuple[int, int] = (5, 9),
    retry: bool | Sequence[str] = False,
    merge: Mapping[str, str] | None = None,
    label_map: Mapping[str, str | None] | None = None,
    fractions: Mapping[str, float] | None = None,
    seeds: Sequence[int] = (0, 1),
    files: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    path: Path | None = None,
):
    """Study something.

    At length.

    Args:
        source: What is
            studied.
        settings: Expanded.
        given: An object.
        number: How many; see :func:`other`.
        flag, mode: Of ``both``.
        names: Names.
    """
    return {name: value for name, value in locals().items() if name != "settings"} | vars(settings)


def call(*words, options=None):
    options = options or Options(study)
    return options.parse(words, "prog").call(study)


DEFAULTS = {
    "given": None, "number": 3, "flag": False, "mode": "a", "names": ("x", "y"), "pair": (5, 9), "retry": False,
    "merge": None, "label_map": None, "fractions": None, "seeds": (0, 1), "files": (), "options": None, "path": None,
    "share": None, "on": True, "emotions": None, "source": "s",
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("s", {}),
        ("--source s", {}),
        ("--source=s", {}),
        ("s --number 5 --share 0.5", {"number": 5, "share": 0.5}),
        ("s --number=1e3", {"number": 1000}),
        ("--number -2 s", {"number": -2}),
        ("--flag s", {"flag": True}),  # a flag does not take the next word
        ("s --flag false --on no", {"on": False}),
        ("s --no_on", {"on": False}),
        ("s --share none", {}),
        ("s --mode b", {"mode": "b"}),
        ("s --names a,b", {"names": ("a", "b")}),
        ("s --names a --names b,c", {"names": ("a", "b", "c")}),
        ("s --emotions angry,sad", {"emotions": ["angry", "sad"]}),
        ("s --pair 7", {"pair": 7}),
        ("s --pair 2,3", {"pair": (2, 3)}),
        ("s --retry", {"retry": True}),
        ("s --retry timeout,server", {"retry": ["timeout", "server"]}),
        ("s --merge a=b,c=d --merge e=f", {"merge": {"a": "b", "c": "d", "e": "f"}}),
        ("s --merge a=b,c", {"merge": {"a": "b,c"}}),
        ("s --label_map a=b,c=-", {"label_map": {"a": "b", "c": None}}),
        ("s --fractions 0.8,0.2", {"fractions": {"train": 0.8, "test": 0.2}}),
        ("s --fractions 0.8,0.1,0.1", {"fractions": {"train": 0.8, "validation": 0.1, "test": 0.1}}),
        ("s --fractions here=1", {"fractions": {"here": 1.0}}),
        ("s --seeds 3", {"seeds": [3]}),
        ("s --options {a:[1,b]}", {"options": {"a:[1": None, "b]": None}}),
        ("s --path p", {"path": Path("p")}),
    ],
)  # fmt: skip
def test_the_command_line_is_read(words, values):
    if "options" in values:  # YAML wants its space
        words, values = "s --options", {"options": {"a": [1, "b"]}}
        assert call(*words.split(), "{a: [1, b]}") == DEFAULTS | values
        return
    assert call(*words.split()) == DEFAULTS | values


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("", "source is missing. Mend: prog SOURCE"),
        ("a b", "unrecognized arguments: b"),
        ("s --nummber 3", "did you mean --number?"),
        ("s --num 3", "unrecognized arguments: --num 3"),  # no abbreviations
        ("s --number x", "--number must be a whole number, got 'x'"),
        ("s --number 2.5", "whole number"),
        ("s --number nan", "whole number"),
        ("s --number inf", "whole number"),
        ("s --number", "--number: expected one argument"),
        ("s --flag=perhaps", "--flag must be true or false"),
        ("s --mode c", "--mode must be one of a, b, got 'c'"),
        ("s --names a,b,", "--names 'a,b,' has an empty name"),
        ("s --emotions a,,b", "--emotions 'a,,b' has an empty name"),
        ("s --seeds 0,x", "--seeds must be a whole number, got 'x'"),
        ("s --pair 1,2,3", "--pair must be"),
        ("s --merge excited", "--merge 'excited' is not NAME=VALUE"),
        ("s --merge a=b --merge a=c", "--merge names a twice"),
        ("s --fractions 1,x,y", "must be a number"),
        ("s --options [", "--options is not YAML"),
        ("s --options 3", "--options must be a mapping"),
    ],
)
def test_what_is_wrong_is_named(words, problem):
    with pytest.raises(ValueError) as error:
        call(*words.split())
    assert problem in str(error.value)


def test_the_command_line_goes_before_the_file(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "source: s\nnumber: 7\nflag: true\nnames: [a, b]\nemotions: angry, sad\noptions: {c: 1}\nmerge: {a: b}\n"
    )
    read = {"flag": True, "names": ("a", "b"), "emotions": ["angry", "sad"], "options": {"c": 1}, "merge": {"a": "b"}}
    for form in (["--config", str(file)], [f"--config={file}"]):
        assert call(*form, "--number", "9") == DEFAULTS | read | {"number": 9}
    file.write_text("")
    assert call("--config", str(file), "s") == DEFAULTS


def test_a_place_that_the_file_leaves_open_goes_first(tmp_path):
    def both(dataset: str, output: str):
        return dataset, output

    file = tmp_path / "a.yaml"
    file.write_text("dataset: d\n")
    options = Options(both)
    for words, expected in (
        ("o", ("d", "o")),
        ("e o", ("e", "o")),
        ("--output o", ("d", "o")),
        ("--dataset e o", ("e", "o")),
    ):
        assert options.parse([*words.split(), "--config", str(file)], "prog").call(both) == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("nummer: 3", "unknown keys: nummer. Mend: the known ones are"),
        ("number: many", "number in .*a.yaml must be a whole number"),
        ("number: 2.5", "whole number"),
        ("number: true", "whole number"),
        ("number: null", "needs a value"),
        ("flag: perhaps", "true or false"),
        ("emotions: [a, '']", "has an empty name"),
        ("options: 3", "must be a mapping"),
        ("- a", "no mapping"),
        ("[", "not YAML"),
        ("old: 1", "old of version 0.1 is gone. Mend: use number"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path, content, problem):
    file = tmp_path / "a.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=problem):
        call("s", "--config", str(file), options=Options(study, moved={"old": "use number"}))


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"no\.yaml"):
        call("s", "--config", "no.yaml")


def test_what_a_command_says_itself():
    def more(files: Sequence[str], *, model: str, seed: int = 0, number: int = 8):
        return files, model, seed, number

    options = Options(
        more, study, without=("pair",), defaults={"mode": "b"}, aliases={"--quick": "--number=1"}, moved={"old": "x"}
    )
    values = options.parse(["a", "b", "s", "--model", "m", "--quick"], "prog")
    assert values.call(more) == (["a", "b"], "m", 0, 1)
    found = values.call(study)
    assert (found["source"], found["number"], found["mode"]) == ("s", 1, "b")
    for words, problem in (("--pair 1", "--pair"), ("--old", "old of version 0.1"), ("a s", "model is missing")):
        with pytest.raises(ValueError, match=problem):
            options.parse(words.split(), "prog")


def test_help_tells_defaults_and_what_the_docstring_says(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        call("--help")
    text = capsys.readouterr().out
    for words in (
        "usage: prog SOURCE [--config", "Study something.", "What is studied.", "How many; see other (default: 3)",
        "Of both (default: a)", "At most 100 % of it.", "Which.", "--names A,B,...", "Names (default: x,y)",
        "--pair N|N,N,...", "--mode a|b",
    ):  # fmt: skip
        assert words in text, words
    assert "given" not in text and "settings" not in text and "At length" not in text


def test_names_with_commas_between_them():
    assert name_list(" angry , sad", "--emotions") == name_list(["angry", "sad"], "x") == ["angry", "sad"]
    assert name_list("", "--emotions") == []
