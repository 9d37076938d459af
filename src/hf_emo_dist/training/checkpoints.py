"""Checkpoints of a training that was interrupted: which of them are whole, and which one is gone on with.

A checkpoint is complete when its `checkpoint_facts.json` says so, with digests of all its files: that is written last,
after all others are on the disk (fsync). Only then do older ones give way to it. One whose writing was broken off, or
that was damaged since, is passed over with a word of what is missing.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._checkpoint_files import (
    ADAPTER_CONFIG_NAME,
    CONFIG_NAME,
    FACTS_NAME,
    PEFT_CONFIG_NAME,
    PEFT_WEIGHTS_NAME,
    PROCESSOR_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    is_adapter,
)
from ..data.full_disk import disk_told
from ..data.intact import BrokenFileError, check_safetensors, digest_of, read_json, sealed
from ..data.output import to_disk, write_json
from ..modeling.whole_files import SETTINGS, differing_files, read_facts

logger = logging.getLogger(__name__)

_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")
STATE_NAME = "trainer_state.json"  # of a checkpoint's own files the last: transformers writes it after all others
OPTIMIZER_NAME, SCHEDULER_NAME = "optimizer.pt", "scheduler.pt"
ARGUMENTS_NAME = "training_args.json"
_TORCH_FULL = re.compile(r"write failed|failed writing|unexpected pos|iostream")
_NO_ROOM = 2**20  # bytes that are free where a disk counts as full
_SEE = "the checkpoint is passed over."  # who reads these files here says more than they could


class CheckpointError(ValueError):
    """There is nothing whole to go on with; the message says what is missing where, and what to do."""


def checkpoints_in(folder: str | os.PathLike[str]) -> list[Path]:
    """Folders of checkpoints, newest first, whole or not."""
    if not os.path.isdir(folder):
        return []
    found = [(int(match[1]), path) for path in Path(folder).iterdir() if (match := _CHECKPOINT.match(path.name))]
    return [path for _, path in sorted(found, reverse=True) if path.is_dir()]


def was_complete(checkpoint: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint was ever written to its end, by the one or the other file that is written last."""
    try:
        facts = read_facts(checkpoint)
    except (BrokenFileError, OSError):
        return True
    return bool(facts.get("complete", facts)) or ("complete" not in facts and Path(checkpoint, STATE_NAME).is_file())


