"""One commit on the Hub: shown first if asked, retried, and resumed when the same call is made again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from .._hub import check_hub_answers
from .cards.rendering import is_edited
from .files import UploadFile, check_uploads

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
TRIES = 5
# Answers that pass by themselves: time-outs, rate limits, a service that is down for a moment.
RETRIED = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class PushReport:
    """What was pushed, or would be; `str(report)` lists the files with their sizes.

    Attributes:
        repo_id: `owner/name`.
        repo_type: `model`, `dataset` or `space`.
        files: What the commit holds.
        private: Whether the repository is created private; None leaves it to the account's settings.
        dry_run: Nothing was sent.
        commit: The commit's id, and `url` where to see it.
        withheld: What was left out and how to ask for it.
    """

    repo_id: str
    repo_type: str
    files: tuple[UploadFile, ...]
    private: bool | None = None
    dry_run: bool = False
    commit: str | None = None
    url: str | None = None
    withheld: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The files with their sizes, a line each."""
        what = "would be pushed" if self.dry_run else "pushed"
        visible = {True: "private", False: "public", None: "public unless your account's settings say otherwise"}
        width = max((len(file.path_in_repo) for file in self.files), default=0)
        size = tqdm.format_sizeof(sum(file.size for file in self.files), "B")
        lines = [
            f"{len(self.files)} files, {size}, {what} to the {self.repo_type} {self.repo_id} "
            f"({visible[self.private]} if new)"
        ]
        lines += [f"  {file.path_in_repo:<{width}}  {tqdm.format_sizeof(file.size, 'B'):>8}" for file in self.files]
        lines += [f"withheld: {entry}" for entry in self.withheld]
        return "\n".join([*lines, *([self.url] if self.url else [])])


def commit_files(
    repo_id: str,
    files: Sequence[UploadFile],
    *,
    repo_type: str = "model",
    message: str,
    private: bool | None = None,
    never_public: bool = False,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    dry_run: bool = False,
    withheld: Sequence[str] = (),
    folder: str = "",
    overwrite_card: bool = False,
    replaces: Sequence[str] = (),
    not_secret: Sequence[str] = (),
) -> PushReport:
    """Put files into a repository, made if need be, in one commit.

    Large files are sent first. When the connection breaks, what the Hub has already is not sent again, neither by the
    retries here nor by the same call made again; files that have not changed are no part of the commit.

    Args:
        repo_id: `owner/name`, or `name` for the account that the token belongs to.
        files: What to upload; looked through for secrets first.
        repo_type: `model`, `dataset` or `space`.
        message: Of the commit.
        private: Of a repository that is made.
        never_public: Refuse a repository that is public already: `private` holds for a new one only.
        token: The Hub's; by default the one that `hf auth login` stored.
        revision: Branch to commit to.
        create_pr: Open a pull request instead.
        dry_run: Only say what would be uploaded; nothing is asked of the network.
        withheld: For the report.
        folder: Where in the repository the files go.
        overwrite_card: Also replace a README there that somebody has edited, which is kept otherwise where ours was
            written by this library.
        replaces: Patterns of files in the repository that these take the place of: what matches and is not among them
            is deleted in the same commit, since it would be read together with them.
        not_secret: Places where what looks like a secret is none, as the error names them.

    Raises:
        SecretFoundError: A file holds a key, a token or a path of this machine, or is a link out of its folder.
        ValueError: The repository is public, and must not be.
        PermissionError: The token may not write there.
        OSError: The Hub cannot be reached, or answers with an error.
    """
    check_uploads(files, not_secret)
    if folder:
        files = [UploadFile(f"{folder}/{file.path_in_repo}", file.content, file.root) for file in files]
    report = PushReport(repo_id, repo_type, tuple(files), private, dry_run, withheld=tuple(withheld))
    if dry_run:
        return report

    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token)
    sdk = "gradio" if repo_type == "space" else None

    def create() -> Any:
        return api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk)

    def commit() -> Any:
        # Made anew for each try: the client marks what it has sent.
        operations: list[Any] = [
            CommitOperationAdd(
                file.path_in_repo, file.content if isinstance(file.content, bytes) else str(file.content)
            )
            for file in files
        ]
        operations += [CommitOperationDelete(path) for path in outdated]
        return api.create_commit(
            name, operations, commit_message=message, repo_type=repo_type, revision=revision, create_pr=create_pr
        )

    name = _with_retries(create, repo_id).repo_id
    if never_public and not _with_retries(lambda: api.repo_info(name, repo_type=repo_type), name).private:
        raise ValueError(
            f"{name} is public, and the terms of this data forbid handing it on. Mend: name another repository, or "
            "make this one private."
        )
    if revision not in (None, "main") and not create_pr:
        branch = str(revision)
        _with_retries(lambda: api.create_branch(name, branch=branch, repo_type=repo_type, exist_ok=True), name)
    if not overwrite_card and _with_retries(lambda: _has_edited_card(api, name, repo_type, revision, files), name):
        files = [file for file in files if file.path_in_repo != "README.md"]
        logger.warning("the README of %s was edited there and is kept; to write it anew ask for overwrite_card", name)
        withheld = [*withheld, "README.md (it was edited on the Hub; ask with overwrite_card=True)"]
    outdated: list[str] = []
    if replaces:
        there = _with_retries(lambda: api.list_repo_files(name, repo_type=repo_type, revision=revision), name)
        new = {file.path_in_repo for file in report.files}
        outdated = [path for path in there if path not in new and any(fnmatchcase(path, p) for p in replaces)]
        if outdated:
            logger.info("%s: deleted with this commit: %s", name, ", ".join(outdated))
    done = _with_retries(commit, name)
    return replace(
        report,
        repo_id=name,
        files=tuple(files),
        commit=done.oid,
        url=done.pr_url or done.commit_url,
        withheld=tuple(withheld),
    )


