"""What speech encoders share: states of all layers, a head on them, and a text branch for transcripts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_outputs import SequenceClassifierOutput

from ..._own_code import load_part
from ..configuration import SpeechEncoderEmotionConfig
from ..families import HUB_ARGUMENTS, read_config
from ..model import EmotionDistributionModel
from ..speech_head import SpeechHead
from ..whole_files import broken_files_named


class SpeechEncoderForEmotionDistribution(EmotionDistributionModel):
    """A speech encoder, and a head on the states of its layers; the base of these families.

    A family names its classes, and says in `layer_states` how audio becomes hidden states and a mask. Padding changes
    nothing: a batch gives what its clips give one by one.

    While no weight of the encoder is trained, it runs without gradients and without dropout, whatever the model's mode:
    its states are then a function of the clip, which the trainer can keep.
    """

    config_class = SpeechEncoderEmotionConfig
    config: SpeechEncoderEmotionConfig
    base_model_prefix = "encoder"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    #: transformers' class of the encoder
    encoder_class: ClassVar[type[PreTrainedModel]]
    #: where the encoder stands in transformers' models with a head, a regular expression
    encoder_prefix: ClassVar[str] = ""
    #: fields of the encoder's configuration that drop whole layers in training
    layer_drops: ClassVar[tuple[str, ...]] = ("layerdrop",)
    frozen_by_default: ClassVar[tuple[str, ...]] = ("text_encoder",)
    # only SpecAugment in training uses it, and not every checkpoint has it
    may_be_new: ClassVar[tuple[str, ...]] = ("encoder.masked_spec_embed",)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.encoder_prefix:
            register_checkpoint_conversion_mapping(
                cls.__name__, [WeightRenaming(rf"^{cls.encoder_prefix}\.", "encoder.")], overwrite=True
            )

    def __init__(self, config: SpeechEncoderEmotionConfig) -> None:
        super().__init__(config)
        own: Any = config.encoder_config
        self.check_encoder(own)
        self.encoder = self.encoder_class(own)
        self.text_encoder: Any = None
        text_size = 0
        if config.text_encoder_config is not None:
            self.text_encoder = AutoModel.from_config(config.text_encoder_config)
            text_size = int(self.text_encoder.config.hidden_size)
        layers = own.num_hidden_layers + 1 if config.use_weighted_layer_sum else 1
        self.head = SpeechHead(config, own.hidden_size, layers, text_size)
        self.post_init()

    @classmethod
    def check_encoder(cls, config: Any) -> None:
        """Refuse an encoder whose states this family does not get right.

        Raises:
            ValueError: What it is that is not supported.
        """
        if getattr(config, "add_adapter", False):
            raise ValueError(
                "this encoder has a convolutional adapter on top (add_adapter=True), whose states are of another rate "
                "than its layers'. Mend: name a checkpoint without one."
            )

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, SpeechHead):
            module.initialize()

    def backbone_parts(self) -> dict[str, nn.Module]:
        """Return the encoder, its convolutions on the waveform where it has them, and the text encoder."""
        parts: dict[str, nn.Module] = {"encoder": self.encoder}
        if hasattr(self.encoder, "feature_extractor"):
            parts["feature_encoder"] = self.encoder.feature_extractor
        if self.text_encoder is not None:
            parts["text_encoder"] = self.text_encoder
        return parts

    @classmethod
    def config_from_backbone(cls, backbone: Any, emotions: Sequence[str], changes: dict[str, Any]) -> Any:
        """Make the model's configuration around the encoder's, for a new head."""
        own = _without_origin(backbone)
        # a layer that is left out has no states to weigh
        own.update(dict.fromkeys(cls.layer_drops, 0.0))
        config_class: Any = cls.config_class
        return config_class(encoder_config=own, emotions=emotions, **changes)

    @classmethod
    def load_config(
        cls, name_or_path: str | os.PathLike[str], emotions: Sequence[str] | None, **kwargs: Any
    ) -> tuple[Any, bool, dict[str, Any]]:
        """As in the base; `text_encoder=` is read, too."""
        text_encoder = kwargs.get("text_encoder")
        if text_encoder is not None and kwargs.get("text_encoder_config") is None:
            kwargs["text_encoder"] = str(text_encoder)
            hub = {key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs and key not in ("revision", "subfolder")}
            with broken_files_named(text_encoder, hub):
                kwargs["text_encoder_config"] = _without_origin(read_config(text_encoder, hub))
        return super().load_config(name_or_path, emotions, **kwargs)

    def fill_missing(self, missing: list[str], hub: dict[str, Any]) -> list[str]:
        """Load the text encoder's weights where the checkpoint has none, and say what is still missing."""
        rest = [key for key in missing if key not in self.may_be_new]
        if self.text_encoder is not None and any(key.startswith("text_encoder.") for key in rest):
            name = self.config.text_encoder
            if name is None:
                return rest
            given = {key: value for key, value in hub.items() if key not in ("revision", "subfolder")}
            read_config(name, given)  # refuses what only runs with code of its own
            with broken_files_named(name, given):
                loaded, info = load_part(
                    AutoModel, name, use_safetensors=True, dtype=self.dtype, output_loading_info=True, **given
                )
            self.text_encoder.load_state_dict(loaded.state_dict())
            gone = {f"text_encoder.{key}" for key in info["missing_keys"] if not key.startswith("pooler.")}
            rest = [key for key in rest if not key.startswith("text_encoder.") or key in gone]
        return rest

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:  # type: ignore[override]
        """Save all weights, the text encoder's too; its folder on this machine is nobody else's matter."""
        name = self.config.text_encoder
        if name is not None and os.path.isdir(name) and not getattr(self, "_hf_peft_config_loaded", False):
            self.config.text_encoder = None
        try:
            super().save_pretrained(save_directory, **kwargs)
        finally:
            self.config.text_encoder = name

    def train(self, mode: bool = True) -> Any:
        """Set the mode; what has no trained weight stays in evaluation mode."""
        super().train(mode)
        for part in (self.encoder, self.text_encoder):
            if part is not None and not _is_trained(part):
                part.eval()
        return self

    # --- from audio to states

    def layer_states(self, audio: Tensor, mask: Tensor, all_layers: bool) -> tuple[Sequence[Tensor], Tensor]:
        """Run the encoder.

        Args:
            audio: What `main_input_name` says.
            mask: (clips, steps) 1 for what is no padding in it.
            all_layers: Whether the states of all layers are asked for, or the last ones alone.

        Returns:
            The states of the embeddings and of each layer, or the last ones, each (clips, frames, d), as transformers'
            classes give them; and the frames' mask (clips, frames).
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how audio becomes states.")

    def states(self, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the head weighs, (clips, L, layers, d), and its mask (clips, L)."""
        trained = _is_trained(self.encoder)
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            audio = audio.to(self.encoder.dtype) if audio.is_floating_point() else audio
            layers, valid = self.layer_states(audio, mask, self.config.use_weighted_layer_sum)
            if self.config.pooling == "mean":
                if trained:
                    return torch.stack(list(layers), -2), valid
                # projection, weights and mean are linear, so that the mean can come first
                count = valid.sum(1)[:, None]
                means = [(layer.float() * valid[..., None]).sum(1) / count for layer in layers]
                return torch.stack(means, -2)[:, None], torch.ones_like(valid[:, :1])
            return _averaged(layers, valid, self.config.average_frames)

    # --- what the trainer keeps of a frozen encoder

    @property
    def cached_part(self) -> nn.Module:
        """The module whose outputs can be kept while it is not trained."""
        return self.encoder

    audio_input_names: ClassVar[tuple[str, ...]] = ("input_features", "attention_mask")
    drops_out_when_frozen = False
    takes_counts = True

    def leaves_weights_unused(self) -> bool:
        """Say whether more of the encoder is trained than adapters in it."""
        # SpecAugment's vector is used where a draw says so, and a final norm that no layer's states have been through
        # not at all where these are weighed
        return any(value.requires_grad and "lora_" not in name for name, value in self.encoder.named_parameters())

    @torch.no_grad()
    def cached_outputs(self, audio: dict[str, Tensor]) -> tuple[Tensor, list[int]]:
        """Return `states` of all clips, one after the other, and how many each has."""
        states, mask = self.states(audio[self.main_input_name], audio["attention_mask"])
        states = states[mask.bool()]
        if self.config.pooling == "statistics":
            # half the disk; of a trained head no probability changed by more than 1e-4 (whisper-base, 88 clips)
            states = states.half()
        return states, mask.sum(1).tolist()

    def cache_settings(self) -> dict[str, Any]:
        """Return what `cached_outputs` depends on beside the encoder."""
        names = ("pooling", "use_weighted_layer_sum", "average_frames")
        return {**{name: getattr(self.config, name) for name in names}, "normalized": True}

    @property
    def is_calibrated(self) -> bool:
        """Whether the head knows the scale of what it sees, or does not need to."""
        return self.config.pooling != "statistics" or bool(self.head.calibrated)

    @torch.no_grad()
    def calibrate(self, audio: Sequence[dict[str, Tensor]]) -> None:
        """Have the head standardise what it sees, by batches of training clips; does nothing with `pooling="mean"`."""
        if self.config.pooling == "statistics":
            was_training = self.training
            self.eval()
            # autocast in bfloat16 joins no float16, which is what is kept of the states
            self.head.calibrate(torch.cat([self.cached_outputs(batch)[0].float() for batch in audio]))
            self.train(was_training)

    # ---

    def read_text(self, text_input_ids: Tensor, text_attention_mask: Tensor) -> Tensor:
        """Return the mean of the text encoder's states, (clips, d_text); 0 for a clip without words."""
        has_words = text_attention_mask.any(1)
        seen = text_attention_mask.clone()
        seen[:, 0] = 1  # attention over nothing is NaN
        with torch.set_grad_enabled(torch.is_grad_enabled() and _is_trained(self.text_encoder)):
            hidden = self.text_encoder(input_ids=text_input_ids, attention_mask=seen).last_hidden_state.float()
            mean = (hidden * seen[..., None]).sum(1) / seen.sum(1)[:, None]
            mean = nn.functional.layer_norm(mean, mean.shape[-1:])
        return torch.where(has_words[:, None], mean, 0.0)

    def forward(
        self,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        text_input_ids: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        vote_counts: Tensor | None = None,
        row_index: Tensor | None = None,
        row_weight: Tensor | None = None,
        return_dict: bool | None = None,
        audio_embeddings: Tensor | None = None,
        audio_counts: Tensor | None = None,
        loss_weight: Tensor | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Compute logits whose softmax is the distribution, and the loss when targets are given.

        Args:
            input_values: (clips, samples) Waveforms, of families that take these.
            input_features: (clips, …) Spectrograms, of families that take these.
            attention_mask: (clips, steps) 1 for what is no padding in them.
            text_input_ids: (clips, words) The transcript, where there is a text encoder.
            text_attention_mask: (clips, words) 1 for its tokens; all 0 for a clip without words.
            labels: (batch, K) Target distributions.
            vote_counts: (batch, K) Vote counts; what `loss_type="dirichlet_multinomial"` is computed from.
            row_index: (clips,) The row that each clip belongs to, where long recordings were cut into windows.
            row_weight: (clips,) Seconds of each window: a row's distribution is their mean weighted by these.
            return_dict: `False` returns a tuple.
            audio_embeddings: (states of all clips, layers, d) What `cached_outputs` gave, instead of audio.
            audio_counts: (clips,) How many of these each clip has.
            loss_weight: (batch,) What each row's loss is multiplied by before the mean over rows is taken.

        Returns:
            `loss` (scalar, nats; only with targets) and `logits` (batch, K), float32.

        Raises:
            ValueError: Audio or its mask is missing, or votes that the loss needs.
        """
        audio = input_values if self.main_input_name == "input_values" else input_features
        if audio_embeddings is not None:
            if audio is not None or audio_counts is None:
                raise ValueError(
                    f"{self.main_input_name} and audio_embeddings are the same audio twice, and audio_embeddings need "
                    "audio_counts. Mend: pass one of them."
                )
            states, mask = audio_embeddings, audio_counts
        elif audio is None or attention_mask is None:
            raise ValueError(
                f"{self.main_input_name} and attention_mask are needed. Mend: pass what the processor returned."
            )
        else:
            states, mask = self.states(audio, attention_mask)
        text = None
        if self.text_encoder is not None:
            if text_input_ids is None or text_attention_mask is None:
                raise ValueError("text_input_ids and their mask are needed. Mend: pass what the processor returned.")
            text = self.read_text(text_input_ids, text_attention_mask)
        return self.answer(
            states,
            mask,
            text=text,
            labels=labels,
            vote_counts=vote_counts,
            row_index=row_index,
            row_weight=row_weight,
            loss_weight=loss_weight,
            return_dict=return_dict,
        )


def _without_origin(config: Any) -> dict[str, Any]:
    # what a configuration says of where and for what it was made, which is none of the model's around it
    values: dict[str, Any] = config.to_dict()
    for name in ("_name_or_path", "architectures", "id2label", "label2id", "dtype", "transformers_version"):
        values.pop(name, None)
    return values


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _averaged(layers: Sequence[Tensor], valid: Tensor, size: int) -> tuple[Tensor, Tensor]:
    # Each frame of each layer is normalised, as its size differs by layer and by frame (of whisper-base single values
    # pass 200); then means of `size` frames, of the valid ones.
    missing = -valid.shape[1] % size
    weight = nn.functional.pad(valid.float(), (0, missing)).unflatten(1, (-1, size))
    count = weight.sum(-1)
    weight = weight / count.clamp_min(1)[..., None]
    parts = []
    for layer in layers:
        state = nn.functional.layer_norm(layer.float(), layer.shape[-1:])
        state = nn.functional.pad(state, (0, 0, 0, missing)).unflatten(1, (-1, size))
        parts.append((state * weight[..., None]).sum(2))
    return torch.stack(parts, -2), (count > 0).long()
