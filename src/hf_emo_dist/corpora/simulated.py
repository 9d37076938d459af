"""The simulated corpus: synthetic utterances whose emotion distribution is known, with votes drawn from it.

It needs no download and no license, and because the truth behind the votes is known, it can answer whether a pipeline
recovers it. It says nothing about how well a method does on people's speech.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.clips import encode_flac
from ..data.splits import speaker_disjoint_split
from ..data.writing import build_dataset, row_features
from ..distributions import FloatArray
from ..emotions import PAPER_EMOTIONS, validate_emotions
from ..votes import matrix_to_distributions
from .synthesis import Prosody, Voice, synthesize

if TYPE_CHECKING:
    from datasets import DatasetDict

logger = logging.getLogger(__name__)

SIMULATED_VOTE_SOURCE = (
    "SIMULATED. Speech and votes are made by a program; no person spoke, listened or voted. "
    "Figures on this data say nothing about people."
)
SIMULATED_DESCRIPTION = (
    "Speech-like utterances from a source-filter synthesizer. The prosody of each follows a known emotion distribution "
    "(column `true_distribution`), and its votes are drawn from that distribution. The transcripts are nonsense "
    "syllables and carry no emotion."
)

# Differences from `Prosody()`. The directions of pitch, tempo, loudness, brightness and onsets are those reported for
# vocal expression by Scherer (2003), Speech Communication 40, and Juslin & Laukka (2003), Psychological Bulletin 129.
# The sizes are our choice, and so is it that neutral speech has the clearest and flattest voice: otherwise it would sit
# in the middle of the others, where a blend of them could not be told from it.
_CHANGES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        # flat pitch, clear and steady voice
        "neutral": {"f0_range": -1.6, "breath_db": -11.0, "jitter": -0.003, "shimmer": -0.02},
        # high and wide pitch, loud, fast, bright, abrupt
        "angry": {
            "f0_semitones": 3.5,
            "f0_range": 3.0,
            "f0_end": -2.0,
            "rate": 0.8,
            "level_db": 8.0,
            "tilt_db": 3.5,
            "breath_db": 5.0,
            "jitter": 0.008,
            "shimmer": 0.06,
            "attack": -0.025,
        },
        # high and wide pitch that rises, fairly loud and fast, spread lips
        "happy": {
            "f0_semitones": 6.0,
            "f0_range": 5.0,
            "f0_end": 6.0,
            "rate": 0.6,
            "level_db": 3.0,
            "tilt_db": 0.5,
            "breath_db": 2.0,
            "attack": -0.01,
            "formant_shift": 0.07,
        },
        # low and narrow pitch, soft, slow, dull, breathy
        "sad": {
            "f0_semitones": -2.5,
            "f0_range": -1.2,
            "f0_end": -0.5,
            "rate": -0.8,
            "level_db": -6.0,
            "tilt_db": -4.0,
            "breath_db": 12.0,
            "shimmer": 0.03,
            "attack": 0.05,
        },
        # high and narrow pitch that trembles, fast, rather soft
        "fear": {
            "f0_semitones": 7.0,
            "f0_range": -1.0,
            "f0_end": 0.5,
            "rate": 1.1,
            "level_db": -2.0,
            "tilt_db": -0.5,
            "breath_db": 6.0,
            "jitter": 0.02,
            "shimmer": 0.06,
            "tremor": 0.6,
            "attack": -0.01,
        },
        # low pitch, slow, rough
        "disgust": {
            "f0_semitones": -3.0,
            "f0_range": 1.0,
            "f0_end": -3.0,
            "rate": -0.8,
            "level_db": 1.0,
            "tilt_db": 1.0,
            "jitter": 0.02,
            "shimmer": 0.08,
            "formant_shift": -0.06,
        },
        # very wide pitch with a steep rise at the end
        "surprise": {
            "f0_semitones": 5.0,
            "f0_range": 8.0,
            "f0_end": 12.0,
            "level_db": 2.0,
            "tilt_db": 1.0,
            "attack": -0.02,
            "formant_shift": 0.02,
        },
    }
)

#: The emotions that the simulation knows how to voice.
SIMULATED_EMOTIONS: tuple[str, ...] = tuple(_CHANGES)

# Standard deviation from one utterance to the next with the same emotions.
_NOISE: Mapping[str, float] = MappingProxyType(
    {
        "f0_semitones": 0.5,
        "f0_range": 0.5,
        "f0_end": 0.6,
        "rate": 0.15,
        "level_db": 0.8,
        "tilt_db": 0.4,
        "breath_db": 1.5,
        "jitter": 0.001,
        "shimmer": 0.005,
        "tremor": 0.03,
        "attack": 0.003,
        "formant_shift": 0.008,
    }
)
_LOWEST = Prosody(-12.0, 0.5, -12.0, 4.3, -14.0, -9.0, -36.0, 0.002, 0.01, 0.0, 0.01, 0.85)
_HIGHEST = Prosody(14.0, 14.0, 16.0, 6.4, 12.0, 5.0, -4.0, 0.05, 0.25, 1.5, 0.15, 1.15)

# Every emotion uses all of them alike, so a transcript tells nothing.
_SENTENCES = (
    "Bani sodu kame la.",
    "Tomi vela gundi.",
    "Si panelo muda fe.",
    "Kozu limena tabo.",
    "Defi nala subo mi.",
    "Vagu posi nemola.",
    "Lume kadi fonsa.",
    "Zeta mobi duna ke.",
)


def _rng(seed: int, name: str) -> np.random.Generator:
    """A generator that depends on the seed and a name alone, not on what was drawn before."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype="<u4").tolist()])


