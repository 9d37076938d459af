"""A backend without a network, whose answers a test writes."""

import asyncio
from collections import Counter

from hf_emo_dist.annotation.capabilities import ModelCapabilities
from hf_emo_dist.annotation.types import Answer, PreparedAudio, Usage
from hf_emo_dist.audio.clips import audio_hash, encode_flac, load_audio


class ScriptedBackend:
    """Answers by `script(number, request, audio)`: an Answer, a text, an exception, or seconds to wait first."""

    name, endpoint, terms, row_columns = "scripted", "local", "none", ()

    def __init__(self, script=None, model="scripted-1", capabilities=None, destination=None):
        self.script = script or (lambda number, request, audio: request["emotions"][number % len(request["emotions"])])
        self.model, self.destination = model, destination
        self.capabilities = capabilities or ModelCapabilities(model, known=True, audio=True, temperature=True)
        self.sent = 0
        self.flying = self.most_flying = 0
        self.asked = Counter()
        self.closed = 0

    def __getstate__(self):
        return {"script": None, "model": self.model, "capabilities": self.capabilities, "destination": self.destination}

    def __setstate__(self, state):
        self.__init__(**state)

    def render(self, prompt, member, row):
        return {
            "system": prompt.system,
            "text": prompt.text,
            "emotions": list(prompt.emotions),
            "mode": prompt.mode,
            "temperature": member.temperature,
        }

    def prepare(self, audio, row_id=None):
        wave = load_audio(audio, row_id=row_id)
        return PreparedAudio(encode_flac(wave), "audio/flac", len(wave) / 16000, audio_hash(audio))

    async def ask(self, request, audio, timeout_s):
        number, self.sent = self.sent, self.sent + 1
        self.asked[(request["system"], request["text"], audio.digest)] += 1
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            answer = self.script(number, request, audio)
            if isinstance(answer, tuple):
                await asyncio.sleep(answer[0])
                answer = answer[1]
            if isinstance(answer, BaseException):
                raise answer
            if isinstance(answer, str) or answer is None:
                answer = Answer(answer, model_version=self.model, usage=Usage(100, 50, 10, 2), settings={"t": 1})
            return answer
        finally:
            self.flying -= 1

    async def close(self):
        self.closed += 1

    def secrets(self):
        return ("sk-very-secret",)
