"""Long jobs against what goes wrong on a bad day: what is kept, what is said, and whether the rerun gives the same.

Each cell runs a job on small data with one fault, then the same command once more on what the fault left, with the
words that the message asks for where the plain command is refused; the result must equal that of a run without a fault.
A cell fails where it does not, where a traceback is shown, or where an error does not say what to type.

    python benchmarks/endurance.py                                  # all of it, in some 15 minutes
    python benchmarks/endurance.py --jobs train,predict --faults kill,disk --verbose
    python benchmarks/endurance.py --page docs/reliability.md       # also writes the tables between the page's marks

Jobs are rows of `endurance_jobs.py`; what can happen to them, and how moments are counted, is in
`endurance_faults.py`.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# before anything reads it: caches of its own, no network, one thread (a fork must not inherit others)
_HOME = tempfile.mkdtemp(prefix="endurance_home_")
os.environ.update(
    HF_HOME=_HOME, HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", WANDB_DISABLED="true", MPLBACKEND="Agg", TRANSFORMERS_VERBOSITY="error",
)  # fmt: skip

import endurance_faults as faults  # noqa: E402
from endurance_hub import LocalHub  # noqa: E402
from endurance_jobs import JOBS, Job, build_world  # noqa: E402

MARKS = ("<!-- endurance: begin -->\n", "<!-- endurance: end -->\n")
MOMENTS = {"first": 0.0, "at a quarter": 0.25, "halfway": 0.5, "at three quarters": 0.75, "last": 1.0}


@dataclass
class Cell:
    """What one job did under one fault."""

    job: str
    fault: str
    outcome: str = ""  # same, again, refused, done; or not run
    problem: str = ""
    said: str = ""
    kept: str = ""
    asked: str = ""  # words that the rerun needed

    @property
    def short(self) -> str:
        """As a cell of the table."""
        return f"**{self.problem}**" if self.problem else self.outcome


@dataclass
class Bench:
    """The world of all jobs, and what each job gives without a fault."""

    world: Path
    scratch: Path
    verbose: bool
    wanted: dict[str, dict[str, str]] = field(default_factory=dict)
    events: dict[str, list[str]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    hub: LocalHub | None = None

    def folder(self, job: Job, fault: str) -> Path:
        """A cell's own folder, with what the job needs before it."""
        place = self.scratch / f"{job.name}-{fault}".replace(" ", "-")
        shutil.rmtree(place, ignore_errors=True)
        (place / "work").mkdir(parents=True)
        return place

    def before(self, job: Job, place: Path) -> None:
        """Run what comes before a job."""
        for words in job.before:
            ended = faults.run(Job("", words, ()).command(self.world, place / "work"), place / "work", place / "logs")
            if ended.status:
                raise SystemExit(f"what comes before {job.name} failed: {ended.err[-2000:]}")

    def run(self, job: Job, place: Path, *more: str, **settings: Any) -> faults.Ended:
        """Run a job's command in a cell's folder."""
        process = self.start(job, place, "logs", *more, **settings)
        process.wait()
        return process.end()

    def start(self, job: Job, place: Path, logs: str, *more: str, **settings: Any) -> faults.Process:
        """Start a job's command in a cell's folder."""
        if job.repo is not None:
            self.hub = self.hub or LocalHub()
            settings["setup"] = self.hub.used_by(settings.get("setup"))
        words = job.command(self.world, place / "work", *more)
        return faults.Process(words, place / "work", place / logs, job.seams, **settings)

    def digests(self, job: Job, place: Path) -> dict[str, str]:
        """What counts of a job's result in a cell, by file."""
        if job.repo is None:
            return job.digests(place / "work")
        assert self.hub is not None
        return self.hub.files(job.repo.format(cell=place.name))

    def reference(self, job: Job) -> None:
        """Run a job without a fault."""
        place = self.folder(job, "reference")
        self.before(job, place)
        ended = self.run(job, place)
        if ended.status or not self.digests(job, place):
            raise SystemExit(f"{job.name} fails without a fault:\n{ended.out[-1000:]}{ended.err[-3000:]}")
        self.wanted[job.name] = self.digests(job, place)
        if job.repo is not None:  # the server has the large files now, and later pushes need not send them
            ended = self.run(job, self.folder(job, "reference again"))
        self.events[job.name] = ended.events
        self.sizes[job.name] = sum(file.stat().st_size for file in (place / "work").rglob("*") if file.is_file())

    def rerun(self, cell: Cell, job: Job, place: Path) -> None:
        """The same command on what a fault left; then with the words that it may ask for."""
        tried = []
        for outcome, more in (("same", ()), ("again", job.again), ("again", job.over)):
            if outcome == "again" and not more:
                continue
            ended = self.run(job, place, *more)
            tried.append(ended)
            if ended.has_traceback:
                cell.problem = f"the rerun ends in a traceback: {ended.said[:200]}"
                return
            if ended.status == 0:
                cell.outcome, cell.asked = outcome, " ".join(more)
                break
            if "Mend:" not in ended.said:
                cell.problem = f"the rerun says no mend: {ended.said[:200]}"
                return
        else:
            cell.problem = f"no rerun succeeds: {tried[-1].said[:300]}"
            return
        found = self.digests(job, place)
        if found != self.wanted[job.name]:
            names = [name for name in {**found, **self.wanted[job.name]} if
                     found.get(name) != self.wanted[job.name].get(name)]  # fmt: skip
            cell.problem = f"the rerun's result differs: {', '.join(sorted(names))}"
        left = hidden(place / "work")
        if left and not cell.problem:
            cell.problem = f"left behind after the rerun: {', '.join(left[:3])}"


