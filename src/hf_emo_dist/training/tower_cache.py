"""Where the outputs of a frozen audio tower are kept: files that several processes read and write. See `cached_tower`."""

from __future__ import annotations

import json
import logging
import os
import uuid
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

logger = logging.getLogger(__name__)

GIGABYTE = 10**9


@dataclass
class Entry:
    """The tower's outputs for one row.

    Attributes:
        embeddings: (tokens of all its clips, d_model), clip after clip.
        counts: tokens of each clip; more than one where the row was cut into windows.
        seconds: duration of each clip.
    """

    embeddings: Tensor
    counts: list[int]
    seconds: list[float]


@dataclass
class TowerCache:
    """One safetensors file a row, in a folder that several processes and data loader workers may share.

    A file is written whole under another name and then renamed, and carries a checksum: an entry that is damaged is told apart, said once,
    and computed again. Reading maps the file into memory. The folder's size is bounded; when it is full a message says so, what is there
    is still read, and other clips are computed in each epoch. The bound counts the entries of other towers in the same folder too; each
    process measures the folder again whenever it has written half of its share of what was free, so it is passed by a clip a process at most.

    Args:
        folder: of all entries; made if needed.
        tower: what `tower_hash` gave; entries of other towers are never read.
        max_gb: bound on the folder's size, in 10⁹ bytes.
        num_processes: that write into it at the same time.

    Raises:
        ValueError: if `max_gb` is not above 0.
        OSError: if the folder cannot be made.

    Example:
        >>> import tempfile, torch
        >>> cache = TowerCache(tempfile.mkdtemp(), "a" * 64, max_gb=1)
        >>> cache.put("b" * 64, Entry(torch.ones(3, 4), counts=[3], seconds=[0.12])), cache.get("b" * 64).counts
        (True, [3])
    """

    folder: str | os.PathLike[str]
    tower: str
    max_gb: float = 20.0
    num_processes: int = 1
    full: bool = field(default=False, init=False)
    _size: int = field(default=0, init=False, repr=False)
    _measure_at: int = field(default=0, init=False, repr=False)
    _damaged: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.max_gb > 0:
            raise ValueError(f"tower_cache_max_gb={self.max_gb} must be above 0")
        Path(self.folder).mkdir(parents=True, exist_ok=True)

    def path(self, clip: str) -> Path:
        """The file of the clip whose `audio_hash` is `clip`."""
        return Path(self.folder) / self.tower[:32] / clip[:2] / f"{clip}.safetensors"

    def get(self, clip: str) -> Entry | None:
        """The entry of a clip; None where there is none or it is damaged."""
        path = self.path(clip)
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                embeddings = file.get_tensor("embeddings")
            entry = Entry(embeddings, json.loads(about["counts"]), json.loads(about["seconds"]))
            if about["tower"] == self.tower and int(about["checksum"]) == _checksum(embeddings):
                return entry
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            logger.debug("%s: %s", path, error)
        if not self._damaged:
            self._damaged = True
            logger.warning("%s is damaged; it is computed again (further ones are not reported)", path)
        return None

    def put(self, clip: str, entry: Entry) -> bool:
        """Writes the entry of a clip; False where the folder is full or cannot be written."""
        if self.full:
            return False
        embeddings = entry.embeddings.detach().cpu().contiguous()
        about = {
            "tower": self.tower,
            "counts": json.dumps(entry.counts),
            "seconds": json.dumps(entry.seconds),
            "checksum": str(_checksum(embeddings)),
        }
        data = save({"embeddings": embeddings}, metadata=about)
        path, bound = self.path(clip), int(self.max_gb * GIGABYTE)
        if self._size >= self._measure_at:
            self._size = _folder_size(Path(self.folder))
            self._measure_at = self._size + (bound - self._size) // (2 * self.num_processes)
        if self._size + len(data) > bound:
            return self._stop(f"has reached tower_cache_max_gb={self.max_gb:g}")
        # not tempfile: its files are for their owner alone, and the folder may be a group's
        temporary = path.with_name(f".{clip[:16]}-{uuid.uuid4().hex}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            return self._stop(f"cannot be written ({error.strerror or error})")
        self._size += len(data)
        return True

    def _stop(self, reason: str) -> bool:
        self.full = True
        logger.warning(
            "the cache of the audio tower in %s %s: clips that are not in it yet are computed in every epoch. Delete what is no longer "
            "needed there, or raise the bound.",
            self.folder,
            reason,
        )
        return False


def _checksum(embeddings: Tensor) -> int:
    return zlib.crc32(embeddings.reshape(-1).view(torch.uint8).numpy())


def _folder_size(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # another process renamed it
                continue
    return size