def why_not_whole(checkpoint: str | os.PathLike[str], only_model: bool = False) -> str | None:
    """Say what is wrong with a checkpoint whose writing was interrupted, or that was damaged; None for one that is
    whole.

    Of checkpoints without `checkpoint_facts.json` (written by 0.1) a changed value is not found.

    Args:
        checkpoint: Its folder.
        only_model: It is to be loaded, and not gone on with: optimizer, schedule and random numbers do not matter.
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        return "it is no folder"
    try:
        if read_facts(folder).get("complete") is False:
            return "its writing was broken off"
        state = read_json(folder / STATE_NAME, _SEE, needs={"global_step": int})
        named = _CHECKPOINT.match(folder.name)
        if named and state["global_step"] != int(named[1]):
            return f"{STATE_NAME} is of step {state['global_step']}"
        return _missing(folder, only_model) or _broken(folder, only_model) or _not_as_written(folder, only_model)
    except BrokenFileError as error:
        return f"{error.file.name} is damaged: {error.reason}"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename or STATE_NAME)).name} is missing"
    except OSError as error:
        return f"it cannot be read: {error}"


def _weights(folder: Path) -> list[str]:
    names = [name for name in (WEIGHTS_NAME, PEFT_WEIGHTS_NAME) if (folder / name).is_file()]
    if (folder / WEIGHTS_INDEX_NAME).is_file():
        index = read_json(folder / WEIGHTS_INDEX_NAME, _SEE, needs={"weight_map": dict})
        names += sorted(set(index["weight_map"].values()))
    return names


def _missing(folder: Path, only_model: bool) -> str | None:
    """What a checkpoint lacks of weights, of what says what these are, and of what a training goes on with."""
    # FSDP and DeepSpeed may write theirs into folders, without the model's settings beside them
    in_folders = any(path.is_dir() for path in folder.iterdir())
    weights = _weights(folder)
    wanted = list(weights)
    if weights:
        wanted += [PEFT_CONFIG_NAME, ADAPTER_CONFIG_NAME] if PEFT_WEIGHTS_NAME in weights else [CONFIG_NAME]
        wanted += [PROCESSOR_NAME]
    elif not in_folders:
        return f"{PEFT_WEIGHTS_NAME if is_adapter(folder) else WEIGHTS_NAME} is missing"
    arguments = folder / ARGUMENTS_NAME
    keeps_more = not only_model and arguments.is_file() and read_json(arguments, _SEE).get("save_only_model") is False
    if keeps_more and not in_folders:
        wanted += [OPTIMIZER_NAME, SCHEDULER_NAME]
        if not list(folder.glob("rng_state*.pth")):
            return "rng_state.pth is missing"
    return next((f"{name} is missing" for name in wanted if not (folder / name).is_file()), None)


def _broken(folder: Path, only_model: bool) -> str | None:
    for name in _weights(folder):
        check_safetensors(folder / name, _SEE)
    for name in (*SETTINGS, ARGUMENTS_NAME):
        if (folder / name).is_file():
            read_json(folder / name, _SEE)
    for file in sorted([] if only_model else [*folder.glob("*.pt"), *folder.glob("*.pth")]):
        # torch writes zip archives, whose directory is at the end
        if not zipfile.is_zipfile(file):
            return f"{file.name} breaks off"
    return None


def _not_as_written(folder: Path, only_model: bool) -> str | None:
    for name in differing_files(folder, missing=True):
        if only_model and name.endswith((".pt", ".pth")):
            continue
        if not (folder / name).is_file():
            return f"{name} is missing"
        if "/" in name or name.endswith((".safetensors", ".pt", ".pth")) or name in (STATE_NAME, ARGUMENTS_NAME):
            return f"{name} does not hold what was written"
    return None


def last_whole_checkpoint(folder: str | os.PathLike[str], warn: bool = True) -> str | None:
    """Find the newest checkpoint in a folder that is whole; those that are passed over are named.

    Args:
        folder: Output folder of a training.
        warn: Name them in a warning.
    """
    passed = []
    found: Path | None = None
    for path in checkpoints_in(folder):
        reason = why_not_whole(path)
        if reason is None:
            found = path
            break
        passed.append(f"{path.name} ({reason})")
    if passed and warn:
        logger.warning(
            "not whole and passed over in %s: %s. %s",
            folder,
            ", ".join(passed),
            f"Training goes on from {found.name}." if found else "There is no other.",
        )
    return str(found) if found else None


def checkpoint_to_resume(asked: Any, folder: str | os.PathLike[str]) -> str | None:
    """The checkpoint that `resume_from_checkpoint` stands for: True is the last whole one.

    Args:
        asked: A checkpoint's folder, True, or what stands for neither.
        folder: Output folder of the training.

    Returns:
        Its folder; None for the beginning, which `True` stands for, too, where no checkpoint was written to its end.

    Raises:
        CheckpointError: The one that was named is not whole, or all that were complete are damaged.
    """
    if asked is None or asked is False:
        return None
    if asked is True:
        there = checkpoints_in(folder)
        found = last_whole_checkpoint(folder)
        if found is None and any(was_complete(path) for path in there):
            raise CheckpointError(
                f"resume_from_checkpoint: {folder} holds no checkpoint that is whole: "
                f"{'; '.join(f'{path.name}: {why_not_whole(path)}' for path in there)}. Mend: copy one back from where "
                "you keep copies; or start a new training in another output folder (of a checkpoint whose weights are "
                "whole, with --backbone and its folder)."
            )
        if found is None:
            logger.warning(
                "%s: training starts from the beginning",
                f"no checkpoint in {folder} was written to its end" if there else f"{folder} holds no checkpoint",
            )
        return found
    reason = why_not_whole(asked)
    if reason is not None:
        other = last_whole_checkpoint(Path(asked).parent, warn=False)
        raise CheckpointError(
            f"{asked} cannot be resumed from: {reason}. Mend: "
            + (f"name {other}, the last whole one." if other else "start from the beginning.")
        )
    return str(asked)


def begin(folder: Path) -> None:
    """Make the folder of a checkpoint that is to be written, and say in it that it is not complete."""
    remove(folder)
    write_json(folder / FACTS_NAME, sealed({"complete": False}))


def complete(folder: Path, facts: dict[str, Any]) -> None:
    """Say of a checkpoint's folder that it is complete, after everything in it has reached the disk.

    Args:
        folder: The checkpoint's.
        facts: What else is to be known of it.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FACTS_NAME)
    for path in (*files, *(path for path in folder.rglob("*") if path.is_dir()), folder):
        to_disk(path)
    digests = {file.relative_to(folder).as_posix(): digest_of(file) for file in files}
    write_json(folder / FACTS_NAME, sealed({"complete": True, "files": digests, **facts}))


