"""To the Hub: votes, and whole data sets. Private unless asked otherwise."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.preparation_file import PREPARATION_NAME, read_preparation
from .cards.dataset_card import vote_card
from .commit import PushReport, commit_files, full_name
from .files import UploadFile, clean_json
from .vote_columns import choose_columns

__all__ = ["push_dataset", "push_votes"]

logger = logging.getLogger(__name__)

SHARD_ROWS = 500_000  # rows of votes are small


def push_votes(
    source: Any,
    repo_id: str,
    *,
    include_transcripts: bool = False,
    include_replies: bool = False,
    columns: Sequence[str] | None = None,
    vote_source: str | None = None,
    description: str = "",
    licence: str | None = None,
    allow_restricted: bool = False,
    private: bool | None = True,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    dry_run: bool = False,
) -> PushReport:
    """Pushes votes to a data set repository, which is private unless asked otherwise.

    Recordings never go along, and neither do transcripts, prompts, what annotators wrote beyond their votes, who rated, or columns of text
    that this library does not know; the report lists what was withheld and how to ask for it.

    Args:
        source: a ledger (its file, or an object with `to_dataset`), a `Dataset` or `DatasetDict`, or a folder or file in Parquet.
        repo_id: `owner/name`, or `name` for your own account.
        include_transcripts: also what was said, and the prompts that hold it.
        include_replies: also what annotators wrote.
        columns: further columns to publish, by name.
        vote_source: who gave the votes, for the card; by default what the data set's own card says.
        description: of the data, for the card.
        licence: identifier such as `cc-by-4.0`.
        allow_restricted: publish votes of data that is marked as restricted: only where its terms allow it.
        private, token, revision, create_pr, commit_message, dry_run: as for `push_model`.

    Raises:
        ValueError: there is no vote in the data, the data is restricted, or a named column is not there.
        OSError: there is nothing at `source`, or the Hub cannot be reached.

    Example:
        >>> print(push_votes("votes.sqlite", "you/my-votes", dry_run=True))  # doctest: +SKIP
    """
    splits, about = _open(source)
    _refuse_restricted(about, allow_restricted, repo_id)
    first = next(iter(splits.values()))
    chosen = choose_columns(
        first.features, include_transcripts=include_transcripts, include_replies=include_replies, columns=columns
    )
    votes = [
        name
        for name in chosen.kept
        if "vote" in name or "distribution" in name or name in ("label", "synthetic_annotations")
    ]
    if not votes:
        raise ValueError(f"there are no votes in this data; it has the columns {', '.join(first.column_names)}")
    published = {name: rows.select_columns(list(chosen.kept)) for name, rows in splits.items()}
    if not dry_run:
        repo_id = full_name(repo_id, token)
    title = repo_id.split("/")[-1]
    card = vote_card(
        published,
        repo_id,
        title=title,
        description=description,
        vote_source=vote_source or about.get("vote_source"),
        licence=licence or about.get("license"),
        preparation=about.get("preparation"),
    )
    withheld = [
        f"{name} ({'recordings; push_dataset publishes them' if how == 'push_dataset' else f'ask with {how}' + ('' if '=' in how else '=True')})"
        for name, how in chosen.withheld.items()
    ]
    with tempfile.TemporaryDirectory() as work:
        files = [UploadFile("README.md", card.encode())]
        for split, rows in published.items():
            files += _parquet(rows, split, Path(work))
        return commit_files(
            repo_id,
            files,
            repo_type="dataset",
            replaces=("data/*.parquet",),
            message=commit_message or f"Upload votes of {title} with hf_emo_dist",
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
            dry_run=dry_run,
            withheld=withheld,
        )


def push_dataset(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    allow_restricted: bool = False,
    private: bool | None = True,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    dry_run: bool = False,
) -> PushReport:
    """Pushes a whole data set with its recordings, as `corpora.write_dataset` or `recipes/prepare.py` wrote it.

    Args:
        folder: with `data/*.parquet` and `README.md`.
        allow_restricted: publish data that is marked as restricted: only where its terms allow it.
        repo_id, private, token, revision, create_pr, commit_message, dry_run: as for `push_votes`.

    Raises:
        ValueError: the data is restricted.
        OSError: the folder holds no such data set, or the Hub cannot be reached.
    """
    root = Path(folder)
    shards = sorted((root / "data").glob("*.parquet"))
    if not shards or not (root / "README.md").is_file():
        raise OSError(
            f"'{folder}' holds no data/*.parquet with a README.md: write it with corpora.write_dataset or dataset_scripts/"
        )
    _refuse_restricted(_about(root), allow_restricted, repo_id)
    files = [UploadFile("README.md", (root / "README.md").read_bytes())]
    if (root / PREPARATION_NAME).is_file():
        preparation = clean_json(json.loads((root / PREPARATION_NAME).read_text(encoding="utf-8")))
        files.append(UploadFile(PREPARATION_NAME, (json.dumps(preparation, indent=2) + "\n").encode()))
    files += [UploadFile(f"data/{shard.name}", shard) for shard in shards]
    return commit_files(
        repo_id,
        files,
        repo_type="dataset",
        replaces=("data/*.parquet",),
        message=commit_message or "Upload data set with hf_emo_dist",
        private=private,
        token=token,
        revision=revision,
        create_pr=create_pr,
        dry_run=dry_run,
    )


def _open(source: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The splits, and what their folder says of them."""
    from datasets import Dataset, DatasetDict, load_dataset

    if isinstance(source, Dataset):
        return {"train": source}, {}
    if isinstance(source, DatasetDict | dict):
        return dict(source), {}
    if hasattr(source, "to_dataset"):
        return {"train": source.to_dataset()}, {}
    path = Path(source).expanduser()
    if path.is_dir():
        if not any(path.rglob("*.parquet")):
            raise OSError(f"'{source}' holds no Parquet files")
        return dict(load_dataset(str(path))), _about(path)
    if not path.is_file():
        raise OSError(f"there is nothing at '{source}'. Mend: check the path.")
    if path.suffix == ".parquet":
        return dict(load_dataset("parquet", data_files=str(path))), {}
    if path.read_bytes()[:15] != b"SQLite format 3":
        raise ValueError(f"'{source}' is neither a ledger nor Parquet")
    from ..annotation.ledger.ledger import Ledger

    return {"train": Ledger(path).to_dataset()}, {}


def _about(folder: Path) -> dict[str, Any]:
    from ..data.data_facts import about_folder

    preparation = read_preparation(folder)
    return {**preparation.get("source", {}), **about_folder(folder), "preparation": preparation}


def _refuse_restricted(about: Mapping[str, Any], allow_restricted: bool, repo_id: str) -> None:
    if about.get("restricted") and not allow_restricted:
        raise ValueError(
            f"this data is marked as restricted: whoever gave it to you does not allow to pass it on. It is not pushed to {repo_id}. Mend: "
            "where its terms do allow it, pass allow_restricted=True."
        )


def _parquet(rows: Any, split: str, folder: Path) -> list[UploadFile]:
    count = max(1, -(-len(rows) // SHARD_ROWS))
    files = []
    for index in range(count):
        name = f"{split}-{index:05d}-of-{count:05d}.parquet"
        shard = rows.shard(num_shards=count, index=index, contiguous=True) if count > 1 else rows
        shard.to_parquet(str(folder / name))
        files.append(UploadFile(f"data/{name}", folder / name))
    return files
