"""The services that answer, one file each, behind the protocol `annotation.types.Backend`."""

from hf_emo_dist._lazy import lazy_attributes

__all__ = ["GeminiBackend", "OpenAIBackend", "SimulatedBackend"]

__getattr__ = lazy_attributes(
    __name__, {"GeminiBackend": "gemini", "OpenAIBackend": "openai", "SimulatedBackend": "simulated"}
)