@contextlib.contextmanager
def saved_together(folder: Path, name: str) -> Iterator[Path]:
    """Give a folder to save a model into; its files then come into `folder`, when all of them are on the disk.

    Args:
        folder: Where they go; made where it does not exist.
        name: Of the folder in between, hidden; what a run that was killed has left of it is removed.
    """
    part = folder / name
    with full_disk_told(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
            files = sorted(part.iterdir(), key=lambda path: path.suffix == ".safetensors")  # settings, then weights
            for file in files:
                to_disk(file)
            for file in files:
                file.replace(folder / file.name)
            to_disk(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Let a full disk say which one it is, in words of torch's, too."""
    with disk_told(folder):
        try:
            yield
        except RuntimeError as error:
            # torch says "file write failed" or "unexpected pos", and not why
            there = next((path for path in (folder, *folder.parents) if path.is_dir()), folder)
            if _TORCH_FULL.search(str(error)) and shutil.disk_usage(there).free < _NO_ROOM:
                raise OSError(errno.ENOSPC, str(error)) from error
            raise


def make_room(folder: str | os.PathLike[str], limit: int | None, written: Path, best: str | None) -> None:
    """Remove older checkpoints, so that `limit` are left; the one just written and the best one always are.

    Those of later steps, of a training that was gone on with from an earlier one, go first, then the oldest by their
    steps, whatever the clock says. Of each its state goes first, so that no half of it is ever taken for whole.

    Args:
        folder: Output folder of the training.
        limit: `save_total_limit`; None keeps all.
        written: The one just written, which is complete.
        best: The best one's folder.
    """
    if limit is None or limit <= 0:
        return
    there = checkpoints_in(folder)
    step = int(_CHECKPOINT.match(written.name)[1])  # type: ignore[index]
    numbers = {path: int(path.name.rpartition("-")[2]) for path in there}
    kept = {written.resolve()} | ({Path(best).resolve()} if best is not None else set())
    leaving = sorted(
        (path for path in there if path.resolve() not in kept), key=lambda path: (numbers[path] <= step, numbers[path])
    )
    for path in leaving[: max(0, len(there) - max(limit, len(kept)))]:
        remove(path)


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint's folder; what tells that it was complete goes first."""
    for name in (STATE_NAME, FACTS_NAME):
        with contextlib.suppress(OSError):
            (checkpoint / name).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def has_random_state(checkpoint: str | os.PathLike[str], args: Any) -> bool:
    """Whether a checkpoint has the state of this process's random numbers."""
    name = f"rng_state_{args.process_index}.pth" if args.world_size > 1 else "rng_state.pth"
    return Path(checkpoint, name).is_file()


def has_optimizer(checkpoint: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint has the state of its optimizer and of its learning-rate schedule."""
    folder = Path(checkpoint)
    return any(path.name.startswith("optimizer") for path in folder.iterdir()) and (folder / "scheduler.pt").is_file()
