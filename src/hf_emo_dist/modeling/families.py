"""Which family a checkpoint, a backbone or an adapter belongs to, by what lies in its folder or repository."""

from __future__ import annotations

import os
from typing import Any

from transformers import AutoConfig

from .._checkpoint_files import ADAPTER_CONFIG_NAME, CONFIG_NAME, find_file
from .._own_code import OwnCodeError, check_own_code, forget_code, load_part
from ..data.intact import read_json
from .backbones import FAMILIES, family_class
from .bare_encoder import bare_encoder_config
from .configuration import EmotionConfig, emotion_config
from .whole_files import MEND, broken_file

HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


def read_config(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> Any:
    """Read the configuration of a backbone, a checkpoint or an adapter.

    Raises:
        OSError: There is none, or it cannot be reached.
        OwnCodeError: (A ValueError.) It names code of its own that would have to be run.
    """
    adapter = find_file(name_or_path, ADAPTER_CONFIG_NAME, hub)
    if adapter is not None:
        return emotion_config(read_json(adapter, MEND), name_or_path)
    try:
        check_own_code(name_or_path, hub)
        return forget_code(load_part(AutoConfig, name_or_path, **hub))
    except OwnCodeError:
        raise
    except (OSError, ValueError, KeyError) as error:
        broken = broken_file(name_or_path, hub)
        if broken is not None:
            raise broken from error
        bare = bare_encoder_config(name_or_path, hub)
        if bare is not None:
            return bare
        if find_file(name_or_path, CONFIG_NAME, hub) is not None:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise OSError(
                f"The {CONFIG_NAME} of '{name_or_path}' is of no model that transformers knows: {reason} Mend: name a "
                "checkpoint whose model and parts it has, or install the version of transformers that it was made with."
            ) from error
        raise OSError(
            f"No model could be loaded from '{name_or_path}': it is neither a local folder with a config.json nor a "
            "model on the Hub that can be reached from here. Mend: check the spelling, the connection, and for a "
            "private model the token."
        ) from error


def family_of(config: Any, where: object, family: str | None = None) -> Any:
    """Return the model class for a configuration, a backbone's or one of ours.

    Args:
        config: The configuration.
        where: What it was read from, for the error message.
        family: A key of `FAMILIES`, or `module:Name` of the user's own code, instead of the configuration's own.

    Raises:
        ValueError: No family takes it.
    """
    own = config.backbone_type if isinstance(config, EmotionConfig) else config.model_type
    if family is None and own not in FAMILIES:
        raise ValueError(
            f"'{where}' is a {own} model, which no family of backbones takes. Mend: name one of "
            f"{', '.join(sorted(FAMILIES))}, or pass family='module:Name', a class of your own."
        )
    return family_class(family or own)
