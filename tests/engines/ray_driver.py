# ruff: noqa: E402 - the paths are set before the imports that need them
"""A driver of its own, which annotates by Ray; for tests that kill it or its workers, and whose keys and servers are in
the environment before the cluster starts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "annotation"), str(HERE.parent)]
from annotation_setup import KEY, MODEL, annotator, dataset, votes


class Driver:
    """A driver in a process of its own."""

    def __init__(self, url, ledger, rows, workers=2, batch=10, **options):
        self.outcome_file = Path(ledger).parent / f"outcome-{time.monotonic_ns()}.json"
        self.errors = self.outcome_file.with_suffix(".err")
        command = {"ledger": str(ledger), "rows": rows, "workers": workers, "batch": batch, "options": options}
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / "src"), str(HERE.parent / "annotation"), *sys.path]),
            "GEMINI_API_KEY": KEY,
            "GOOGLE_GEMINI_BASE_URL": url,
        }
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, __file__, json.dumps({**command, "outcome": str(self.outcome_file)})],
                env=environment,
                stdout=errors,
                stderr=errors,
            )

    def workers(self):
        """Processes of Ray that map."""
        return self._processes("ray::MapWorker")

    def ledger_actor(self):
        """The process that has the ledger open."""
        return self._processes("ray::LedgerActor")[0]

    def _processes(self, name):
        import psutil

        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if process.cmdline() and process.cmdline()[0].startswith(name):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def kill(self):
        """`kill -9`; its cluster goes with it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def outcome(self, timeout_s=150):
        """What came of it."""
        self.process.wait(timeout_s)
        assert self.outcome_file.exists(), self.errors.read_text()[-4000:]
        return json.loads(self.outcome_file.read_text())


def main():
    from hf_emo_dist.annotation.backends.gemini import GeminiBackend
    from hf_emo_dist.engines import RayEngine

    command = json.loads(sys.argv[1])
    run = annotator(GeminiBackend(MODEL), command["ledger"], **command["options"])
    with RayEngine(workers=command["workers"], rows=command["batch"], progress=False) as engine:
        found, report = engine.annotate(run, dataset(command["rows"]))
    outcome = {"report": report.to_dict(), "complete": report.complete, "votes": votes(found)}
    part = Path(command["outcome"] + ".part")
    part.write_text(json.dumps(outcome))
    part.rename(command["outcome"])


if __name__ == "__main__":
    main()
