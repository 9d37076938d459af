"""Prompt and audio → tensors: the processor of `Qwen2AudioForEmotionDistribution`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from transformers import Qwen2AudioProcessor

from ...audio.decoding import LongAudio
from .audio_language_processing import PROMPT_VERSION, AudioLanguageProcessor, without

SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>")


class Qwen2AudioEmotionProcessor(AudioLanguageProcessor, Qwen2AudioProcessor):
    """Qwen2-Audio's `EmotionDistributionProcessor`.

    One audio placeholder stands for each output frame of the audio tower, and none is ever cut off. Features are
    computed on the batch's longest clip, not on 30 s. Padding is on the right. Transcripts are data: special tokens
    inside them are removed.

    Args:
        feature_extractor: A `WhisperFeatureExtractor` (128 mel bins for Qwen2-Audio).
        tokenizer: The backbone's tokenizer, with `<|AUDIO|>`, `<|audio_bos|>` and `<|audio_eos|>`.
        chat_template: As in transformers; not used.
        audio_token, audio_bos_token, audio_eos_token: Of the tokenizer.
        emotions, use_transcript, use_speaker, long_audio: As in `EmotionDistributionProcessor`; the emotions are named
            in the prompt.
        prompt_version: Of the prompt that a checkpoint was trained with.
    """

    family = "qwen2_audio"

    def __init__(
        self,
        feature_extractor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        audio_token: str = "<|AUDIO|>",
        audio_bos_token: str = "<|audio_bos|>",
        audio_eos_token: str = "<|audio_eos|>",
        emotions: Sequence[str] | None = None,
        use_transcript: bool = True,
        use_speaker: bool = False,
        long_audio: LongAudio = "error",
        prompt_version: int = PROMPT_VERSION,
    ) -> None:
        Qwen2AudioProcessor.__init__(
            self, feature_extractor, tokenizer, chat_template, audio_token, audio_bos_token, audio_eos_token
        )
        self._set_up_prompt(emotions, use_transcript, use_speaker, long_audio, prompt_version)

    def frame(self) -> tuple[str, str]:
        """Return what is written before and after the audio placeholders, with {question} in it."""
        return (
            f"<|im_start|>user\n{self.audio_bos_token}",
            f"{self.audio_eos_token}\n{{question}}<|im_end|>\n<|im_start|>assistant\n",
        )

    def encode(self, text: str) -> list[int]:
        """Tokenize a part of the prompt."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def clean(self, text: str) -> str:
        """Return a transcript or a name on one line, without what looks like a special token."""
        return without(SPECIAL_TOKEN, text)
