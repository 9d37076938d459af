"""`Qwen2AudioForEmotionDistribution`: the headless Qwen2-Audio model and a head that gives one logit an emotion."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForAudioClassification, Qwen2AudioConfig, Qwen2AudioModel
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioPreTrainedModel
from transformers.utils import torch_compilable_check

from ...emotions import validate_emotions
from ..adapters import PEFT_CONFIG_NAME, adapter_settings, check_safetensors, find_file, save_adapter_config
from ..configuration import SURE_LOSSES, Qwen2AudioEmotionConfig
from ..head import EmotionDistributionHead, average_windows
from ..losses import distribution_loss
from .qwen2_audio_tower import TrimmedQwen2AudioEncoder, encode_audio

logger = logging.getLogger(__name__)

HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


class IncompleteWeightsError(RuntimeError, ValueError):
    """A checkpoint lacks weights of the model, which would stay random."""

    # also a ValueError: naming another checkpoint mends it


class Qwen2AudioForEmotionDistribution(Qwen2AudioPreTrainedModel):
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
    #: name and Hub arguments of the checkpoint that this model was loaded from, beside which its processor lies
    loaded_from: tuple[str, dict[str, Any]] | None = None
    # Trainer must divide by the accumulation steps itself, also when a wrapper's forward takes **kwargs
    accepts_loss_kwargs = False
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^lm_head", r"^language_model\.lm_head"]
    # half-precision heads on small losses do not train; it is tiny next to the backbone
    _keep_in_fp32_modules_strict: ClassVar[list[str]] = ["head"]
    _no_split_modules: ClassVar[list[str]] = ["Qwen2AudioEncoderLayer", "Qwen2DecoderLayer"]

    def __init__(self, config: Qwen2AudioEmotionConfig) -> None:
        super().__init__(config)
        config.emotions  # noqa: B018  an order that cannot be known fails here, not in a paper
        self.model = Qwen2AudioModel(config)
        # Replacing the tower keeps parameter names; subclassing Qwen2AudioModel would lose its checkpoint renamings.
        self.model.audio_tower = TrimmedQwen2AudioEncoder(self.model.audio_tower.config)
        self.head = EmotionDistributionHead(config)
        self.post_init()

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
        logits = self.head(outputs.last_hidden_state, attention_mask)
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
        result = SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)
        return result.to_tuple() if return_dict is False else result

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *model_args: Any,
        emotions: Sequence[str] | None = None,
        config: Qwen2AudioEmotionConfig | None = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a Qwen2-Audio backbone (with a new head for `emotions`) or a checkpoint of this class, also an adapter.

        Backbones may be in the layout of the Hub's files since 2024 or in any that transformers ≥ 5.18 saves. Only
        safetensors are read.

        Args:
            pretrained_model_name_or_path: Hub id or local folder. Of an adapter its backbone is loaded too, and
                `revision` is the adapter's.
            model_args: Those of `PreTrainedModel.from_pretrained`.
            emotions: Labels in the order of the logits; needed for a backbone, checked against a checkpoint.
            config: A configuration to use as it is.
            output_loading_info: Also return the loading info, as in transformers.
            kwargs: Those of `PreTrainedModel.from_pretrained`, or fields of the configuration such as `loss_type` and
                `head_dropout`.

        Raises:
            OSError: Nothing can be loaded from there.
            ValueError: `emotions` is missing or differs from the checkpoint's, or the model type is another.
            IncompleteWeightsError: (A RuntimeError.) A weight other than a new head's is missing from the files.

        Example:
            >>> model = Qwen2AudioForEmotionDistribution.from_pretrained(
            ...     "Qwen/Qwen2-Audio-7B-Instruct", emotions=["angry", "happy", "neutral", "sad"])  # doctest: +SKIP
        """
        if not isinstance(config, Qwen2AudioEmotionConfig):
            config = None  # a backbone's, which AutoModelForAudioClassification hands over
        hub = {key: kwargs[key] for key in HUB_ARGUMENTS if kwargs.get(key) is not None}
        # from AutoModelForAudioClassification, which has read the adapter's own configuration already
        given = dict(kwargs.get("adapter_kwargs") or {})
        adapter = given.pop("_adapter_model_path", None)
        if adapter is None and config is None:
            # of an adapter, transformers' pipeline() hands over the commit of the backbone's repository;
            # `initial` is what the user asked for
            asked = {**hub, "revision": getattr(hub.get("revision"), "initial", hub.get("revision"))}
            if find_file(pretrained_model_name_or_path, PEFT_CONFIG_NAME, asked):
                adapter, given = pretrained_model_name_or_path, asked
        if adapter is not None:
            del hub, config
            kwargs = {
                key: value for key, value in kwargs.items() if key not in ("adapter_kwargs", "revision", "subfolder")
            }
            return cls._from_adapter(adapter, given, emotions, output_loading_info, **kwargs)
        loaded, new_head, kwargs = load_config(
            pretrained_model_name_or_path, emotions if config is None else config.emotions, **kwargs
        )
        config = config or loaded
        if not kwargs.setdefault("use_safetensors", True):
            raise ValueError(
                "use_safetensors=False would read a pickle, which this library does not. Mend: leave it out."
            )
        if "variant" not in kwargs:
            check_safetensors(pretrained_model_name_or_path, hub)
        # weights of another shape are refused below, by name; transformers' own error only points at a log
        kwargs["ignore_mismatched_sizes"] = True
        with _without_load_report():
            model, info = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, config=config, output_loading_info=True, **kwargs
            )
        missing = sorted(key for key in info["missing_keys"] if not (new_head and key.startswith("head.")))
        mismatched = [key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]]
        if missing or mismatched:
            raise IncompleteWeightsError(
                f"{pretrained_model_name_or_path} lacks {len(missing)} weights of the model (first: {missing[:3]}) and "
                f"has {len(mismatched)} of another shape (first: {mismatched[:3]}). They would stay random, so nothing "
                "was loaded. Mend: name a complete Qwen2-Audio checkpoint, or load an adapter with "
                "hf_emo_dist.load_emotion_model."
            )
        if new_head:
            # transformers keeps modules in float32 that it loads, but makes new ones in the backbone's dtype
            model.head.float()
            logger.info("the head for %s is new; all other weights were found", ", ".join(config.emotions))
        model.loaded_from = (str(pretrained_model_name_or_path), hub)
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
        model, info = cls.from_pretrained(
            peft_config.base_model_name_or_path, config=config, output_loading_info=True, **kwargs
        )
        with _without_load_report():
            loaded = model.load_adapter(str(adapter), adapter_kwargs=hub)
        if getattr(loaded, "missing_keys", None):
            raise IncompleteWeightsError(
                f"the adapter in '{adapter}' lacks weights, first: {sorted(loaded.missing_keys)[:3]}. "
                "Mend: copy it again from where it was saved."
            )
        model.loaded_from = (str(adapter), hub)
        return (model, info) if output_loading_info else model

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:  # type: ignore[override]
        """Save under this class's own parameter names (`model.*`, `head.*`), which every supported version reads."""
        kwargs.setdefault("save_original_format", False)
        super().save_pretrained(save_directory, **kwargs)
        if getattr(self, "_hf_peft_config_loaded", False):  # then only the adapter was saved
            save_adapter_config(self.config, save_directory)


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


