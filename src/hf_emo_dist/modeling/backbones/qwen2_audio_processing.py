"""Prompt and audio → tensors: the processor of `Qwen2AudioForEmotionDistribution`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from transformers import AutoFeatureExtractor, AutoTokenizer, Qwen2AudioProcessor

from ...audio.decoding import SAMPLING_RATE, LongAudio
from ..processing import EmotionDistributionProcessor, UnreadablePartError, window_inputs
from .qwen2_audio_tower import num_audio_tokens, num_mel_frames, padded_samples

PROMPT_VERSION = 1
SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>")


class Qwen2AudioEmotionProcessor(EmotionDistributionProcessor, Qwen2AudioProcessor):
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
    settings: ClassVar[tuple[str, ...]] = (*EmotionDistributionProcessor.settings, "prompt_version")

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
        self._set_up(emotions, use_transcript, use_speaker, long_audio)
        if prompt_version != PROMPT_VERSION:
            raise ValueError(
                f"this checkpoint was trained with prompt version {prompt_version}, and this hf_emo_dist writes "
                f"version {PROMPT_VERSION}. Mend: install the version of hf_emo_dist that its card names."
            )
        self.prompt_version = prompt_version

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str],
        settings: dict[str, Any],
        saved: dict[str, Any],
        hub: dict[str, Any],
    ) -> EmotionDistributionProcessor:
        """Make it from the tokenizer and the feature extractor that lie there."""
        try:
            feature_extractor = AutoFeatureExtractor.from_pretrained(name_or_path, **hub)
            tokenizer = AutoTokenizer.from_pretrained(name_or_path, **hub)
        except ValueError as error:
            raise UnreadablePartError(str(error)) from error
        return cls(feature_extractor, tokenizer, **settings)

    @property
    def model_input_names(self) -> list[str]:
        """The model's inputs that this processor makes."""
        return ["input_ids", "attention_mask", "input_features", "feature_attention_mask"]

    def num_tokens(self, num_samples: int) -> int:
        """Return the audio placeholders of a clip at 16 kHz."""
        return num_audio_tokens(num_mel_frames(num_samples))

    def prompt(self, transcript: str | None = None, speaker: str | None = None) -> tuple[str, str]:
        """Return the text before and after the audio placeholders; the wording is this library's own."""
        # the first token is the same in every prompt, which the head relies on
        about = []
        if self.use_speaker and speaker:
            about.append(f"Speaker: {_clean(speaker)}\n")
        if self.use_transcript and transcript:
            about.append(f"Words: {_clean(transcript)}\n")
        question = f"What do listeners hear: {', '.join(self.emotions)}?"
        return (
            f"<|im_start|>user\n{self.audio_bos_token}",
            f"{self.audio_eos_token}\n{''.join(about)}{question}<|im_end|>\n<|im_start|>assistant\n",
        )

    def audio_features(self, clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Compute `input_features` (clips, mel bins, frames) and their mask (clips, frames) of clips at 16 kHz."""
        features = self.feature_extractor(
            clips,
            sampling_rate=SAMPLING_RATE,
            padding="max_length",
            max_length=self.padded_samples(max(len(clip) for clip in clips)),
            return_attention_mask=True,
            return_tensors="np",
        )
        return {
            "input_features": np.asarray(features["input_features"], dtype=np.float32),
            "feature_attention_mask": np.asarray(features["attention_mask"], dtype=np.int64),
        }

    def text_inputs(
        self,
        counts: Sequence[Sequence[int]],
        seconds: Sequence[Sequence[float]],
        transcripts: Sequence[str | None],
        speakers: Sequence[str | None],
    ) -> dict[str, np.ndarray]:
        """Make `input_ids` and `attention_mask` (clips, L), with windows also `row_index` and `row_weight` (clips,).

        Args:
            counts: Audio placeholders of each clip of each row.
            seconds: Their durations, in the same shape.
            transcripts: One a row, or None.
            speakers: One a row, or None.
        """
        sequences = []
        for row, transcript, speaker in zip(counts, transcripts, speakers, strict=True):
            texts = self.prompt(transcript, speaker)
            before, after = (self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
            sequences += [before + [self.audio_token_id] * count + after for count in row]
        length = max(len(sequence) for sequence in sequences)
        padding = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        input_ids = np.full((len(sequences), length), padding, dtype=np.int64)
        attention_mask = np.zeros_like(input_ids)
        for i, sequence in enumerate(sequences):
            input_ids[i, : len(sequence)] = sequence
            attention_mask[i, : len(sequence)] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask, **window_inputs(counts, seconds)}

    def padded_samples(self, num_samples: int) -> int:
        """Return the samples that a batch is padded to whose longest clip has `num_samples`."""
        return padded_samples(num_samples, self.feature_extractor.nb_max_frames)


def _clean(text: str) -> str:
    found = 1
    while found:  # taking one out can make another: <|<|AUDIO|>AUDIO|>
        text, found = SPECIAL_TOKEN.subn("", text)
    return " ".join(text.split())
