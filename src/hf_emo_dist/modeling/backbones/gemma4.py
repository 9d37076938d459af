"""Gemma 4 (E2B, E4B): a conformer with local attention and a Gemma language model, without its eyes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn
from transformers import Gemma4ForConditionalGeneration
from transformers.models.gemma4.modeling_gemma4 import Gemma4Model, Gemma4PreTrainedModel

from ...audio.decoding import SAMPLING_RATE
from ..lora_targets import ATTENTION, FEED_FORWARD
from .audio_language import AudioLanguageForEmotionDistribution
from .audio_language_processing import AudioLanguageProcessor


class Gemma4EmotionProcessor(AudioLanguageProcessor):
    """Gemma 4's `EmotionDistributionProcessor`; see `AudioLanguageProcessor`."""

    family = "gemma4"
    audio_token = "<|audio|>"
    before = "<bos><|turn>user\n<|audio>"
    after = "<audio|>{question}<turn|>\n<|turn>model\n"
    prompt_tokens: ClassVar[tuple[str, ...]] = ("<bos>", "<|turn>", "<turn|>", "<|audio>", "<audio|>")

    def served_frame(self) -> tuple[str, str]:
        """Return it without the tokens around the audio, which transformers' own processor writes."""
        before, after = self.frame()
        return before.removesuffix("<|audio>"), after.removeprefix("<audio|>")

    def num_tokens(self, num_samples: int) -> int:
        """Return the audio placeholders of a clip at 16 kHz: two convolutions of stride 2 on its mel frames."""
        extractor = self.feature_extractor
        frames = (num_samples + extractor.frame_length // 2 - extractor.frame_length - 1) // extractor.hop_length + 1
        return halved_twice(frames)

    def audio_features(self, clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Compute `input_features` (clips, frames, mel bins) and their mask (clips, frames) of clips at 16 kHz."""
        features = self.feature_extractor(list(clips), sampling_rate=SAMPLING_RATE, return_tensors="np")
        return {
            "input_features": np.asarray(features["input_features"], dtype=np.float32),
            "feature_attention_mask": np.asarray(features["input_features_mask"], dtype=np.int64),
        }


class Gemma4ForEmotionDistribution(AudioLanguageForEmotionDistribution, Gemma4PreTrainedModel):
    """Gemma 4 that answers with the distribution of emotions that listeners perceive.

    Its vision tower is neither built nor loaded.
    """

    family = "gemma4"
    family_name = "Gemma 4"
    family_example = "google/gemma-4-e2b-it"
    backbone_class = Gemma4Model
    stock_class = Gemma4ForConditionalGeneration
    processor_class = Gemma4EmotionProcessor
    parts: ClassVar[dict[str, str]] = {
        "audio_tower": "audio_tower",
        "projector": "embed_audio",
        "language_model": "language_model",
    }
    not_built = "vision tower"
    # the tower's linear layers lie in a wrapper of the same names, which LoRA does not take
    lora_targets: ClassVar[dict[str, list[str] | str]] = {
        "paper": rf".*language_model\..*\.({'|'.join(ATTENTION)})|.*audio_tower\..*\.(q_proj|k_proj|v_proj)\.linear",
        "language_model": rf".*language_model\..*\.({'|'.join(ATTENTION)})",
        "all": (
            rf".*language_model\..*\.({'|'.join((*ATTENTION, *FEED_FORWARD))})"
            r"|.*audio_tower\.layers\..*\.linear|.*embed_audio\.embedding_projection"
        ),
    }
    _no_split_modules: ClassVar[list[str]] = ["Gemma4AudioLayer", "Gemma4TextDecoderLayer"]
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [
        r"^lm_head",
        r"vision_tower",
        r"embed_vision",
        # of layers that take their keys and values from others
        r"language_model\.layers\.\d+\.self_attn\.(k_proj|v_proj|k_norm|v_norm)",
    ]

    def build(self, config: Any) -> nn.Module:
        """Build the headless model without its vision tower.

        Raises:
            ValueError: This size of Gemma 4 hears nothing.
        """
        own = copy.copy(config.backbone_config)
        if own.audio_config is None:
            raise ValueError(
                "this Gemma 4 has no audio tower. Mend: name one that has, such as google/gemma-4-e2b-it or -e4b-it."
            )
        own.vision_config = None
        return Gemma4Model(own)

    @property
    def filler_id(self) -> int:
        """The padding token, whose per-layer embeddings the audio has."""
        return int(self.config.text_config.pad_token_id or 0)

    def rows_of(self, frames: int) -> int:
        """Return the audio tokens of a clip of so many frames."""
        return halved_twice(frames)

    def encode(self, input_features: Tensor, feature_attention_mask: Tensor) -> Tensor:
        """Return the tower's outputs, (audio tokens of all clips, d)."""
        tower = self.part("audio_tower")
        outputs: Any = tower(input_features.to(tower.output_proj.weight.dtype), feature_attention_mask.bool())
        encoded: Tensor = outputs.last_hidden_state[outputs.attention_mask]
        return encoded

    def language_inputs(self, input_ids: Tensor, places: Tensor) -> dict[str, Any]:
        """Return the embeddings that each layer adds, where this size has them."""
        language_model = self.part("language_model")
        if not self.config.text_config.hidden_size_per_layer_input:
            return {}
        return {"per_layer_inputs": language_model.get_per_layer_inputs(input_ids)}


def halved_twice(frames: int) -> int:
    """Return what two convolutions of stride 2 make of so many frames."""
    return -(-frames // 4)