def hidden(work: Path) -> list[str]:
    """Temporary files that nobody removed; locks and caches by design are none."""
    return sorted(
        str(path.relative_to(work))
        for path in work.rglob(".*")
        if not path.name.endswith(".lock") and path.name != ".cache"
    )


def kept(work: Path, job: Job) -> str:
    """What lies there after a fault, in a few words."""
    if not work.is_dir():
        return "nothing"
    whole = job.digests(work)
    state = sum(1 for pattern in job.state for path in work.glob(pattern) if path.is_file())
    parts = [f"{len(whole)} files of the result"] if whole else []
    parts += [f"{state} of state"] if state else []
    parts += [f"{len(hidden(work))} temporary"] if hidden(work) else []
    return ", ".join(parts) or "nothing"


def check_said(cell: Cell, ended: faults.Ended, killed: bool = False) -> None:
    """What a run that met a fault must say."""
    cell.said = "" if killed or ended.status == 0 else ended.said
    if ended.has_traceback:
        cell.problem = f"traceback: {ended.said[:200]}"
    elif (
        not killed
        and ended.status
        and "Mend:" not in ended.said
        and "the same command goes on" not in ended.said
        and not ended.said.startswith("stopped")
    ):
        cell.problem = f"says no mend: {ended.said[:200]}"


# --- the faults


def killed(moment: str) -> Callable[[Bench, Job], Cell]:
    """`kill -9` at a moment of the job's events."""

    def fault(bench: Bench, job: Job) -> Cell:
        cell, place = Cell(job.name, f"kill {moment}"), bench.folder(job, f"kill {moment}")
        bench.before(job, place)
        number = 1 + round(MOMENTS[moment] * (len(bench.events[job.name]) - 1))
        ended = bench.run(job, place, act=faults.kill, at=number)
        if ended.status != -9:
            cell.problem = f"was not killed at event {number}: status {ended.status} {ended.said[:200]}"
            return cell
        cell.kept = kept(place / "work", job)
        bench.rerun(cell, job, place)
        return cell

    return fault


