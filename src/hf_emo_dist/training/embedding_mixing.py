"""Batches whose mixed rows hold two clips, for the model to mix in its embedding space. See `modeling.embedding_mixing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from ..audio.decoding import AudioError
from .cached_tower import cached_inputs, transform_of
from .tower_cache import TowerCache

SECOND = "mix_audio"


class AnnounceEpochs(TrainerCallback):
    """Tells a data set that draws anew each epoch (a lazy mixer, a perturbation) which epoch it is, also after resuming.

    >>> AnnounceEpochs(object()).announced
    []
    """

    def __init__(self, dataset: Any, *others: Any) -> None:
        self.announced: list[Any] = [
            thing for thing in (dataset, transform_of(dataset), *others) if hasattr(thing, "set_epoch")
        ]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the data loader starts on the epoch."""
        for thing in self.announced:
            # a resumed epoch begins at a fraction
            thing.set_epoch(int((state.epoch or 0.0) + 1e-6))


def second_clip(row: Mapping[str, Any]) -> Any:
    """The clip that a row is to be mixed with, `None` where there is none."""
    clip = row.get(SECOND)
    if isinstance(clip, Mapping) and all(clip.get(part) is None for part in ("bytes", "path", "array")):
        return None
    return clip


def check_mixing(dataset: Any, mix_embeddings: bool) -> None:
    """Finds training data and a setting that do not fit, before training starts.

    Raises:
        ValueError: rows with two clips and no `mix_embeddings`, or the other way round.
    """
    names = getattr(dataset, "column_names", None) or []
    if SECOND in names and not mix_embeddings:
        raise ValueError(
            "the training data has rows with two clips (`mix_audio`), which only mix_embeddings=True mixes: set it, or make the data with "
            "DiMEAug(...).augment(dataset), which mixes waveforms"
        )
    if mix_embeddings and names and SECOND not in names:
        raise ValueError(
            "mix_embeddings=True needs rows with two clips (`mix_audio`): make them with DiMEAug(...).augment(dataset, space='embedding')"
        )


def refuse_second_clips(rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuses rows with two clips where only one would be heard.

    Raises:
        ValueError: naming the row.
    """
    for row in rows:
        if second_clip(row) is not None:
            raise ValueError(
                f"row {row.get('id')!r} has two clips (`mix_audio`), and one alone does not fit its target: set mix_embeddings=True"
            )


def paired_inputs(processor: Any, cache: TowerCache | None, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Model inputs of rows of which some have a second clip.

    Returns:
        The processor's (or `cached_inputs`') for the rows' own clips, with the second clips behind them in `input_features` or
        `audio_embeddings`, and `mix_lengths`, `mix_partner`, `mix_ratio` for `mix_embeddings`.

    Raises:
        AudioError: a clip of a mixed row is over 30 s, which would be cut into windows.
        ValueError: a mixed row has one clip only, or no `mix_ratio`; it names the row.
    """
    seconds = {place: clip for place, row in enumerate(rows) if (clip := second_clip(row)) is not None}
    for place, row in enumerate(rows):
        if row.get("mixed_from") and place not in seconds:
            raise ValueError(
                f"row {row.get('id')!r} was mixed as a waveform, and mix_embeddings=True needs both clips (`mix_audio`): make the rows "
                "with DiMEAug(...).augment(dataset, space='embedding')"
            )
        if place in seconds and row.get("mix_ratio") is None:
            raise ValueError(f"row {row.get('id')!r} has `mix_audio` but no `mix_ratio`")
    partners = [{"id": f"{rows[place].get('id')} (second clip)", "audio": clip} for place, clip in seconds.items()]
    everything = [*rows, *partners]
    batch = dict(processor.from_rows(everything)) if cache is None else cached_inputs(processor, cache, everything)
    if not seconds:
        return batch
    owners = batch["row_index"] if "row_index" in batch else torch.arange(len(everything))
    clips = int((owners < len(rows)).sum())
    places = {int(owner): clip for clip, owner in enumerate(owners)}
    cut = [place for place in (*seconds, *range(len(rows), len(everything))) if int((owners == place).sum()) > 1]
    if cut:
        raise AudioError(
            f"row {everything[cut[0]].get('id')!r} is over 30 s: mixed rows are not cut into windows; leave it out"
        )
    batch["mix_lengths"] = (batch["input_ids"] == processor.audio_token_id).sum(1)
    batch["mix_partner"] = torch.full((clips,), -1)
    batch["mix_ratio"] = torch.ones(clips)
    for number, place in enumerate(seconds):
        batch["mix_partner"][places[place]] = places[len(rows) + number]
        batch["mix_ratio"][places[place]] = float(rows[place]["mix_ratio"])
    longest = int(batch["attention_mask"][:clips].sum(1).max())  # padding is on the right
    for name in ("input_ids", "attention_mask"):
        batch[name] = batch[name][:clips, :longest]
    for name in ("row_index", "row_weight"):
        if name in batch:
            batch[name] = batch[name][:clips]
    return batch
