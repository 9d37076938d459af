"""Configurations: a backbone's own, plus the emotions, the head and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import get_annotations
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, Qwen2AudioConfig
from transformers.configuration_utils import SubConfigSpec

from ..emotions import validate_emotions
from .backbones import FAMILIES, family_class

LANGUAGE_MODEL_HEADS = ("paper", "small", "last_token")
LOSSES = ("js", "kl", "soft_cross_entropy", "dirichlet_multinomial")
#: those whose logits say how sure the model is, see `losses.concentration`
SURE_LOSSES = ("dirichlet_multinomial",)
SUFFIX = "_emotion_distribution"


@dataclass(repr=False, kw_only=True)
class EmotionConfig:
    """What the configuration of every family has beside its backbone's: emotions and loss.

    A class of a family comes after this one and before transformers' own among the bases, and its `model_type` ends
    with `_emotion_distribution`. The emotions and their order live in `id2label`, where every Hugging Face tool looks
    for them; `emotions` reads them back as a tuple.

    Args:
        emotions: Labels in the order of the logits, of which `id2label` and `label2id` are made.
        loss_type: One of `js`, `kl`, `soft_cross_entropy`, `dirichlet_multinomial`, see `modeling.losses`.
        entropy_weight: Weight of the mean prediction entropy that is added to the loss (0.08 in the paper, 0 here).
        calibration: A temperature and what it was fitted on, see `modeling.calibration`; None where none was.
    """

    loss_type: str = "js"
    entropy_weight: float | int = 0.0
    # not called temperature: transformers takes that for a setting of text generation
    calibration: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        emotions: Sequence[str] | None = kwargs.pop("emotions", None)
        if emotions is not None:
            names = validate_emotions(emotions)
            kwargs["id2label"] = dict(enumerate(names))
            kwargs["label2id"] = {name: index for index, name in enumerate(names)}
        super().__post_init__(**kwargs)  # type: ignore[misc]  # transformers' configuration, see above
        if self.loss_type not in LOSSES:
            raise ValueError(f"loss_type={self.loss_type!r} is not known. Mend: use one of {', '.join(LOSSES)}.")

    @classmethod
    def own_fields(cls) -> set[str]:
        """Return the names of the fields that the backbone's own configuration does not have."""
        return {
            name
            for part in cls.__mro__
            if issubclass(part, EmotionConfig)
            for name, kind in get_annotations(part).items()
            if "ClassVar" not in str(kind)
        }

    @property
    def backbone_type(self) -> str:
        """The `model_type` of the backbone, by which its family is found."""
        return str(self.model_type).removesuffix(SUFFIX)  # type: ignore[attr-defined]

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions in the order of the logits.

        Raises:
            ValueError: `id2label` is not numbered 0 to K − 1, or `label2id` is not its inverse.
        """
        own: Any = self
        id2label = {int(index): label for index, label in (own.id2label or {}).items()}
        if sorted(id2label) != list(range(len(id2label))):
            raise ValueError(
                f"id2label must number the emotions 0 to K-1, found {sorted(id2label)}. Mend: restore config.json from "
                "the original checkpoint."
            )
        # one of the two edited by hand: predictions would carry wrong names
        if {label: int(index) for label, index in (own.label2id or {}).items()} != {
            label: index for index, label in id2label.items()
        }:
            raise ValueError(
                f"id2label ({id2label}) and label2id ({own.label2id}) of this checkpoint disagree, so the order of "
                "the emotions is not known. Mend: restore config.json from the original checkpoint."
            )
        return tuple(id2label[index] for index in range(len(id2label)))


@dataclass(repr=False, kw_only=True)
class PaperHeadConfig(EmotionConfig):
    """`EmotionConfig` with the settings of a head on a language model's states, see `head.HEADS`.

    Args:
        head: `paper` (the paper's), `small` (pooled in few dimensions) or `last_token` (one linear layer on the last
            token's state, which vLLM serves).
        head_num_attention_heads: Heads of the paper's attention pooling (8); must divide the hidden size.
        head_hidden_size: Width before the last layer; `None` is half the hidden size (the paper's), or 256 (`small`).
        head_dropout: Dropout of the residual block (0.15 in the paper).
        head_projection_dropout: Dropout of the projection (0.1 in the paper).
    """

    head: str = "paper"
    head_num_attention_heads: int = 8
    head_hidden_size: int | None = None
    head_dropout: float | int = 0.15
    head_projection_dropout: float | int = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.head not in LANGUAGE_MODEL_HEADS:
            raise ValueError(f"head={self.head!r} is not known. Mend: use one of {', '.join(LANGUAGE_MODEL_HEADS)}.")


@strict
class Qwen2AudioEmotionConfig(PaperHeadConfig, Qwen2AudioConfig):
    """Configuration of a Qwen2-Audio backbone with an emotion-distribution head.

    The arguments are those of `EmotionConfig`, `PaperHeadConfig` and `Qwen2AudioConfig`.

    Example:
        >>> config = Qwen2AudioEmotionConfig(emotions=["angry", "sad"])
        >>> config.emotions, config.num_labels
        (('angry', 'sad'), 2)
    """

    model_type = "qwen2_audio_emotion_distribution"


@strict
class AudioLanguageEmotionConfig(PaperHeadConfig, PreTrainedConfig):
    """Configuration of an audio-language model other than Qwen2-Audio with an emotion-distribution head.

    Args:
        backbone_config: The backbone's own; its `model_type` says the family.

    Example:
        >>> config = AudioLanguageEmotionConfig(backbone_config={"model_type": "voxtral"}, emotions=["angry", "sad"])
        >>> config.emotions, config.backbone_type, config.text_config.hidden_size
        (('angry', 'sad'), 'voxtral', 3072)
    """

    model_type = "audio_language_emotion_distribution"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="voxtral"),
    }

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None

    @property
    def backbone_type(self) -> str:
        """The `model_type` of the backbone, by which its family is found."""
        return str(self.backbone_config.model_type)  # type: ignore[union-attr]

    @property
    def text_config(self) -> Any:
        """The language model's configuration."""
        return self.backbone_config.get_text_config()  # type: ignore[union-attr]

    @property
    def audio_token_id(self) -> int:
        """The token in whose places the audio's embeddings go."""
        return int(self.backbone_config.audio_token_id)  # type: ignore[union-attr]


POOLINGS = ("statistics", "mean")


@strict
class SpeechEncoderEmotionConfig(EmotionConfig, PreTrainedConfig):
    """Configuration of a speech encoder with an emotion-distribution head, see `speech_head.SpeechHead`.

    Args:
        encoder_config: The encoder's own; its `model_type` says the family.
        text_encoder_config: That of the model that reads transcripts, where there is one.
        text_encoder: Hub id or folder that this model's weights come from when they are not in the checkpoint.
        pooling: `statistics` (attentive statistics) or `mean` (the head of `*ForSequenceClassification`).
        use_weighted_layer_sum: Learn weights over the encoder's layers; otherwise its last layer alone is heard.
        average_frames: Frames of 20 ms that are averaged to one before `statistics`; fewer make a finer head and a
            slower one, and what is kept of a frozen encoder larger.
        head_hidden_size: Width of the hidden layer; `None` is 256, or with `mean` the encoder's `classifier_proj_size`.
        head_dropout: Dropout of the pooled states (`statistics`).
        head_projection_dropout: Dropout before the last layer (`statistics`).

    Example:
        >>> config = SpeechEncoderEmotionConfig(encoder_config={"model_type": "wavlm"}, emotions=["angry", "sad"])
        >>> config.emotions, config.backbone_type, config.encoder_config.num_hidden_layers
        (('angry', 'sad'), 'wavlm', 12)
    """

    model_type = "speech_encoder_emotion_distribution"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="wav2vec2"),
        "text_encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True),
    }

    encoder_config: dict[str, Any] | PreTrainedConfig | None = None
    text_encoder_config: dict[str, Any] | PreTrainedConfig | None = None
    text_encoder: str | None = None
    pooling: str = "statistics"
    use_weighted_layer_sum: bool = True
    average_frames: int = 4
    head_hidden_size: int | None = None
    head_dropout: float | int = 0.15
    head_projection_dropout: float | int = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        own = self.encoder_config
        if isinstance(own, dict) and own.get("model_type") not in CONFIG_MAPPING and own.get("model_type") in FAMILIES:
            family_class(own["model_type"])  # whose module makes the encoder's configuration known
        super().__post_init__(**kwargs)
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling={self.pooling!r} is not known. Mend: use one of {', '.join(POOLINGS)}.")
        if self.average_frames < 1:
            raise ValueError(f"average_frames={self.average_frames} is too small. Mend: at least 1.")

    @property
    def backbone_type(self) -> str:
        """The `model_type` of the encoder, by which its family is found."""
        return str(self.encoder_config.model_type)  # type: ignore[union-attr]


#: The configurations of this library. What loads them looks here; `_registration` hands them to transformers.
CONFIGS: tuple[Any, ...] = (Qwen2AudioEmotionConfig, AudioLanguageEmotionConfig, SpeechEncoderEmotionConfig)

for _config in CONFIGS:
    AutoConfig.register(_config.model_type, _config, exist_ok=True)


def emotion_config(values: dict[str, Any], where: object) -> Any:
    """Make the configuration that a `config.json` or an adapter's `emotion_config.json` of this library holds.

    Raises:
        ValueError: It is another model's.
    """
    for known in CONFIGS:
        if known.model_type == values.get("model_type"):
            return known.from_dict(values)
    raise ValueError(
        f"'{where}' holds a {values.get('model_type')} model, not one of this library. "
        "Mend: name the output folder of hf-emo-dist train."
    )
