"""The services that answer, one file each, behind the protocol `annotation.types.Backend`."""

from ..._lazy import lazy_attributes

_NAMES = {
    "GeminiBackend": "gemini",
    "OpenAIBackend": "openai",
    "SimulatedBackend": "simulated",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
