"""Where computed rows are kept: in the cache of ``datasets``, also for data sets that are in memory themselves."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["cache_place"]


def cache_place(*parts: object) -> dict[str, str]:
    """Arguments of ``Dataset.map`` that keep its result in a file named by what it depends on.

    Without a file name, ``datasets`` keeps what it makes from a data set in memory in memory too, and so does not cache it.

    >>> sorted(cache_place("a", 1))
    ['cache_file_name', 'new_fingerprint']
    """
    from datasets import config

    fingerprint = hashlib.sha256("\x00".join(map(str, parts)).encode()).hexdigest()[:16]
    folder = Path(config.HF_DATASETS_CACHE) / "hf_emo_dist"
    folder.mkdir(parents=True, exist_ok=True)
    return {"cache_file_name": str(folder / f"dime-{fingerprint}.arrow"), "new_fingerprint": fingerprint}
