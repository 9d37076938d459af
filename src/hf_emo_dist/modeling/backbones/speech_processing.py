"""Rows → tensors: the processors of speech encoders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from transformers import (
    AutoFeatureExtractor,
    AutoTokenizer,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from ..._own_code import OwnCodeError, load_part
from ...audio.decoding import SAMPLING_RATE, LongAudio
from ...audio.qwen2_audio_tower import num_mel_frames, padded_samples
from ..families import read_config
from ..processing import EmotionDistributionProcessor, UnreadablePartError, window_inputs
from .waveform_encoder import conv_lengths

MAX_TEXT_TOKENS = 512
# a filter bank's window is 400 samples, moved by 160, and two frames make one
FILTER_WINDOW, FILTER_HOP = 400, 160


class SpeechEncoderEmotionProcessor(EmotionDistributionProcessor):
    """`EmotionDistributionProcessor` of speech encoders: audio, and transcripts where the model has a text encoder.

    Args:
        feature_extractor: The encoder's.
        emotions, use_transcript, use_speaker, long_audio: As in `EmotionDistributionProcessor`; speakers' names are not
            used.
        family: The encoder's `model_type`.
        text_encoder: Hub id or folder of the text encoder, for `from_pretrained`, which takes its tokenizer.
        geometry: What `num_tokens` needs to know of the encoder.
        text_tokenizer: The text encoder's.
    """

    settings: ClassVar[tuple[str, ...]] = (*EmotionDistributionProcessor.settings, "text_encoder", "geometry")
    made_of: ClassVar[str] = "a feature extractor, or the configuration of a speech encoder,"

    def __init__(
        self,
        feature_extractor: Any = None,
        emotions: Sequence[str] | None = None,
        use_transcript: bool = True,
        use_speaker: bool = False,
        long_audio: LongAudio = "error",
        family: str | None = None,
        text_encoder: str | bool | None = None,
        geometry: dict[str, list[int]] | None = None,
        text_tokenizer: Any = None,
    ) -> None:
        super().__init__(feature_extractor)
        self._set_up(emotions, use_transcript, use_speaker, long_audio)
        self.family = family
        self.geometry = geometry or {}
        self._text_tokenizer = text_tokenizer
        # saved; whose it was is a path of this machine, or a name that its checkpoint does not need
        self.text_encoder = text_tokenizer is not None

    @property
    def tokenizer(self) -> Any:
        """What Trainer takes special tokens from for the model: nothing; the text encoder has its own."""
        return SimpleNamespace(eos_token_id=None, bos_token_id=None, pad_token_id=None)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Return the parts that transformers saves; the tokenizer, which may be missing, is saved below."""
        return ["feature_extractor"]

    @classmethod
    def default_feature_extractor(cls, encoder: Any) -> Any:
        """Make the feature extractor of an encoder that comes without one."""
        raise NotImplementedError

    @classmethod
    def geometry_of(cls, encoder: Any) -> dict[str, list[int]]:
        """Return what `num_tokens` needs of an encoder's configuration."""
        return {}

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str],
        settings: dict[str, Any],
        saved: dict[str, Any],
        hub: dict[str, Any],
    ) -> EmotionDistributionProcessor:
        """Make it from the feature extractor that lies there, and of a bare encoder from its configuration."""
        family = saved.get("family")
        encoder = None
        if not saved:
            encoder = read_config(name_or_path, hub)
            encoder = getattr(encoder, "encoder_config", encoder)
            family = encoder.model_type
            settings = {**settings, "geometry": cls.geometry_of(encoder)}
        try:
            feature_extractor = load_part(AutoFeatureExtractor, name_or_path, **hub)
        except OwnCodeError:
            raise
        except (OSError, ValueError) as error:
            if encoder is None:
                raise UnreadablePartError(str(error)) from error
            feature_extractor = cls.default_feature_extractor(encoder)
        tokenizer = None
        named = settings.get("text_encoder")
        if named:
            own = named is True  # a checkpoint's lies with it
            source = name_or_path if own else named
            others = {key: value for key, value in hub.items() if own or key not in ("revision", "subfolder")}
            try:
                tokenizer = load_part(AutoTokenizer, source, **others)
            except OwnCodeError:
                raise
            except ValueError as error:
                raise UnreadablePartError(str(error)) from error
        return cls(feature_extractor, **settings, family=family, text_tokenizer=tokenizer)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save the settings, the feature extractor and, where there is one, the tokenizer."""
        super().save_pretrained(save_directory, **kwargs)
        if self._text_tokenizer is not None:
            self._text_tokenizer.save_pretrained(save_directory)

    def text_inputs(
        self,
        counts: Sequence[Sequence[int]],
        seconds: Sequence[Sequence[float]],
        transcripts: Sequence[str | None],
        speakers: Sequence[str | None],
    ) -> dict[str, np.ndarray]:
        """Make `text_input_ids` and their mask (clips, words) where there is a text encoder; window inputs as ever."""
        data = window_inputs(counts, seconds)
        if self._text_tokenizer is None:
            return data
        given = [text if self.use_transcript and text and text.strip() else "" for text in transcripts]
        texts = [text for text, row in zip(given, counts, strict=True) for _ in row]
        longest = min(self._text_tokenizer.model_max_length, MAX_TEXT_TOKENS)
        encoded = self._text_tokenizer(texts, truncation=True, max_length=longest, padding=True, return_tensors="np")
        mask = np.asarray(encoded["attention_mask"], dtype=np.int64)
        # no words are not the special tokens around none
        mask = mask * np.array([bool(text) for text in texts])[:, None]
        return {**data, "text_input_ids": np.asarray(encoded["input_ids"], np.int64), "text_attention_mask": mask}


class WaveformEmotionProcessor(SpeechEncoderEmotionProcessor):
    """Of encoders that hear waveforms."""

    @classmethod
    def default_feature_extractor(cls, encoder: Any) -> Any:
        """Make a feature extractor that normalises each clip where the encoder was trained so."""
        return Wav2Vec2FeatureExtractor(do_normalize=encoder.feat_extract_norm == "layer", return_attention_mask=True)

    @classmethod
    def geometry_of(cls, encoder: Any) -> dict[str, list[int]]:
        """Return the convolutions."""
        return {"kernels": list(encoder.conv_kernel), "strides": list(encoder.conv_stride)}

    @property
    def model_input_names(self) -> list[str]:
        """The model's inputs that this processor makes."""
        return ["input_values", "attention_mask"]

    @property
    def _shortest(self) -> int:
        # samples of which the convolutions make one frame
        samples = 1
        for kernel, stride in zip(self.geometry["kernels"][::-1], self.geometry["strides"][::-1], strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def num_tokens(self, num_samples: int) -> int:
        """Return the encoder's frames for a clip at 16 kHz."""
        return int(conv_lengths(max(num_samples, self._shortest), self.geometry["kernels"], self.geometry["strides"]))

    def audio_features(self, clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Compute `input_values` (clips, samples) and their mask of clips at 16 kHz."""
        shortest = self._shortest
        long_enough = [np.pad(clip, (0, max(0, shortest - len(clip)))) for clip in clips]
        features = self.feature_extractor(
            long_enough,
            sampling_rate=SAMPLING_RATE,
            padding=True,
            # also where the feature extractor says otherwise: without it, clips would be normalised with their padding
            return_attention_mask=True,
            return_tensors="np",
        )
        return {
            "input_values": np.asarray(features["input_values"], dtype=np.float32),
            "attention_mask": np.asarray(features["attention_mask"], dtype=np.int64),
        }


class FilterBankEmotionProcessor(SpeechEncoderEmotionProcessor):
    """Of wav2vec2-BERT: 80 mel bins, two frames side by side."""

    @classmethod
    def default_feature_extractor(cls, encoder: Any) -> Any:
        """Make the feature extractor that all of them have."""
        return SeamlessM4TFeatureExtractor(
            feature_size=encoder.feature_projection_input_dim // 2,
            num_mel_bins=encoder.feature_projection_input_dim // 2,
        )

    @property
    def model_input_names(self) -> list[str]:
        """The model's inputs that this processor makes."""
        return ["input_features", "attention_mask"]

    def num_tokens(self, num_samples: int) -> int:
        """Return the encoder's frames for a clip at 16 kHz."""
        samples = max(num_samples, FILTER_WINDOW + FILTER_HOP)
        return ((samples - FILTER_WINDOW) // FILTER_HOP + 1) // 2

    def audio_features(self, clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Compute `input_features` (clips, frames, 2 · mel bins) and their mask (clips, frames) of clips at 16 kHz."""
        long_enough = [np.pad(clip, (0, max(0, FILTER_WINDOW + FILTER_HOP - len(clip)))) for clip in clips]
        features = self.feature_extractor(
            long_enough, sampling_rate=SAMPLING_RATE, padding=True, return_attention_mask=True, return_tensors="np"
        )
        return {
            "input_features": np.asarray(features["input_features"], dtype=np.float32),
            "attention_mask": np.asarray(features["attention_mask"], dtype=np.int64),
        }


class WhisperEmotionProcessor(SpeechEncoderEmotionProcessor):
    """Of Whisper's encoder: log-mel spectrograms of the batch's longest clip, not of 30 s."""

    @classmethod
    def default_feature_extractor(cls, encoder: Any) -> Any:
        """Make Whisper's feature extractor, which its number of mel bins says."""
        return WhisperFeatureExtractor(feature_size=encoder.num_mel_bins)

    @property
    def model_input_names(self) -> list[str]:
        """The model's inputs that this processor makes."""
        return ["input_features", "attention_mask"]

    def num_tokens(self, num_samples: int) -> int:
        """Return the encoder's frames for a clip at 16 kHz."""
        return (num_mel_frames(num_samples) - 1) // 2 + 1

    def audio_features(self, clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Compute `input_features` (clips, mel bins, frames) and their mask (clips, frames) of clips at 16 kHz."""
        longest = max(len(clip) for clip in clips)
        features = self.feature_extractor(
            clips,
            sampling_rate=SAMPLING_RATE,
            padding="max_length",
            max_length=padded_samples(longest, self.feature_extractor.nb_max_frames),
            return_attention_mask=True,
            return_tensors="np",
        )
        return {
            "input_features": np.asarray(features["input_features"], dtype=np.float32),
            "attention_mask": np.asarray(features["attention_mask"], dtype=np.int64),
        }
