"""Upload a written data set folder to the Hub: private unless asked otherwise, and never public where it is restricted."""

from __future__ import annotations

import logging
from pathlib import Path

__all__ = ["check_push", "push_folder"]

logger = logging.getLogger(__name__)


def check_push(repo_id: str, *, private: bool, restricted: bool) -> None:
    """Find out before anything is read whether a folder could be pushed.

    Raises:
        ValueError: The id is not one, or a restricted corpus would become public.
        PermissionError: Nobody is logged in.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
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
    try:
        HfApi().whoami()
    except LocalTokenNotFoundError as error:
        raise PermissionError("Nobody is logged in to the Hub. Mend: hf auth login.") from error
    except HfHubHTTPError as error:
        raise PermissionError("The Hub does not accept the login. Mend: hf auth login.") from error


def push_folder(folder: str | Path, repo_id: str, *, private: bool = True, restricted: bool = False) -> str:
    """Upload a folder that :func:`hf_emo_dist.corpora.write_dataset` wrote; an interrupted upload can be run again.

    Args:
        folder: The folder. The report of what was left out stays at home.
        repo_id: ``"owner/name"``; made if it does not exist.
        private: Whether a new repository is private.
        restricted: Whether the data may not be handed on: a repository that is public already is then refused.

    Returns:
        The address of the data set.

    Raises:
        ValueError: The data is restricted and the repository public.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    url = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    # `private` holds for a new repository only: an old one keeps what it is.
    if restricted and not api.repo_info(repo_id, repo_type="dataset").private:
        raise ValueError(
            f"{repo_id} is public, and the terms of this corpus forbid handing its recordings on. "
            "Mend: name another repository, or make this one private."
        )
    api.upload_folder(
        folder_path=str(folder),
        repo_id=repo_id,
        repo_type="dataset",
        commit_message="Upload data set",
        ignore_patterns=["reading_report.*"],
        # Old shards would be read together with the new ones.
        delete_patterns=["data/*.parquet"],
    )
    logger.info("Uploaded %s to %s", folder, repo_id)
    return str(url)
