"""A dataclass as command line and YAML: the command line goes first, and what is wrong is named."""

import argparse
from dataclasses import dataclass, field
from typing import Any

import pytest

from hf_emo_dist.commands.arguments import add_dataclass_arguments, from_arguments


@dataclass
class Settings:
    """Some of every type."""

    name: str | None = field(default=None, metadata={"help": "a name"})
    number: int = field(default=3, metadata={"help": "how many"})
    share: float | None = field(default=None, metadata={"help": "at most 100 % of it"})
    flag: bool = field(default=False, metadata={"help": "whether"})
    on: bool = field(default=True, metadata={"help": "whether not"})
    options: dict[str, Any] | None = field(default=None, metadata={"help": "more"})


def parse(*words, **kwargs):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_dataclass_arguments(parser, Settings, **kwargs)
    return from_arguments(parser.parse_args(list(words)), Settings)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {}),
        (["--number", "5", "--share", "0.5"], {"number": 5, "share": 0.5}),
        (["--flag"], {"flag": True}),
        (["--flag", "false", "--on", "no"], {"on": False}),
        (["--share", "none"], {}),
        (["--number", "1e3"], {"number": 1000}),
        (["--options", "{a: [1, b]}"], {"options": {"a": [1, "b"]}}),
    ],
)
def test_the_command_line_is_read(words, values):
    assert parse(*words) == Settings(**values)


def test_a_field_may_stand_without_its_name_too():
    assert parse("x", positional=("name",)) == parse("--name", "x", positional=("name",)) == Settings(name="x")


def test_the_command_line_goes_before_the_file(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("number: 7\nflag: true\nname: [a, b]\noptions: {c: 1}\n")
    assert parse("--config", str(file), "--number", "9") == Settings(number=9, flag=True, name="a,b", options={"c": 1})
    file.write_text("")
    assert parse("--config", str(file)) == Settings()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("nummer: 3", "unknown keys: nummer"),
        ("number: many", r"number in .*a\.yaml must be a whole number"),
        ("number: 2.5", "whole number"),
        ("number: true", "whole number"),
        ("number: null", "needs a value"),
        ("flag: perhaps", "true or false"),
        ("options: 3", "must be a mapping"),
        ("- a", "no mapping"),
        ("[", "not YAML"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path, content, problem):
    file = tmp_path / "a.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=problem):
        parse("--config", str(file))


def test_a_wrong_value_on_the_command_line_is_named():
    with pytest.raises(ValueError, match="--number must be"):
        parse("--number", "x")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.yaml"):
        parse("--config", str(tmp_path / "no.yaml"))


def test_help_tells_defaults(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = capsys.readouterr().out
    assert "how many (default: 3)" in text and "at most 100 % of it" in text
