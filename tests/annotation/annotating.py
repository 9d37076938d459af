# ruff: noqa: E402 - the paths are set before the imports that need them
"""Annotates in processes of their own, for tests that kill, interrupt or share.

Each line of standard input is a command in JSON; for each, a child is forked and its process id printed. So the
imports, which take seconds, are done once.
"""

import json
import logging
import os
import signal
import sys
import types
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
import aiohttp  # noqa: F401 - once, and not in each child
from annotation_setup import annotator, dataset, gemini, votes

from hf_emo_dist.annotation.backends.openai import OpenAIBackend
from hf_emo_dist.annotation.run.run_report import AnnotationIncomplete


def annotate(backend, ledger, data, way, options):
    run = annotator(backend, ledger, **options)
    try:
        if way == "map":
            return {"votes": votes(data.map(run, batched=True, batch_size=20))}
        found, report = run.annotate_batch(data) if way == "batch" else run.annotate(data)
        return {"report": report.to_dict(), "complete": report.complete, "votes": votes(found)}
    except (AnnotationIncomplete, KeyboardInterrupt) as error:
        return {"error": type(error).__name__, "text": str(error)}


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that are done are gone
    for line in sys.stdin:
        command = json.loads(line)
        other = command["options"].pop("openai", None)  # a model behind OpenAI's protocol
        backend = gemini(types.SimpleNamespace(url=command["url"]))
        backend = OpenAIBackend(other, base_url=command["url"]) if other else backend
        data = dataset(command["rows"])
        child = os.fork()
        if child:
            sys.stdout.write(f"{child}\n")
            sys.stdout.flush()
            continue
        os.dup2(os.open(command["errors"], os.O_WRONLY | os.O_CREAT), 2)
        logging.basicConfig(level=logging.WARNING)
        outcome = annotate(backend, command["ledger"], data, command["way"], command["options"])
        unfinished = Path(command["outcome"] + ".part")
        unfinished.write_text(json.dumps(outcome))
        unfinished.rename(command["outcome"])
        os._exit(0)


if __name__ == "__main__":
    main()
