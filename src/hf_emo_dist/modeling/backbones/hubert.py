"""HuBERT."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from transformers.models.hubert.modeling_hubert import HubertFeatureEncoder, HubertModel

from ..lora_targets import speech_encoder_targets
from .speech_processing import WaveformEmotionProcessor
from .waveform_encoder import MaskedFeatureEncoder, WaveformEncoderForEmotionDistribution


class _MaskedHubertFeatureEncoder(MaskedFeatureEncoder, HubertFeatureEncoder):
    pass


class HubertForEmotionDistribution(WaveformEncoderForEmotionDistribution):
    """HuBERT with a head for distributions of emotions."""

    family = "hubert"
    family_name = "HuBERT"
    family_example = "facebook/hubert-large-ll60k"
    processor_class = WaveformEmotionProcessor
    lora_targets = speech_encoder_targets("q_proj|k_proj|v_proj|out_proj", "intermediate_dense|output_dense")
    encoder_class = HubertModel
    encoder_prefix = "hubert"
    masked_modules: ClassVar[dict[type[nn.Module], type[nn.Module]]] = {
        HubertFeatureEncoder: _MaskedHubertFeatureEncoder
    }
    _no_split_modules: ClassVar[list[str]] = ["HubertEncoderLayer", "HubertEncoderLayerStableLayerNorm"]

    @classmethod
    def check_encoder(cls, config: Any) -> None:
        """Refuse what stock HuBERT does not mask."""
        super().check_encoder(config)
        if getattr(config, "conv_pos_batch_norm", False):
            raise ValueError(
                "this HuBERT normalises its positions over a batch's padding (conv_pos_batch_norm=True). Mend: name "
                "another checkpoint."
            )
