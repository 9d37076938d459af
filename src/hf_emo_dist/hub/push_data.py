"""To the Hub: votes, and whole data sets. Private unless asked otherwise, and only by their terms."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._files import is_ordinary
from ..data.intact import read_json
from ..data.loading import load_parquet
from ..data.outside_files import check_folder_stays_inside
from ..data.preparation_file import COMBINER_NAME, PREPARATION_NAME, read_preparation
from ..data.rows import column_of, says_restricted
from ._renamed import renamed
from .cards.dataset_card import vote_card
from .commit import PushReport, account, commit_files, full_name
from .files import UploadFile, clean_json, inside
from .vote_columns import choose_columns

SHARD_ROWS = 500_000  # rows of votes are small
# Shards of an earlier push would be read together with the new ones.
SHARDS = ("data/*.parquet",)


@renamed(licence="license")
def push_votes(
    source: Any,
    repo_id: str,
    *,
    include_transcripts: bool = False,
    include_replies: bool = False,
    columns: Sequence[str] | None = None,
    vote_source: str | None = None,
    description: str = "",
    license: str | None = None,
    allow_restricted: bool = False,
    private: bool | None = True,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    dry_run: bool = False,
    not_secret: Sequence[str] = (),
) -> PushReport:
    """Push votes to a data set repository, which is private unless asked otherwise.

    Recordings never go along, and neither do transcripts, prompts, what annotators wrote beyond their votes, who rated,
    or columns of text that this library does not know; the report lists what was withheld and how to ask for it.

    Args:
        source: A ledger (its file, or an object with `to_dataset`), a `Dataset` or `DatasetDict`, or a folder or file
            in Parquet.
        repo_id: `owner/name`, or `name` for your own account.
        include_transcripts: Also what was said, and the prompts that hold it.
        include_replies: Also what annotators wrote.
        columns: Further columns to publish, by name.
        vote_source: Who gave the votes, for the card; by default what the data set's own card says.
        description: Of the data, for the card.
        license: Identifier such as `cc-by-4.0`; by default the one of the data set's own card.
        allow_restricted: Publish votes of data that is marked as restricted: only where its terms allow it.
        private, token, revision, create_pr, commit_message, dry_run, not_secret: As for `push_model`.

    Returns:
        What was pushed; `str(report)` lists it.

    Raises:
        ValueError: There is no vote in the data, the data is restricted, or a named column is not there.
        OSError: There is nothing at `source`, or the Hub cannot be reached.

    Example:
        >>> print(push_votes("votes.sqlite", "you/my-votes", dry_run=True))  # doctest: +SKIP
    """
    splits, about = _open(source)
    marked = any(says_restricted(column_of(rows, "restricted"), column_of(rows, "corpus")) for rows in splits.values())
    _refuse_restricted(bool(about.get("restricted")) or marked, allow_restricted, repo_id)
    first = next(iter(splits.values()))
    kept, withheld = choose_columns(
        first.features, include_transcripts=include_transcripts, include_replies=include_replies, columns=columns
    )
    if not any("vote" in c or "distribution" in c or c in ("label", "synthetic_annotations") for c in kept):
        raise ValueError(
            f"There are no votes in this data, which has the columns {', '.join(first.column_names)}. Mend: name a "
            "ledger, or data with human_votes or synthetic_votes."
        )
    published = {name: rows.select_columns(kept) for name, rows in splits.items()}
    if not dry_run:
        repo_id = full_name(repo_id, token)
    title = repo_id.split("/")[-1]
    card = vote_card(
        published,
        repo_id,
        title=title,
        description=description,
        vote_source=vote_source or about.get("vote_source"),
        license=license or about.get("license"),
        preparation=about.get("preparation"),
    )
    with tempfile.TemporaryDirectory() as work:
        files = [UploadFile("README.md", card.encode())]
        for split, rows in published.items():
            count = max(1, -(-len(rows) // SHARD_ROWS))
            for index in range(count):
                file = Path(work) / f"{split}-{index:05d}-of-{count:05d}.parquet"
                shard = rows.shard(num_shards=count, index=index, contiguous=True) if count > 1 else rows
                shard.to_parquet(str(file))
                files.append(UploadFile(f"data/{file.name}", file))
        return commit_files(
            repo_id,
            files,
            repo_type="dataset",
            replaces=SHARDS,
            message=commit_message or f"Upload votes of {title} with hf_emo_dist",
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
            dry_run=dry_run,
            not_secret=not_secret,
            withheld=[f"{name} ({how})" for name, how in withheld.items()],
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
    not_secret: Sequence[str] = (),
) -> PushReport:
    """Push a whole data set with its recordings, as `hf-emo-dist read` or `annotate`, or `write_dataset`, wrote it.

    Args:
        folder: With `data/*.parquet` and `README.md`. The report of what reading left out stays at home.
        repo_id: `owner/name`, or `name` for your own account.
        allow_restricted: Push data that is marked as restricted: only where its terms allow it. Unless `private` is
            given as False, a repository that is public already is refused then.
        private, token, revision, create_pr, commit_message, dry_run, not_secret: As for `push_votes`.

    Returns:
        What was pushed; `str(report)` lists it.

    Raises:
        ValueError: The data is restricted.
        OSError: The folder holds no such data set, or the Hub cannot be reached.

    Example:
        >>> print(push_dataset("my_dataset", "you/my-dataset", dry_run=True))  # doctest: +SKIP
    """
    import pyarrow.parquet as pq

    root = Path(folder)
    shards = sorted((root / "data").glob("*.parquet"))
    if not shards or not (root / "README.md").is_file():
        raise OSError(
            f"'{folder}' holds no data/*.parquet with a README.md. Mend: name a folder that hf-emo-dist read or "
            "hf-emo-dist annotate wrote, or write one with hf_emo_dist.write_dataset."
        )
    restricted = bool(_about(root).get("restricted"))
    for shard in shards:  # the two columns alone: the audio may be large
        names = [name for name in ("restricted", "corpus") if name in pq.read_schema(shard).names]
        values = pq.read_table(shard, columns=names).to_pydict() if names else {}
        restricted |= says_restricted(values.get("restricted"), values.get("corpus"))
    _refuse_restricted(restricted, allow_restricted, repo_id)
    files = [UploadFile("README.md", inside(root / "README.md").read_bytes())]
    if (root / PREPARATION_NAME).is_file():
        preparation = clean_json(read_json(inside(root / PREPARATION_NAME), "prepare the data again."))
        files.append(UploadFile(PREPARATION_NAME, (json.dumps(preparation, indent=2) + "\n").encode()))
    if (root / COMBINER_NAME).is_file():
        files.append(UploadFile(COMBINER_NAME, inside(root / COMBINER_NAME).read_bytes()))
    files += [UploadFile(f"data/{shard.name}", shard, root) for shard in shards]
    return commit_files(
        repo_id,
        files,
        repo_type="dataset",
        replaces=SHARDS,
        message=commit_message or "Upload data set with hf_emo_dist",
        private=private,
        never_public=restricted and private is not False,
        token=token,
        revision=revision,
        create_pr=create_pr,
        dry_run=dry_run,
        not_secret=not_secret,
    )


def check_push(repo_id: str, *, private: bool, restricted: bool) -> None:
    """Find out before hours of reading whether a data set could be pushed.

    Args:
        repo_id: `owner/name`, or `name` for one's own account.
        private: Whether the repository is to be private.
        restricted: Whether the terms of the data forbid handing it on.

    Raises:
        ValueError: The id is not one, or a restricted corpus would become public.
        PermissionError: Nobody is logged in.
        OSError: The Hub cannot be reached.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is not a Hub id such as 'owner/name'. Mend: correct it.") from error
    if restricted and not private:
        raise ValueError(
            "The terms of this corpus forbid handing its recordings on, so it is never pushed publicly. "
            "Mend: leave --public out, and check that your licence allows a private copy on a server."
        )
    account(repo_id)