def load_config(
    name_or_path: str | os.PathLike[str], emotions: Sequence[str] | None, **kwargs: Any
) -> tuple[Qwen2AudioEmotionConfig, bool, dict[str, Any]]:
    """Return the configuration of a backbone or checkpoint, whether its head is new, and the arguments left over."""
    hub = {key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs}
    try:
        found = AutoConfig.from_pretrained(name_or_path, **hub)
    except (OSError, ValueError) as error:
        raise OSError(
            f"No model could be loaded from '{name_or_path}': it is neither a local folder with a config.json nor a "
            "model on the Hub that can be reached from here. Mend: check the spelling, the connection, and for a "
            "private model the token."
        ) from error
    changes = {key: kwargs.pop(key) for key in list(kwargs) if key in Qwen2AudioEmotionConfig.__annotations__}
    if isinstance(found, Qwen2AudioEmotionConfig):
        check_emotions(name_or_path, found, emotions)
        if changes:  # built anew, so that they are checked
            found = Qwen2AudioEmotionConfig.from_dict({**found.to_dict(), **changes})
        return found, False, kwargs
    if found.model_type != "qwen2_audio":
        raise ValueError(
            f"'{name_or_path}' is a {found.model_type} model; a Qwen2-Audio one is needed. Mend: name one, such as "
            "Qwen/Qwen2-Audio-7B-Instruct."
        )
    if emotions is None:
        raise ValueError(
            f"'{name_or_path}' is a backbone without an emotion head. Mend: say which emotions the new head answers "
            'with, in order, for instance emotions=["angry", "happy", "neutral", "sad"].'
        )
    drop = ("model_type", "architectures", "transformers_version", "id2label", "label2id")
    settings = {key: value for key, value in found.to_dict().items() if key not in drop}
    return Qwen2AudioEmotionConfig(**{**settings, **changes, "emotions": emotions}), True, kwargs


def check_emotions(
    name_or_path: str | os.PathLike[str], config: Qwen2AudioEmotionConfig, emotions: Sequence[str] | None
) -> None:
    """Refuse emotions that a checkpoint was not trained for, or another order of them."""
    if emotions is not None and validate_emotions(emotions) != config.emotions:
        raise ValueError(
            f"'{name_or_path}' was trained for {list(config.emotions)} in this order, not for {list(emotions)}. "
            "Mend: leave `emotions` out, or start from its backbone to train a new head."
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
AutoModelForAudioClassification.register(Qwen2AudioEmotionConfig, Qwen2AudioForEmotionDistribution, exist_ok=True)
# Of an adapter, AutoModelForAudioClassification looks up its backbone's configuration.
AutoModelForAudioClassification._model_mapping.register(
    Qwen2AudioConfig, Qwen2AudioForEmotionDistribution, exist_ok=True
)
