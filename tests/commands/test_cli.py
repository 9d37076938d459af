"""The console command finds its subcommands, explains itself, and loads nothing that it does not need."""

import importlib
import subprocess
import sys

import pytest

from hf_emo_dist import __version__
from hf_emo_dist.commands.main import COMMANDS, main


def test_without_a_command_it_explains_itself(capsys):
    assert main([]) == 2
    assert "usage: hf-emo-dist" in capsys.readouterr().out


def test_the_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == f"hf-emo-dist {__version__}"


def test_an_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["nonsense"])
    assert stop.value.code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    module = importlib.import_module(f"hf_emo_dist.{COMMANDS[command][0]}")
    assert callable(module.run)
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"hf-emo-dist {command}" in capsys.readouterr().out


def test_help_loads_nothing_heavy():
    code = "import sys, hf_emo_dist.commands.main as c\nc.main([])\nsys.exit(bool({'torch', 'datasets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
