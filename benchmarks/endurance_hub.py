"""The Hub that `endurance.py` pushes to: the tests' server of its protocol, in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests" / "hub"
TOKEN = "hf_writes0000000000000000000000"
SERVE = """
import hashlib, json, sys
import hub_server
with hub_server.running() as server:
    print(server.url, flush=True)
    for line in sys.stdin:
        repo = server.repos.get(("model", line.strip()))
        files = repo.files if repo else {}
        digests = {name: hashlib.sha256(blob.data).hexdigest()[:16] for name, blob in files.items()}
        digests.pop("README.md", None)
        print(json.dumps(digests), flush=True)
"""


class LocalHub:
    """A server on this machine, as long as this process runs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def files(self, repo: str) -> dict[str, str]:
        """Digests of the files of a repository's last commit, but for the card, which says the repository's name."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(repo + "\n")
        self._process.stdin.flush()
        found: dict[str, str] = json.loads(self._process.stdout.readline())
        return found

    def used_by(self, setup: Callable[[], None] | None) -> Callable[[], None]:
        """What makes a process use it, after `setup`."""

        def use() -> None:
            from huggingface_hub import constants, hf_api

            if setup is not None:
                setup()
            os.environ["HF_TOKEN"] = TOKEN
            constants.ENDPOINT = hf_api.api.endpoint = self.url
            constants.HUGGINGFACE_CO_URL_TEMPLATE = self.url + "/{repo_id}/resolve/{revision}/{filename}"
            constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_XET = False, True

        return use

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait()