def interrupted(bench: Bench, job: Job) -> Cell:
    """Ctrl-C halfway."""
    cell, place = Cell(job.name, "Ctrl-C"), bench.folder(job, "Ctrl-C")
    bench.before(job, place)
    ended = bench.run(job, place, act=faults.interrupt, at=1 + len(bench.events[job.name]) // 2)
    check_said(cell, ended)
    # 3: annotating that was stopped lets the requests in flight be answered
    if ended.status not in (130, 3) and not cell.problem:
        cell.problem = f"Ctrl-C ends with status {ended.status}: {ended.said[:200]}"
    cell.kept = kept(place / "work", job)
    if not cell.problem:
        bench.rerun(cell, job, place)
    return cell


def writes_nothing(job: Job, fault: str) -> Cell:
    """The cell of a job that writes nothing on this machine."""
    return Cell(job.name, fault, "writes nothing here")


def disk_full(bench: Bench, job: Job) -> Cell:
    """A disk that has room for half of what the job writes; then one that has room."""
    if job.repo is not None:
        return writes_nothing(job, "disk full")
    cell, place = Cell(job.name, "disk full"), bench.folder(job, "disk-full")
    size = max(4096, bench.sizes[job.name] // 2 // 4096 * 4096)
    disk = faults.Disk(place / "work", 2**28 if job.before else size)
    try:
        bench.before(job, place)
        if job.before:
            used = sum(file.stat().st_size for file in disk.folder.rglob("*") if file.is_file())
            disk.change(f"size={used + max(4096, (bench.sizes[job.name] - used) // 2) // 4096 * 4096}")
        ended = bench.run(job, place, setup=disk.limit)
        check_said(cell, ended)
        cell.kept = kept(disk.folder, job)
        if not cell.problem and ended.status == 0:
            cell.problem = "ends as if nothing had happened"
        if not cell.problem and str(disk.folder) not in cell.said:
            cell.problem = f"does not say which disk: {ended.said[:200]}"
        disk.change("size=256m")
        if not cell.problem:
            bench.rerun(cell, job, place)
    finally:
        disk.close()
    return cell


def read_only(bench: Bench, job: Job) -> Cell:
    """A folder that nothing can be written to: found before the work begins."""
    if job.repo is not None:
        return writes_nothing(job, "read-only")
    cell, place = Cell(job.name, "read-only"), bench.folder(job, "read-only")
    disk = faults.Disk(place / "work", 2**28)
    try:
        bench.before(job, place)
        disk.change("ro")
        ended = bench.run(job, place, setup=lambda: None)
        check_said(cell, ended)
        if ended.status == 0 and not cell.problem:
            cell.problem = "ends as if nothing had happened"
        called = sum(line.startswith("call") for line in ended.events)
        if called > 1 and not cell.problem:
            cell.problem = f"is found after {called} steps of work"
        disk.change("rw")
        if not cell.problem:
            bench.rerun(cell, job, place)
    finally:
        disk.close()
    return cell


def exists(bench: Bench, job: Job) -> Cell:
    """An output that is there, of somebody else: it must not be touched."""
    if job.repo is not None:
        return writes_nothing(job, "output exists")
    cell, place = Cell(job.name, "output exists"), bench.folder(job, "exists")
    bench.before(job, place)
    out = place / "work" / "out"
    theirs = (out if not out.suffix else out.parent) / "thesis.txt"
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("years of work")
    ended = bench.run(job, place, *job.over)
    check_said(cell, ended)
    if not theirs.is_file() or theirs.read_text() != "years of work":
        cell.problem = "what was there is gone"
    elif not cell.problem:
        cell.outcome = "refused" if ended.status else "done"
        if ended.status == 0 and bench.digests(job, place) != bench.wanted[job.name]:
            cell.problem = "the result differs"
    return cell


def two_at_once(bench: Bench, job: Job) -> Cell:
    """The same command started again while the first one is halfway."""
    cell, place = Cell(job.name, "two at once"), bench.folder(job, "two")
    bench.before(job, place)
    at = 1 + len(bench.events[job.name]) // 2
    first = bench.start(job, place, "logs", act=faults.stop, at=at)
    stopped = first.wait(stopped=True)
    other = bench.start(job, place, "logs-2")
    other.wait()
    second = other.end()
    if stopped:
        os.kill(first.pid, faults.signal.SIGCONT)
        first.wait()
    ended = first.end()
    done = [run for run in (ended, second) if run.status == 0]
    for run in (ended, second):
        if run.status or run.has_traceback:
            check_said(cell, run)
    if not cell.problem and not done:
        cell.problem = "neither succeeds"
    if not cell.problem and bench.digests(job, place) != bench.wanted[job.name]:
        cell.problem = "the result differs"
    if not cell.problem:
        cell.outcome = "one refused" if len(done) == 1 else "both the same"
    return cell


def damaged(change: Callable[[Path], None], name: str) -> Callable[[Bench, Job], Cell]:
    """Each file of a job's state, one after the other: the job goes on without it; of what it is given, it names it."""

    def fault(bench: Bench, job: Job) -> Cell:
        cell = Cell(job.name, name)
        place = bench.folder(job, name)
        bench.before(job, place)
        for pattern in job.given:
            for file in sorted(bench.world.glob(pattern)):
                kept_copy = file.read_bytes()
                try:
                    change(file)
                    ended = bench.run(job, place)
                finally:
                    file.write_bytes(kept_copy)
                check_said(cell, ended)
                if ended.status == 0 and f"{file.name} was changed since" in ended.err:
                    cell.said = f"(a warning) {file.name} was changed since the training wrote it"
                elif not cell.problem and (ended.status == 0 or file.name not in ended.said):
                    told = "is taken for whole" if ended.status == 0 else f"is not named: {ended.said[:200]}"
                    cell.problem = f"{pattern} {told}"
                if cell.problem:
                    cell.problem = f"{pattern}: {cell.problem}"
                    return cell
                shutil.rmtree(place / "work")
                (place / "work").mkdir()
                bench.before(job, place)
        if job.given:
            bench.rerun(cell, job, place)
            cell.outcome = "named" if not cell.problem else ""
        if job.state and not cell.problem:
            number = 1 + round(0.75 * (len(bench.events[job.name]) - 1))
            ended = bench.run(job, place, act=faults.kill, at=number)
            saved = place / "saved"
            shutil.copytree(place / "work", saved)
            files = sorted({path.relative_to(saved) for pattern in job.state for path in saved.glob(pattern)})
            for file in [file for file in files if (saved / file).is_file() and (saved / file).stat().st_size]:
                shutil.rmtree(place / "work")
                shutil.copytree(saved, place / "work")
                change(place / "work" / file)
                bench.rerun(cell, job, place)
                if cell.problem:
                    cell.problem = f"{file}: {cell.problem}"
                    return cell
        if not job.state and not job.given:
            cell.outcome = "keeps none"
        return cell

    return fault


def clock_back(bench: Bench, job: Job) -> Cell:
    """The clock is set back an hour halfway: the job ends all the same."""
    cell, place = Cell(job.name, "clock back"), bench.folder(job, "clock")
    bench.before(job, place)
    started = time.monotonic()
    ended = bench.run(job, place, act=faults.set_clock_back, at=1 + len(bench.events[job.name]) // 2)
    check_said(cell, ended)
    if not cell.problem and (ended.status or bench.digests(job, place) != bench.wanted[job.name]):
        cell.problem = f"status {ended.status}, or the result differs"
    cell.outcome = "done"
    if time.monotonic() - started > 120 and not cell.problem:
        cell.problem = "waits for the clock"
    return cell


FAULTS: dict[str, Callable[[Bench, Job], Cell]] = {
    **{f"kill {moment}": killed(moment) for moment in MOMENTS},
    "Ctrl-C": interrupted,
    "disk full": disk_full,
    "read-only": read_only,
    "output exists": exists,
    "two at once": two_at_once,
    "truncated": damaged(faults.truncate, "truncated"),
    "bit flipped": damaged(faults.flip, "bit flipped"),
    "clock back": clock_back,
}
OUTCOMES = """\
*same*: the same command, run again, gave the result of a run without a fault. *again*: it said which words to add, and
with them it did. *refused*: it said what to do, and changed nothing. *named*: the broken file was named, with the
mend; a setting that is still JSON, in a warning. *done*: no harm. *one refused*: of two at once. *keeps none*: there
is no state that could be broken.
"""


def chosen(names: str | None, known: list[str]) -> list[str]:
    """The names that a comma-separated list means; the beginning of names stands for all of them."""
    if names is None:
        return known
    parts = [part.strip() for part in names.split(",")]
    found = [name for name in known if any(name == p or (p not in known and name.startswith(p)) for p in parts)]
    if not found:
        raise SystemExit(f"none of {', '.join(known)} begins with {names}")
    return found


def tables(cells: list[Cell], columns: list[str], command: str, seconds: float) -> str:
    """The table of jobs and faults, and what was said, as Markdown."""
    jobs = list(dict.fromkeys(cell.job for cell in cells))
    by = {(cell.job, cell.fault): cell for cell in cells}
    lines = [f"Made by `{command}` in {seconds / 60:.0f} minutes.", "", OUTCOMES]
    lines += ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for job in jobs:
        lines.append(f"| {job} | " + " | ".join(by[job, name].short for name in columns) + " |")
    lines += ["", "What was said, and the words that the rerun needed:", ""]
    for cell in cells:
        if cell.said or cell.asked:
            # folders of this run say nothing to anybody
            said = re.sub(r"/tmp/[\w./-]*?/(work|world)\b", r"\1", cell.said)
            asked = f" Rerun with `{cell.asked}`." if cell.asked else ""
            lines.append(f"- {cell.job}, {cell.fault}: {said or '(killed)'}{asked}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the cells that are asked for; returns 1 where one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", help=f"some of {', '.join(JOBS)}")
    parser.add_argument("--faults", help=f"some of {', '.join(FAULTS)}")
    parser.add_argument("--page", help="a page to write the tables into")
    parser.add_argument("--world", help="folder of what the jobs share, kept and used again")
    parser.add_argument("--verbose", action="store_true", help="print what each cell said and kept")
    asked = parser.parse_args()
    started = time.monotonic()
    scratch, bench = Path(tempfile.mkdtemp(prefix="endurance_")), None
    try:
        _import_everything()
        bench = Bench(Path(asked.world or scratch / "world").resolve(), scratch, asked.verbose)
        if not (bench.world / "table.csv").is_file():
            bench.world.mkdir(parents=True, exist_ok=True)
            build_world(bench.world, lambda words: _made(words, bench))
        cells = []
        names = chosen(asked.faults, list(FAULTS))
        for job in [JOBS[name] for name in chosen(asked.jobs, list(JOBS))]:
            bench.reference(job)
            print(f"{job.name}: {len(bench.events[job.name])} events, {bench.sizes[job.name]} bytes", flush=True)
            for name in names:
                cell = FAULTS[name](bench, job)
                cell.fault = name
                cells.append(cell)
                print(f"  {name:<24} {(cell.problem and 'FAILS: ' + cell.problem) or cell.outcome}", flush=True)
                if asked.verbose:
                    print(f"      kept: {cell.kept or '-'}; said: {cell.said or '-'}; asked: {cell.asked or '-'}")
        failed = [cell for cell in cells if cell.problem]
        command = "python benchmarks/endurance.py" + (f" --jobs {asked.jobs}" if asked.jobs else "")
        if asked.page:
            page = Path(asked.page)
            text = page.read_text()
            before, _, rest = text.partition(MARKS[0])
            after = rest.partition(MARKS[1])[2]
            made = tables(cells, names, command, time.monotonic() - started)
            page.write_text(before + MARKS[0] + made + MARKS[1] + after)
        print(f"{len(cells)} cells, {len(failed)} fail, {time.monotonic() - started:.0f} s")
        return 1 if failed else 0
    finally:
        if bench is not None and bench.hub is not None:
            bench.hub.close()
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(_HOME, ignore_errors=True)


def _import_everything() -> None:
    # a fork then starts in milliseconds; nothing is computed here, which would start threads
    import datasets
    import peft
    import pyarrow.parquet
    import torch
    import transformers.trainer

    import hf_emo_dist.commands.annotate
    import hf_emo_dist.evaluation.cross_validation
    import hf_emo_dist.hub.load
    import hf_emo_dist.studies
    import hf_emo_dist.training.fine_tuning  # noqa: F401

    torch.set_num_threads(1)
    del datasets, peft, pyarrow, transformers


def _made(words: list[str], bench: Bench) -> None:
    ended = faults.run(words, bench.world, bench.scratch / "logs")
    if ended.status:
        raise SystemExit(f"hf-emo-dist {' '.join(words)} failed:\n{ended.err[-3000:]}")


if __name__ == "__main__":
    sys.exit(main())
