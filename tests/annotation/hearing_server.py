"""A local server behind OpenAI's protocol that hears, hears a little, or drops the audio; and tones for it to hear."""

import base64
import functools
import io
import json

import numpy as np
import soundfile
from http_server import EMOTIONS, fingerprint
from openai_server import OpenAIServer
from tiny_data import tone

from hf_emo_dist.annotation.backends.openai import OpenAIBackend
from hf_emo_dist.audio.clips import encode_wav

#: Pitch of an emotion's tone, in Hz; what is quieter than any tone is silence.
PITCH = {"angry": 1200, "happy": 800, "neutral": 200, "sad": 400}


@functools.cache
def clip(emotion, seed):
    """A tone of an emotion, different for each seed."""
    return encode_wav(tone(PITCH[emotion], 0.1 + 0.002 * (seed % 20), amplitude=0.2, seed=seed))


def heard_in(data):
    """The emotion of a tone; "neutral" in silence."""
    wave, rate = soundfile.read(io.BytesIO(data))
    if np.std(wave) < 0.01:
        return "neutral"
    peak = np.argmax(np.abs(np.fft.rfft(wave))) * rate / len(wave)
    return min(PITCH, key=lambda name: abs(PITCH[name] - peak))


class HearingServer(OpenAIServer):
    """Answers by `kind`: ``hears``, ``constant``, ``words`` (of the transcript), or a function of both.

    With probability `noise` it answers anything, decided by the request, so that runs agree; `seed` is the noise's.
    Asked for shares it puts 0.7 on its answer, give or take.
    """

    def __init__(self, kind="hears", noise=0.0, seed=0, **options):
        super().__init__(**options)
        self.kind, self.noise, self.seed = kind, noise, seed

    def understand(self, request):
        super().understand(request)
        for message in json.loads(request.body)["messages"]:
            for part in message["content"] if message["role"] == "user" else ():
                if part["type"] == "input_audio":
                    request.heard = heard_in(base64.b64decode(part["input_audio"]["data"]))

    def answer(self, request):
        quoted = request.text.partition(": ")[2].splitlines()[0]
        by_words = EMOTIONS[fingerprint(quoted) % len(EMOTIONS)]
        found = {"hears": request.heard, "constant": "neutral", "words": by_words}.get(self.kind)
        if found is None:
            found = self.kind(request.heard, by_words)
        chance = fingerprint(self.seed, request.audio, request.text, request.system, json.dumps(request.config))
        if chance % 1000 < 1000 * self.noise:
            found = EMOTIONS[chance // 1000 % len(EMOTIONS)]
        if "JSON object" not in request.text:
            return found
        shares = {name: 0.1 for name in EMOTIONS} | {found: 0.7}
        first, second = EMOTIONS[chance % 4], EMOTIONS[(chance // 4) % 4]
        shares[first], shares[second] = shares[first] - 0.04, shares[second] + 0.04
        return json.dumps({name: round(share, 3) for name, share in shares.items()})


def backend(server, **options):
    """The real client on the server."""
    return OpenAIBackend("my-model", base_url=f"{server.url}/v1", **options)


def rows(count, mostly=None, votes=True, transcript=True):
    """Utterances; `mostly`: four of five are of that emotion."""
    found = []
    for i in range(count):
        emotion = mostly if mostly and i % 5 else EMOTIONS[(i // 5 if mostly else i) % 4]
        found.append(
            {
                "id": f"u{i:03d}",
                "audio": {"bytes": clip(emotion, i), "path": f"{i}.wav"},
                "speaker": f"s{i % 7}",
                **({"transcript": f"Sentence number {i}."} if transcript else {}),
                **({"human_votes": [emotion] * 3} if votes else {}),
            }
        )
    return found
