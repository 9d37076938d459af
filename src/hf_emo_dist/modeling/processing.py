"""`EmotionDistributionProcessor`: rows → tensors, for any family of backbones."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from huggingface_hub.errors import HFValidationError
from transformers import AutoProcessor, BatchFeature, ProcessorMixin

from .._checkpoint_files import ADAPTER_CONFIG_NAME, CONFIG_NAME, PROCESSOR_NAME
from .._hub import check_hub_answers
from .._own_code import OwnCodeError, forget_code, without_trust
from ..audio.clips import load_audio, windows
from ..audio.decoding import MIN_SAMPLES, SAMPLING_RATE, AudioError, LongAudio, check_long_audio
from ..data.intact import read_json
from ..emotions import validate_emotions
from .backbones import FAMILIES, family_class
from .configuration import CONFIGS, SUFFIX
from .families import HUB_ARGUMENTS, family_of, read_config
from .text_lengths import check_lengths
from .whole_files import MEND, broken_files_named

#: of a `processor_config.json` that names no family: Qwen2-Audio's was the only one
FIRST_FAMILY = "qwen2_audio"
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "tekken.json")


class EmotionDistributionProcessor(ProcessorMixin):
    """Makes the model's inputs from waveforms, and from transcripts and speakers where they are given.

    `from_pretrained` finds the family by the checkpoint and returns its processor, a subclass.

    Args:
        emotions: The emotions in the order of the model's logits.
        use_transcript: Give the transcript to the model where a row has one.
        use_speaker: Put the speaker's name into the prompt of a model that has one (the paper does; it ties the model
            to those it has seen).
        long_audio: What to do beyond the family's longest clip: `error`, `truncate` (its beginning) or `window` (equal
            windows, whose distributions are averaged by duration).

    Example:
        >>> processor = EmotionDistributionProcessor.from_pretrained(
        ...     "Qwen/Qwen2-Audio-7B-Instruct", emotions=["angry", "sad"])  # doctest: +SKIP
        >>> inputs = processor(audio=[waveform], transcript=["Well."], return_tensors="pt")  # doctest: +SKIP
    """

    #: key of `backbones.FAMILIES`; None is this class itself, which makes nothing
    family: str | None = None
    #: fields of `processor_config.json` that `from_pretrained` hands to the constructor and takes as arguments
    settings: ClassVar[tuple[str, ...]] = ("emotions", "use_transcript", "use_speaker", "long_audio")
    #: longest clip in seconds
    max_seconds: float = 30.0

    def _set_up(
        self, emotions: Sequence[str] | None, use_transcript: bool, use_speaker: bool, long_audio: LongAudio
    ) -> None:
        if emotions is None:
            raise ValueError(
                "emotions are missing. Mend: say which ones are asked for, for instance "
                'emotions=["angry", "happy", "neutral", "sad"].'
            )
        check_long_audio(long_audio)
        self.emotions = list(validate_emotions(emotions))
        self.use_transcript = use_transcript
        self.use_speaker = use_speaker
        self.long_audio = long_audio

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | os.PathLike[str], family: str | None = None, **kwargs: Any
    ) -> EmotionDistributionProcessor:
        """Load the processor of a backbone (with `emotions=[...]`) or of a checkpoint.

        Args:
            pretrained_model_name_or_path: Hub id or local folder.
            family: As for the model's `from_pretrained`.
            kwargs: The constructor's settings, and what transformers' `from_pretrained` takes (`token`, `revision`, …).

        Raises:
            ValueError: `emotions` is missing for a backbone, or differs from the checkpoint's.
            OSError: Nothing can be loaded from there.
            BrokenFileError: (A ValueError.) A file there is damaged; it is named.
        """
        kwargs = without_trust(kwargs)
        hub = {key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs}
        check_hub_answers(pretrained_model_name_or_path, token=kwargs.get("token"))
        with broken_files_named(pretrained_model_name_or_path, hub):
            return cls._load(pretrained_model_name_or_path, family, hub, kwargs)

    @classmethod
    def _load(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        family: str | None,
        hub: dict[str, Any],
        kwargs: dict[str, Any],
    ) -> EmotionDistributionProcessor:
        """As `from_pretrained`; where it fails, that looks for the file that is damaged."""
        try:
            saved, _ = ProcessorMixin.get_processor_dict(pretrained_model_name_or_path, **hub)
        except (OSError, HFValidationError):
            saved = {}  # a tokenizer and a feature extractor without a processor file, like the Hub's Qwen2-Audio
        if "emotions" not in saved:
            saved = {}
        if cls.family is None:
            kind = _processor_class(pretrained_model_name_or_path, saved, family, hub)
        else:
            kind = cls
        settings = {key: kwargs.pop(key) for key in kind.settings if key in kwargs}
        known = {key: saved[key] for key in kind.settings if key in saved}
        if "emotions" in known and "emotions" in settings:
            if list(validate_emotions(settings["emotions"])) != known["emotions"]:
                raise ValueError(
                    f"'{pretrained_model_name_or_path}' was made for {known['emotions']} in this order, not for "
                    f"{list(settings['emotions'])}. Mend: leave `emotions` out to use its own."
                )
        try:
            return kind.load(pretrained_model_name_or_path, {**known, **settings}, saved, kwargs)
        except (OSError, UnreadablePartError) as error:
            missing = missing_part(pretrained_model_name_or_path, hub.get("subfolder"))
            if missing is not None:
                raise FileNotFoundError(
                    f"'{pretrained_model_name_or_path}' has no {missing}, without which its processor cannot be "
                    f"loaded. Mend: {MEND}"
                ) from error
            raise OSError(
                f"No processor could be loaded from '{pretrained_model_name_or_path}': it is neither a local folder "
                f"with {kind.made_of} nor a model on the Hub that can be reached from here. Mend: "
                "check the spelling, the connection, and for a private model the token."
            ) from error

    #: what `load` reads, in words
    made_of: ClassVar[str] = "a tokenizer and a feature extractor"

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str],
        settings: dict[str, Any],
        saved: dict[str, Any],
        hub: dict[str, Any],
    ) -> EmotionDistributionProcessor:
        """Make a family's processor from a backbone's files or a checkpoint's.

        Args:
            name_or_path: Hub id or local folder.
            settings: For the constructor.
            saved: What `processor_config.json` of a checkpoint holds; empty for a backbone.
            hub: Arguments of the Hub.

        Raises:
            OSError, UnreadablePartError: A part cannot be loaded.
        """
        raise NotImplementedError(f"{cls.__name__} does not say how it is loaded.")

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> Any:
        """Save the settings and the parts, without what names code of somebody else's."""
        forget_code(self)
        return super().save_pretrained(save_directory, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Return what `processor_config.json` holds."""
        # one public name, whose from_pretrained finds the family's class
        return {**super().to_dict(), "processor_class": "EmotionDistributionProcessor", "family": self.family}

    def num_tokens(self, num_samples: int) -> int:
        """Return the audio tokens (states that the head or the language model sees) of a clip at 16 kHz."""
        raise NotImplementedError(f"{type(self).__name__} does not say how many tokens a clip gives.")

    def audio_features(self, clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Compute the audio inputs of clips at 16 kHz."""
        raise NotImplementedError(f"{type(self).__name__} does not say how audio becomes features.")

    def text_inputs(
        self,
        counts: Sequence[Sequence[int]],
        seconds: Sequence[Sequence[float]],
        transcripts: Sequence[str | None],
        speakers: Sequence[str | None],
    ) -> dict[str, np.ndarray]:
        """Make all inputs other than the audio's.

        Args:
            counts: Audio tokens of each clip of each row.
            seconds: Their durations, in the same shape.
            transcripts: One a row, or None.
            speakers: One a row, or None.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its text inputs are.")

    def text_tokens(self, transcript: str | None, speaker: str | None = None) -> int:
        """Count the tokens by which a row's words make the model's input longer; none where they are cut."""
        return 0

    def clip_sizes(self, rows: Sequence[Sequence[np.ndarray]]) -> tuple[list[list[int]], list[list[float]]]:
        """Return the audio tokens and the seconds of each clip (T,) of each row, at 16 kHz."""
        counts = [[self.num_tokens(len(clip)) for clip in clips] for clips in rows]
        return counts, [[len(clip) / SAMPLING_RATE for clip in clips] for clips in rows]

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
            What the family's model takes: what `audio_features` and `text_inputs` make.

        Raises:
            ValueError: Audio is missing, too short or not finite, lists differ in length, or a transcript is far
                longer than a clip can hold.
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
        counts, seconds = self.clip_sizes(pieces)
        check_lengths(self, names, transcripts, speakers, sum(map(len, pieces)))
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
        """Return the clips of one row: its checked waveform (T,) at 16 kHz, cut by `long_audio` if it is too long."""
        checked = _check_waveform(waveform, sampling_rate, name)
        return windows(checked, self.max_seconds, long_audio=self.long_audio, row_id=name)


def window_inputs(counts: Sequence[Sequence[int]], seconds: Sequence[Sequence[float]]) -> dict[str, np.ndarray]:
    """Make `row_index` and `row_weight` (clips,) where a row has several clips; nothing where none has."""
    if sum(map(len, counts)) == len(counts):
        return {}
    return {
        "row_index": np.repeat(np.arange(len(counts)), [len(row) for row in counts]),
        "row_weight": np.concatenate(list(seconds)).astype(np.float32),
    }


def missing_part(folder: str | os.PathLike[str], subfolder: str | None = None) -> str | None:
    """Name the file of a local checkpoint's processor that is not there; None where all are, or it is no checkpoint."""
    root = Path(folder, subfolder or "")
    if not root.is_dir():
        return None
    if not (root / PROCESSOR_NAME).is_file():
        ours = (root / ADAPTER_CONFIG_NAME).is_file() or _is_our_config(root / CONFIG_NAME)
        return PROCESSOR_NAME if ours else None
    if (root / "tokenizer_config.json").is_file() and not any((root / name).is_file() for name in _VOCABULARIES):
        return "tokenizer.json"
    return None


def _is_our_config(file: Path) -> bool:
    return file.is_file() and str(read_json(file, MEND).get("model_type", "")).endswith(SUFFIX)


class UnreadablePartError(ValueError):
    """A tokenizer or feature extractor that transformers cannot make sense of."""


def _processor_class(
    name_or_path: str | os.PathLike[str], saved: dict[str, Any], family: str | None, hub: dict[str, Any]
) -> Any:
    if family is None and saved:
        family = saved.get("family", FIRST_FAMILY)
        if family not in FAMILIES:  # 'module:Name' would be imported: only the user may say that
            raise OwnCodeError(
                f"the processor_config.json of '{name_or_path}' names the family {family!r}, which hf_emo_dist has "
                "not, and a checkpoint's own code is never run. Mend: if the family is of your own code, pass "
                "family='module:Name'."
            )
    if family is not None:
        return family_class(family).processor_class
    try:
        config = read_config(name_or_path, hub)
    except OSError:
        return family_class(FIRST_FAMILY).processor_class  # whose files need no config.json beside them
    return family_of(config, name_or_path).processor_class


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


for _config in CONFIGS:
    AutoProcessor.register(_config, EmotionDistributionProcessor, exist_ok=True)
