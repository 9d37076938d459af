"""`EmotionDistributionModel`: what all families share: loading, saving, from hidden states to logits."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForAudioClassification, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .._checkpoint_files import ADAPTER_CONFIG_NAME, FACTS_NAME, find_file, is_adapter
from .._hub import check_hub_answers
from .._own_code import without_trust
from ..emotions import validate_emotions
from .adapters import (
    adapter_settings,
    check_safetensors,
    load_adapter_weights,
    save_adapter_config,
    with_own_quantization,
)
from .backbones import FAMILIES
from .base_content import base_content, check_base
from .configuration import CONFIGS, SURE_LOSSES, EmotionConfig
from .families import HUB_ARGUMENTS, family_of, read_config
from .head import average_windows
from .losses import distribution_loss
from .quantization import check_head_is_whole, keep_head_whole
from .whole_files import broken_files_named

logger = logging.getLogger(__name__)


class IncompleteWeightsError(RuntimeError, ValueError):
    """A checkpoint lacks weights of the model, which would stay random."""

    # also a ValueError: naming another checkpoint mends it


class EmotionDistributionModel(PreTrainedModel):
    """A speech encoder or an audio-language model that answers with the distribution of emotions that listeners hear.

    `from_pretrained` and `from_config` find the family by the checkpoint and return its class. A class of a family says
    how inputs become hidden states and a mask, and ends its `forward` with `answer`; its `head` is trained, everything
    else is its backbone's.

    Example:
        >>> model = EmotionDistributionModel.from_pretrained(
        ...     "microsoft/wavlm-large", emotions=["angry", "happy", "neutral", "sad"])  # doctest: +SKIP
    """

    #: key of `backbones.FAMILIES`; None for what several families share, which is no model by itself
    family: ClassVar[str | None] = None
    #: further model types whose checkpoints this family loads
    other_types: ClassVar[tuple[str, ...]] = ()
    #: what messages call the family, and a checkpoint that fits
    family_name: ClassVar[str] = ""
    family_example: ClassVar[str] = ""
    #: `module:Class` of the processor, relative to `modeling`; the user's own classes give the class
    processor_class: ClassVar[Any] = None
    #: names of `backbone_parts`, where there are such, that stay as they are unless training says otherwise
    frozen_by_default: ClassVar[tuple[str, ...]] = ()
    #: LoRA presets: name → `target_modules`
    lora_targets: ClassVar[dict[str, list[str] | str]] = {}
    #: presets that others of its kind have → why it has not
    lora_lacks: ClassVar[dict[str, str]] = {}
    #: longest clip in seconds
    max_seconds: ClassVar[float] = 30.0
    #: name and Hub arguments of the checkpoint that this model was loaded from, beside which its processor lies
    loaded_from: tuple[str, dict[str, Any]] | None = None
    #: the same of the files that all weights but an adapter's came from
    base_from: tuple[str, dict[str, Any]] | None = None
    # Trainer must divide by the accumulation steps itself, also when a wrapper's forward takes **kwargs
    accepts_loss_kwargs = False
    # half-precision heads on small losses do not train; it is tiny next to the backbone
    _keep_in_fp32_modules_strict: ClassVar[list[str]] = ["head"]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        config.emotions  # noqa: B018  an order that cannot be known fails here, not in a paper

    def backbone_parts(self) -> dict[str, nn.Module]:
        """Return the parts of the backbone that can be frozen by name."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its parts are.")

    # --- what the trainer keeps of a part that is not trained

    #: the model's inputs that `cached_outputs` takes
    audio_input_names: ClassVar[tuple[str, ...]] = ()
    #: whether `forward` takes `audio_counts` with `audio_embeddings`; an audio-language model's prompts say them
    takes_counts: ClassVar[bool] = False
    #: whether the part's dropout is on in training also while it is not trained, so that it must be 0
    drops_out_when_frozen: ClassVar[bool] = True

    @property
    def cached_part(self) -> nn.Module:
        """The module that hears the audio, whose outputs can be kept while it is not trained."""
        raise NotImplementedError(f"{type(self).__name__} does not say whose outputs can be kept.")

    def cached_outputs(self, audio: dict[str, Tensor]) -> tuple[Tensor, list[int]]:
        """Return its outputs for all clips, one after the other, and how many each clip has."""
        raise NotImplementedError(f"{type(self).__name__} does not say what can be kept.")

    @torch.no_grad()
    def layer_means(self, audio: dict[str, Tensor]) -> Tensor:
        """Return the means over time of `cached_outputs`, float64: (clips, layers, d), or (clips, d) where it has one.

        Args:
            audio: What the processor made of the clips, by `audio_input_names`.
        """
        outputs, counts = self.cached_outputs(audio)
        return torch.stack([part.double().mean(0) for part in outputs.split(counts)])

    @torch.no_grad()
    def mean_states(self, audio: dict[str, Tensor]) -> Tensor:
        """Return the means over time, and over layers, of `cached_outputs`: one vector a clip, (clips, d) float64."""
        means = self.layer_means(audio)
        if means.ndim == 2:
            return means
        # each layer standardised, so that none drowns the others
        return nn.functional.layer_norm(means, means.shape[-1:]).mean(1)

    def cache_settings(self) -> dict[str, Any]:
        """Return what these outputs depend on beside the part's weights and configuration, and the features."""
        return {}

    def leaves_weights_unused(self) -> bool:
        """Say whether a forward pass in training may leave trained weights out, which DDP must know."""
        return False

    @classmethod
    def config_from_backbone(cls, backbone: Any, emotions: Sequence[str], changes: dict[str, Any]) -> Any:
        """Make the model's configuration from its backbone's, for a new head."""
        # a family whose configuration is a subclass of its backbone's; others do it their own way
        drop = ("model_type", "architectures", "transformers_version", "id2label", "label2id")
        settings = {key: value for key, value in backbone.to_dict().items() if key not in drop}
        return cls.config_class(**{**settings, **changes, "emotions": emotions})

    @classmethod
    def bare_weights(cls, name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> dict[str, Tensor] | None:
        """Return the weights of a folder without config.json, under this class's names; None for any other."""
        return None

    def fill_missing(self, missing: list[str], hub: dict[str, Any]) -> list[str]:
        """Load weights that come from elsewhere than the checkpoint, and return the names of what is still missing."""
        return missing

    def answer(
        self,
        hidden: Any,
        mask: Tensor,
        text: Tensor | None = None,
        labels: Tensor | None = None,
        vote_counts: Tensor | None = None,
        row_index: Tensor | None = None,
        row_weight: Tensor | None = None,
        loss_weight: Tensor | None = None,
        hidden_states: Any = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """End a forward pass: from hidden states through the head to logits, and to the loss when targets are given.

        Args:
            hidden: (clips, L, d) What the head takes.
            mask: (clips, L) 1 for valid positions.
            text: (clips, d_text) What a text encoder read, for heads that take it.
            labels: (batch, K) Target distributions.
            vote_counts: (batch, K) Vote counts; what `loss_type="dirichlet_multinomial"` is computed from.
            row_index: (clips,) The row that each clip belongs to, where long recordings were cut into windows.
            row_weight: (clips,) Seconds of each window: a row's distribution is their mean weighted by these.
            loss_weight: (batch,) What each row's loss is multiplied by before the mean over rows is taken.
            hidden_states: Handed on.
            return_dict: `False` returns a tuple.

        Returns:
            `loss` (scalar, nats; only with targets) and `logits` (batch, K), float32.

        Raises:
            ValueError: Votes are missing that the loss needs.
        """
        logits = self.head(hidden, mask) if text is None else self.head(hidden, mask, text)
        if row_index is not None:
            logits = average_windows(logits, row_index, row_weight, self.config.loss_type in SURE_LOSSES)
        loss = None
        target = vote_counts if self.config.loss_type == "dirichlet_multinomial" else labels
        if target is not None:
            loss = distribution_loss(logits, target, self.config.loss_type, self.config.entropy_weight, loss_weight)
        elif labels is not None:
            raise ValueError(
                "loss_type='dirichlet_multinomial' needs vote_counts, and the data has no human_votes column. "
                "Mend: add it, or use js, kl or soft_cross_entropy."
            )
        result = SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=hidden_states)
        return result.to_tuple() if return_dict is False else result

    @classmethod
    def from_config(cls, config: Any, emotions: Sequence[str] | None = None, **kwargs: Any) -> Any:
        """Make a model with random weights.

        Args:
            config: A configuration of this library, or a backbone's with `emotions`.
            emotions: Labels in the order of the logits; for a backbone's configuration.
            kwargs: `dtype` and `attn_implementation`, as in transformers, or fields of the configuration.

        Raises:
            ValueError: No family takes the configuration, or emotions are missing.
        """
        family = family_of(config, type(config).__name__) if cls.family is None else cls
        if not isinstance(config, EmotionConfig):
            changes = {key: kwargs.pop(key) for key in list(kwargs) if key in family.config_class.own_fields()}
            config = family.config_from_backbone(config, _named(emotions, type(config).__name__), changes)
        return family._from_config(config, **kwargs)

    @classmethod
    def _from_config(cls, config: Any, **kwargs: Any) -> Any:
        if cls.family is None:  # AutoModelForAudioClassification.from_config
            return family_of(config, type(config).__name__)._from_config(config, **kwargs)
        return super()._from_config(config, **kwargs)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *model_args: Any,
        emotions: Sequence[str] | None = None,
        family: str | None = None,
        config: Any = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a backbone (with a new head for `emotions`) or a checkpoint of this library, also an adapter.

        Only safetensors are read.

        Args:
            pretrained_model_name_or_path: Hub id or local folder. Of an adapter its backbone is loaded too, and
                `revision` is the adapter's.
            model_args: Those of `PreTrainedModel.from_pretrained`.
            emotions: Labels in the order of the logits; needed for a backbone, checked against a checkpoint.
            family: The backbone's family, where its own files do not say it: a key of `backbones.FAMILIES`, or
                `module:Name`, a class of the user's own.
            config: A configuration to use as it is.
            output_loading_info: Also return the loading info, as in transformers.
            kwargs: Those of `PreTrainedModel.from_pretrained`, or fields of the configuration such as `loss_type` and
                `head_dropout`.

        Raises:
            OSError: Nothing can be loaded from there.
            ValueError: `emotions` is missing or differs from the checkpoint's, or no family takes the model.
            BrokenFileError: (A ValueError.) A file there is damaged; it is named.
            IncompleteWeightsError: (A RuntimeError.) A weight other than a new head's is missing from the files.

        Example:
            >>> model = EmotionDistributionModel.from_pretrained(
            ...     "Qwen/Qwen2-Audio-7B-Instruct", emotions=["angry", "happy", "neutral", "sad"])  # doctest: +SKIP
        """
        kwargs = without_trust(kwargs)
        check_hub_answers(pretrained_model_name_or_path, token=kwargs.get("token"))
        hub = {key: kwargs[key] for key in HUB_ARGUMENTS if kwargs.get(key) is not None}
        with broken_files_named(pretrained_model_name_or_path, hub):
            return cls._load(
                pretrained_model_name_or_path, model_args, emotions, family, config, output_loading_info, hub, kwargs
            )

    @classmethod
    def _load(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        model_args: Sequence[Any],
        emotions: Sequence[str] | None,
        family: str | None,
        config: Any,
        output_loading_info: bool,
        hub: dict[str, Any],
        kwargs: dict[str, Any],
    ) -> Any:
        """As `from_pretrained`; where it fails, that looks for the file that is damaged."""
        given_config = config
        if not isinstance(config, EmotionConfig):
            config = None  # a backbone's, which AutoModelForAudioClassification hands over
        # from AutoModelForAudioClassification, which has read the adapter's own configuration already
        given = dict(kwargs.get("adapter_kwargs") or {})
        adapter = given.pop("_adapter_model_path", None)
        # of an adapter, transformers' pipeline() hands over the commit of the backbone's repository;
        # `initial` is what the user asked for
        asked = {**hub, "revision": getattr(hub.get("revision"), "initial", hub.get("revision"))}
        if adapter is None and config is None:
            if is_adapter(pretrained_model_name_or_path, asked):
                adapter, given = pretrained_model_name_or_path, asked
        if cls.family is None:
            if adapter is not None:
                found = adapter_settings(adapter, given)[0]
            else:
                found = config or given_config or read_config(pretrained_model_name_or_path, asked)
            return family_of(found, adapter or pretrained_model_name_or_path, family).from_pretrained(
                pretrained_model_name_or_path,
                *model_args,
                emotions=emotions,
                config=config,
                output_loading_info=output_loading_info,
                **kwargs,
            )
        if adapter is not None:
            del hub, config
            kwargs = {
                key: value for key, value in kwargs.items() if key not in ("adapter_kwargs", "revision", "subfolder")
            }
            return cls._from_adapter(adapter, given, emotions, output_loading_info, **kwargs)
        loaded, new_head, kwargs = cls.load_config(
            pretrained_model_name_or_path, emotions if config is None else config.emotions, **kwargs
        )
        config = config or loaded
        if not kwargs.setdefault("use_safetensors", True):
            raise ValueError(
                "use_safetensors=False would read a pickle, which this library does not. Mend: leave it out."
            )
        source: Any = pretrained_model_name_or_path
        weights = cls.bare_weights(pretrained_model_name_or_path, hub)
        if weights is not None:
            source, kwargs = None, {**kwargs, "state_dict": weights}
        elif "variant" not in kwargs:
            check_safetensors(pretrained_model_name_or_path, hub)
        if kwargs.get("quantization_config") is not None:
            kwargs["quantization_config"] = keep_head_whole(kwargs["quantization_config"])
        # weights of another shape are refused below, by name; transformers' own error only points at a log
        kwargs["ignore_mismatched_sizes"] = True
        with _without_load_report():
            model, info = super().from_pretrained(
                source, *model_args, config=config, output_loading_info=True, **kwargs
            )
        missing = sorted(key for key in info["missing_keys"] if not (new_head and key.startswith("head.")))
        missing = model.fill_missing(missing, hub)
        mismatched = [key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]]
        if missing or mismatched:
            raise IncompleteWeightsError(
                f"{pretrained_model_name_or_path} lacks {len(missing)} weights of the model (first: {missing[:3]}) and "
                f"has {len(mismatched)} of another shape (first: {mismatched[:3]}). They would stay random, so nothing "
                f"was loaded. Mend: name a complete {cls.family_name} checkpoint, or load an adapter with "
                "hf_emo_dist.load_emotion_model."
            )
        if weights is not None:  # what an adapter names as its base
            model.name_or_path = model.config._name_or_path = str(pretrained_model_name_or_path)
        if new_head:
            # transformers keeps modules in float32 that it loads, but makes new ones in the backbone's dtype
            model.head.float()
            logger.info("the head for %s is new; all other weights were found", ", ".join(config.emotions))
        check_head_is_whole(model)
        model.loaded_from = model.base_from = (str(pretrained_model_name_or_path), hub)
        model.freeze([part for part in cls.frozen_by_default if part in model.backbone_parts()])
        return (model, info) if output_loading_info else model

    @classmethod
    def _from_adapter(
        cls,
        adapter: str | os.PathLike[str],
        hub: dict[str, Any],
        emotions: Sequence[str] | None,
        output_loading_info: bool,
        **kwargs: Any,
    ) -> Any:
        config, peft_config = adapter_settings(adapter, hub)
        check_emotions(adapter, config, emotions)
        kwargs["revision"] = peft_config.revision
        base = peft_config.base_model_name_or_path
        config = with_own_quantization(config, base, {"revision": peft_config.revision})
        model, info = cls.from_pretrained(base, config=config, output_loading_info=True, **kwargs)
        check_base(adapter, model, hub)  # `load_adapter` does not come by for every kind of adapter
        with _without_load_report():
            loaded = load_adapter_weights(model, adapter, peft_config, hub)
        if getattr(loaded, "missing_keys", None):
            raise IncompleteWeightsError(
                f"the adapter in '{adapter}' lacks weights, first: {sorted(loaded.missing_keys)[:3]}. "
                "Mend: copy it again from where it was saved."
            )
        model.loaded_from = (str(adapter), hub)
        return (model, info) if output_loading_info else model

    def load_adapter(
        self,
        peft_model_id: str | os.PathLike[str] | None = None,
        *args: Any,
        adapter_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Put an adapter into this model as transformers does, if it was trained on these weights and emotions.

        Args:
            peft_model_id: Its folder or Hub id.
            args, kwargs: As in transformers.
            adapter_kwargs: Arguments for the Hub.

        Raises:
            ValueError: It is for other emotions or another order of them.
            OtherBaseError: (A ValueError.) It was trained on a backbone with other weights.
        """
        hub = {key: value for key, value in (adapter_kwargs or {}).items() if key in HUB_ARGUMENTS}
        hub |= {key: kwargs[key] for key in HUB_ARGUMENTS if kwargs.get(key)}
        # without it, it is an adapter of somebody else's, such as Granite Speech's own
        if peft_model_id is not None and find_file(peft_model_id, ADAPTER_CONFIG_NAME, hub):
            check_emotions(peft_model_id, adapter_settings(peft_model_id, hub)[0], self.config.emotions)
            check_base(peft_model_id, self, hub)
        name = None if peft_model_id is None else str(peft_model_id)
        return super().load_adapter(name, *args, adapter_kwargs=adapter_kwargs, **kwargs)

    @classmethod
    def load_config(
        cls, name_or_path: str | os.PathLike[str], emotions: Sequence[str] | None, **kwargs: Any
    ) -> tuple[Any, bool, dict[str, Any]]:
        """Return a backbone's or checkpoint's configuration, whether its head is new, and what is left of `kwargs`."""
        hub = {key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs}
        found = read_config(name_or_path, hub)
        changes = {key: kwargs.pop(key) for key in list(kwargs) if key in cls.config_class.own_fields()}
        ours = isinstance(found, EmotionConfig)
        if ours and found.backbone_type == cls.family:
            check_emotions(name_or_path, found, emotions)
            if changes:  # built anew, so that they are checked
                found = cls.config_class.from_dict({**found.to_dict(), **changes})
            return found, False, kwargs
        if found.model_type not in (cls.family, *cls.other_types):
            raise ValueError(
                f"'{name_or_path}' is a {found.model_type} model; a {cls.family_name} one is needed. Mend: name one, "
                f"such as {cls.family_example}."
            )
        return cls.config_from_backbone(found, _named(emotions, name_or_path), changes), True, kwargs

    def freeze(self, parts: Sequence[str]) -> None:
        """Keep parts of the backbone as they are in training.

        Args:
            parts: Names of `backbone_parts`.

        Raises:
            ValueError: A part is not known.
        """
        known = self.backbone_parts()
        for part in parts:
            if part not in known:
                raise ValueError(
                    f"{self.family_name} has no part {part!r} to freeze. Mend: name some of {', '.join(known)}."
                )
            known[part].requires_grad_(False)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:  # type: ignore[override]
        """Save under this class's own parameter names, which every supported version reads."""
        kwargs.setdefault("save_original_format", False)
        super().save_pretrained(save_directory, **kwargs)
        # what a training wrote there before is not what lies there now
        Path(save_directory, FACTS_NAME).unlink(missing_ok=True)
        if getattr(self, "_hf_peft_config_loaded", False):  # then only the adapter was saved
            save_adapter_config(self.config, save_directory, base_content(self))


def check_emotions(name_or_path: str | os.PathLike[str], config: Any, emotions: Sequence[str] | None) -> None:
    """Refuse emotions that a checkpoint was not trained for, or another order of them."""
    if emotions is not None and validate_emotions(emotions) != config.emotions:
        raise ValueError(
            f"'{name_or_path}' was trained for {list(config.emotions)} in this order, not for {list(emotions)}. "
            "Mend: leave `emotions` out, or start from its backbone to train a new head."
        )


def _named(emotions: Sequence[str] | None, where: object) -> Sequence[str]:
    if emotions is None:
        raise ValueError(
            f"'{where}' is a backbone without an emotion head. Mend: say which emotions the new head answers "
            'with, in order, for instance emotions=["angry", "happy", "neutral", "sad"].'
        )
    return emotions


@contextmanager
def _without_load_report() -> Iterator[None]:
    # drops transformers' table of missing weights: a new head is meant to be missing, anything else is an error here
    def keep(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    loaders = [logging.getLogger(f"transformers.{name}") for name in ("modeling_utils", "integrations.peft")]
    for loader in loaders:
        loader.addFilter(keep)
    try:
        yield
    finally:
        for loader in loaders:
            loader.removeFilter(keep)


# `register` wants one class a configuration; ours finds the family's itself. Of an adapter,
# AutoModelForAudioClassification looks up its backbone's configuration.
_mapping: Any = AutoModelForAudioClassification._model_mapping
for _config in (*CONFIGS, *(CONFIG_MAPPING[name] for name in FAMILIES if name in CONFIG_MAPPING)):
    if _config not in _mapping:  # a speech encoder's stands for transformers' own class
        _mapping.register(_config, EmotionDistributionModel, exist_ok=True)
