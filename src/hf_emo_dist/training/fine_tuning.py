"""Fine-tuning as `hf-emo-dist train` does it: from a configuration to a trained and scored checkpoint."""

from __future__ import annotations

import difflib
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from ..data.loading import emotions_of
from ..data.opened import open_dataset
from ..data.output import write_json, write_text
from ..modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from ..modeling.calibration import store_calibration
from ..modeling.processing import EmotionDistributionProcessor
from .arguments import EmotionDistributionTrainingArguments, refuse_removed
from .lora import emotion_lora_config
from .recipe_arguments import RecipeArguments
from .trainer import EmotionDistributionTrainer

logger = logging.getLogger(__name__)


def parse_config(
    argv: Sequence[str] | None = None, settings: Mapping[str, Any] | None = None
) -> tuple[RecipeArguments, EmotionDistributionTrainingArguments]:
    """Read `--config FILE.yaml` and `--name value` arguments; the command line overrides the file.

    Args:
        argv: The words of a command line; by default this process's.
        settings: What a YAML file says that was read already.

    Raises:
        ValueError: An argument or a key of the file is not known, was removed, or has a value that does not fit.

    Example:
        >>> recipe, args = parse_config(["--output_dir", "out", "--lora", "paper", "--use_cpu", "true"])
        >>> recipe.lora, args.metric_for_best_model
        ('paper', 'eval_js_divergence')
    """
    from trl import TrlParser

    class Parser(TrlParser):  # type: ignore[misc]
        def error(self, message: str) -> NoReturn:  # without a usage of a hundred arguments before it
            raise ValueError(f"{message}. Mend: see that the word before it has its value.")

    parser = Parser((RecipeArguments, EmotionDistributionTrainingArguments), allow_abbrev=False)
    words: list[str] = []
    for word in sys.argv[1:] if argv is None else argv:  # TrlParser takes no --config=FILE
        words += word.split("=", 1) if word.startswith("--config=") else [word]
    keys = dict(settings or {})
    os.environ.update({name: str(value) for name, value in (keys.pop("env", None) or {}).items()})  # as TrlParser does
    in_settings = parser.set_defaults_with_config(**keys)
    recipe, args, in_file, on_line = parser.parse_args_and_config(
        words, return_remaining_strings=True, separate_remaining_strings=True
    )
    in_file = [*in_settings, *in_file]
    refuse_removed([*in_file, *on_line])
    for unknown, where in ((in_file, "keys of the configuration file"), (on_line, "arguments")):
        if unknown:
            known = {name for part in (recipe, args) for name in part.__dataclass_fields__}
            near = difflib.get_close_matches(unknown[0].strip("-").partition("=")[0], known, 1)
            told = f"did you mean {near[0]}? " if near else ""
            raise ValueError(
                f"unknown {where}: {' '.join(unknown)}. Mend: {told}correct the spelling, or leave them out; "
                "hf-emo-dist train --help and transformers' TrainingArguments say what there is."
            )
    return recipe, args


def load_model(recipe: RecipeArguments, emotions: Sequence[str]) -> tuple[Any, EmotionDistributionProcessor]:
    """Load the model and the processor that a recipe names, with the weights frozen that it says.

    Args:
        recipe: What is trained.
        emotions: Labels in the order of the logits.
    """
    assert recipe.backbone is not None
    processor = EmotionDistributionProcessor.from_pretrained(
        recipe.backbone,
        emotions=emotions,
        use_transcript=recipe.use_transcript,
        use_speaker=recipe.use_speaker,
        long_audio=recipe.long_audio,
    )
    options: dict[str, Any] = {"dtype": recipe.model_dtype}
    if recipe.attn_implementation:
        options["attn_implementation"] = recipe.attn_implementation
    if recipe.load_in_4bit:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=["head"],
        )
    model = Qwen2AudioForEmotionDistribution.from_pretrained(
        recipe.backbone,
        emotions=emotions,
        head_dropout=recipe.head_dropout,
        head_projection_dropout=recipe.head_projection_dropout,
        **options,
    )
    if recipe.freeze_audio_tower:
        model.model.audio_tower.requires_grad_(False)
    if recipe.freeze_projector:
        model.model.multi_modal_projector.requires_grad_(False)
    if recipe.freeze_language_model:
        model.model.language_model.requires_grad_(False)
    return model, processor


