"""The console command finds its subcommands, explains itself, and loads nothing that it does not need."""

import ast
import inspect
import re
import runpy
import subprocess
import sys
import time
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

import hf_emo_dist
from hf_emo_dist import __version__
from hf_emo_dist.commands.main import COMMANDS, main, module_of, options_of, run_command

ROOT = Path(__file__).parents[2]
SOURCE = Path(hf_emo_dist.__file__).parent


def every_command():
    """The words of each command, with the subcommands of those that have them."""
    for command in COMMANDS:
        module = module_of(command)
        yield from ([command, kind] for kind in module.kinds()) if hasattr(module, "kinds") else [[command]]


EVERY = [" ".join(words) for words in every_command()]


def test_without_a_command_it_explains_itself(capsys):
    assert main([]) == 2
    told = capsys.readouterr().out
    assert "usage: hf-emo-dist" in told and all(command in told for command in COMMANDS)
    assert main(["--help"]) == 0


def test_the_version_is_the_package_s(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"hf-emo-dist {__version__}"


def test_an_unknown_command_is_refused(capsys):
    assert main(["nonsense"]) == 2
    assert "Mend: one of quickstart, read" in capsys.readouterr().err
    assert main(["push", "nonsense", "a", "b"]) == 2
    assert "one of model, votes" in capsys.readouterr().err


@pytest.mark.parametrize("words", EVERY)
def test_every_command_has_help(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words.split(), "--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    assert f"usage: hf-emo-dist {words}" in told and "--config FILE_OR_NAME" in told


@pytest.mark.parametrize("words", EVERY)
def test_every_option_is_told_of_and_unknown_ones_are_refused_alike(words, capsys):
    options = options_of(*words.split())
    untold = [name for name, option in options.options.items() if not option.help]
    assert not untold
    if not options.handed and options.after_dashes is None:
        assert main([*words.split(), "--no_such_option", "1"]) == 2
        assert "no_such_option" in capsys.readouterr().err


def test_training_tells_of_its_own_arguments_without_torch(capsys):
    from hf_emo_dist.modeling.configuration import LOSSES

    for command in ("train", "cross-validate"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        told = " ".join(capsys.readouterr().out.split())
        assert all(f"--{name} " in told for name in ("lora", "score_column", "perturb_waveforms", "balanced_sampling"))
        assert all(loss in told for loss in LOSSES)


def defaults_of(target):
    if is_dataclass(target):
        return {
            entry.name: entry.default if entry.default is not MISSING else entry.default_factory()
            for entry in fields(target)
            if not entry.default is entry.default_factory is MISSING
        }
    return {
        name: parameter.default
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.default is not parameter.empty
    }


@pytest.mark.parametrize("words", EVERY)
def test_every_default_is_the_argument_s(words):
    options = options_of(*words.split())
    for target, names in options.members.items():
        own = defaults_of(target)
        for name in names:
            if (
                name in options.options
                and name not in options.defaults
                and name in own
                and not options.options[name].placed
            ):
                if target is not next(t for t, members in options.members.items() if name in members):
                    continue  # told of by the first that has it
                assert options.options[name].default == own[name], name


def test_options_that_mirror_an_argument_have_its_default():
    from hf_emo_dist.annotation import Annotator
    from hf_emo_dist.annotation.run.jobs import RunSettings

    options = options_of("annotate").options
    arguments = inspect.signature(Annotator).parameters
    assert (
        options["max_tries"].default == RunSettings.max_tries == 8
        and "service or the connection" in options["max_tries"].help
    )
    assert options["num_annotations"].default == arguments["num_annotations"].default
    for entry in fields(RunSettings):
        if entry.name in options:
            option = options[entry.name]
            if option.default is None and entry.default is not None:  # the tier decides
                assert re.search(rf"Default: {entry.default:g}\b", option.help), entry.name
            else:
                assert option.default == entry.default, entry.name


#: Those that need torch before anything is asked of them.
HEAVY = {"backbone"}


def test_help_loads_nothing_heavy():
    words = [words for words in EVERY if words.split()[0] not in HEAVY]
    code = (
        "import sys\nfrom hf_emo_dist.commands.main import main\nmain([])\n"
        "assert not {'torch', 'datasets'} & set(sys.modules)\n"
        f"for words in {words!r}:\n"
        "    try:\n        main([*words.split(), '--help'])\n    except SystemExit as stop:\n        assert not "
        "stop.code, words\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_overview_is_quick():
    def seconds():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "hf_emo_dist", "--help"], capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.5


#: Words, and what the one line of the error says; every such error ends with status 2.
WRONG = [
    ("evaluate", "model is missing, dataset is missing. Mend: hf-emo-dist evaluate MODEL DATASET"),
    ("evaluate --config no.yaml", "No configuration file at no.yaml. Mend: check the path, or name one of"),
    ("evaluate --config mini", "mini has unknown keys: freeze_audio_tower"),
    ("evaluate --batch_size many", "--batch_size must be a whole number"),
    ("evaluate --modell m", "did you mean --model?"),
    ("annotate a b --augment_space air", "augment_space of version 0.1 is gone"),
    ("simulate out --votes 5 9", "votes of version 0.1 is gone. Mend: write --votes_per_utterance 5,9"),
    ("simulate out --emotions angry,sad,", "has an empty name"),
    ("clip data --row one --output x.wav", "--row must be a whole number"),
    ("read table a.csv b", "output is missing"),
    ("read nothing a b", "Mend: one of table, dataset"),
    ("report strata", "output is missing, sources is missing"),
    ("report strata a --output out --where b", "--where 'b' is not NAME=VALUE"),
    ("report ablation --output out", "Nothing says how to train"),
    ("report ablation --output out -- --config nothing", "No configuration file at nothing"),
    ("report ablation --output out -- --config=quickstart --output_dir x", "--output_dir is set by --output"),
    ("cross-validate --fold_column fold --num_folds 3 --output_dir x", "Mend: give one of them"),
    ("train --accelerate_config nothing", "Mend: check the path, or name one of the package's own: cpu, ddp"),
    ("demo", "model is missing"),
    ("push model", "checkpoint is missing, repo_id is missing"),
    ("quickstart --output {full}", "is not empty. Mend: --output FOLDER, or --overwrite"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_what_a_user_can_mend_ends_in_one_line_with_status_2(words, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    monkeypatch.chdir(tmp_path)
    assert main(words.format(full="full").split()) == 2
    told = capsys.readouterr().err
    error = told[told.index("error: ") :]
    assert message in error and error.count("\n") == 1 and "Traceback" not in told
    assert (tmp_path / "full" / "thesis.tex").is_file()


def test_an_interrupted_command_says_how_to_go_on(capsys):
    def stopped(told):
        raise KeyboardInterrupt(*told)

    assert run_command(lambda: stopped(["the same command goes on"])) == run_command(lambda: stopped([])) == 130
    assert capsys.readouterr().err == "stopped: the same command goes on\nstopped\n"


def test_training_in_several_processes(monkeypatch):
    calls = []
    monkeypatch.setattr("subprocess.call", lambda command: calls.append(command) or 3)
    with pytest.raises(SystemExit) as stop:
        main(["train", "--accelerate_config", "ddp", "--num_processes", "8", "--config", "mini"])
    assert stop.value.code == 3
    _, module, launcher, _, file, *words = calls[0]
    assert (module, launcher) == ("-m", "accelerate.commands.launch") and Path(file).is_file()
    assert words[:5] == ["--num_processes", "8", "-m", "hf_emo_dist", "train"]
    assert words[-2:] == ["--accelerate_config", "none"]  # the processes start no others


SCRIPTS = sorted([*(ROOT / "recipes").glob("*.py"), *(ROOT / "dataset_scripts").glob("*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_its_command(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    assert stop.value.code == 0 and "usage: hf-emo-dist" in capsys.readouterr().out
    assert len(script.read_text().splitlines()) < 20


def strings():
    """Every text in the package's code, with its place; comments are not among them."""
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{file.relative_to(SOURCE)}:{node.lineno}", node.value
    for file in sorted(SOURCE.rglob("*.md")):
        yield str(file.relative_to(SOURCE)), file.read_text(encoding="utf-8")


def test_no_text_names_what_a_wheel_lacks():
    found = [place for place, text in strings() if re.search(r"recipes/|dataset_scripts|metrics/\w+\.py", text)]
    assert not found


def test_no_text_names_a_command_that_does_not_exist():
    wrong = {}
    for place, text in strings():
        for command in re.findall(r"(?<![\w/-])hf-emo-dist ([a-z][\w-]*)", text):
            if command not in COMMANDS:
                wrong[place] = command
    assert not wrong


def test_what_a_newcomer_leaves_out_or_mistypes_ends_with_status_2(tmp_path, monkeypatch, capsys):
    from tiny_data import as_dataset, tiny_rows

    from hf_emo_dist.data.writing import write_dataset

    monkeypatch.chdir(tmp_path)
    rows = [{name: value for name, value in row.items() if name != "true_distribution"} for row in tiny_rows(4)]
    write_dataset(as_dataset(rows), "data", description="x", vote_source="x")
    for words, message in (
        (["annotate", "data", "out", "--backend", "simulated", "--ledger", "l.db"], "--backend_options '{column:"),
        (["annotate", "data", "out", "--backend", "simulated", "--backend_options", "{sharpness: lots}"], "Mend"),
        (["backbone", "bb", "--hidden_size", "0"], "hidden_size=0 is too small"),
        (["train", "--config", "mini", "--backbone", "b", "--dataset", "data"], "output_dir is missing"),
        (["cross-validate", "--config", "mini", "--backbone", "b", "--dataset", "data"], "output_dir is missing"),
        (["train", "--output_dir", "o", "--per_device_train_batch_size", "0"], "per_device_train_batch_size=0"),
        (["train", "--output_dir", "o", "--resume_from_checkpoint", "nowhere"], "'nowhere' is no folder"),
    ):
        assert main(words) == 2, words
        assert message in capsys.readouterr().err, words
    assert not (tmp_path / "trainer_output").exists()


@pytest.mark.parametrize("file", ["data/data/votes.csv", "model/mine.bin", "backbone/notes.txt", "report/thesis.tex"])
def test_a_quickstart_replaces_only_a_quickstart(tmp_path, capsys, file):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("work of years")
    assert main(["quickstart", "--output", str(tmp_path), "--overwrite"]) == 2
    assert "Mend" in capsys.readouterr().err and (tmp_path / file).read_text() == "work of years"
