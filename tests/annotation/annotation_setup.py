"""Clips, data sets and annotators that the tests of annotation share."""

import functools
from datetime import date

from tiny_data import tone

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.backends.gemini import GeminiBackend
from hf_emo_dist.audio.clips import encode_flac

EMOTIONS = ("angry", "happy", "neutral", "sad")
KEY = "AIzaNotARealKeyButASecret0123456789"
TODAY = date(2026, 8, 1)  # no test depends on the day: MODEL is not retired then, and what is known of it not old
MODEL = "gemini-2.5-flash"  # its prices are known, and it honours temperature


@functools.cache
def clip(number):
    """The bytes of a FLAC file of 0.05 s, 16 kHz mono, which goes to Gemini as it is."""
    return encode_flac(tone(150 + 10 * (number % 50), 0.05, amplitude=0.1 + 0.001 * (number % 500), seed=number))


def rows(count, transcript="Kids are talking."):
    return [
        {"id": f"u{i:03d}", "audio": {"bytes": clip(i), "path": f"{i}.flac"}, "transcript": transcript}
        for i in range(count)
    ]


def dataset(count_or_rows, **options):
    from datasets import Audio, Dataset

    content = rows(count_or_rows, **options) if isinstance(count_or_rows, int) else count_or_rows
    return Dataset.from_list(content).cast_column("audio", Audio(decode=False))


@functools.cache  # half a second each, for their TLS contexts
def _client(url, key):
    from google import genai

    return genai.Client(api_key=key, http_options={"base_url": url, "api_version": "v1beta"})


def gemini(server, key=KEY, model=MODEL, **options):
    """`server` is anything with a `url`."""
    return GeminiBackend(model, client=_client(server.url, key), **options)


def reset(server):
    """As if the server had just started."""
    server.script.clear()
    server.requests.clear()
    server.replies.clear()
    server.count = 0
    server.latency = 0.0
    return server


def annotator(backend, ledger, **options):
    """With short waiting times, and no progress bar."""
    options = {
        "today": TODAY,
        "num_annotations": 3,
        "progress": False,
        "first_backoff_s": 0.02,
        "last_backoff_s": 0.2,
        **options,
    }
    return Annotator(backend, ledger=ledger, **options)


def generated(server):
    """The requests for a reply that a server saw."""
    return [request for request in server.requests if "generateContent" in request.path]


def votes(data):
    """Id → the annotations of the row without what differs between runs."""
    return {row["id"]: row["synthetic_votes"] for row in data}