def prepare_training(
    recipe: RecipeArguments,
    args: EmotionDistributionTrainingArguments,
    train_dataset: Any = None,
    eval_dataset: Any = None,
) -> EmotionDistributionTrainer:
    """Make the trainer of a recipe, with everything checked.

    Args:
        recipe: What is trained on what.
        args: How.
        train_dataset: Instead of the recipe's.
        eval_dataset: Beside `train_dataset`; None trains without evaluation.

    Raises:
        FileExistsError: The output folder holds checkpoints, and resuming was not asked for.
        ValueError, OSError: The backbone or the data is missing, cannot be reached or does not fit.
    """
    if last_checkpoint(args) is not None and not is_resuming(args):
        raise FileExistsError(
            f"{args.output_dir} holds checkpoints of an earlier run. Mend: add --resume_from_checkpoint true to "
            "continue it, or choose another --output_dir."
        )
    named = str(args.resume_from_checkpoint or "")
    if is_resuming(args) and named.lower() != "true" and not os.path.isdir(named):
        raise FileNotFoundError(
            f"resume_from_checkpoint={named!r} is no folder. Mend: name a checkpoint, or true for the last one."
        )
    if recipe.backbone is None:
        raise ValueError(
            "no backbone. Mend: add --backbone, a Hub id such as Qwen/Qwen2-Audio-7B-Instruct or a folder that "
            "`hf-emo-dist backbone` wrote."
        )
    if recipe.num_threads is not None or (args.device.type == "cpu" and args.world_size == 1):
        # `accelerate launch` gives each process one thread
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(recipe.num_threads or cores)
    opened = None
    if train_dataset is None:
        if recipe.dataset is None:
            raise ValueError(
                "no data. Mend: add --dataset, a Hub id or a folder that a reader wrote (hf-emo-dist --help lists "
                "them)."
            )
        opened = open_dataset(recipe.dataset, revision=recipe.dataset_revision)
        train_dataset, eval_dataset = opened.trainable(recipe.train_split), opened.rows(recipe.validation_split)
    emotions = recipe.label_set or emotions_of(train_dataset, args.target_column)
    set_seed(args.seed)  # the new head's weights
    model, processor = load_model(recipe, emotions)
    peft_config = None
    if recipe.lora:
        peft_config = emotion_lora_config(
            recipe.lora, r=recipe.lora_r, lora_alpha=recipe.lora_alpha, lora_dropout=recipe.lora_dropout
        )
    trainer = EmotionDistributionTrainer(
        model=model,
        args=args,
        processing_class=processor,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        peft_config=peft_config,
    )
    trainer.opened = opened
    return trainer


def finish_training(trainer: EmotionDistributionTrainer, recipe: RecipeArguments) -> dict[str, float]:
    """Train, save the best checkpoint into the output folder and score it on the validation data.

    Beside the checkpoint lie its card, `train_results.json`, `recipe.json`, `training_args.json` and
    `training_facts.json`. With `push_to_hub` all of it is pushed, without paths.

    Args:
        trainer: What `prepare_training` made.
        recipe: The same recipe.

    Returns:
        Figures of the training, and the scores on the validation data, `eval_…`; `temperature` where one was fitted.
    """
    args = trainer.args
    resume: str | None = None
    if is_resuming(args):
        named = str(args.resume_from_checkpoint)
        resume = last_checkpoint(args) if named.lower() == "true" else named
    trainer.recipe = recipe
    scores = dict(trainer.train(resume_from_checkpoint=resume).metrics)
    trainer.save_model(_internal_call=True)  # pushed below, with all that is known then
    if trainer.eval_dataset is not None:
        scores.update(trainer.evaluate_and_calibrate() if args.fit_temperature else trainer.evaluate())
    if trainer.is_world_process_zero():
        folder = Path(str(args.output_dir))
        if trainer.calibration is not None:
            store_calibration(folder, trainer.calibration)
        trainer.save_state()
        # not write_json: a training that went wrong ends with NaN, which must not cost its other figures
        write_text(folder / "train_results.json", json.dumps(scores, indent=2) + "\n")
        write_json(folder / "recipe.json", vars(recipe))
    try:
        trainer.create_model_card()
        if args.push_to_hub:
            trainer.push_to_hub()
    except (OSError, ValueError) as error:  # what was trained is on disk
        logger.error("the checkpoint is in %s, but its card or its push failed: %s", args.output_dir, error)
    return scores


def run_training(
    recipe: RecipeArguments,
    args: EmotionDistributionTrainingArguments,
    train_dataset: Any = None,
    eval_dataset: Any = None,
) -> dict[str, float]:
    """Do `prepare_training`, then `finish_training`, and return its figures."""
    return finish_training(prepare_training(recipe, args, train_dataset, eval_dataset), recipe)


def last_checkpoint(args: EmotionDistributionTrainingArguments) -> str | None:
    """Find the newest checkpoint in the output folder, if there is one."""
    return get_last_checkpoint(args.output_dir) if os.path.isdir(str(args.output_dir)) else None


def is_resuming(args: EmotionDistributionTrainingArguments) -> bool:
    """Say whether `resume_from_checkpoint` asks for anything (`true` or a path)."""
    return str(args.resume_from_checkpoint or "").strip().lower() not in ("", "false", "none")
