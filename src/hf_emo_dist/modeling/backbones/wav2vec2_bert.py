"""wav2vec2-BERT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from transformers import Wav2Vec2BertModel

from ..lora_targets import speech_encoder_targets
from .speech_encoder import SpeechEncoderForEmotionDistribution
from .speech_processing import FilterBankEmotionProcessor


class Wav2Vec2BertForEmotionDistribution(SpeechEncoderForEmotionDistribution):
    """wav2vec2-BERT with a head for distributions of emotions."""

    family = "wav2vec2-bert"
    family_name = "wav2vec2-BERT"
    family_example = "facebook/w2v-bert-2.0"
    main_input_name = "input_features"
    processor_class = FilterBankEmotionProcessor
    lora_targets = speech_encoder_targets("linear_q|linear_k|linear_v|linear_out", "intermediate_dense|output_dense")
    _supports_flash_attn = False
    encoder_class = Wav2Vec2BertModel
    encoder_prefix = "wav2vec2_bert"
    _no_split_modules: ClassVar[list[str]] = ["Wav2Vec2BertEncoderLayer"]

    def layer_states(self, audio: Tensor, mask: Tensor, all_layers: bool) -> tuple[Sequence[Tensor], Tensor]:
        """Run the stock encoder, which keeps padding out."""
        outputs = self.encoder(audio, attention_mask=mask, output_hidden_states=all_layers)
        return outputs.hidden_states if all_layers else (outputs.last_hidden_state,), mask.bool()
