"""Gemma 4 (E2B, E4B): a conformer with local attention; of its Gemma language model some layers see a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ....audio.decoding import SAMPLING_RATE
from .family import Family

if TYPE_CHECKING:
    from torch import Tensor


class Gemma4Family(Family):
    """Gemma 4 of the sizes that hear."""

    title = "Gemma 4"
    example = "google/gemma-4-e2b-it"
    tested = True
    untested = "its own processor, which needs torchvision"
    longest_clip_s: ClassVar[float | None] = 30.0

    @property
    def filler_id(self) -> int:
        """The padding token, whose per-layer embeddings the audio has."""
        return int(self.text_config.pad_token_id or 0)

    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens around a clip, which the processor writes."""
        begin, end = (
            self.tokenizer.convert_tokens_to_ids(token)
            for token in (self.processor.boa_token, self.processor.eoa_token)
        )
        return (int(begin),), (int(end),)

    def logits(self, hidden: Tensor) -> Tensor:
        """Turn states of the language model into logits."""
        logits = super().logits(hidden)
        cap = self.text_config.final_logit_softcapping
        return logits if cap is None else (logits / cap).tanh() * cap

    def language_inputs(self, input_ids: Tensor) -> dict[str, Any]:
        """Return the embeddings that each layer adds, where this size has them."""
        if not self.text_config.hidden_size_per_layer_input:
            return {}
        return {"per_layer_inputs": self.language_model.get_per_layer_inputs(input_ids)}

    def audio_tokens(self, num_samples: int) -> int:
        """Return how many tokens a clip at 16 kHz has: two convolutions of stride 2 on its mel frames."""
        extractor = self.processor.feature_extractor
        frames = (num_samples + extractor.frame_length // 2 - extractor.frame_length - 1) // extractor.hop_length + 1
        return -(-frames // 4)

    def inputs(self, clips: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return features (clips, frames, mel bins) and their mask."""
        features = self.processor.feature_extractor(list(clips), sampling_rate=SAMPLING_RATE, return_tensors="pt")
        return {name: features[name] for name in ("input_features", "input_features_mask")}

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the projected outputs of the conformer."""
        outputs = self.model.model.get_audio_features(
            inputs["input_features"], inputs["input_features_mask"].bool(), return_dict=True
        )
        valid: Tensor = outputs.pooler_output[outputs.attention_mask]
        return valid
