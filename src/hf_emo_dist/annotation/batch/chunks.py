"""The requests of a job on their way into it: a file of lines, what they may cost, and what is to be known of each."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from ...audio.decoding import AudioError
from ..ledger.limits import Claim
from ..run.jobs import Clip, Job
from ..types import PanelMember, PreparedAudio, Prompt, Usage
from .service import StoredFile


@dataclass
class Chunk:
    """The requests of one job, as they are gathered."""

    folder: tempfile.TemporaryDirectory[str]
    file: IO[bytes]
    size: int = 0
    claims: list[Claim] = field(default_factory=list)
    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    stored: dict[str, StoredFile] = field(default_factory=dict)  # by the digest of a clip that is not inside a line

    @classmethod
    def new(cls) -> Chunk:
        """An empty one."""
        folder = tempfile.TemporaryDirectory(prefix="hf_emo_dist-batch-")  # for its owner alone
        return cls(folder, (Path(folder.name) / "requests.jsonl").open("wb"))

    @property
    def path(self) -> Path:
        """Of the file."""
        return Path(self.file.name)

    def add(self, job: Job, claim: Claim, line: bytes, about: dict[str, Any]) -> None:
        """Add a request."""
        self.file.write(line)
        self.size += len(line)
        self.claims.append(claim)
        self.about[job.key] = about

    def digest(self) -> str:
        """Of its content: the same requests, whatever their order, have the same."""
        return hashlib.sha256("\n".join(sorted(self.about)).encode()).hexdigest()[:20]

    def close(self) -> None:
        """Delete the file."""
        self.file.close()
        self.folder.cleanup()


def told_of(job: Job, usage: Usage, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that storing the reply will need, without the data set: it may be collected by whoever has the ledger."""
    return {
        "member": {name: value for name, value in asdict(job.member).items() if value is not None},
        "prompt": job.prompt.version,
        "audio": job.audio_hash,
        "request": job.request_hash,
        "row": job.clip.row_id,
        "seconds": round(job.seconds, 3),
        "bound": [usage.prompt_tokens, usage.audio_tokens, usage.output_tokens],
        "settings": dict(settings),
    }


def job_of(key: str, told: Mapping[str, Any], emotions: tuple[str, ...]) -> Job:
    """The same request again, as far as storing its reply needs it."""
    member = PanelMember(**told["member"])
    prompt, audio, output = told["bound"]

    def gone() -> PreparedAudio:
        raise AudioError("its clip is not at hand")

    return Job(
        key,
        Clip(told["row"], gone, PreparedAudio(b"", "", told["seconds"], told["audio"])),
        member,
        Prompt("", "", emotions, member.mode, told["prompt"]),
        {},
        told["request"],
        told["audio"],
        tries=1,
        bound=Usage(prompt, audio, 0, output),
    )
