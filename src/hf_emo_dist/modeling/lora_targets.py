"""LoRA presets of each kind of backbone: name → `target_modules`. Without torch: a command's help needs the names."""

from __future__ import annotations

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")

#: An audio tower, a projector and a language model under these names.
AUDIO_LANGUAGE_TARGETS: dict[str, list[str] | str] = {
    # As in the paper's code: by name. In Qwen2-Audio this also reaches q, k and v of the audio tower.
    "paper": list(ATTENTION),
    "language_model": rf".*language_model\..*\.({'|'.join(ATTENTION)})",
    "all": (
        r".*(language_model|audio_tower|multi_modal_projector)\..*"
        r"(q_proj|k_proj|v_proj|o_proj|out_proj|gate_proj|up_proj|down_proj|fc1|fc2|linear)"
    ),
}


def audio_language_targets(
    projector: str = "multi_modal_projector", projector_layers: tuple[str, ...] = ("linear",)
) -> dict[str, list[str] | str]:
    """Make the presets of an audio-language model whose tower is Whisper's, by its projector's names."""
    return {
        **AUDIO_LANGUAGE_TARGETS,
        "all": (
            rf".*language_model\..*\.({'|'.join((*ATTENTION, *FEED_FORWARD))})"
            r"|.*audio_tower\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
            rf"|.*{projector}\.({'|'.join(projector_layers)})"
        ),
    }


def speech_encoder_targets(attention: str | None, feed_forward: str) -> dict[str, list[str] | str]:
    """Make a speech encoder's presets from its layers' names; `attention` is None where LoRA cannot reach it."""
    targets: dict[str, list[str] | str] = {}
    if attention is not None:
        targets["attention"] = rf"encoder\..*\.({attention})"
    targets["feed_forward"] = rf"encoder\..*\.({feed_forward})"
    targets["all"] = rf"encoder\..*\.({'|'.join(filter(None, (attention, feed_forward)))})"
    return targets


#: All names of presets; which of them a family has, its model class says.
PRESETS = (*AUDIO_LANGUAGE_TARGETS, "attention", "feed_forward")
