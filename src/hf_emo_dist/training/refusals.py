"""Options of transformers' Trainer and of ours that would have no effect here: each is refused, with its mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def refuse_ignored(args: Any, train_dataset: Any, compute_loss_func: Any, own_metrics: bool = False) -> None:
    """Refuse training arguments that nothing would read, before anything is loaded.

    Args:
        args: The training arguments.
        train_dataset: What is trained on.
        compute_loss_func: A loss of the user's own.
        own_metrics: Whether a `compute_metrics` of the user's own scores.

    Raises:
        ValueError: One of them is set.
    """
    by_loss = (args.metric_for_best_model or "eval_loss").removeprefix("eval_") == "loss"
    further = sorted(set(args.include_for_metrics or ()) - ({"loss"} if own_metrics else set()))
    stream = train_dataset is not None and not hasattr(train_dataset, "__len__")
    refused = (
        (
            args.label_smoothing_factor != 0,
            f"label_smoothing_factor={args.label_smoothing_factor} smooths class numbers, and targets are "
            "distributions here. Mend: leave it out; VoteCombiner smooths the targets of few votes.",
        ),
        (
            args.train_sampling_strategy != "random",
            f"train_sampling_strategy={args.train_sampling_strategy!r} has no effect: the order is drawn from (seed, "
            "epoch). Mend: leave it out; group_by_duration, max_audio_tokens_per_batch and balanced_sampling choose "
            "it.",
        ),
        (
            args.label_names is not None,
            "label_names has no effect: labels are the distributions of target_column and score_column. Mend: leave it "
            "out.",
        ),
        (
            bool(args.remove_unused_columns),
            "remove_unused_columns=True would take audio, transcripts and votes out of the rows. Mend: leave it out.",
        ),
        (
            stream and args.balanced_sampling,
            "balanced_sampling needs all rows beforehand, and the training data is a stream. Mend: load it with "
            "streaming=False, or leave it out.",
        ),
        (
            args.dataloader_drop_last and bool(args.max_audio_tokens_per_batch),
            "dataloader_drop_last has no effect: batches by max_audio_tokens_per_batch differ in size anyway. Mend: "
            "leave one of them out.",
        ),
        (
            compute_loss_func is not None
            and (args.concentration_weight is not None or args.loss_type is not None or bool(args.entropy_weight)),
            "compute_loss_func replaces the model's loss, so that loss_type, entropy_weight and concentration_weight "
            "would have no effect. Mend: leave those out.",
        ),
        (
            bool(further),
            f"include_for_metrics={further} has no use here: inputs are rows of several kinds, which cannot be put "
            "together, and losses are read by a compute_metrics of your own only. Mend: leave it out; eval_loss is "
            "reported anyway.",
        ),
        (
            not args.eval_do_concat_batches,
            "eval_do_concat_batches=False would give the scores a list of batches, and they are of all rows together. "
            "Mend: leave it out.",
        ),
        (
            args.batch_eval_metrics and not own_metrics,
            "batch_eval_metrics=True scores batch by batch, and the scores here are of all rows together, such as "
            "correlations. Mend: leave it out, or give a compute_metrics that takes compute_result.",
        ),
        (
            bool(args.prediction_loss_only) and not by_loss,
            f"prediction_loss_only=True gives eval_loss and no {args.metric_for_best_model}, by which the checkpoint "
            "is chosen. Mend: leave it out, or set metric_for_best_model=eval_loss.",
        ),
    )
    for is_set, message in refused:
        if is_set:
            raise ValueError(message)


def refuse_no_data_set(eval_dataset: Any) -> None:
    """Refuse evaluation data that is no data set, and several of which there is none.

    Args:
        eval_dataset: A data set, or several by name.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(eval_dataset, Mapping) and not eval_dataset:
        raise ValueError("eval_dataset={} holds no data set. Mend: name one or more in it, or leave it out.")
    if isinstance(eval_dataset, list | tuple):
        raise ValueError(
            f"eval_dataset is a {type(eval_dataset).__name__}, and no data set. Mend: give a datasets.Dataset, which "
            "Dataset.from_list makes of rows; several by name, as in eval_dataset={'german': one, 'thai': other}."
        )


def check_adapters(model: Any) -> None:
    """Refuse adapters that would not come back as they were trained.

    Args:
        model: What is to be trained or scored.

    Raises:
        ValueError: An adapter holds no head, or was made for a task of peft's own.
    """
    for name, adapter in (getattr(model, "peft_config", {}) or {}).items():
        refuse_task_type(adapter)
        if "head" not in (adapter.modules_to_save or []):
            raise ValueError(
                f"adapter {name!r} does not hold the head, which would reload random. Mend: make the adapter with "
                "modules_to_save=['head'], or pass peft_config=emotion_lora_config() to the trainer."
            )


def check_trainable(model: Any) -> None:
    """Refuse a model that was loaded with its adapter for predicting, and one without a weight to train.

    Args:
        model: What is to be trained.

    Raises:
        ValueError: It is such a model.
    """
    if getattr(model, "peft_config", None) and not hasattr(model, "get_base_model"):
        raise ValueError(
            "this model was loaded with an adapter for predicting, and only its head would be trained. Mend: load it "
            "with load_emotion_model(name, trainable=True) to go on training the adapter; or with merge=True, and save "
            "model and processor into a folder, to train something new on it."
        )
    if not any(value.requires_grad for value in model.parameters()):
        raise ValueError(
            "no weight of this model is trainable. Mend: load an adapter with load_emotion_model(name, "
            "trainable=True), and unfreeze what is to be trained."
        )


def refuse_task_type(adapter: Any) -> None:
    """Refuse an adapter's configuration that names a task of peft, whose models have other inputs and another head."""
    if getattr(adapter, "task_type", None) is not None:
        raise ValueError(
            f"task_type={getattr(adapter.task_type, 'value', adapter.task_type)!r} would wrap the model as one of "
            "peft's own tasks, which passes on other inputs and looks for another head. Mend: leave task_type out."
        )


def check_stays_frozen(frozen: Mapping[str, nn.Module], lora: str | None) -> None:
    """Refuse an adapter that reaches into a part that is to stay as it is.

    Args:
        frozen: The parts by the options that froze them.
        lora: Name of the LoRA preset.

    Raises:
        ValueError: A weight in there would be trained.
    """
    for option, part in frozen.items():
        trained = [name for name, value in part.named_parameters() if value.requires_grad]
        if trained:
            raise ValueError(
                f"{option} keeps a part as it is, and lora={lora} would train {len(trained)} weights in it (first: "
                f"{trained[0]}). Mend: leave {option} out, or choose a preset that does not reach there, such as "
                "language_model."
            )
