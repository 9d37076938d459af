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

from .._checkpoint_files import CONFIG_NAME, find_file, is_adapter
from ..data.loading import emotions_of
from ..data.opened import open_dataset
from ..data.output import write_json, write_text
from ..modeling.calibration import store_calibration
from ..modeling.families import family_of, read_config
from ..modeling.label_sets import change_emotions
from ..modeling.processing import EmotionDistributionProcessor
from ..modeling.quantization import four_bits
from ..modeling.whole_files import broken_files_named
from .arguments import EmotionDistributionTrainingArguments, refuse_removed
from .checkpoints import checkpoint_to_resume, checkpoints_in
from .lora import emotion_lora_config
from .recipe_arguments import NEEDS_AN_ADAPTER, RecipeArguments
from .refusals import check_stays_frozen
from .trainer import EmotionDistributionTrainer

logger = logging.getLogger(__name__)

#: What a recipe says of the head and of the rows, where it does not leave it to a checkpoint's own files.
HEAD_OPTIONS = (
    "head", "head_dropout", "head_projection_dropout", "head_hidden_size", "pooling", "use_weighted_layer_sum",
    "average_frames", "text_encoder",
)  # fmt: skip
ROW_OPTIONS = ("use_transcript", "use_speaker", "long_audio")


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

    A checkpoint goes on with its own prompt and dropout unless the recipe says otherwise, and with what it has learnt
    of the emotions it knows; an adapter goes on being trained.

    Args:
        recipe: What is trained.
        emotions: Labels in the order of the logits.

    Raises:
        ValueError: An adapter is to get another one, or other emotions.
        OSError: Nothing can be loaded from there.
    """
    assert recipe.backbone is not None
    options: dict[str, Any] = {"dtype": recipe.model_dtype}
    if recipe.attn_implementation:
        options["attn_implementation"] = recipe.attn_implementation
    goes_on = is_adapter(recipe.backbone, {})
    if recipe.load_in_4bit:
        if recipe.lora is None and not goes_on:
            raise ValueError(NEEDS_AN_ADAPTER)
        options["quantization_config"] = four_bits()
    head = {name: getattr(recipe, name) for name in HEAD_OPTIONS if getattr(recipe, name) is not None}
    if goes_on:
        model = _adapter_to_train(recipe, emotions, options, head)
        known: Sequence[str] | None = model.config.emotions
    else:
        known = known_emotions(recipe.backbone)
        family = family_of(read_config(recipe.backbone, {}), recipe.backbone)
        if foreign := [name for name in head if name not in family.config_class.own_fields()]:
            raise ValueError(f"{', '.join(foreign)} is nothing that {family.family_name} has. Mend: leave it out.")
        if recipe.lora:
            emotion_lora_config(recipe.lora, model=family)  # a preset that it lacks, before anything is loaded
        model = family.from_pretrained(recipe.backbone, emotions=known or emotions, **options, **head)
        change_emotions(model, emotions)
    processor = EmotionDistributionProcessor.from_pretrained(
        recipe.backbone,
        emotions=known or emotions,
        **{name: getattr(recipe, name) for name in ROW_OPTIONS if getattr(recipe, name) is not None},
        **({"text_encoder": recipe.text_encoder} if recipe.text_encoder is not None else {}),
    )
    processor.emotions = list(model.config.emotions)
    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    if recipe.freeze is not None and not goes_on:
        for name in set(network.frozen_by_default) & set(network.backbone_parts()):
            network.backbone_parts()[name].requires_grad_(True)
    for part in frozen_parts(recipe, network).values():
        part.requires_grad_(False)
    return model, processor


def frozen_parts(recipe: RecipeArguments, model: Any) -> dict[str, Any]:
    """The parts of a model that a recipe keeps as they are, by the options that say so.

    Raises:
        ValueError: The model has no such part.
    """
    flags = ("audio_tower", "projector", "language_model")
    wanted = {f"freeze_{name}": name for name in flags if getattr(recipe, f"freeze_{name}")}
    named = [] if recipe.freeze in (None, "none") else str(recipe.freeze).split(",")
    wanted |= {f"freeze={name}": name for name in named}
    parts = model.backbone_parts()
    if unknown := [option for option, name in wanted.items() if name not in parts]:
        raise ValueError(
            f"{unknown[0]}: {model.family_name} has no such part. Mend: name some of {', '.join(parts)} in freeze."
        )
    return {option: parts[name] for option, name in wanted.items()}


def known_emotions(name_or_path: str) -> tuple[str, ...] | None:
    """The emotions of a checkpoint of this library, in order; None for a backbone."""
    if find_file(name_or_path, CONFIG_NAME, {}) is None:
        return None
    with broken_files_named(name_or_path, {}):
        config = read_config(name_or_path, {})
    return config.emotions if config.model_type.endswith("_emotion_distribution") else None


def _adapter_to_train(
    recipe: RecipeArguments, emotions: Sequence[str], options: dict[str, Any], head: dict[str, Any]
) -> Any:
    from ..hub.load import load_emotion_model

    if recipe.lora is not None:
        raise ValueError(
            f"'{recipe.backbone}' is an adapter, and lora={recipe.lora} would train another one on its backbone. Mend: "
            "leave lora out to go on training it; or merge it (load_emotion_model(name, merge=True)), save model and "
            "processor into a folder, and name that as the backbone."
        )
    if head:
        raise ValueError(f"{', '.join(head)} cannot be changed in an adapter that goes on. Mend: leave them out.")
    model, _ = load_emotion_model(str(recipe.backbone), trainable=True, **options)
    if list(model.config.emotions) != list(emotions):
        raise ValueError(
            f"'{recipe.backbone}' is an adapter for {list(model.config.emotions)} in this order, not for "
            f"{list(emotions)}. Mend: give emotions as they are there; or merge it, save model and processor into a "
            "folder, and name that as the backbone."
        )
    return model


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
    if checkpoints_in(str(args.output_dir)) and not is_resuming(args):
        raise FileExistsError(
            f"{args.output_dir} holds checkpoints of an earlier run. Mend: add --resume_from_checkpoint true to "
            "continue it, or choose another --output_dir."
        )
    resumed_from = _resumed_from(args)
    if recipe.backbone is None:
        raise ValueError(
            "no backbone. Mend: add --backbone, a Hub id such as openai/whisper-base or Qwen/Qwen2-Audio-7B-Instruct, "
            "or a folder that `hf-emo-dist backbone` wrote."
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
            recipe.lora,
            model=model,
            r=recipe.lora_r,
            lora_alpha=recipe.lora_alpha,
            lora_dropout=recipe.lora_dropout,
        )
    trainer = EmotionDistributionTrainer(
        model=model,
        args=args,
        processing_class=processor,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        peft_config=peft_config,
    )
    check_stays_frozen(frozen_parts(recipe, network_of(trainer)), recipe.lora)
    trainer.opened, trainer.resumed_from = opened, resumed_from
    if resumed_from is not None:
        trainer.check_resumable(resumed_from)
    return trainer


def _resumed_from(args: EmotionDistributionTrainingArguments) -> str | None:
    """The checkpoint that is gone on with, which is whole; found before anything is loaded."""
    if not is_resuming(args):
        return None
    named = str(args.resume_from_checkpoint)
    if named.strip().lower() == "true":
        return checkpoint_to_resume(True, str(args.output_dir))
    if not os.path.isdir(named):
        raise FileNotFoundError(
            f"resume_from_checkpoint={named!r} is no folder. Mend: name a checkpoint, or true for the last one."
        )
    return checkpoint_to_resume(named, str(args.output_dir))


def network_of(trainer: EmotionDistributionTrainer) -> Any:
    """The model that is trained, without what peft and accelerate put around it."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


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
    trainer.recipe = recipe
    scores = dict(trainer.train(resume_from_checkpoint=trainer.resumed_from).metrics)
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


def is_resuming(args: EmotionDistributionTrainingArguments) -> bool:
    """Say whether `resume_from_checkpoint` asks for anything (`true` or a path)."""
    return str(args.resume_from_checkpoint or "").strip().lower() not in ("", "false", "none")
