"""Whether a checkpoint is of the training that is to go on with it: what its weights mean, its rows, its settings."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .._checkpoint_files import ADAPTER_CONFIG_NAME, CONFIG_NAME, PEFT_CONFIG_NAME, PROCESSOR_NAME
from ..data.intact import read_json
from ..modeling.whole_files import MEND, read_facts
from .checkpoint_facts import differing_rows

logger = logging.getLogger(__name__)

#: Optimizer settings that a checkpoint's own optimizer and schedule bring with them.
KEPT_AT_RESUME = ("learning_rate", "head_learning_rate", "layer_decay", "weight_decay", "adam_beta1", "adam_beta2",
                  "adam_epsilon", "optim")  # fmt: skip
#: Training arguments that say what is learnt: with others it is another training.
LEARNT = ("target_column", "concentration_weight", "count_synthetic_votes")
# What a configuration says of the machine, of memory or of what is shown, and not of what the weights mean.
_NOT_OF_THE_WEIGHTS = re.compile(
    r"^_|dropout|layerdrop|^(architectures|dtype|torch_dtype|transformers_version|use_cache|return_dict|output_.*|"
    r"quantization_config|name_or_path|apply_spec_augment|mask_(time|feature)_.*|base_content|"
    # fitted after training
    r"calibration|"
    # transformers' trainer writes the tokenizer's into the configuration
    r"(pad|bos|eos)_token_id)$"
)
_NOT_OF_THE_ADAPTER = ("base_model_name_or_path", "revision", "inference_mode", "lora_dropout", "task_type",
                       "peft_version", "auto_mapping", "init_lora_weights", "loftq_config")  # fmt: skip


def check_same_training(checkpoint: str, model: Any, processor: Any, args: Any) -> None:
    """Refuse to continue a checkpoint whose weights mean something else in this model, and name what differs.

    Compared, by name, are the emotions and their order, the head and everything else of the configuration that is no
    matter of the machine, the loss, what the processor makes of a row (transcripts, the version of the prompt), the
    adapter, and what is trained on.

    Args:
        checkpoint: Its folder.
        model: The model that is to take its weights, or a `PeftModel` around it.
        processor: Its processor.
        args: The training arguments.

    Raises:
        ValueError: Something differs.
    """
    adapters = getattr(model, "peft_config", {}) or {}
    saved_adapter = _read(checkpoint, PEFT_CONFIG_NAME)
    if bool(adapters) != (saved_adapter is not None):
        kind = "an adapter" if saved_adapter is not None else "all weights"
        raise ValueError(
            f"{checkpoint} holds {kind}, and {'an adapter' if adapters else 'all weights'} would be trained now: "
            "nothing of it would be loaded. Mend: give lora as it was, or choose another output folder."
        )
    differences = list(_config_differences(_read(checkpoint, CONFIG_NAME, ADAPTER_CONFIG_NAME) or {}, model.config))
    differences += _processor_differences(_read(checkpoint, PROCESSOR_NAME) or {}, processor)
    if saved_adapter is not None:
        differences += _adapter_differences(saved_adapter, next(iter(adapters.values())))
    written = _read(checkpoint, "training_args.json") or {}
    differences += [
        f"{name}: {written[name]!r} there, {getattr(args, name)!r} now"
        for name in LEARNT
        if name in written and hasattr(args, name) and written[name] != getattr(args, name)
    ]
    if differences:
        raise ValueError(
            f"{checkpoint} is of another training, and its weights would mean something else here: "
            f"{'; '.join(differences)}. Mend: resume with the settings it was written with, or start a new training "
            "from it in another output folder (--backbone with its folder, without --resume_from_checkpoint)."
        )


def warn_about_rows(checkpoint: str, rows: dict[str, Any] | None) -> None:
    """Warn where a checkpoint was trained on other rows than those that it would go on with.

    Args:
        checkpoint: Its folder.
        rows: What `facts_of_rows` says of the training rows now; None for a stream.
    """
    there = read_facts(checkpoint).get("rows")
    for difference in differing_rows(there, rows) if there and rows else ():
        logger.warning(
            "the training rows are not those of %s (%s): the weights will have seen both, and a part of an epoch may "
            "be left out or come twice. Mend: resume on the rows it was trained on, or start a new training from it in "
            "another output folder.",
            checkpoint,
            difference,
        )


def changed_rates(checkpoint: str, args: Any) -> dict[str, tuple[Any, Any]]:
    """Optimizer settings that are not a checkpoint's own: by name, what they are there and now."""
    written = _read(checkpoint, "training_args.json") or {}
    return {
        name: (written[name], _plain(getattr(args, name)))
        for name in KEPT_AT_RESUME
        if name in written and hasattr(args, name) and _plain(getattr(args, name)) != written[name]
    }


def metric_changed(checkpoint: str, args: Any) -> str | None:
    """The metric and the column that a checkpoint's best score is of, where another one chooses now."""
    written = _read(checkpoint, "training_args.json") or {}
    names = ("metric_for_best_model", "score_column")
    if any(name in written and written[name] != getattr(args, name) for name in names):
        return " on ".join(str(written.get(name)) for name in names)
    return None


def _read(checkpoint: str, *names: str) -> dict[str, Any] | None:
    for name in names:
        path = Path(checkpoint, name)
        if path.is_file():
            return read_json(path, MEND)
    return None


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)  # an enumeration is written as its value


def _config_differences(saved: Mapping[str, Any], config: Any) -> Iterator[str]:
    if not saved:
        return
    now = json.loads(config.to_json_string(use_diff=False))
    if saved.get("model_type", now["model_type"]) != now["model_type"]:
        yield f"model_type: {saved['model_type']!r} there, {now['model_type']!r} now"
        return
    # a file leaves out what is as by default
    saved = json.loads(type(config).from_dict(dict(saved)).to_json_string(use_diff=False))
    emotions = [saved["id2label"][key] for key in sorted(saved.get("id2label") or {}, key=int)]
    if emotions and emotions != list(config.emotions):
        yield f"emotions: {emotions} there, {list(config.emotions)} now"
    yield from _differences(saved, now, "")


def _differences(saved: Mapping[str, Any], now: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name in sorted(saved.keys() & now.keys()):
        if _NOT_OF_THE_WEIGHTS.search(name) or name in ("id2label", "label2id", "problem_type"):
            continue
        if isinstance(saved[name], Mapping) and isinstance(now[name], Mapping):
            yield from _differences(saved[name], now[name], f"{prefix}{name}.")
        elif saved[name] != now[name]:
            yield f"{prefix}{name}: {saved[name]!r} there, {now[name]!r} now"


def _processor_differences(saved: Mapping[str, Any], processor: Any) -> list[str]:
    return [
        f"{name}: {saved[name]!r} there, {getattr(processor, name)!r} now"
        for name in processor.settings
        if name in saved and name != "emotions" and hasattr(processor, name) and saved[name] != getattr(processor, name)
    ]


def _adapter_differences(saved: Mapping[str, Any], adapter: Any) -> list[str]:
    now = adapter.to_dict()
    found = []
    for name in sorted(saved.keys() & now.keys()):
        there, here = saved[name], _plain(now[name])
        if isinstance(here, set | frozenset | tuple) or (isinstance(here, list) and isinstance(there, list)):
            there, here = sorted(map(str, there or ())), sorted(map(str, here))
        if name not in _NOT_OF_THE_ADAPTER and there != here:
            found.append(f"{name} of the adapter: {there!r} there, {here!r} now")
    return found
