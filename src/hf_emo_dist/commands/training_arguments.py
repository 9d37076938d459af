"""What the commands that train share: the recipe's own arguments, told of first, and the hundred and more of transformers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from .arguments import Options, Values

if TYPE_CHECKING:
    from ..training.arguments import EmotionDistributionTrainingArguments
    from ..training.recipe_arguments import RecipeArguments

__all__ = ["training_options", "training_parts"]

MORE = (
    "Every argument of EmotionDistributionTrainingArguments may be added, which are those of transformers' TrainingArguments and a few of this "
    "task's: --output_dir my_model, --num_train_epochs 3, --learning_rate 1e-4, --per_device_train_batch_size 8, --loss_type js, "
    "--early_stopping_patience 8, --resume_from_checkpoint true, --push_to_hub true, ... Settings of the package's own: --config mini, "
    "quickstart, qwen2_audio_lora, paper_iemocap, paper_msp_podcast."
)


def training_options(*first: Callable[..., Any], without: Collection[str] = (), about: str | None = None) -> Options:
    """The options of a command that trains: its own, those of the recipe, and whatever transformers takes."""
    from ..training.recipe_arguments import RecipeArguments

    return Options(*first, without=without, handed=RecipeArguments, about=about, epilog=MORE)


def training_parts(values: Values) -> tuple[RecipeArguments, EmotionDistributionTrainingArguments]:
    """The recipe and the training arguments among the words of a command.

    Raises:
        ValueError: An argument or a key is not known, or does not fit.
    """
    from ..training.fine_tuning import parse_config

    return parse_config(values.more, values.more_keys)
