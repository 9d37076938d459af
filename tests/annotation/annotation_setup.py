"""Clips, data sets and annotators that the tests of annotation share."""

import functools

import numpy as np
from tiny_data import tone

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.backends.gemini import GeminiBackend
from hf_emo_dist.audio import encode_wav

EMOTIONS = ("angry", "happy", "neutral", "sad")
KEY = "AIzaNotARealKeyButASecret0123456789"
MODEL = "gemini-2.5-flash"  # its prices are known, and it honours temperature


@functools.cache
def clip(number):
    """The bytes of a WAV file of 0.05 s."""
    return encode_wav(tone(150 + 10 * (number % 50), 0.05, amplitude=0.1 + 0.001 * (number % 500), seed=number))


def rows(count, transcript="Kids are talking."):
    return [
        {"id": f"u{i:03d}", "audio": {"bytes": clip(i), "path": f"{i}.wav"}, "transcript": transcript}
        for i in range(count)
    ]


def dataset(count_or_rows, **options):
    from datasets import Audio, Dataset

    content = rows(count_or_rows, **options) if isinstance(count_or_rows, int) else count_or_rows
    return Dataset.from_list(content).cast_column("audio", Audio(decode=False))


def gemini(server, key=KEY, model=MODEL, **options):
    from google import genai

    client = genai.Client(api_key=key, http_options={"base_url": server.url, "api_version": "v1beta"})
    return GeminiBackend(model, client=client, **options)


def annotator(backend, ledger, **options):
    """With short waiting times, and no progress bar."""
    options = {"num_annotations": 3, "progress": False, "first_backoff_s": 0.02, "last_backoff_s": 0.2, **options}
    return Annotator(backend, ledger=ledger, **options)


def generated(server):
    """The requests for a reply that a server saw."""
    return [request for request in server.requests if "generateContent" in request.path]


def votes(data):
    """Id → the annotations of the row without what differs between runs."""
    return {row["id"]: row["synthetic_votes"] for row in data}


def long_clip(number, size=160_000):
    """The bytes of a FLAC-sized WAV file of noise: about `size` bytes."""
    wave = 0.1 * np.random.default_rng(number).standard_normal(size // 2)
    return encode_wav(wave.astype(np.float32))
