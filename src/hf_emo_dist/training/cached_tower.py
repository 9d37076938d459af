"""The frozen tower's outputs from the cache: `cached_inputs` in the data loader's workers, `complete_inputs` before the model."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..audio.clips import audio_hash, load_audio
from ..modeling.backbones.qwen2_audio_tower import encode_audio
from ..modeling.processing import clip_sizes
from .tower_cache import Entry, TowerCache

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
ROWS_READ_TWICE = 8


def tower_of(model: Any) -> Any:
    """The audio tower of a model, or of a `PeftModel` around it."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).model.audio_tower


def open_cache(model: Any, processor: Any, args: Any) -> TowerCache:
    """The cache that training arguments ask for.

    Raises:
        ValueError: if the tower is not frozen (see `check_frozen`), or with settings under which its outputs cannot be kept.
    """
    check_frozen(tower_of(model))
    if args.n_gpu > 1:
        raise ValueError("cache_audio_tower needs one process a GPU: start with accelerate launch")
    if args.bf16_full_eval or args.fp16_full_eval:
        raise ValueError(
            "bf16_full_eval and fp16_full_eval change the tower's dtype in evaluation, and cache_audio_tower keeps the outputs of one: "
            "switch one of them off, or load the model in that dtype"
        )
    if getattr(processor.feature_extractor, "dither", 0.0):
        raise ValueError(
            f"the feature extractor adds noise (dither={processor.feature_extractor.dither}), so a clip's features differ from epoch to "
            "epoch: set its dither to 0, or switch cache_audio_tower off"
        )
    cache = TowerCache(
        args.tower_cache_dir or default_folder(),
        hash_for(model, processor, args),
        max_gb=args.tower_cache_max_gb,
        num_processes=args.world_size,
    )
    logger.info("outputs of the audio tower are kept in %s", cache.folder)
    return cache


def hash_for(model: Any, processor: Any, args: Any) -> str:
    """`tower_hash` of a model in training with these arguments."""
    return tower_hash(
        tower_of(model),
        processor.feature_extractor,
        long_audio=processor.long_audio,
        # what `accelerate launch --mixed_precision` says counts too, not only bf16 and fp16 of the arguments
        autocast=args.mixed_precision,
        tf32=args.tf32,
        device=args.device.type,
    )


def default_folder() -> Path:
    """Where entries lie unless a folder is given: `hf_emo_dist/tower_cache` in the Hugging Face cache (`HF_HOME`)."""
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "hf_emo_dist" / "tower_cache"


def check_frozen(tower: torch.nn.Module) -> None:
    """Refuses a tower whose outputs for a clip are not always the same.

    Raises:
        ValueError: for trainable weights or adapter layers in the tower, or dropout.
    """
    trainable = [name for name, value in tower.named_parameters() if value.requires_grad]
    adapted = [name for name, _ in tower.named_parameters() if "lora_" in name or "modules_to_save" in name]
    if trainable or adapted:
        raise ValueError(
            f"cache_audio_tower keeps the audio tower's outputs, and {len(trainable or adapted)} of its weights are trained or belong to "
            f"an adapter (first: {(trainable or adapted)[0]}). Freeze it (freeze_audio_tower=true, or "
            "model.model.audio_tower.requires_grad_(False)) and keep LoRA out of it (lora=language_model), or switch the cache off."
        )
    config: Any = tower.config
    random = {name: getattr(config, name, 0.0) for name in ("dropout", "attention_dropout", "activation_dropout")}
    random["encoder_layerdrop"] = getattr(config, "encoder_layerdrop", 0.0)
    if any(random.values()):
        raise ValueError(
            f"the audio tower drops out ({', '.join(f'{k}={v}' for k, v in random.items() if v)}), so its outputs differ from epoch to "
            "epoch: set these to 0 in the model's audio_config, or switch cache_audio_tower off"
        )


def transform_of(dataset: Any) -> Any:
    """The function that a data set passes its rows through when they are read, `None` where there is none."""
    formatting = dataset.format if hasattr(dataset, "format") else {}
    return (formatting.get("format_kwargs") or {}).get("transform")