def _open(source: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The splits, and what their folder says of them."""
    from datasets import Dataset, DatasetDict

    if isinstance(source, Dataset):
        return {"train": source}, {}
    if isinstance(source, DatasetDict | dict):
        return dict(source), {}
    if hasattr(source, "to_dataset"):
        return {"train": source.to_dataset()}, {}
    path = Path(source).expanduser()
    if path.is_dir():
        if not any(path.rglob("*.parquet")):
            raise OSError(f"'{source}' holds no Parquet files. Mend: name a folder that hf-emo-dist annotate wrote.")
        check_folder_stays_inside(path)
        about = _about(path)  # first: `datasets` reads the card without a bound
        return dict(load_parquet(path)), about
    if not is_ordinary(path):
        raise OSError(f"there is nothing at '{source}'. Mend: check the path.")
    if path.suffix == ".parquet":
        return dict(load_parquet(path)), {}
    if path.read_bytes()[:15] != b"SQLite format 3":
        raise ValueError(
            f"'{source}' is neither a ledger nor Parquet. Mend: name the file of a ledger, such as votes.sqlite."
        )
    from ..annotation.ledger.ledger import Ledger

    return {"train": Ledger(path).to_dataset()}, {}


def _about(folder: Path) -> dict[str, Any]:
    from ..data.data_facts import about_folder

    preparation = read_preparation(folder)
    return {**preparation.get("source", {}), **about_folder(folder), "preparation": preparation}


def _refuse_restricted(restricted: bool, allow_restricted: bool, repo_id: str) -> None:
    if restricted and not allow_restricted:
        raise ValueError(
            "This data is marked as restricted: whoever gave it to you does not allow to pass it on. It is not pushed "
            f"to {repo_id}. Mend: where its terms do allow it, pass allow_restricted=True."
        )
