"""Voxtral: Whisper's encoder on windows of 30 s, four frames a token, and a Llama or Ministral language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ....audio.decoding import SAMPLING_RATE
from .family import Family

if TYPE_CHECKING:
    from torch import Tensor

#: Mel frames of one token.
_FRAMES_A_TOKEN = 8


class VoxtralFamily(Family):
    """Voxtral. Its encoder has no mask and hears the silence after a clip, so clips are filled up to 30 s, as it asks.

    The Hub's tokenizer is that of mistral-common, which writes prompts as tokens and not as text.
    """

    title = "Voxtral"
    example = "mistralai/Voxtral-Mini-3B-2507"
    tested = True
    untested = "the Hub's own tokenizer (a cut one of mistral-common 1.13.1 was tried by hand)"
    longest_clip_s: ClassVar[float | None] = 2400.0

    @property
    def _window(self) -> int:
        """Samples of one window."""
        return int(self.processor.feature_extractor.n_samples)

    @property
    def _writes_tokens(self) -> bool:
        return not (getattr(self.processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None))

    def prompt_ids(self, system: str, text: str) -> list[int]:
        """Tokens of the prompt, the place of the audio once."""
        if not self._writes_tokens:
            return super().prompt_ids(system, text)
        # its tokenizer takes no words of the system beside audio
        said = [{"type": "audio", "base64": _silence()}, {"type": "text", "text": f"{system}\n{text}".strip()}]
        chat: list[dict[str, Any]] = [{"role": "user", "content": said}]
        ids = [
            int(id_) for id_ in self.tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"]
        ]
        audio = self.audio_token_id
        return [id_ for place, id_ in enumerate(ids) if id_ != audio or ids[place - 1] != audio]

    def written(self, system: str, text: str) -> str:
        """The prompt that a label stands behind: none where prompts are tokens, and labels are tokenised alone."""
        return "" if self._writes_tokens else super().written(system, text)

    def tokenize(self, text: str) -> list[int]:
        """Tokenize a rendered prompt, or words."""
        if self._writes_tokens:
            ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            return ids
        return super().tokenize(text)

    def special_tokens(self) -> dict[int, str]:
        """Special tokens; mistral-common finds none in what is said."""
        return {} if self._writes_tokens else dict(super().special_tokens())

    def audio_tokens(self, num_samples: int) -> int:
        """Return how many tokens a clip at 16 kHz has: those of whole windows."""
        windows = -(-num_samples // self._window)
        return windows * (int(self.processor.feature_extractor.nb_max_frames) // _FRAMES_A_TOKEN)

    def inputs(self, clips: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return features of all windows of all clips."""
        import torch

        found = []
        for clip in clips:
            # of the whole clip, as the processor does: the loudest frame of all sets the floor
            features = self.processor.feature_extractor(
                clip,
                sampling_rate=SAMPLING_RATE,
                padding=True,
                truncation=False,
                pad_to_multiple_of=self._window,
                return_tensors="pt",
            )["input_features"][0]
            frames = int(self.processor.feature_extractor.nb_max_frames)
            found.append(features.reshape(len(features), -1, frames).transpose(0, 1))
        return {"input_features": torch.cat(found)}

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the projected outputs of the encoder."""
        heard: Tensor = self.model.model.get_audio_features(inputs["input_features"], return_dict=True).pooler_output
        return heard


def _silence() -> str:
    """A short clip of nothing, as base64 of a WAV file."""
    import base64

    from ....audio.clips import encode_wav

    return base64.b64encode(encode_wav(np.zeros(SAMPLING_RATE, dtype=np.float32))).decode()