def check_repeatable(dataset: Any) -> None:
    """Refuses training data whose clips are perturbed when they are read: no output of the tower would be met again.

    Raises:
        ValueError: if the data's transform says that it draws clips anew each epoch, or one of a few rows gives other audio when it is
            read again, naming it.
    """
    if getattr(transform_of(dataset), "changes_audio", False):
        raise ValueError(
            "the training data draws its clips anew each epoch (a lazy mixer, a perturbation), and cache_audio_tower keeps one output a clip. "
            "Write changed copies into the data once (DiMEAug(...).augment), or switch the cache off."
        )
    for index in range(0, len(dataset), max(1, len(dataset) // ROWS_READ_TWICE)):
        rows = [dataset[index] for _ in range(2)]
        name = str(rows[0].get("id", index))
        first, second = (audio_hash(row["audio"], row_id=name) for row in rows)
        if first != second:
            raise ValueError(
                f"row {name!r} of the training data gives other audio each time it is read (a perturbation in set_transform?), and "
                "cache_audio_tower keeps one output a clip. Write perturbed copies into the data once, or switch the cache off."
            )


def tower_hash(tower: torch.nn.Module, feature_extractor: Any, **settings: Any) -> str:
    """Hash of everything but the clip that the tower's outputs depend on: weights, dtypes, configurations, `settings`.

    Returns:
        64 hexadecimal digits.
    """
    config: Any = tower.config
    described = {
        "format": FORMAT_VERSION,
        "tower": {k: v for k, v in config.to_dict().items() if k not in ("_name_or_path", "transformers_version")},
        "attention": str(getattr(config, "_attn_implementation", None)),
        "features": feature_extractor.to_dict(),
        **settings,
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for name, value in sorted(tower.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}:".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def cached_inputs(processor: Any, cache: TowerCache, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch's inputs from the cache where it has them, without decoding those clips; `complete_inputs` computes the rest.

    Args:
        processor: an `EmotionDistributionProcessor`.
        cache: of the tower's outputs.
        rows: data set rows.

    Returns:
        `input_ids`, `attention_mask`, and for windows `row_index` and `row_weight`, as the processor makes them; `audio_embeddings`
        (tokens of the rows that were found, d_model), or `input_features` and `feature_attention_mask` of those that were not, or both. Where
        any was not found, `new_rows` has for every row what it is to be kept under (None if it was found), and the tokens and seconds of
        its clips.

    Raises:
        AudioError: for a clip that cannot be used, naming it.
    """
    names = [str(row.get("id", i)) for i, row in enumerate(rows)]
    about: list[tuple[str | None, list[int], list[float]]] = []
    found: list[Tensor] = []
    new_clips: list[np.ndarray] = []
    for row, name in zip(rows, names, strict=True):
        key = audio_hash(row["audio"], row_id=name)
        entry = cache.get(key)
        if entry is not None:
            found.append(entry.embeddings)
            about.append((None, entry.counts, entry.seconds))
            continue
        clips = processor.cut(load_audio(row["audio"], row_id=name), name=name)
        new_clips += clips
        (counts,), (seconds,) = clip_sizes([clips])
        about.append((key, counts, seconds))
    batch: dict[str, Any] = processor.text_inputs(
        [counts for _, counts, _ in about],
        [seconds for _, _, seconds in about],
        [row.get("transcript") for row in rows],
        [row.get("speaker") for row in rows],
    )
    if new_clips:
        batch.update(processor.audio_features(new_clips))
    tensors: dict[str, Any] = {name: torch.from_numpy(value) for name, value in batch.items()}
    if found:
        tensors["audio_embeddings"] = torch.cat(found)
    if new_clips:
        tensors["new_rows"] = about
    return tensors


@torch.no_grad()
def complete_inputs(inputs: dict[str, Any], model: Any, cache: TowerCache) -> dict[str, Any]:
    """Runs the tower on the clips of a batch that the cache lacks, keeps the outputs, and gives inputs for the model.

    Args:
        inputs: what `cached_inputs` made, on the model's device.
        model: the model, or a `PeftModel` around it.
        cache: where new outputs go.

    Returns:
        The inputs with `audio_embeddings` of all clips and without features.
    """
    if "new_rows" not in inputs:
        return inputs
    inputs = dict(inputs)
    features, mask, rows = (inputs.pop(name) for name in ("input_features", "feature_attention_mask", "new_rows"))
    tower = tower_of(model)
    was_training = tower.training
    tower.eval()  # it has no dropout (check_frozen); this only keeps activation checkpointing out of it
    try:
        new = encode_audio(tower, features, mask)
    finally:
        tower.train(was_training)
    if not cache.full:
        # one transfer to the host for the batch, not one a clip
        parts = new.cpu().split([sum(counts) for key, counts, _ in rows if key is not None])
        for part, (key, counts, seconds) in zip(parts, (row for row in rows if row[0] is not None), strict=True):
            cache.put(key, Entry(part, counts, seconds))
    if "audio_embeddings" in inputs:
        sizes = torch.tensor([sum(counts) for _, counts, _ in rows])
        known = torch.tensor([key is None for key, _, _ in rows]).repeat_interleave(sizes).to(new.device)
        whole = torch.empty((len(known), new.shape[1]), dtype=new.dtype, device=new.device)
        whole[known] = inputs["audio_embeddings"].to(new.dtype)
        whole[~known] = new
        new = whole
    return {**inputs, "audio_embeddings": new}
