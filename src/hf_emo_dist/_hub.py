"""Whether the Hub answers at all, before anything is asked of it that waits without a bound and without a word."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

#: Seconds for which its first answer is waited for. Its own client has no bound for most calls, and repeats the others
#: for minutes.
WAIT_S = 20.0
#: Seconds for which an answer is good for what is asked next.
_FRESH_S = 120.0
_answered: dict[str, float] = {}


def check_hub_answers(name: str | os.PathLike[str], repo_type: str = "model", token: Any = None) -> None:
    """Ask the Hub about a repository once, and wait no longer than `WAIT_S`.

    Whatever it says is an answer: whoever loads from it then says what is wrong. Nothing is asked of a local path,
    where `HF_HUB_OFFLINE` is set, or where it has answered just now.

    Args:
        name: Hub id; a path that is there, or looks like one, is none.
        repo_type: ``"model"`` or ``"dataset"``.
        token: As for `huggingface_hub`.

    Raises:
        OSError: There was no answer.

    Example:
        >>> check_hub_answers("./my_model")
    """
    from huggingface_hub import HfApi, constants

    text = str(name)
    endpoint = constants.ENDPOINT
    if (
        constants.HF_HUB_OFFLINE
        or text.startswith((".", "/", "~"))
        or text.count("/") > 1
        or Path(text).exists()
        or time.monotonic() - _answered.get(endpoint, -_FRESH_S) < _FRESH_S
    ):
        return
    over = threading.Event()

    def ask() -> None:
        # no such name, no permission, no connection: an answer too, and what it means is said by who loads
        try:
            with contextlib.suppress(Exception):
                HfApi(token=token).repo_info(text, repo_type=repo_type, timeout=2 * WAIT_S)
        finally:
            over.set()

    # In a thread: a look-up of a name, and bytes that come one by one, have no bound of the client's.
    threading.Thread(target=ask, daemon=True, name="hf_emo_dist-hub").start()
    if not over.wait(WAIT_S):
        raise OSError(
            f"the Hub ({endpoint}) has not answered for {WAIT_S:g} s, asked for {text!r}. Mend: check the connection, "
            "a proxy and HF_ENDPOINT, or run again later; what was downloaded before is read without it by "
            "HF_HUB_OFFLINE=1."
        )
    _answered[endpoint] = time.monotonic()
