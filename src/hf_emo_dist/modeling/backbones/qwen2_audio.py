"""`Qwen2AudioForEmotionDistribution`: the headless Qwen2-Audio model and a head that gives one logit an emotion."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import Qwen2AudioModel
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioPreTrainedModel
from transformers.utils import torch_compilable_check

from ..configuration import Qwen2AudioEmotionConfig
from ..head import EmotionDistributionHead
from ..lora_targets import AUDIO_LANGUAGE_TARGETS
from ..model import EmotionDistributionModel
from .qwen2_audio_processing import Qwen2AudioEmotionProcessor
from .qwen2_audio_tower import TrimmedQwen2AudioEncoder, encode_audio


class Qwen2AudioForEmotionDistribution(EmotionDistributionModel, Qwen2AudioPreTrainedModel):
    """Qwen2-Audio that answers with the distribution of emotions that listeners perceive (arXiv 2601.14620).

    `model` is the headless `Qwen2AudioModel`, `head` the paper's head; no language-modelling head is built or loaded.
    The audio tower runs on the batch's longest clip instead of on 30 s, with the stock outputs.

    Example:
        >>> config = Qwen2AudioEmotionConfig(
        ...     emotions=["angry", "sad"],
        ...     audio_config={"model_type": "qwen2_audio_encoder", "d_model": 16, "encoder_layers": 1,
        ...                   "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "num_mel_bins": 8},
        ...     text_config={"model_type": "qwen2", "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16,
        ...                  "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 8},
        ... )
        >>> Qwen2AudioForEmotionDistribution(config).config.emotions
        ('angry', 'sad')
    """

    config_class = Qwen2AudioEmotionConfig
    config: Qwen2AudioEmotionConfig
    family = "qwen2_audio"
    family_name = "Qwen2-Audio"
    family_example = "Qwen/Qwen2-Audio-7B-Instruct"
    processor_class = Qwen2AudioEmotionProcessor
    lora_targets = AUDIO_LANGUAGE_TARGETS
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^lm_head", r"^language_model\.lm_head"]
    _no_split_modules: ClassVar[list[str]] = ["Qwen2AudioEncoderLayer", "Qwen2DecoderLayer"]

    def __init__(self, config: Qwen2AudioEmotionConfig) -> None:
        super().__init__(config)
        self.model = Qwen2AudioModel(config)
        # Replacing the tower keeps parameter names; subclassing Qwen2AudioModel would lose its checkpoint renamings.
        self.model.audio_tower = TrimmedQwen2AudioEncoder(self.model.audio_tower.config)
        self.head = EmotionDistributionHead(config)
        self.post_init()

    def backbone_parts(self) -> dict[str, nn.Module]:
        """Return audio tower, projector and language model."""
        return {
            "audio_tower": self.model.audio_tower,
            "projector": self.model.multi_modal_projector,
            "language_model": self.model.language_model,
        }

    def embed(
        self,
        input_ids: Tensor,
        input_features: Tensor | None = None,
        feature_attention_mask: Tensor | None = None,
        audio_embeddings: Tensor | None = None,
    ) -> Tensor:
        """Return token embeddings with the projected audio in the places of the audio tokens, (batch, L, d)."""
        embeddings = self.get_input_embeddings()(input_ids)
        if audio_embeddings is None:
            audio_embeddings = encode_audio(self.model.audio_tower, input_features, feature_attention_mask)
        audio = self.model.multi_modal_projector(audio_embeddings)
        places = input_ids == self.config.audio_token_id
        torch_compilable_check(
            places.sum() == audio.shape[0],
            f"The prompts hold {int(places.sum())} audio tokens and the audio gives {audio.shape[0]}. "
            "Mend: make both with EmotionDistributionProcessor.",
        )
        return embeddings.masked_scatter(places[..., None], audio.to(embeddings.dtype))

    def forward(
        self,
        input_ids: Tensor,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        feature_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        vote_counts: Tensor | None = None,
        row_index: Tensor | None = None,
        row_weight: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        audio_embeddings: Tensor | None = None,
        loss_weight: Tensor | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Compute logits whose softmax is the distribution, and the loss when targets are given.

        Args:
            input_ids: (clips, L) Prompt with one audio token a frame of the tower's output; padding on either side.
            input_features: (clips, mel bins, frames) Log-mel spectrogram, frames even and at most 3,000.
            attention_mask: (clips, L) 1 for tokens.
            feature_attention_mask: (clips, frames) 1 for frames of the clip.
            labels: (batch, K) Target distributions.
            vote_counts: (batch, K) Vote counts; what `loss_type="dirichlet_multinomial"` is computed from.
            row_index: (clips,) The row that each clip belongs to, where long recordings were cut into windows.
            row_weight: (clips,) Seconds of each window: a row's distribution is their mean weighted by these.
            output_hidden_states: Also return the language model's hidden states.
            return_dict: `False` returns a tuple.
            audio_embeddings: (audio tokens of all clips, tower's d_model) Outputs of the audio tower, clip after clip,
                as its `encode` gives them; the tower does not run then. Instead of `input_features` and its mask, not
                beside them.
            loss_weight: (batch,) What each row's loss is multiplied by before the mean over rows is taken.

        Returns:
            `loss` (scalar, nats; only with targets) and `logits` (batch, K), float32.

        Raises:
            ValueError: Audio or its mask is missing, or votes that the loss needs.
        """
        if audio_embeddings is not None:
            if input_features is not None:
                raise ValueError(
                    "input_features and audio_embeddings are the same audio twice. Mend: pass one of them."
                )
        elif input_features is None or feature_attention_mask is None:
            # the answer would come from the text alone
            raise ValueError(
                "input_features and feature_attention_mask are needed. Mend: pass what the processor returned."
            )
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        outputs = self.model.language_model(
            inputs_embeds=self.embed(input_ids, input_features, feature_attention_mask, audio_embeddings),
            attention_mask=attention_mask,
            # counted over tokens, so that padding on the left changes nothing
            position_ids=(attention_mask.long().cumsum(-1) - 1).clamp_min(0),
            use_cache=False,
            output_hidden_states=output_hidden_states,
        )
        return self.answer(
            outputs.last_hidden_state,
            attention_mask,
            labels=labels,
            vote_counts=vote_counts,
            row_index=row_index,
            row_weight=row_weight,
            loss_weight=loss_weight,
            hidden_states=outputs.hidden_states,
            return_dict=return_dict,
        )


# The four prefixes of Qwen2-Audio checkpoints: on the Hub since 2024 (language_model.model.*), saved by transformers
# 5.18–5.22 (language_model.model.model.*), and the tower and projector beside them. Longest first: renamings apply in
# order.
register_checkpoint_conversion_mapping(
    Qwen2AudioForEmotionDistribution.__name__,
    [
        WeightRenaming(r"^language_model\.lm_head", "lm_head"),
        WeightRenaming(r"^language_model\.model\.model\.", "model.language_model."),
        WeightRenaming(r"^language_model\.model\.", "model.language_model."),
        WeightRenaming(r"^audio_tower", "model.audio_tower"),
        WeightRenaming(r"^multi_modal_projector", "model.multi_modal_projector"),
    ],
    overwrite=True,
)
