"""Annotating and exporting need no more memory for more rows: benchmarks/memory.py, with fewer of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "memory.py"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's figures of memory")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    command = [sys.executable, str(BENCHMARK), "--rows", "2000", "--jobs", "annotate,export", "--bound", "25"]
    done = subprocess.run([*command, "--folder", str(tmp_path)], capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr[-2000:]
    grown = dict(re.findall(r"^  (\w+): .*; grows by ([+-]\d+) MB$", done.stdout, re.M))
    assert set(grown) == {"annotate", "export"}
