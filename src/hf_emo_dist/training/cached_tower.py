"""The outputs of a frozen audio tower, kept on disk.

`cached_inputs` reads them in the data loader's workers, `complete_inputs` computes and writes those that are missing,
just before the model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .._files import refuse_special
from ..audio.clips import audio_hash, load_audio
from ..audio.qwen2_audio_tower import add_weights

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
ROWS_READ_TWICE = 8
GIGABYTE = 10**9


@dataclass
class Entry:
    """The tower's outputs for one row."""

    embeddings: Tensor  # (tokens of all its clips, d_model), clip after clip
    counts: list[int]  # tokens of each clip; more than one where the row was cut into windows
    seconds: list[float]  # of each clip


@dataclass
class TowerCache:
    """One safetensors file a row, in a folder that several processes and data loader workers may share."""

    # An entry that is damaged is told apart by its checksum, said once, and computed again. The folder's size is
    # bounded; when it is full a message says so, what is there is still read, and other clips are computed in each
    # epoch. The bound counts the entries of other towers in the same folder too; each process measures the folder again
    # whenever it has written half of its share of what was free, so it is passed by a clip a process at most.

    folder: str | os.PathLike[str]
    tower: str  # what `tower_hash` gave; entries of other towers are never read
    max_gb: float = 20.0  # 10⁹ bytes
    with_counts: bool = False  # whether the model is told how many outputs each clip has
    num_processes: int = 1  # that write into it at the same time
    full: bool = field(default=False, init=False)
    _size: int = field(default=0, init=False, repr=False)
    _measure_at: int = field(default=0, init=False, repr=False)
    _damaged: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        Path(self.folder).mkdir(parents=True, exist_ok=True)

    def path(self, clip: str) -> Path:
        """Name the file of the clip whose `audio_hash` is `clip`."""
        return Path(self.folder) / self.tower[:32] / clip[:2] / f"{clip}.safetensors"

    def get(self, clip: str) -> Entry | None:
        """Read the entry of a clip; None where there is none or it is damaged."""
        path = self.path(clip)
        try:
            refuse_special(path)  # a named pipe would wait for somebody who writes
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                embeddings = file.get_tensor("embeddings")
            if about["tower"] == self.tower and int(about["checksum"]) == _checksum(embeddings, clip, about):
                return Entry(embeddings, json.loads(about["counts"]), json.loads(about["seconds"]))
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
            logger.debug("%s: %s", path, error)
        if not self._damaged:
            self._damaged = True
            logger.warning("%s is damaged; it is computed again (further ones are not reported)", path)
        return None

    def put(self, clip: str, entry: Entry) -> bool:
        """Write the entry of a clip; False where the folder is full or cannot be written."""
        if self.full:
            return False
        embeddings = entry.embeddings.detach().cpu().contiguous()
        about = {
            "tower": self.tower,
            "counts": json.dumps(entry.counts),
            "seconds": json.dumps(entry.seconds),
        }
        about["checksum"] = str(_checksum(embeddings, clip, about))
        data = save({"embeddings": embeddings}, metadata=about)
        path, bound = self.path(clip), int(self.max_gb * GIGABYTE)
        if self._size >= self._measure_at:
            self._size = _folder_size(Path(self.folder))
            self._measure_at = self._size + (bound - self._size) // (2 * self.num_processes)
        if self._size + len(data) > bound:
            return self._stop(f"has reached tower_cache_max_gb={self.max_gb:g}")
        # not tempfile: its files are for their owner alone, and the folder may be a group's
        temporary = path.with_name(f".{clip[:16]}-{uuid.uuid4().hex}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            # whole or not at all: another process may be reading
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            return self._stop(f"cannot be written ({error.strerror or error})")
        self._size += len(data)
        return True

    def _stop(self, reason: str) -> bool:
        self.full = True
        logger.warning(
            "the cache of the audio tower in %s %s: clips that are not in it yet are computed in every epoch. "
            "Mend: delete what is no longer needed there, or raise tower_cache_max_gb.",
            self.folder,
            reason,
        )
        return False


def _checksum(embeddings: Tensor, clip: str, about: Mapping[str, str]) -> int:
    """Of the outputs and of all that is said of them: whose they are, their shape and type, tokens and seconds."""
    told = [clip, *(about[name] for name in ("tower", "counts", "seconds")), str(embeddings.dtype), embeddings.shape]
    return zlib.crc32(embeddings.reshape(-1).view(torch.uint8).numpy(), zlib.crc32(json.dumps(told).encode()))


def _folder_size(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # another process renamed it
                continue
    return size


def network_of(model: Any) -> Any:
    """Return the model that a `PeftModel` is around, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def tower_of(model: Any) -> Any:
    """Return what hears the audio in a model: an audio tower, or the encoder itself."""
    return network_of(model).cached_part


def open_cache(model: Any, processor: Any, args: Any) -> TowerCache:
    """Open the cache that training arguments ask for, if the tower's outputs can be kept."""
    network = network_of(model)
    check_frozen(network.cached_part, network.drops_out_when_frozen)
    if args.n_gpu > 1:
        raise ValueError("cache_audio_tower needs one process a GPU. Mend: start with accelerate launch.")
    if args.bf16_full_eval or args.fp16_full_eval:
        raise ValueError(
            "bf16_full_eval and fp16_full_eval change the tower's dtype in evaluation, and cache_audio_tower keeps the "
            "outputs of one. Mend: switch one of them off, or load the model in that dtype."
        )
    if getattr(processor.feature_extractor, "dither", 0.0):
        raise ValueError(
            f"the feature extractor adds noise (dither={processor.feature_extractor.dither}), so a clip's features "
            "differ from epoch to epoch. Mend: set its dither to 0, or switch cache_audio_tower off."
        )
    from huggingface_hub.constants import HF_HOME

    cache = TowerCache(
        args.tower_cache_dir or Path(HF_HOME) / "hf_emo_dist" / "tower_cache",
        hash_for(model, processor, args),
        max_gb=args.tower_cache_max_gb,
        with_counts=network.takes_counts,
        num_processes=args.world_size,
    )
    logger.info("outputs of the audio tower are kept in %s", cache.folder)
    return cache


def hash_for(model: Any, processor: Any, args: Any) -> str:
    """Give the `tower_hash` of a model in training with these arguments."""
    return tower_hash(
        tower_of(model),
        processor.feature_extractor,
        long_audio=processor.long_audio,
        **network_of(model).cache_settings(),
        # what `accelerate launch --mixed_precision` says counts too, not only bf16 and fp16 of the arguments
        autocast=args.mixed_precision,
        tf32=args.tf32,
        device=args.device.type,
    )


def check_frozen(tower: torch.nn.Module, drops_out: bool = True) -> None:
    """Refuse a tower whose outputs for a clip are not always the same: trained weights, adapter layers, dropout.

    Args:
        tower: What hears the audio.
        drops_out: Whether its dropout is on in training.
    """
    trainable = [name for name, value in tower.named_parameters() if value.requires_grad]
    adapted = [name for name, _ in tower.named_parameters() if "lora_" in name or "modules_to_save" in name]
    if trainable or adapted:
        raise ValueError(
            f"cache_audio_tower keeps the audio tower's outputs, and {len(trainable or adapted)} of its weights are "
            f"trained or belong to an adapter (first: {(trainable or adapted)[0]}). Mend: freeze it "
            "(freeze_audio_tower=true, of a speech encoder freeze=encoder) and keep LoRA out of it "
            "(lora=language_model), or switch the cache off."
        )
    if not drops_out:
        return
    config: Any = tower.config
    names = ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop")
    random = {name: getattr(config, name, 0.0) for name in names}
    if any(random.values()):
        raise ValueError(
            f"the audio tower drops out ({', '.join(f'{k}={v}' for k, v in random.items() if v)}), so its outputs "
            "differ from epoch to epoch. Mend: set these to 0 in the model's audio_config, or switch cache_audio_tower "
            "off."
        )


def transform_of(dataset: Any) -> Any:
    """Return the function that a data set passes its rows through when they are read, `None` where there is none."""
    formatting = dataset.format if hasattr(dataset, "format") else {}
    return (formatting.get("format_kwargs") or {}).get("transform")


def check_repeatable(dataset: Any) -> None:
    """Refuse training data whose clips are perturbed when they are read: no output of the tower would be met again."""
    if getattr(transform_of(dataset), "changes_audio", False):
        raise ValueError(
            "the training data draws its clips anew each epoch (a lazy mixer, a perturbation), and cache_audio_tower "
            "keeps one output a clip. Mend: write changed copies into the data once (DiMEAug(...).augment), or switch "
            "the cache off."
        )
    # any other transform shows itself by what it gives: a few rows are read twice
    for index in range(0, len(dataset), max(1, len(dataset) // ROWS_READ_TWICE)):
        rows = [dataset[index] for _ in range(2)]
        name = str(rows[0].get("id", index))
        first, second = (audio_hash(row["audio"], row_id=name) for row in rows)
        if first != second:
            raise ValueError(
                f"row {name!r} of the training data gives other audio each time it is read (a perturbation in "
                "set_transform?), and cache_audio_tower keeps one output a clip. Mend: write perturbed copies into the "
                "data once, or switch the cache off."
            )


def tower_hash(tower: torch.nn.Module, feature_extractor: Any, **settings: Any) -> str:
    """Hash everything but the clip that the tower's outputs depend on: weights, dtypes, configurations, `settings`."""
    config: Any = tower.config
    described = {
        "format": FORMAT_VERSION,
        "tower": {k: v for k, v in config.to_dict().items() if k not in ("_name_or_path", "transformers_version")},
        "attention": str(getattr(config, "_attn_implementation", None)),
        "features": feature_extractor.to_dict(),
        **settings,
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    add_weights(digest, tower)
    return digest.hexdigest()


def cached_inputs(processor: Any, cache: TowerCache, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a batch's inputs from the cache where it has them, without decoding those clips."""
    # Beside the prompts: `audio_embeddings` (tokens of the rows that were found, d_model), features and their mask of
    # those that were not, or both. Where any was not, `new_rows` has for every row what it is to be kept under (None if
    # it was found) and the tokens and seconds of its clips, for `complete_inputs`.
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
        (counts,), (seconds,) = processor.clip_sizes([clips])
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
        if not new_clips and cache.with_counts:
            tensors["audio_counts"] = torch.tensor([count for _, counts, _ in about for count in counts])
    if new_clips:
        tensors["new_rows"] = about
    return tensors


@torch.no_grad()
def complete_inputs(inputs: dict[str, Any], model: Any, cache: TowerCache) -> dict[str, Any]:
    """Run the tower on the clips of a batch that the cache lacks, keep the outputs, and give inputs for the model."""
    if "new_rows" not in inputs:
        return inputs
    inputs = dict(inputs)
    network = network_of(model)
    rows = inputs.pop("new_rows")
    tower = network.cached_part
    was_training = tower.training
    tower.eval()  # it has no dropout (check_frozen); this only keeps activation checkpointing out of it
    try:
        new, sizes = network.cached_outputs({name: inputs.pop(name) for name in network.audio_input_names})
    finally:
        tower.train(was_training)
    # what a clip was computed to have, where it was not read; the processor counts what the encoder gives, and a model
    # may keep less
    given = iter(sizes)
    rows = [(key, counts if key is None else [next(given) for _ in counts], seconds) for key, counts, seconds in rows]
    if not cache.full:
        # one transfer to the host for the batch, not one a clip
        parts = new.cpu().split([sum(counts) for key, counts, _ in rows if key is not None])
        for part, (key, counts, seconds) in zip(parts, (row for row in rows if row[0] is not None), strict=True):
            cache.put(key, Entry(part, counts, seconds))
    if "audio_embeddings" in inputs:
        lengths = torch.tensor([sum(counts) for _, counts, _ in rows])
        known = torch.tensor([key is None for key, _, _ in rows]).repeat_interleave(lengths).to(new.device)
        whole = torch.empty((len(known), *new.shape[1:]), dtype=new.dtype, device=new.device)
        whole[known] = inputs["audio_embeddings"].to(new.dtype)
        whole[~known] = new
        new = whole
    if cache.with_counts:
        inputs["audio_counts"] = torch.tensor([n for _, counts, _ in rows for n in counts], device=new.device)
    return {**inputs, "audio_embeddings": new}