def full_name(repo_id: str, token: str | bool | None = None) -> str:
    """`owner/name`: a bare name belongs to the account that the token is of."""
    if "/" in repo_id:
        return repo_id
    return f"{account(repo_id, token)}/{repo_id}"


def account(repo_id: str, token: str | bool | None = None) -> str:
    """The account that is about to push to `repo_id`: the one that the token is of."""
    from huggingface_hub import HfApi

    check_hub_answers(repo_id, token=token)
    return str(_with_retries(lambda: HfApi(token=token).whoami(), repo_id)["name"])


def _has_edited_card(api: Any, name: str, repo_type: str, revision: str | None, files: Sequence[UploadFile]) -> bool:
    """Whether the README there is a person's work and the one that is about to be pushed is not."""
    from huggingface_hub.errors import EntryNotFoundError

    ours = next((file for file in files if file.path_in_repo == "README.md"), None)
    if ours is None or is_edited(ours.read().decode()):
        return False
    try:
        path = api.hf_hub_download(name, "README.md", repo_type=repo_type, revision=revision)
    except EntryNotFoundError:
        return False
    return is_edited(Path(path).read_text(encoding="utf-8"))


def _with_retries(action: Callable[[], Result], repo_id: str) -> Result:
    for attempt in range(1, TRIES + 1):
        try:
            return action()
        except Exception as error:  # answers, broken connections and uploads; anything else is raised as it is
            wait = _wait(error, attempt)
            if wait is None:
                explained = _explained(error, repo_id)
                if explained is None:
                    raise
                raise explained from error
            reason = _first_line(_cause(error))
            if attempt == TRIES:
                raise OSError(
                    f"{repo_id} could not be pushed ({reason}). Mend: check the connection and make the same call "
                    "again; what has been uploaded is not sent again."
                ) from error
            logger.warning("%s: %s; trying again in %.0f s", repo_id, reason, wait)
            time.sleep(wait)
    raise AssertionError("unreachable")


def _cause(error: BaseException) -> BaseException:
    """What is behind the client's "Error while uploading"."""
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error


def _status(error: BaseException) -> int | None:
    response = getattr(_cause(error), "response", None)
    return getattr(response, "status_code", None)


def _wait(error: BaseException, attempt: int) -> float | None:
    """Seconds until the next try, None where another one would end the same."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(_cause(error), OfflineModeIsEnabled):
        return None
    # What comes from the client's transport is no OSError. By name: which package that is depends on the version.
    if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
        return float(2**attempt)
    status = _status(error)
    if status is None:
        return float(2**attempt) if isinstance(error, RuntimeError) else None
    if status not in RETRIED:
        return None
    asked = getattr(_cause(error), "response").headers.get("Retry-After", "")  # noqa: B009
    return float(asked) + 1 if asked.isdigit() else float(2**attempt)


def _explained(error: BaseException, repo_id: str) -> OSError | None:
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    status = _status(error)
    if isinstance(error, LocalTokenNotFoundError):
        return PermissionError("Nobody is logged in to the Hub. Mend: hf auth login.")
    if isinstance(error, OfflineModeIsEnabled):
        return OSError(f"{repo_id} cannot be pushed: HF_HUB_OFFLINE is set. Mend: unset it.")
    if status == 401:
        return PermissionError(
            "the Hub does not know you (401). Mend: log in with `hf auth login`, or pass a token that may write to "
            f"{repo_id}."
        )
    if status == 403:
        return PermissionError(
            f"you may not write to {repo_id} (403). Mend: check the owner's name, and that the token is allowed to "
            "write."
        )
    if status == 404:
        return OSError(f"{repo_id} is not on the Hub, or not for you (404). Mend: check the name and the token.")
    return None


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
