"""What audio-language models share: an audio tower, a projector, a language model, and a head on its states."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import torch_compilable_check

from ...audio.qwen2_audio_tower import num_audio_tokens
from ..configuration import AudioLanguageEmotionConfig
from ..head import HEADS
from ..lora_targets import AUDIO_LANGUAGE_TARGETS
from ..model import EmotionDistributionModel


class AudioLanguageForEmotionDistribution(EmotionDistributionModel):
    """A headless audio-language model of transformers', and a head on its language model's states.

    A family names transformers' class and its parts, and says in `encode` and `project` how audio becomes what stands
    in the places of the audio tokens. `model` is that class's model, under its own parameter names; no
    language-modelling head is built or loaded.

    While no weight of the tower is trained it stays in evaluation mode and has no graph: its outputs are then a
    function of the clip, which the trainer can keep.
    """

    config_class = AudioLanguageEmotionConfig
    lora_targets = AUDIO_LANGUAGE_TARGETS
    base_model_prefix = "model"
    audio_input_names = ("input_features", "feature_attention_mask")
    drops_out_when_frozen = False
    #: transformers' class without a language-modelling head, and the one with it, whose checkpoints are loaded
    backbone_class: ClassVar[type[PreTrainedModel]]
    stock_class: ClassVar[type[PreTrainedModel]]
    #: names of the three parts → where they stand in `model`
    parts: ClassVar[dict[str, str]] = {
        "audio_tower": "audio_tower",
        "projector": "multi_modal_projector",
        "language_model": "language_model",
    }
    #: what of the stock model is neither built nor loaded, in words; and the prefix of its weights' names on the Hub
    not_built: ClassVar[str] = ""
    hub_prefix: ClassVar[str] = ""
    #: prefixes of weights in checkpoints, regular expressions, → where they stand in this class. In this order.
    renamings: ClassVar[dict[str, str]] = {}
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^lm_head", r"^language_model\.lm_head"]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.renamings:
            renamings = [WeightRenaming(source, target) for source, target in cls.renamings.items()]
            register_checkpoint_conversion_mapping(cls.__name__, renamings, overwrite=True)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model: Any = self.build(config)
        self.head = HEADS[config.head](config)
        self.post_init()

    def build(self, config: Any) -> nn.Module:
        """Build the headless model."""
        return self.backbone_class(config.backbone_config)

    @classmethod
    def config_from_backbone(cls, backbone: Any, emotions: Sequence[str], changes: dict[str, Any]) -> Any:
        """Make the model's configuration around the backbone's, for a new head."""
        own = backbone.to_dict()
        for name in ("_name_or_path", "architectures", "id2label", "label2id", "dtype", "transformers_version"):
            own.pop(name, None)
        config_class: Any = cls.config_class
        return config_class(backbone_config=own, emotions=emotions, **changes)

    @property
    def cached_part(self) -> Any:
        """The audio tower."""
        return self.part("audio_tower")

    def rows_of(self, frames: int) -> int:
        """Return the audio tokens of a clip of so many frames."""
        return num_audio_tokens(frames)

    def cached_outputs(self, audio: dict[str, Tensor]) -> tuple[Tensor, list[int]]:
        """Return what `encode` gives for all clips, one after the other, and how many rows each clip has."""
        return self.encode(**audio), [self.rows_of(n) for n in audio["feature_attention_mask"].sum(-1).tolist()]

    def leaves_weights_unused(self) -> bool:
        """Say whether the tower drops layers."""
        return bool(getattr(self.cached_part.config, "encoder_layerdrop", 0.0) > 0)

    def stock_config(self) -> Any:
        """Return the configuration of `stock_class`."""
        return copy.deepcopy(self.config.backbone_config)

    def hub_config(self, stock_config: Any) -> Any:
        """Return the configuration that the family's checkpoints have on the Hub, around the stock one."""
        return stock_config

    def hub_architecture(self) -> str:
        """Return what the family's checkpoints on the Hub call their class."""
        return self.stock_class.__name__

    @property
    def filler_id(self) -> int:
        """The token that is looked up in the places of the audio tokens, whose embedding is then replaced."""
        return 0

    def part(self, name: str) -> Any:
        """Return one of the three `parts`."""
        return self.model.get_submodule(self.parts[name])

    def backbone_parts(self) -> dict[str, nn.Module]:
        """Return audio tower, projector and language model."""
        return {name: self.part(name) for name in self.parts}

    def train(self, mode: bool = True) -> Any:
        """Set the mode; a tower without trained weights stays in evaluation mode."""
        super().train(mode)
        tower = self.part("audio_tower")
        if not _is_trained(tower):
            tower.eval()
        return self

    def encode(self, input_features: Tensor, feature_attention_mask: Tensor) -> Tensor:
        """Return what the audio tower makes of all clips, one after the other: a row an audio token.

        Args:
            input_features: What the processor's `audio_features` gives.
            feature_attention_mask: (clips, frames) 1 for frames of the clip.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how its tower is called.")

    def project(self, audio_embeddings: Tensor) -> Tensor:
        """Turn what `encode` gives into embeddings of the language model, (audio tokens, d)."""
        projected: Tensor = self.part("projector")(audio_embeddings)
        return projected

    def language_inputs(self, input_ids: Tensor, places: Tensor) -> dict[str, Any]:
        """Return what the language model takes beside embeddings, mask and positions.

        Args:
            input_ids: (clips, L) With a token of the vocabulary in the places of the audio tokens.
            places: (clips, L) Where the audio tokens are.
        """
        return {}

    def embed(
        self,
        input_ids: Tensor,
        input_features: Tensor | None = None,
        feature_attention_mask: Tensor | None = None,
        audio_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return token embeddings with the audio in the places of its tokens, (clips, L, d), and `language_inputs`."""
        places = input_ids == self.config.audio_token_id
        # of some backbones the audio token lies beyond the embedded vocabulary
        known = torch.where(places, self.filler_id, input_ids)
        embeddings = self.get_input_embeddings()(known)
        if audio_embeddings is None:
            assert input_features is not None and feature_attention_mask is not None
            tower = self.part("audio_tower")
            # activation checkpointing makes the first layer's outputs require gradients, and a frozen tower would run
            # forward again and backward
            trained = input_features.requires_grad or _is_trained(tower)
            with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
                audio_embeddings = self.encode(input_features, feature_attention_mask)
        audio = self.project(audio_embeddings)
        torch_compilable_check(
            places.sum() == audio.shape[0],
            f"The prompts hold {int(places.sum())} audio tokens and the audio gives {audio.shape[0]}. "
            "Mend: make both with EmotionDistributionProcessor.",
        )
        merged = embeddings.masked_scatter(places[..., None], audio.to(embeddings.device, embeddings.dtype))
        return merged, self.language_inputs(known, places)

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
            input_ids: (clips, L) Prompt with one audio token a row of the tower's output; padding on either side.
            input_features: What the processor makes of the clips, such as (clips, mel bins, frames).
            attention_mask: (clips, L) 1 for tokens.
            feature_attention_mask: (clips, frames) 1 for frames of the clip.
            labels: (batch, K) Target distributions.
            vote_counts: (batch, K) Vote counts; what `loss_type="dirichlet_multinomial"` is computed from.
            row_index: (clips,) The row that each clip belongs to, where long recordings were cut into windows.
            row_weight: (clips,) Seconds of each window: a row's distribution is their mean weighted by these.
            output_hidden_states: Also return the language model's hidden states.
            return_dict: `False` returns a tuple.
            audio_embeddings: (audio tokens of all clips, …) What `encode` gives, clip after clip; the tower does not
                run then. Instead of `input_features` and its mask, not beside them.
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
        embeddings, others = self.embed(input_ids, input_features, feature_attention_mask, audio_embeddings)
        outputs = self.part("language_model")(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            # counted over tokens, so that padding on the left changes nothing
            position_ids=(attention_mask.long().cumsum(-1) - 1).clamp_min(0),
            use_cache=False,
            output_hidden_states=output_hidden_states,
            **others,
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


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


#: Renamings of the prefixes of checkpoints on the Hub since 2024 (language_model.model.*), of those that transformers
#: 5.18 to 5.22 saved (language_model.model.model.*), and of the tower and projector beside them. The longest first.
WHISPER_AND_LANGUAGE_MODEL = {
    r"^language_model\.lm_head": "lm_head",
    r"^language_model\.model\.model\.": "model.language_model.",
    r"^language_model\.model\.": "model.language_model.",
    r"^audio_tower": "model.audio_tower",
    r"^multi_modal_projector": "model.multi_modal_projector",
}
