"""Clips of any row shape: decoding, resampling, hashing, cutting, the check of a whole data set; the trimmed tower."""

from .._lazy import lazy_attributes

_NAMES = {
    "AudioError": "decoding",
    "AudioProblem": "check",
    "AudioReport": "check",
    "LongAudio": "decoding",
    "MAX_SECONDS": "decoding",
    "MIN_SAMPLES": "decoding",
    "SAMPLING_RATE": "decoding",
    "audio_hash": "clips",
    "audio_kwargs_for": "qwen2_audio_tower",
    "check_audio": "check",
    "check_long_audio": "decoding",
    "encode_flac": "clips",
    "encode_wav": "clips",
    "load_audio": "clips",
    "problem_of": "check",
    "use_trimmed_audio_tower": "qwen2_audio_tower",
    "windows": "clips",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
