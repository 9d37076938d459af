"""Phi-4-multimodal: a conformer and a Phi language model with an adapter for speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ....audio.decoding import SAMPLING_RATE
from .family import FamilyOfTexts

if TYPE_CHECKING:
    from torch import Tensor

#: Where the checkpoint keeps the adapter, and what it is called.
_ADAPTER = ("speech-lora", "speech")


class Phi4MultimodalFamily(FamilyOfTexts):
    """Phi-4-multimodal. Clips go through its conformer one by one: in a batch they come out otherwise."""

    title = "Phi-4-multimodal"
    example = "microsoft/Phi-4-multimodal-instruct"
    tested = True
    untested = "its own processor, and its adapter for speech as it lies on the Hub"
    longest_clip_s: ClassVar[float | None] = 1800.0

    @classmethod
    def loaded(cls, model: Any, where: str, revision: str | None) -> None:
        """Load the adapter for speech beside the weights."""
        if not getattr(model, "_hf_peft_config_loaded", False):
            model.load_adapter(
                where, adapter_name=_ADAPTER[1], adapter_kwargs={"subfolder": _ADAPTER[0], "revision": revision}
            )
        model.set_adapter(_ADAPTER[1])

    @property
    def language_model(self) -> Any:
        """The stack of decoder layers, which holds the towers too."""
        return self.model.model

    @property
    def audio_token_id(self) -> int:
        """The token of one row of audio."""
        return int(self.model.config.audio_config.audio_token_id)

    @property
    def context(self) -> int | None:
        """How many tokens fit: beyond, all positions are rotated otherwise, those that were read already too."""
        return getattr(self.text_config, "original_max_position_embeddings", None) or super().context

    def audio_tokens(self, num_samples: int) -> int:
        """Return how many tokens a clip at 16 kHz has."""
        extractor = self._extractor
        frames = (num_samples - extractor.win_length) // extractor.hop_length + 1
        tokens = -(-frames * extractor.audio_feat_stride // extractor.audio_compression_rate)
        return -(-tokens // int(extractor.audio_downsample_rate))

    @property
    def _extractor(self) -> Any:
        return self.processor.audio_processor

    def inputs(self, clips: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return features of clips of equal length, and how many tokens each has."""
        features = self._extractor(list(clips), sampling_rate=SAMPLING_RATE, return_tensors="pt")
        return {name: features[name] for name in ("audio_input_features", "audio_embed_sizes")}

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the projected outputs of the conformer."""
        import torch

        heard = self.model.model.embed_tokens_extend.audio_embed
        states = heard.encoder(inputs["audio_input_features"], None)
        embeddings = heard.down_proj_for_speech(torch.nn.functional.gelu(heard.up_proj_for_speech(states)))
        sizes = inputs["audio_embed_sizes"].tolist()
        return torch.cat([rows[:size] for rows, size in zip(embeddings, sizes, strict=True)])