def simulated_voice(index: int, seed: int = 0) -> Voice:
    """Return speaker number `index`: even ones are low voices, odd ones high."""
    rng = _rng(seed, f"speaker-{index}")
    high = index % 2 == 1
    middle, scale = (195.0, 1.15) if high else (112.0, 1.0)
    return Voice(
        f0_hz=float(middle * 2.0 ** (np.clip(rng.normal(0.0, 1.5), -3.0, 3.0) / 12.0)),
        formant_scale=float(scale * np.exp(np.clip(rng.normal(0.0, 0.025), -0.05, 0.05))),
        rate=float(np.exp(np.clip(rng.normal(0.0, 0.03), -0.06, 0.06))),
        level_db=float(np.clip(rng.normal(0.0, 1.0), -2.0, 2.0)),
        tilt_db=float(np.clip(rng.normal(0.0, 0.5), -1.0, 1.0)),
        breath_db=float(np.clip(rng.normal(0.0, 2.0), -4.0, 4.0)),
    )


def emotion_prosody(distribution: Mapping[str, float], rng: np.random.Generator | None = None) -> Prosody:
    """The prosody of a distribution, share by share; `rng` draws how this utterance differs from others like it."""
    settings = {}
    for field in fields(Prosody):
        value = float(getattr(Prosody(), field.name))
        value += sum(share * _CHANGES[emotion].get(field.name, 0.0) for emotion, share in distribution.items())
        if rng is not None:
            value += _NOISE[field.name] * rng.standard_normal()
        settings[field.name] = float(np.clip(value, getattr(_LOWEST, field.name), getattr(_HIGHEST, field.name)))
    return Prosody(**settings)


def _draw_distribution(rng: np.random.Generator, size: int) -> FloatArray:
    """Draw from a mixture of Dirichlet distributions: clear, torn between two, and diffuse utterances."""
    concentration = np.full(size, 0.4)
    kind = rng.random()
    order = rng.permutation(size)
    if kind < 0.55:
        concentration[order[0]] = 8.0
    elif kind < 0.9 or size == 2:
        concentration[order[:2]] = (5.0, 3.0)
    else:
        concentration[:] = 2.0
    return np.asarray(rng.dirichlet(concentration))


