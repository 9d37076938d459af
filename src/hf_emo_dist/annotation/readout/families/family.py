"""What a family of audio-language models says of itself, so that it can be read out; the base has what most share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ....audio.decoding import SAMPLING_RATE

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Family"]

#: Stands for the clip while a chat template is rendered; nothing is read from there.
_CLIP = "clip.wav"


class Family:
    """One family of models: how a prompt is written, and how a clip becomes what stands in the places of its tokens.

    A new family subclasses this, says `title` and `encode`, and overrides what differs. `model` is transformers' class
    with a language-modelling head.

    Args:
        model: In evaluation mode; its tower may be replaced by one that gives the same on fewer frames.
        processor: The checkpoint's own, for its chat template, tokenizer and feature extractor.
    """

    title: ClassVar[str]
    example: ClassVar[str] = ""
    #: transformers' class; None where `AutoModelForMultimodalLM` finds it
    model_class: ClassVar[str | None] = None
    #: what was compared with transformers' own class on a tiny random model of this family
    tested: ClassVar[bool] = False
    #: what is not tested, and why, in words
    untested: ClassVar[str] = ""
    #: what the model hears of a clip at most, in seconds; None where only its context ends it
    longest_clip_s: ClassVar[float | None] = None

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self.tokenizer = processor.tokenizer
        self.prepare()

    # --- the model

    def prepare(self) -> None:
        """Make the model ready: a trimmed tower, adapters that belong to audio."""

    @classmethod
    def why_deaf(cls, config: Any) -> str | None:
        """Say why a model of this configuration hears nothing, or None where it does."""
        if getattr(config, "audio_config", None) is None and getattr(config, "encoder_config", None) is None:
            return "its configuration has no audio tower"
        return None

    @property
    def language_model(self) -> Any:
        """The stack of decoder layers, without the language-modelling head."""
        return self.model.model.language_model

    @property
    def embedding(self) -> Any:
        """The embedding of tokens."""
        return self.model.get_input_embeddings()

    @property
    def text_config(self) -> Any:
        """The configuration of the language model."""
        return self.model.config.get_text_config()

    @property
    def context(self) -> int | None:
        """How many tokens fit into the model, prompt and answer together."""
        return getattr(self.text_config, "max_position_embeddings", None)

    def logits(self, hidden: Tensor) -> Tensor:
        """Turn states of the language model (N, d) into logits (N, vocabulary)."""
        logits: Tensor = self.model.lm_head(hidden)
        return logits

    def language_inputs(self, input_ids: Tensor) -> dict[str, Any]:
        """Return what the language model takes beside embeddings, mask, positions and cache.

        Args:
            input_ids: (rows, L) With `filler_id` in the places of the audio tokens.
        """
        return {}

    @property
    def filler_id(self) -> int:
        """The token that is looked up in the places of the audio tokens, whose embedding is then replaced."""
        return 0

    @classmethod
    def loaded(cls, model: Any, where: str, revision: str | None) -> None:
        """Add to a model that was loaded from `where` what lies beside it."""

    # --- the prompt

    @property
    def audio_token_id(self) -> int:
        """The token of one row of audio."""
        return int(self.model.config.audio_token_id)

    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tokens that the processor writes before and after those of a clip."""
        return (), ()

    def conversation(self, system: str, text: str) -> list[dict[str, Any]]:
        """The chat, the audio first in what the user says."""
        said = [{"type": "audio", "audio": _CLIP}, {"type": "text", "text": text}]
        start = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
        return [*start, {"role": "user", "content": said}]

    def render(self, system: str, text: str) -> str:
        """Write the prompt with the processor's chat template, up to where the answer begins."""
        system, text = self.clean(system), self.clean(text)
        rendered = self._templated(system, text)
        # a template without a place for the system's words leaves them out, or refuses them
        if rendered is None or (system and system not in rendered):
            rendered = self._templated("", f"{system}\n{text}")
        if rendered is None or text not in rendered:
            raise ValueError(
                f"The chat template of {self.title} does not write what the user says. Mend: give the processor of "
                f"this model, such as that of {self.example or 'its checkpoint'}."
            )
        return rendered

    def prompt_ids(self, system: str, text: str) -> list[int]:
        """Tokens of the prompt, the place of the audio once."""
        return self.tokenize(self.render(system, text))

    def written(self, system: str, text: str) -> str:
        """The prompt that a label stands behind, as `tokenize` takes it."""
        return self.render(system, text)

    def _templated(self, system: str, text: str) -> str | None:
        from jinja2 import TemplateError

        # of some checkpoints the tokenizer has it
        has_it = self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer
        try:
            rendered: str = has_it.apply_chat_template(
                self.conversation(system, text), tokenize=False, add_generation_prompt=True
            )
        except (TemplateError, TypeError):
            return None
        return rendered

    def clean(self, text: str) -> str:
        """Take special tokens out of a text: what is said in a recording is data, and cannot end a turn."""
        special = self.special_tokens()
        if not any(token in text for token in special.values()):
            return text
        pattern = re.compile("|".join(map(re.escape, sorted(special.values(), key=len, reverse=True))))
        found = 1
        while found:  # taking one out can make another: <|<|AUDIO|>AUDIO|>
            text, found = pattern.subn("", text)
        return text

    def special_tokens(self) -> Mapping[int, str]:
        """Ids that the tokenizer keeps for other purposes than words, to what they are called."""
        found = dict(zip(self.tokenizer.all_special_ids, self.tokenizer.all_special_tokens, strict=True))
        for id_, token in getattr(self.tokenizer, "added_tokens_decoder", {}).items():
            if getattr(token, "special", False):
                found[int(id_)] = str(token)
        return {id_: token for id_, token in found.items() if token}

    def tokenize(self, text: str) -> list[int]:
        """Tokenize a rendered prompt as the processor does."""
        start = self.tokenizer.bos_token
        ids: list[int] = self.tokenizer(text, add_special_tokens=not (start and text.startswith(start)))["input_ids"]
        return ids

    def closing_tokens(self) -> tuple[int, ...]:
        """Tokens that end an answer: those at which `generate` stops."""
        given = getattr(self.model.generation_config, "eos_token_id", None)
        if given is None:
            given = self.text_config.eos_token_id
        ids = [given] if isinstance(given, int) else list(given or ())
        if self.tokenizer.eos_token_id is not None:
            ids.append(self.tokenizer.eos_token_id)
        return tuple(dict.fromkeys(int(id_) for id_ in ids))

    # --- the audio

    def audio_tokens(self, num_samples: int) -> int:
        """Return how many tokens a clip at 16 kHz has."""
        raise NotImplementedError

    def alike(self, num_samples: int) -> int:
        """Clips go through the tower together that give the same here: all, where it has a mask for padding."""
        return 0

    def inputs(self, clips: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return what transformers' class takes of clips at 16 kHz that are `alike`."""
        raise NotImplementedError

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Turn `inputs` into embeddings of the language model: (audio tokens of all clips, d), clip after clip."""
        raise NotImplementedError

    def features(self, clips: Sequence[np.ndarray], **options: Any) -> Any:
        """Call the feature extractor."""
        return self.processor.feature_extractor(
            list(clips), sampling_rate=SAMPLING_RATE, return_attention_mask=True, return_tensors="pt", **options
        )


class FamilyOfTexts(Family):
    """A family whose chat template takes texts, the audio's token in them, and whose tower has no mask for padding."""

    def conversation(self, system: str, text: str) -> list[dict[str, Any]]:
        """The chat, the audio first in what the user says."""
        audio = self.tokenizer.convert_ids_to_tokens(self.audio_token_id)
        start = [{"role": "system", "content": system}] if system else []
        return [*start, {"role": "user", "content": f"{audio}{text}"}]

    def alike(self, num_samples: int) -> int:
        """Clips of equal length alone go through the tower together."""
        return num_samples
