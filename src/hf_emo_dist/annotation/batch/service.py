"""What a backend that has batch jobs offers; retrying, storing and judging are not its concern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..types import Answer, FatalError, PreparedAudio, TransientError


class JobRefusedError(Exception):
    """The service refused a job, for what it says: nothing of it was taken."""


@dataclass(frozen=True)
class RemoteJob:
    """A job as the service shows it."""

    name: str  # by which the service knows it
    display_name: str  # by which we know it
    state: str  # in the service's own words, such as "JOB_STATE_RUNNING"
    ended: bool
    result: str | None = None  # name of the file with the replies
    created: float | None = None  # seconds since 1970


@dataclass(frozen=True)
class StoredFile:
    """A file that was uploaded."""

    name: str
    uri: str


class BatchService(Protocol):
    """The batch jobs of one service.

    All that is asynchronous may raise `TransientError` or `FatalError`.

    Attributes:
        most_bytes: Of a file of requests.
        most_requests: In one job.
    """

    most_bytes: int
    most_requests: int

    def fits(self, audio: PreparedAudio) -> bool:
        """Whether the clip may go inside its request; else it is stored first."""

    def line(self, key: str, request: Mapping[str, Any], audio: PreparedAudio, stored: StoredFile | None) -> bytes:
        """One request as a line of the file, with its key and its line break."""

    def settings(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a request that are stored with its reply."""

    async def store_clip(self, audio: PreparedAudio) -> StoredFile:
        """Upload a clip."""

    async def store_requests(self, path: Path, name: str) -> StoredFile:
        """Upload a file of requests."""

    async def create(self, name: str, requests: StoredFile) -> str:
        """Begin a job, and tell by what name the service knows it. Raises `JobRefusedError` as well."""

    async def list(self, since: float) -> Sequence[RemoteJob]:
        """The jobs that were created since then, in seconds since 1970."""

    async def look(self, job: str) -> RemoteJob | None:
        """A job as it is now; None where the service does not know it."""

    async def download(self, result: str, path: Path, most_bytes: int) -> None:
        """Write the file of replies to `path`."""

    async def cancel(self, job: str) -> None:
        """Ask that nothing more of a job be worked on."""

    async def delete(self, files: Sequence[str]) -> None:
        """Delete files, as far as they are there."""

    def key_of(self, line: Mapping[str, Any]) -> str | None:
        """The key of a line of replies."""

    def outcome_of(self, line: Mapping[str, Any], settings: Mapping[str, Any]) -> Answer | TransientError | FatalError:
        """What came of the request of a line."""
