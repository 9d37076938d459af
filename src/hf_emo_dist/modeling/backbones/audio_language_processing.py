"""Prompt and audio → tensors: the processors of audio-language models."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from transformers import AutoFeatureExtractor, AutoTokenizer, ProcessorMixin

from ..._own_code import OwnCodeError, load_part
from ...audio.decoding import SAMPLING_RATE, LongAudio
from ...audio.qwen2_audio_tower import num_audio_tokens, num_mel_frames, padded_samples
from ..processing import EmotionDistributionProcessor, UnreadablePartError, window_inputs

PROMPT_VERSION = 1


class AudioLanguageProcessor(EmotionDistributionProcessor):
    """`EmotionDistributionProcessor` of audio-language models; those whose towers take Whisper's log-mel features.

    One audio placeholder stands for each row that the model puts in the places of the audio, and none is ever cut off.
    Features are computed on the batch's longest clip, not on 30 s. Padding is on the right. Transcripts are data:
    special tokens inside them are removed.

    Args:
        feature_extractor: The backbone's.
        tokenizer: The backbone's.
        emotions, use_transcript, use_speaker, long_audio: As in `EmotionDistributionProcessor`; the emotions are named
            in the prompt.
        prompt_version: Of the prompt that a checkpoint was trained with.
    """

    settings: ClassVar[tuple[str, ...]] = (*EmotionDistributionProcessor.settings, "prompt_version")
    #: the placeholder of one row of audio
    audio_token: str = ""
    #: what is written before the placeholders; its first token is the same in every prompt, which the head relies on
    before: ClassVar[str] = ""
    #: what is written after them, with {question} in it
    after: ClassVar[str] = ""
    #: the special tokens in `before` and `after`
    prompt_tokens: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        feature_extractor: Any = None,
        tokenizer: Any = None,
        emotions: Sequence[str] | None = None,
        use_transcript: bool = True,
        use_speaker: bool = False,
        long_audio: LongAudio = "error",
        prompt_version: int = PROMPT_VERSION,
    ) -> None:
        ProcessorMixin.__init__(self, feature_extractor, tokenizer)
        self.audio_token_id = tokenizer.convert_tokens_to_ids(self.audio_token)
        self._set_up_prompt(emotions, use_transcript, use_speaker, long_audio, prompt_version)

    def _set_up_prompt(
        self,
        emotions: Sequence[str] | None,
        use_transcript: bool,
        use_speaker: bool,
        long_audio: LongAudio,
        prompt_version: int,
    ) -> None:
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
            feature_extractor = cls.load_feature_extractor(name_or_path, hub)
            tokenizer = load_part(AutoTokenizer, name_or_path, **hub)
        except OwnCodeError:
            raise
        except ValueError as error:
            raise UnreadablePartError(str(error)) from error
        return cls(feature_extractor, tokenizer, **settings)

    @classmethod
    def load_feature_extractor(cls, name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> Any:
        """Load the feature extractor that lies there."""
        return load_part(AutoFeatureExtractor, name_or_path, **hub)

    @property
    def model_input_names(self) -> list[str]:
        """The model's inputs that this processor makes."""
        return ["input_ids", "attention_mask", "input_features", "feature_attention_mask"]

    def num_tokens(self, num_samples: int) -> int:
        """Return the audio placeholders of a clip at 16 kHz."""
        return num_audio_tokens(num_mel_frames(num_samples))

    def prompt(self, transcript: str | None = None, speaker: str | None = None) -> tuple[str, str]:
        """Return the text before and after the audio placeholders; the wording is this library's own."""
        about = []
        if self.use_speaker and speaker:
            about.append(f"Speaker: {self.clean(speaker)}\n")
        if self.use_transcript and transcript:
            about.append(f"Words: {self.clean(transcript)}\n")
        before, after = self.frame()
        return before, after.replace("{question}", f"{''.join(about)}{self.question()}")

    def question(self) -> str:
        """Return what the prompt asks."""
        return f"What do listeners hear: {', '.join(self.emotions)}?"

    def frame(self) -> tuple[str, str]:
        """Return `before` and `after`."""
        return self.before, self.after

    def served_frame(self) -> tuple[str, str]:
        """Return `before` and `after` as a server takes them that puts the placeholders between them."""
        return self.frame()

    def encode(self, text: str) -> list[int]:
        """Tokenize a part of the prompt."""
        # special tokens by name: not every tokenizer takes them out of a text
        ids: list[int] = []
        for piece in re.split(f"({'|'.join(map(re.escape, self.prompt_tokens))})", text):
            if piece in self.prompt_tokens:
                ids.append(self.tokenizer.convert_tokens_to_ids(piece))
            elif piece:
                ids += self.tokenizer(piece, add_special_tokens=False)["input_ids"]
        return ids

    def clean(self, text: str) -> str:
        """Return a transcript or a name on one line, without special tokens."""
        tokens = {self.audio_token, *self.prompt_tokens, *getattr(self.tokenizer, "all_special_tokens", ())}
        pattern = re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True) if token))
        return without(pattern, text)

    def text_tokens(self, transcript: str | None, speaker: str | None = None) -> int:
        """Count the tokens of a transcript, and of a speaker's name, where the prompt has them."""
        given = ((transcript, self.use_transcript), (speaker, self.use_speaker))
        return sum(len(self.encode(self.clean(text))) for text, used in given if text and used)

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
            before, after = map(self.encode, self.prompt(transcript, speaker))
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


def without(pattern: re.Pattern[str], text: str) -> str:
    """Take everything that a pattern finds out of a text, and put the rest on one line."""
    found = 1
    while found:  # taking one out can make another: <|<|AUDIO|>AUDIO|>
        text, found = pattern.subn("", text)
    return " ".join(text.split())
