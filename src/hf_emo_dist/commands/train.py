"""`hf-emo-dist train`: a backbone fine-tuned on a data set of votes."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from collections.abc import Callable, Collection
from typing import Any

from ..data.full_disk import DiskFullError
from ..data.intact import BrokenFileError
from ..data.output import one_run
from .arguments import Options, Values
from .configs import ACCELERATE_CONFIGS, config_file, config_names
from .main import KNOWN_ERRORS

logger = logging.getLogger(__name__)

SHOWN = ("eval_js_divergence", "eval_bhattacharyya_coefficient", "eval_log_likelihood_per_vote")
MORE = (
    "Every argument of transformers' TrainingArguments may be added, too: --output_dir my_model, --num_train_epochs 3, "
    "--learning_rate 1e-4, --per_device_train_batch_size 8, --resume_from_checkpoint true, --push_to_hub true, ... "
    f"Settings of the package's own: --config {', '.join(name for name in config_names() if '/' not in name)}."
)


def options() -> Options:
    """How it is started, and those of training."""
    return training_options(
        _launch,
        about="Fine-tune a backbone to predict emotion distributions. Needed are --backbone, --dataset and "
        "--output_dir. On several GPUs: hf-emo-dist train --accelerate_config ddp --num_processes 8 ..., or accelerate "
        "launch -m hf_emo_dist train ...",
    )


def training_options(*first: Callable[..., Any], without: Collection[str] = (), about: str | None = None) -> Options:
    """The options of a command that trains: its own, those of training, and whatever transformers takes."""
    from ..training.recipe_arguments import RecipeArguments, TaskArguments

    return Options(*first, without=without, handed=(RecipeArguments, TaskArguments), about=about, epilog=MORE)


def training_parts(values: Values) -> tuple[Any, Any]:
    """The recipe and the training arguments; transformers would write into a folder of its own choice."""
    from ..training.fine_tuning import parse_config

    recipe, args = parse_config(values.more, values.more_keys)
    given = [*values.more_keys, *(word.lstrip("-").partition("=")[0].replace("-", "_") for word in values.more)]
    if "output_dir" not in given:
        raise ValueError("output_dir is missing. Mend: add --output_dir, a folder for checkpoints, card and figures.")
    return recipe, args


def run(values: Values) -> None:
    """Train, and print the scores on the validation data; status 1 when the training itself fails."""
    if values["accelerate_config"] is not None:
        raise SystemExit(values.call(_launch, words=values.words))
    import transformers

    transformers.logging.set_verbosity_warning()
    recipe, args = training_parts(values)
    # one process of a launch holds the folder for all of them
    held = one_run(args.output_dir) if args.process_index == 0 else contextlib.nullcontext()
    with held:
        _train(recipe, args)


def _train(recipe: Any, args: Any) -> None:
    from ..modeling.calibration import notes_words
    from ..training.fine_tuning import finish_training, prepare_training

    trainer = prepare_training(recipe, args)
    try:
        scores = finish_training(trainer, recipe)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(_how_to_go_on(str(args.output_dir))) from error
    except BrokenFileError:
        raise
    except DiskFullError as error:
        raise DiskFullError(f"{error} Afterwards, {_how_to_go_on(str(args.output_dir))}.") from error
    except KNOWN_ERRORS as error:  # no setting that can be mended: everything was checked before
        logger.exception("the training failed")
        raise SystemExit(1) from error
    if trainer.is_world_process_zero():
        sys.stdout.write(f"checkpoint: {args.output_dir}\n")
        for name in SHOWN:
            if name in scores:
                sys.stdout.write(f"{name}: {scores[name]:.4f}\n")
        if "temperature" in scores:
            told = notes_words(trainer.calibration or {})
            sys.stdout.write(f"temperature of the validation votes, not applied: {scores['temperature']:.2f}{told}\n")


def _how_to_go_on(folder: str) -> str:
    from ..training.checkpoints import last_whole_checkpoint

    last = last_whole_checkpoint(folder, warn=False)
    if last is None:
        return "no checkpoint has been written yet: the same command begins again"
    return f"{last} is whole: the same command with --resume_from_checkpoint true goes on from it"


def _launch(*, words: Any, accelerate_config: str | None = None, num_processes: int | None = None) -> int:
    """Train in several processes.

    Args:
        accelerate_config: Train through `accelerate launch`, with this configuration: a file, or cpu, ddp, fsdp2 or
            deepspeed_zero3.
        num_processes: Processes of `accelerate_config`, one a GPU. Default: what the configuration says.
    """
    assert accelerate_config is not None
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    launch += ["--config_file", str(config_file(accelerate_config, ACCELERATE_CONFIGS))]
    launch += ["--num_processes", str(num_processes)] if num_processes is not None else []
    # the last word counts: the processes train, and start no others, also where the YAML file says so
    return subprocess.call([*launch, "-m", "hf_emo_dist", "train", *words, "--accelerate_config", "none"])
