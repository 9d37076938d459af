"""Whisper's encoder, on the batch's longest clip instead of on 30 s."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ..bare_encoder import bare_encoder_weights
from ..lora_targets import speech_encoder_targets
from .speech_encoder import SpeechEncoderForEmotionDistribution
from .speech_processing import WhisperEmotionProcessor


class TrimmedWhisperEncoder(WhisperEncoder):
    """`WhisperEncoder` for any even number of mel frames up to 3,000, and with a mask; same parameters."""

    # On 30 s of audio the outputs are the stock ones. On less the stock encoder attends to the silence that it pads
    # with; here padding is kept out, so that the states are the clip's own.

    def forward(  # type: ignore[override]
        self, input_features: Tensor, attention_mask: Tensor, output_hidden_states: bool = False, **kwargs: Any
    ) -> BaseModelOutput:
        """Turn (clips, mel bins, even frames) and their mask (clips, frames) into (clips, frames / 2, d_model)."""
        maximum = 2 * self.max_source_positions
        frames = input_features.shape[-1]
        if frames > maximum or frames % 2:
            raise ValueError(
                f"input_features has {frames} frames; the encoder takes an even number of at most {maximum}. "
                "Mend: use EmotionDistributionProcessor, which pads accordingly."
            )
        hidden = nn.functional.gelu(self.conv1(input_features))
        hidden = nn.functional.gelu(self.conv2(hidden)).permute(0, 2, 1)
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        hidden = nn.functional.dropout(hidden, p=self.dropout, training=self.training)
        mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden, attention_mask=attention_mask[:, ::2]
        )
        states = []
        for layer in self.layers:
            states.append(hidden)
            hidden = layer(hidden, mask)
        hidden = self.layer_norm(hidden)
        return BaseModelOutput(
            last_hidden_state=hidden, hidden_states=(*states, hidden) if output_hidden_states else None
        )


class WhisperForEmotionDistribution(SpeechEncoderForEmotionDistribution):
    """Whisper's encoder with a head for distributions of emotions."""

    family = "whisper"
    family_name = "Whisper"
    family_example = "openai/whisper-large-v3"
    main_input_name = "input_features"
    processor_class = WhisperEmotionProcessor
    lora_targets = speech_encoder_targets("q_proj|k_proj|v_proj|out_proj", "fc1|fc2")
    encoder_class = TrimmedWhisperEncoder
    encoder_prefix = r"model\.encoder"
    layer_drops: ClassVar[tuple[str, ...]] = ("encoder_layerdrop", "decoder_layerdrop")
    _no_split_modules: ClassVar[list[str]] = ["WhisperEncoderLayer"]

    @classmethod
    def bare_weights(cls, name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> dict[str, Tensor] | None:
        """Return the weights of a folder that holds an encoder alone."""
        return bare_encoder_weights(name_or_path, hub)

    def layer_states(self, audio: Tensor, mask: Tensor, all_layers: bool) -> tuple[Sequence[Tensor], Tensor]:
        """Run the encoder on the frames that there are."""
        outputs = self.encoder(audio, mask, output_hidden_states=all_layers)
        layers = outputs.hidden_states if all_layers else (outputs.last_hidden_state,)
        # the second convolution halves the frames, rounding up
        return layers, mask[:, ::2].bool()
