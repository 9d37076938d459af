"""The arguments of training: the recipe's own by our reader, the hundred and more of transformers by `trl.TrlParser`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .arguments import Options, Values

if TYPE_CHECKING:
    from ..training.arguments import EmotionDistributionTrainingArguments
    from ..training.fine_tuning import RecipeArguments

__all__ = ["parse_training", "training_options", "training_parts"]

MORE = (
    "Every argument of EmotionDistributionTrainingArguments may be added, which are those of transformers' TrainingArguments and a few of this "
    "task's: --output_dir my_model, --num_train_epochs 3, --learning_rate 1e-4, --per_device_train_batch_size 8, --loss_type js, "
    "--early_stopping_patience 8, --resume_from_checkpoint true, --push_to_hub true, ... Settings of the package's own: --config mini, "
    "quickstart, qwen2_audio_lora, paper_iemocap, paper_msp_podcast."
)


def training_options(*first: Callable[..., Any], about: str | None = None) -> Options:
    """The options of a command that trains: its own, those of the recipe, and whatever transformers takes."""
    from ..training.fine_tuning import RecipeArguments

    return Options(*first, RecipeArguments, mixed=True, about=about, epilog=MORE)


def training_parts(values: Values) -> tuple[RecipeArguments, EmotionDistributionTrainingArguments]:
    """The recipe and the training arguments among the values of a command.

    Raises:
        ValueError: An argument or a key is not known, or does not fit.
    """
    from trl import TrlParser

    from ..training.arguments import EmotionDistributionTrainingArguments
    from ..training.fine_tuning import RecipeArguments

    class Parser(TrlParser):  # type: ignore[misc]
        def error(self, message: str) -> NoReturn:  # without the usage of a hundred arguments
            raise ValueError(f"{message}. Mend: check the word before it.")

    parser = Parser((EmotionDistributionTrainingArguments,), allow_abbrev=False)
    keys = dict(values.more_keys)
    # as in every recipe of trl: variables that have to be set before training
    os.environ.update({name: str(value) for name, value in (keys.pop("env", None) or {}).items()})
    # TrlParser's own reading of --config takes no --config=FILE and no name
    unknown = [word for word in parser.set_defaults_with_config(**keys) if word.startswith("--")]
    args, words = parser.parse_args_into_dataclasses(values.more, return_remaining_strings=True)
    unknown += words
    if unknown:
        known = [*values.options.options, *EmotionDistributionTrainingArguments.__dataclass_fields__]
        near = difflib.get_close_matches(unknown[0].strip("-").partition("=")[0], known, 1)
        told = f"did you mean {near[0]}? " if near else ""
        raise ValueError(
            f"unknown arguments: {' '.join(unknown)}. Mend: {told}hf-emo-dist train --help lists the recipe's own; the others are those of "
            "transformers' TrainingArguments."
        )
    return values.call(RecipeArguments), args


def parse_training(words: Sequence[str]) -> tuple[RecipeArguments, EmotionDistributionTrainingArguments]:
    """Read the words of a training command: `--config FILE_OR_NAME` and `--name value`; the command line goes before the file.

    Raises:
        ValueError: A word, or a key of the YAML file, is not known or does not fit.

    Example:
        >>> recipe, args = parse_training(["--output_dir", "out", "--lora", "paper", "--use_cpu", "true"])
        >>> recipe.lora, args.metric_for_best_model
        ('paper', 'eval_js_divergence')
    """
    return training_parts(training_options().parse(words, "hf-emo-dist train"))
