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

from ..audio import SAMPLING_RATE, audio_hash, load_audio
from ..modeling.audio_tower import encode_audio, num_audio_tokens, num_mel_frames
from .tower_cache import Entry, TowerCache

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1


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
    cache = TowerCache(
        args.tower_cache_dir or default_folder(), hash_for(model, processor, args), max_gb=args.tower_cache_max_gb
    )
    logger.info("outputs of the audio tower are kept in %s", cache.folder)
    return cache


def hash_for(model: Any, processor: Any, args: Any) -> str:
    """`tower_hash` of a model in training with these arguments."""
    return tower_hash(
        tower_of(model),
        processor.feature_extractor,
        long_audio=processor.long_audio,
        autocast="bf16" if args.bf16 else "fp16" if args.fp16 else "no",
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
        (tokens of the clips that were found, d_model), or `input_features` and `feature_attention_mask` of those that were not, or both,
        with `cached_clips` (clips,) bool; and `audio_keys`, what the rows that were not found are to be kept under.
    """
    names = [str(row.get("id", i)) for i, row in enumerate(rows)]
    found: list[Tensor] = []
    new_clips: list[np.ndarray] = []
    owners: list[int] = []
    counts: list[int] = []
    seconds: list[float] = []
    cached: list[bool] = []
    keys: list[str] = []
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        key = audio_hash(row["audio"]) if row["audio"] is not None else ""
        entry = cache.get(key) if key else None
        if entry is None:
            clips = processor.cut(load_audio(row["audio"], row_id=name), name=name)
            new_clips += clips
            keys.append(key)
            entry_counts = [num_audio_tokens(num_mel_frames(len(clip))) for clip in clips]
            entry_seconds = [len(clip) / SAMPLING_RATE for clip in clips]
        else:
            found.append(entry.embeddings)
            entry_counts, entry_seconds = entry.counts, entry.seconds
        counts += entry_counts
        seconds += entry_seconds
        owners += [number] * len(entry_counts)
        cached += [entry is not None] * len(entry_counts)
    batch: dict[str, Any] = processor.text_inputs(
        counts, [rows[i].get("transcript") for i in owners], [rows[i].get("speaker") for i in owners]
    )
    if new_clips:
        batch.update(processor.audio_features(new_clips))
    if len(owners) > len(rows):
        batch["row_index"] = np.array(owners, dtype=np.int64)
        batch["row_weight"] = np.array(seconds, dtype=np.float32)
    tensors: dict[str, Any] = {name: torch.from_numpy(value) for name, value in batch.items()}
    if found:
        tensors["audio_embeddings"] = torch.cat(found)
    if new_clips:
        tensors["cached_clips"] = torch.tensor(cached)
        tensors["audio_keys"] = keys
        tensors["clip_rows"] = torch.tensor(owners)
        tensors["clip_seconds"] = torch.tensor(seconds, dtype=torch.float64)
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
    if "audio_keys" not in inputs:
        return inputs
    inputs = dict(inputs)
    features, mask, keys, owners, seconds, cached = (
        inputs.pop(name)
        for name in (
            "input_features",
            "feature_attention_mask",
            "audio_keys",
            "clip_rows",
            "clip_seconds",
            "cached_clips",
        )
    )
    tower = tower_of(model)
    was_training = tower.training
    tower.eval()  # it has no dropout (check_frozen); this only keeps activation checkpointing out of it
    try:
        new = encode_audio(tower, features, mask)
    finally:
        tower.train(was_training)
    # second clips of mixed rows have no prompt of their own
    counts = inputs.get("mix_lengths")
    if counts is None:
        counts = (inputs["input_ids"] == model.config.audio_token_id).sum(1)
    new_counts, new_rows = counts[~cached].tolist(), owners[~cached].tolist()
    new_seconds = seconds[~cached].tolist()
    # one transfer to the host for the batch, not one a clip
    parts = list(new.cpu().split(new_counts))
    for key, row in zip(keys, dict.fromkeys(new_rows), strict=True):
        mine = [i for i, owner in enumerate(new_rows) if owner == row]
        cache.put(
            key,
            Entry(torch.cat([parts[i] for i in mine]), [new_counts[i] for i in mine], [new_seconds[i] for i in mine]),
        )
    if cached.any():
        known = torch.repeat_interleave(cached, counts)
        whole = torch.empty((len(known), new.shape[1]), dtype=new.dtype, device=new.device)
        whole[known] = inputs["audio_embeddings"].to(new.dtype)
        whole[~known] = new
        inputs["audio_embeddings"] = whole
    else:
        inputs["audio_embeddings"] = new
    return inputs