def simulate_corpus(
    num_utterances: int = 800,
    num_speakers: int = 20,
    emotions: Sequence[str] = PAPER_EMOTIONS,
    votes_per_utterance: int | tuple[int, int] = (5, 9),
    seed: int = 0,
    sampling_rate: int = 16000,
    splits: Mapping[str, float] | None = None,
) -> DatasetDict:
    """Make the simulated corpus.

    Each utterance draws a true distribution from a mixture of Dirichlet distributions, is voiced with the prosody that
    follows from it, and gets votes drawn from it. It depends on the seed, the speakers and its id alone, so a larger
    corpus begins with the rows of a smaller one.

    Args:
        num_utterances: Rows; about 1.0 to 1.8 s of speech each.
        num_speakers: Speakers, taken in turns; at least one a split.
        emotions: The label set, among those that the simulation can voice.
        votes_per_utterance: Votes for each, or (least, most).
        seed: Of everything.
        sampling_rate: In Hz, at least 16000.
        splits: Split name to its share; speakers are whole. Default: 0.7 ``train``, 0.1 ``validation``, 0.2 ``test``.

    Returns:
        Splits with the columns ``id, audio, transcript, speaker, human_votes, human_distribution,
        emotion_distribution, true_distribution, corpus``; audio is 16-bit FLAC, ``corpus`` is ``"simulated"``.

    Raises:
        ValueError: An emotion cannot be simulated, or the numbers do not fit.

    Example:
        >>> corpus = simulate_corpus(num_utterances=6, num_speakers=3)
        >>> {split: len(rows) for split, rows in corpus.items()}
        {'train': 2, 'validation': 2, 'test': 2}
        >>> corpus["test"]["corpus"][0]
        'simulated'
    """
    from datasets import Value

    names = validate_emotions(emotions)
    unknown = [name for name in names if name not in _CHANGES]
    if unknown:
        raise ValueError(
            f"The simulation cannot voice {', '.join(unknown)}: it knows {', '.join(SIMULATED_EMOTIONS)}. "
            "Mend: choose among them."
        )
    several = votes_per_utterance
    low, high = (several, several) if isinstance(several, int) else several
    if not 1 <= low <= high:
        raise ValueError(f"`votes_per_utterance` must be at least 1, or (least, most), got {votes_per_utterance!r}.")
    shares = dict(splits) if splits is not None else {"train": 0.7, "validation": 0.1, "test": 0.2}
    if not len(shares) <= num_speakers <= num_utterances:
        raise ValueError(
            f"{num_utterances} utterances of {num_speakers} speakers cannot fill {len(shares)} splits. "
            "Mend: at least one speaker a split, and one utterance a speaker."
        )
    voices = [simulated_voice(index, seed) for index in range(num_speakers)]

    def rows() -> Iterator[dict[str, Any]]:
        for index in range(num_utterances):
            row_id = f"sim-{index:06d}"
            rng = _rng(seed, row_id)
            truth = _draw_distribution(rng, len(names))
            votes = rng.choice(len(names), size=int(rng.integers(low, high + 1)), p=truth)
            counts = np.bincount(votes, minlength=len(names))
            true, human = matrix_to_distributions(np.stack([truth, counts / counts.sum()]), names)
            text = _SENTENCES[int(rng.integers(len(_SENTENCES)))]
            speaker = index % num_speakers
            wave = synthesize(text, emotion_prosody(true, rng), voices[speaker], rng, sampling_rate)
            yield {
                "id": row_id,
                "audio": {"bytes": encode_flac(wave, sampling_rate), "path": f"{row_id}.flac"},
                "transcript": text,
                "speaker": f"sim-speaker-{speaker:03d}",
                "human_votes": [names[vote] for vote in votes],
                "human_distribution": human,
                "emotion_distribution": human,
                "true_distribution": true,
                "corpus": "simulated",
            }

    features = row_features(names, {"corpus": Value("string")}, true_distribution=True)
    logger.info("Simulating %d utterances of %d speakers", num_utterances, num_speakers)
    return speaker_disjoint_split(build_dataset(rows(), features), shares, seed=seed)
