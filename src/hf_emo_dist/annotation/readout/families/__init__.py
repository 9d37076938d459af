"""The families of audio-language models that are read out, one file each where a family needs something of its own."""

from __future__ import annotations

from typing import Any

from ...._tables import resolve

#: `model_type` of a checkpoint's configuration → its family. Imported when it is used.
FAMILIES: dict[str, str] = {
    "audioflamingo3": "audioflamingo3:AudioFlamingo3Family",
    "gemma4": "gemma4:Gemma4Family",
    "granite_speech": "granite_speech:GraniteSpeechFamily",
    "phi4_multimodal": "phi4_multimodal:Phi4MultimodalFamily",
    "qwen2_5_omni": "qwen2_5_omni:Qwen2_5OmniFamily",
    "qwen2_5_omni_thinker": "qwen2_5_omni:Qwen2_5OmniFamily",
    "qwen2_audio": "qwen2_audio:Qwen2AudioFamily",
    "voxtral": "voxtral:VoxtralFamily",
}


def family_class(name: str) -> Any:
    """Return the class of a family.

    Args:
        name: A key of `FAMILIES`; or `module:Name`, a subclass of `families.family.Family` in the user's own code.

    Raises:
        ValueError: There is no such family.

    Example:
        >>> family_class("qwen2_audio").title
        'Qwen2-Audio'
    """
    return resolve(name, FAMILIES, "family", __name__)
