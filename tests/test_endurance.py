"""The benchmark that breaks long jobs: some of its cells, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "endurance.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "faults"),
    [
        ("train", "kill halfway,Ctrl-C,disk full,truncated,bit flipped,clock back"),
        ("cross-validate", "kill at three,two at once,bit flipped"),
        ("evaluate", "truncated,bit flipped"),
        ("push", "kill halfway,two at once,bit flipped"),
    ],
)
def test_a_broken_job_goes_on_or_says_what_to_do(job, faults, tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--jobs", job, "--faults", faults, "--verbose"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "0 fail" in done.stdout
