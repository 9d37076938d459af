"""`Qwen2AudioEmotionConfig`: Qwen2-Audio's own configuration, plus the emotions, the head and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, Qwen2AudioConfig

from ..emotions import validate_emotions

LOSSES = ("js", "kl", "soft_cross_entropy", "dirichlet_multinomial")
#: those whose logits say how sure the model is, see `losses.concentration`
SURE_LOSSES = ("dirichlet_multinomial",)
# beside an adapter: a config.json would make transformers take its folder for a full model
ADAPTER_CONFIG_NAME = "emotion_config.json"


@strict
class Qwen2AudioEmotionConfig(Qwen2AudioConfig):
    """Configuration of a Qwen2-Audio backbone with an emotion-distribution head.

    The emotions and their order live in `id2label`, where every Hugging Face tool looks for them; `emotions` reads
    them back as a tuple.

    Args:
        emotions: Labels in the order of the logits, of which `id2label` and `label2id` are made.
        head_num_attention_heads: Heads of the attention pooling (8 in the paper); must divide the hidden size.
        head_hidden_size: Width of the projection before the last layer; `None` is half the hidden size (the paper's).
        head_dropout: Dropout of the residual block (0.15 in the paper).
        head_projection_dropout: Dropout of the projection (0.1 in the paper).
        loss_type: One of `js`, `kl`, `soft_cross_entropy`, `dirichlet_multinomial`, see `modeling.losses`.
        entropy_weight: Weight of the mean prediction entropy that is added to the loss (0.08 in the paper, 0 here).
        calibration: A temperature and what it was fitted on, see `modeling.calibration`; None where none was.

    Example:
        >>> config = Qwen2AudioEmotionConfig(emotions=["angry", "sad"])
        >>> config.emotions, config.num_labels
        (('angry', 'sad'), 2)
    """

    model_type = "qwen2_audio_emotion_distribution"

    head_num_attention_heads: int = 8
    head_hidden_size: int | None = None
    head_dropout: float | int = 0.15
    head_projection_dropout: float | int = 0.1
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
        super().__post_init__(**kwargs)
        if self.loss_type not in LOSSES:
            raise ValueError(f"loss_type={self.loss_type!r} is not known. Mend: use one of {', '.join(LOSSES)}.")

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions in the order of the logits.

        Raises:
            ValueError: `id2label` is not numbered 0 to K − 1, or `label2id` is not its inverse.
        """
        id2label = {int(index): label for index, label in (self.id2label or {}).items()}
        if sorted(id2label) != list(range(len(id2label))):
            raise ValueError(
                f"id2label must number the emotions 0 to K-1, found {sorted(id2label)}. Mend: restore config.json from "
                "the original checkpoint."
            )
        # one of the two edited by hand: predictions would carry wrong names
        if {label: int(index) for label, index in (self.label2id or {}).items()} != {
            label: index for index, label in id2label.items()
        }:
            raise ValueError(
                f"id2label ({id2label}) and label2id ({self.label2id}) of this checkpoint disagree, so the order of "
                "the emotions is not known. Mend: restore config.json from the original checkpoint."
            )
        return tuple(id2label[index] for index in range(len(id2label)))


AutoConfig.register(Qwen2AudioEmotionConfig.model_type, Qwen2AudioEmotionConfig, exist_ok=True)
