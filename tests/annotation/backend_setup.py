"""What the tests of the backends share: clips, prompts, and both services with their local servers."""

import asyncio
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
from gemini_server import GeminiServer
from openai_server import OpenAIServer

from hf_emo_dist.annotation.backends.gemini import GeminiBackend
from hf_emo_dist.annotation.backends.openai import OpenAIBackend
from hf_emo_dist.annotation.types import PanelMember, Prompt
from hf_emo_dist.audio.clips import encode_flac, encode_wav

KEY = "sk-very-secret-0123456789"
EMOTIONS = ("angry", "happy", "neutral", "sad")
KEY_NAMES = (
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_GENAI_USE_ENTERPRISE",
    "GOOGLE_GENAI_API_VERSION",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_VERTEX_BASE_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
)


def noise(seconds=0.2, seed=0, level=0.3):
    return np.random.default_rng(seed).uniform(-level, level, int(16000 * seconds))


def prompt(mode="label", text="What do you hear?", emotions=EMOTIONS):
    return Prompt("You listen.", text, emotions, mode, "1")


def member(mode="label", **settings):
    return PanelMember("tone", mode=mode, **settings)


@dataclass
class Service:
    """One backend, with a server that stands for its service."""

    name: str
    server_class: Any
    backend_class: Any
    model: str
    key_name: str
    url_name: str
    extra: str

    def environment(self, monkeypatch, server, key=KEY):
        for name in KEY_NAMES:
            monkeypatch.delenv(name, raising=False)
        if key is not None:
            monkeypatch.setenv(self.key_name, key)
        # OpenAI's addresses end in the version, Gemini's do not
        monkeypatch.setenv(self.url_name, server.url + ("/v1" if self.name == "openai" else ""))

    def backend(self, **arguments):
        return self.backend_class(arguments.pop("model", self.model), **arguments)

    def clip(self, seed=0):
        wave = noise(seed=seed)
        return encode_wav(wave) if self.name == "openai" else encode_flac(wave)


SERVICES = {
    "gemini": Service(
        "gemini",
        GeminiServer,
        GeminiBackend,
        "gemini-2.5-flash",
        "GEMINI_API_KEY",
        "GOOGLE_GEMINI_BASE_URL",
        "annotate",
    ),
    "openai": Service(
        "openai", OpenAIServer, OpenAIBackend, "gpt-audio", "OPENAI_API_KEY", "OPENAI_BASE_URL", "openai"
    ),
}


def ask(backend, audio, count=1, timeout_s=5.0, close=True, prompts=None, **settings):
    """Ask `count` times at once in a loop of its own; answers and exceptions."""

    async def run():
        shown = prompts or [prompt(settings.get("mode", "label"), f"What do you hear? ({i})") for i in range(count)]
        requests = [backend.render(entry, member(**settings), {}) for entry in shown]
        try:
            return await asyncio.gather(*(backend.ask(r, audio, timeout_s) for r in requests), return_exceptions=True)
        finally:
            if close:
                await backend.close()

    return asyncio.run(run())


def everything_about(thing):
    """All that an exception or an object shows or pickles, as one string."""
    found, texts = [thing], []
    while found:
        entry = found.pop()
        texts += [str(entry), repr(entry), repr(getattr(entry, "__dict__", ""))]
        if isinstance(entry, BaseException):
            found += [other for other in (entry.__cause__, entry.__context__) if other is not None]
    texts.append(pickle.dumps(thing, protocol=0).decode("latin-1"))
    return "\n".join(texts)
