"""No name, label or message steers the terminal, through whatever a command prints or logs."""

import json
import logging
import re
import sys

import pytest

from hf_emo_dist.commands.main import main, run_command
from hf_emo_dist.commands.terminal import Guarded, guarded, in_one_line, visible
from hf_emo_dist.markdown import csv_text

# what it does → the characters
STEERING = {
    "colour": "\x1b[31m", "clear the screen": "\x1b[2J", "title": "\x1b]0;x\x07", "link": "\x1b]8;;http://evil\x1b\\",
    "clipboard": "\x1b]52;c;x\x07", "C1 of CSI": "\x9b2J", "backspace": "\b\b\b", "back to its start": "a\rerror",
    "bell": "\a", "delete": "\x7f", "null": "\0", "right to left": "\u202egpj.wav", "isolate": "\u2067",
    "mark": "\u200f",
    "line separator": "\u2028", "next line": "\x85", "tag": "\U000e0041", "byte order mark": "\ufeff",
    "no UTF-8": "\udcff",
}  # fmt: skip
FINE = ["größe.wav", "日本語.wav", "می\u200cخواهم", "👩\u200d🚀", "a\tb", "x × y …", "عربى"]
HARMLESS = re.compile(
    r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\U000e0000-\U000e007f]*"
)


@pytest.mark.parametrize("what", STEERING)
def test_visible(what):
    shown = visible(STEERING[what])
    assert HARMLESS.fullmatch(shown) and "\\" in shown
    assert json.loads(f'"{shown}"') if '"' not in shown and "]8" not in shown else True


@pytest.mark.parametrize("text", FINE)
def test_what_is_text_stays(text):
    assert visible(text) == text and in_one_line(text) == text


def test_ids_of_several_lines():
    assert in_one_line("a\nerror: b\r\nc") == "a\\nerror: b\\r\\nc"


@pytest.mark.parametrize("what", STEERING)
def test_everything_that_a_command_writes(what, capsys):
    text = f"<{STEERING[what]}>"

    def command():
        sys.stdout.write(text + "\n")
        sys.stdout.write(text)  # a part of a line
        sys.stdout.write("\n")
        sys.stderr.write(text + "\n")
        sys.stdout.writelines([text])
        raise ValueError(f"row {text}\nwith more")

    before = sys.stdout, sys.stderr
    assert run_command(command) == 2 and (sys.stdout, sys.stderr) == before
    out, err = capsys.readouterr()
    assert out.count("<") == 3 and HARMLESS.fullmatch(out) and HARMLESS.fullmatch(err), (out, err)
    assert err.endswith("\n  with more\n")


def test_logs(capsys):
    from hf_emo_dist.commands.main import _set_up_logging

    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:

        def command():
            _set_up_logging()
            logging.getLogger("hf_emo_dist.x").info("found %s", "a\x1b[2J\nWARNING hf_emo_dist: b")
            logging.getLogger("others.x").warning("\x9b%s", "\u202e")

        assert run_command(command) == 0
    finally:
        root.handlers = handlers
    assert capsys.readouterr().err == (
        "INFO hf_emo_dist.x: found a\\u001b[2J\n  WARNING hf_emo_dist: b\nWARNING others.x: \\u009b\\u202e\n"
    )


def test_progress_bars_move(capsys):
    from tqdm import tqdm

    with guarded():
        for _ in tqdm(range(2), desc="a\x1b[2Jb\rc", file=sys.stderr, mininterval=0):
            with tqdm(total=1, desc="inner", file=sys.stderr, position=1, mininterval=0) as bar:
                bar.update()
    err = capsys.readouterr().err
    assert "\ra\\u001b[2Jb\\rc" in err and "\n\rinner" in err and "\x1b[A" in err and "\x1b[2J" not in err


def test_a_narrow_encoding(tmp_path):
    with open(tmp_path / "out", "w", encoding="ascii") as file:
        Guarded(file).write("größe × 日\n")
    assert (tmp_path / "out").read_text() == "gr\\xf6\\xdfe \\xd7 \\u65e5\n"


def test_an_unknown_command_and_option(capsys):
    assert main(["\x1b[2J"]) == 2
    assert main(["predict", "--\x1b[2J", "a"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "  =1", "＝1"])
def test_formulas(name):
    assert csv_text(name) == f"'{name}"
