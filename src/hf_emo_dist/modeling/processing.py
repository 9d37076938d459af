"""Prompt and audio → tensors: the processor of `Qwen2AudioForEmotionDistribution`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from huggingface_hub.errors import HFValidationError
from transformers import (
    AutoFeatureExtractor,
    AutoProcessor,
    AutoTokenizer,
    BatchFeature,
    ProcessorMixin,
    Qwen2AudioProcessor,
)

from ..audio.clips import load_audio, windows
from ..audio.decoding import MIN_SAMPLES, SAMPLING_RATE, AudioError, LongAudio, check_long_audio
from ..emotions import validate_emotions
from .backbones.qwen2_audio_tower import num_audio_tokens, num_mel_frames, padded_samples
from .configuration import Qwen2AudioEmotionConfig

PROMPT_VERSION = 1
SPECIAL_TOKEN = re.compile(r"<\|[^|<>]*\|>")
SETTINGS = ("emotions", "use_transcript", "use_speaker", "long_audio", "prompt_version")


class EmotionDistributionProcessor(Qwen2AudioProcessor):
    """Makes the model's inputs from waveforms, and from transcripts and speakers where they are given.

    One audio placeholder stands for each output frame of the audio tower, and none is ever cut off. Features are
    computed on the batch's longest clip, not on 30 s. Padding is on the right. Transcripts are data: special tokens
    inside them are removed.

    Args:
        feature_extractor: A `WhisperFeatureExtractor` (128 mel bins for Qwen2-Audio).
        tokenizer: The backbone's tokenizer, with `<|AUDIO|>`, `<|audio_bos|>` and `<|audio_eos|>`.
        chat_template: As in transformers; not used.
        audio_token, audio_bos_token, audio_eos_token: Of the tokenizer.
        emotions: The emotions in the order of the model's logits; they are named in the prompt.
        use_transcript: Put the transcript into the prompt where a row has one.
        use_speaker: Put the speaker's name into the prompt (the paper does; it ties the model to those it has seen).
        long_audio: What to do beyond 30 s: `error`, `truncate` (the first 30 s) or `window` (equal windows, whose
            distributions are averaged by duration).
        prompt_version: Of the prompt that a checkpoint was trained with.

    Example:
        >>> processor = EmotionDistributionProcessor.from_pretrained(
        ...     "Qwen/Qwen2-Audio-7B-Instruct", emotions=["angry", "sad"])  # doctest: +SKIP
        >>> inputs = processor(audio=[waveform], transcript=["Well."], return_tensors="pt")  # doctest: +SKIP
    """

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
        super().__init__(feature_extractor, tokenizer, chat_template, audio_token, audio_bos_token, audio_eos_token)
        if emotions is None:
            raise ValueError(
                "emotions are missing. Mend: say which ones are asked for, for instance "
                'emotions=["angry", "happy", "neutral", "sad"].'
            )
        check_long_audio(long_audio)
        if prompt_version != PROMPT_VERSION:
            raise ValueError(
                f"this checkpoint was trained with prompt version {prompt_version}, and this hf_emo_dist writes "
                f"version {PROMPT_VERSION}. Mend: install the version of hf_emo_dist that its card names."
            )
        self.emotions = list(validate_emotions(emotions))
        self.use_transcript = use_transcript
        self.use_speaker = use_speaker
        self.long_audio = long_audio
        self.prompt_version = prompt_version

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> EmotionDistributionProcessor:
        """Load the processor of a backbone (with `emotions=[...]`) or of a checkpoint.

        Raises:
            ValueError: `emotions` is missing for a backbone, or differs from the checkpoint's.
            OSError: Nothing can be loaded from there.
        """
        settings = {key: kwargs.pop(key) for key in SETTINGS if key in kwargs}
        try:
            saved, _ = ProcessorMixin.get_processor_dict(pretrained_model_name_or_path, **kwargs)
        except (OSError, HFValidationError):
            saved = {}  # a tokenizer and a feature extractor without a processor file, like the Hub's Qwen2-Audio
        known = {key: saved[key] for key in SETTINGS if key in saved}
        if "emotions" in known and "emotions" in settings:
            if list(validate_emotions(settings["emotions"])) != known["emotions"]:
                raise ValueError(
                    f"'{pretrained_model_name_or_path}' was made for {known['emotions']} in this order, not for "
                    f"{list(settings['emotions'])}. Mend: leave `emotions` out to use its own."
                )
        try:
            feature_extractor = AutoFeatureExtractor.from_pretrained(pretrained_model_name_or_path, **kwargs)
            tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs)
        except (OSError, ValueError) as error:
            raise OSError(
                f"No processor could be loaded from '{pretrained_model_name_or_path}': it is neither a local folder "
                "with a tokenizer and a feature extractor nor a model on the Hub that can be reached from here. Mend: "
                "check the spelling, the connection, and for a private model the token."
            ) from error
        return cls(feature_extractor, tokenizer, **{**known, **settings})

    @property
    def model_input_names(self) -> list[str]:
        """The model's inputs that this processor makes."""
        return ["input_ids", "attention_mask", "input_features", "feature_attention_mask"]

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

    def __call__(  # type: ignore[override]
        self,
        audio: Any = None,
        transcript: str | Sequence[str | None] | None = None,
        speaker: str | Sequence[str | None] | None = None,
        sampling_rate: int = SAMPLING_RATE,
        return_tensors: str | None = "pt",
        row_ids: Sequence[str] | None = None,
    ) -> BatchFeature:
        """Make model inputs for one clip or a list of clips.

        Args:
            audio: A waveform (T,), or a list of waveforms, mono, at `sampling_rate`; floats, or integers, which are
                scaled as in files.
            transcript: The words of each clip, or None where unknown.
            speaker: The speaker of each clip; used only with `use_speaker=True`.
            sampling_rate: Of the waveforms, in Hz; they are resampled to 16 kHz where it differs.
            return_tensors: `"pt"` or `"np"`.
            row_ids: Names for error messages.

        Returns:
            `input_ids`, `attention_mask` (clips, L); `input_features` (clips, mel bins, frames) and
            `feature_attention_mask` (clips, frames); with windows also `row_index` and `row_weight` (clips,), seconds.

        Raises:
            ValueError: Audio is missing, too short or not finite, or lists differ in length.
        """
        if audio is None or len(audio) == 0:
            raise ValueError("audio is missing. Mend: pass processor(audio=[waveform, ...], transcript=[...]).")
        waveforms = list(audio) if isinstance(audio, list | tuple) and np.ndim(audio[0]) > 0 else [audio]
        names = [str(name) for name in row_ids] if row_ids is not None else [str(i) for i in range(len(waveforms))]
        if len(names) != len(waveforms):
            raise ValueError(f"{len(waveforms)} clips but {len(names)} row_ids. Mend: give one a clip.")
        transcripts = _as_list(transcript, len(waveforms), "transcript")
        speakers = _as_list(speaker, len(waveforms), "speaker")
        pieces = [self.cut(wave, sampling_rate, name) for wave, name in zip(waveforms, names, strict=True)]
        counts, seconds = clip_sizes(pieces)
        data = {
            **self.text_inputs(counts, seconds, transcripts, speakers),
            **self.audio_features([clip for clips in pieces for clip in clips]),
        }
        return BatchFeature(data, tensor_type=return_tensors)

    def from_rows(self, rows: Sequence[Mapping[str, Any]], return_tensors: str | None = "pt") -> BatchFeature:
        """Make model inputs for data set rows.

        Args:
            rows: Each with `audio` in any shape that `hf_emo_dist.load_audio` takes, and where known `transcript`,
                `speaker` and `id`.
            return_tensors: `"pt"` or `"np"`.

        Raises:
            AudioError: A clip cannot be used; the message names it.
        """
        names = [str(row.get("id", i)) for i, row in enumerate(rows)]
        waveforms = [load_audio(row["audio"], row_id=name) for row, name in zip(rows, names, strict=True)]
        return self(
            audio=waveforms,
            transcript=[row.get("transcript") for row in rows],
            speaker=[row.get("speaker") for row in rows],
            return_tensors=return_tensors,
            row_ids=names,
        )

    def cut(self, waveform: Any, sampling_rate: int = SAMPLING_RATE, name: str = "0") -> list[np.ndarray]:
        """Return the clips of one row: its checked waveform (T,) at 16 kHz, cut by `long_audio` if it is over 30 s."""
        checked = _check_waveform(waveform, sampling_rate, name)
        return windows(checked, long_audio=self.long_audio, row_id=name)

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
        data: dict[str, np.ndarray] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if len(sequences) > len(counts):
            data["row_index"] = np.repeat(np.arange(len(counts)), [len(row) for row in counts])
            data["row_weight"] = np.concatenate(list(seconds)).astype(np.float32)
        return data

    def padded_samples(self, num_samples: int) -> int:
        """Return the samples that a batch is padded to whose longest clip has `num_samples`."""
        return padded_samples(num_samples, self.feature_extractor.nb_max_frames)


