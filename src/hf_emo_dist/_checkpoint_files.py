"""Files of a checkpoint, in a local folder or on the Hub."""

from __future__ import annotations

import os
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id


def find_file(name_or_path: str | os.PathLike[str], name: str, hub: dict[str, Any]) -> str | None:
    """Find a file of a checkpoint, downloaded if need be; None where it is not there or cannot be reached."""
    from transformers.utils import cached_file

    if not os.path.isdir(name_or_path):
        try:
            validate_repo_id(str(name_or_path))
        except HFValidationError:
            return None  # a path with nothing at it
    found: str | None = cached_file(
        name_or_path,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
        **hub,
    )
    return found
