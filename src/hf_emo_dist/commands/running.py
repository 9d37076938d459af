"""What the commands share: errors that a user can mend end in one clear message, not in a traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

__all__ = ["KNOWN_ERRORS", "run_command", "set_up_logging"]

logger = logging.getLogger(__name__)

# What a wrong path, data set, column, clip, setting or a missing extra raises; anything else is a bug and keeps its traceback.
KNOWN_ERRORS = (ValueError, OSError, ModuleNotFoundError)


def run_command(command: Callable[[], None]) -> int:
    """Run a command; returns its exit status: 0, 2 after an error that the user can mend, 130 after Ctrl-C.

    The traceback of such an error is logged at level DEBUG.

    Example:
        >>> run_command(lambda: None)
        0
    """
    try:
        command()
    except KeyboardInterrupt as stop:
        told = f": {stop}" if str(stop) else ""  # what can be resumed says how
        sys.stderr.write(f"stopped{told}\n")
        return 130
    except KNOWN_ERRORS as error:
        logger.debug("the command failed", exc_info=True)
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def set_up_logging() -> None:
    """Show our own messages from INFO, everybody else's from WARNING, and none of the Hub client's retries.

    Example:
        >>> set_up_logging()
    """
    from huggingface_hub.utils import logging as hub_logging

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("hf_emo_dist").setLevel(logging.INFO)
    hub_logging.set_verbosity_error()  # they would bury the one message that counts