def clip_sizes(rows: Sequence[Sequence[np.ndarray]]) -> tuple[list[list[int]], list[list[float]]]:
    """Return the audio tokens and the seconds of each clip (T,) of each row, at 16 kHz.

    Example:
        >>> clip_sizes([[np.zeros(16000)], [np.zeros(480000), np.zeros(8000)]])
        ([[25], [750, 12]], [[1.0], [30.0, 0.5]])
    """
    counts = [[num_audio_tokens(num_mel_frames(len(clip))) for clip in clips] for clips in rows]
    return counts, [[len(clip) / SAMPLING_RATE for clip in clips] for clips in rows]


def _clean(text: str) -> str:
    found = 1
    while found:  # taking one out can make another: <|<|AUDIO|>AUDIO|>
        text, found = SPECIAL_TOKEN.subn("", text)
    return " ".join(text.split())


def _as_list(value: Any, length: int, name: str) -> list[str | None]:
    values: list[str | None] = [None] * length
    if value is not None:
        values = [value] if isinstance(value, str) else list(value)
    if len(values) != length:
        raise ValueError(
            f"{length} clips but {len(values)} values of `{name}`. Mend: give one a clip, None where unknown."
        )
    return values


def _check_waveform(waveform: Any, sampling_rate: int, name: str) -> np.ndarray:
    array = np.asarray(waveform)
    if array.ndim != 1:
        raise AudioError(
            f"clip {name}: a waveform has one axis (samples), this one has shape {array.shape}. Mend: pass several "
            "clips as a list, and the mean of the channels of one."
        )
    if sampling_rate != SAMPLING_RATE or array.dtype.kind in "iu":
        if array.size:
            array = load_audio({"array": array, "sampling_rate": sampling_rate}, row_id=name)
    array = array.astype(np.float32, copy=False)
    if len(array) < MIN_SAMPLES:
        raise AudioError(
            f"clip {name} has {len(array)} samples; fewer than {MIN_SAMPLES} (0.02 s) give no audio token, "
            "and the model would answer from the text alone. Mend: leave the clip out."
        )
    if not np.isfinite(array).all():
        raise AudioError(f"clip {name} holds NaN or infinite samples. Mend: decode it again or leave it out.")
    return array


AutoProcessor.register(Qwen2AudioEmotionConfig, EmotionDistributionProcessor, exist_ok=True)
