"""Asking the service to work on no more of a batch job. What it has done by then is collected as ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from ..backends import BACKENDS, make_backend
from ..ledger.journal import PLANNED, RUNNING, BatchJob
from ..ledger.ledger import Ledger
from ..types import Backend, FatalError, TransientError
from .service import JobRefusedError


def cancel_jobs(ledger: Ledger, names: Sequence[str], backend: Backend | None = None) -> list[BatchJob]:
    """Ask that jobs of a ledger be cancelled.

    Args:
        ledger: That has them.
        names: Of the jobs, or ``["all"]`` for all that are under way.
        backend: Through which they were submitted, where the environment does not say that.

    Returns:
        The jobs. They hold what is reserved for them until the next collecting.

    Raises:
        ValueError: There is no such job, it has ended, or it is not the environment's.
    """
    jobs = {job.name: job for job in ledger.journal.jobs((PLANNED, RUNNING)) if job.job is not None}
    chosen = list(jobs) if list(names) == ["all"] else list(names)
    for name in chosen:
        if name not in jobs:
            raise ValueError(f"No batch job {name!r} is under way. Mend: one of {', '.join(jobs) or 'none'}, or all.")
    found = [jobs[name] for name in chosen]
    asyncio.run(_cancel(found, backend))
    return found


async def _cancel(jobs: Iterable[BatchJob], given: Backend | None) -> None:
    for job in jobs:
        if given is None and job.backend not in BACKENDS:  # 'module:Name' would be imported: only the user may say that
            raise ValueError(
                f"{job.name} was submitted through {job.backend!r}, which is not one of {', '.join(BACKENDS)}. Mend: "
                "pass the backend."
            )
        backend = given or make_backend(job.backend, job.model)
        if backend.endpoint != job.endpoint:
            raise ValueError(
                f"{job.name} is at {job.endpoint}, and the environment names {backend.endpoint}. Mend: set the "
                "environment as it was when it was submitted."
            )
        service = backend.batches  # type: ignore[attr-defined]
        try:
            await service.cancel(job.job)
        except (JobRefusedError, TransientError, FatalError) as error:
            raise ValueError(f"{job.name} was not cancelled: {error}") from None
        finally:
            await backend.close()
