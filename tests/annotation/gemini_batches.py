"""The Gemini server with the Batch API: jobs over uploaded files of requests, in the wire's own form, and their faults.

What it generates is counted in `generated`, by clip and prompt: its bill.
"""

import collections
import json
import re
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

from gemini_server import GeminiServer, camel, error
from http_server import Reply, main

_CREATE = re.compile(r"/v1\w*/models/([\w.-]+):batchGenerateContent$")
_JOB = re.compile(r"/v1\w*/(batches/[\w-]+)(:cancel)?$")
_LIST = re.compile(r"/v1\w*/batches$")
_DOWNLOAD = re.compile(r"(/download)?/v1\w*/(files/[\w-]+):download$")


class BatchServer(GeminiServer):
    """Jobs are done at the first look at them, unless `looks` says later; lines come back in reverse order.

    `lines` is a list of (kind, when): `when` is a function of the number of a line, from 0, and its job's number, from
    1; `kind` one of error codes of gRPC, "missing", "garbage", "twice", "no key", "other model", or a text to answer.
    `states` has the state that a job, by its number, ends in; `stuck` never ends.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.forget()

    def forget(self):
        """As if no job had ever been."""
        self.jobs, self.generated_lines, self.lines, self.states = {}, collections.Counter(), [], {}
        self.looks, self.redirects, self.page = 0, False, 2
        self.files.clear()
        self.deleted.clear()

    def respond(self, request):
        if not request.key_ok and request.headers.get("x-goog-upload-command", "start") == "start":
            return self.fault_invalid_key(request)
        path = urlsplit(request.path).path
        if found := _CREATE.search(path):
            return self.create(request, found[1])
        if found := _JOB.search(path):
            return self._job(request, *found.groups())
        if _LIST.search(path):
            return self._list(parse_qs(urlsplit(request.path).query))
        if found := _DOWNLOAD.search(path):
            return self._download(request, *found.groups())
        return super().respond(request)

    def create(self, request, model):
        batch = camel(json.loads(request.body))["batch"]
        source = self.files.get(batch["inputConfig"]["fileName"])
        if source is None:
            return Reply(404, error(404, "NOT_FOUND", "File not found."))
        name = f"batches/b{len(self.jobs) + 1}"
        lines = [json.loads(line) for line in source["data"].splitlines()]
        self.jobs[name] = {
            "number": len(self.jobs) + 1, "displayName": batch["displayName"], "model": f"models/{model}", "looks": 0,
            "state": "BATCH_STATE_PENDING", "lines": lines, "output": None, "created": time.time(),
        }  # fmt: skip
        return Reply(body=self._shown(name))

    def _shown(self, name):
        job = self.jobs[name]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job["created"]))
        metadata = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "name": name, "displayName": job["displayName"], "model": job["model"], "state": job["state"],
            "createTime": stamp, "updateTime": stamp,
            # A tool that took the cost from these showed $90 a request.
            "batchStats": {"requestCount": "10000000", "successfulRequestCount": "10000000"},
        }  # fmt: skip
        if job["output"] is not None:
            metadata["output"] = {"responsesFile": job["output"]}
        return {"name": name, "metadata": metadata, "done": job["state"] not in ("BATCH_STATE_PENDING",)}

    def _job(self, request, name, cancel):
        if name not in self.jobs:
            return Reply(404, error(404, "NOT_FOUND", "Batch not found."))
        job = self.jobs[name]
        if cancel:
            if self.states.get(job["number"]) != "stuck":
                self._end(job, "BATCH_STATE_CANCELLED")
            return Reply(body={})
        job["looks"] += 1
        if job["state"] == "BATCH_STATE_PENDING" and job["looks"] > self.looks:
            state = self.states.get(job["number"], "SUCCEEDED")
            if state != "stuck":
                self._end(job, f"BATCH_STATE_{state}")
        return Reply(body=self._shown(name))

    def _list(self, query):
        names = list(self.jobs)
        start = int(query.get("pageToken", ["0"])[0])
        found = {"operations": [self._shown(name) for name in names[start : start + self.page]]}
        if start + self.page < len(names):
            found["nextPageToken"] = str(start + self.page)
        return Reply(body=found)

    def _end(self, job, state):
        job["state"] = state
        if state in ("BATCH_STATE_FAILED", "BATCH_STATE_EXPIRED"):
            return
        lines = job["lines"] if state != "BATCH_STATE_CANCELLED" else job["lines"][: len(job["lines"]) // 2]
        written = [entry for number, line in enumerate(lines) for entry in self._answered(job, number, line)]
        job["output"] = f"files/batch-b{job['number']}"
        data = b"".join(entry + b"\n" for entry in reversed(written))
        self.files[job["output"]] = {"mime": "jsonl", "state": "ACTIVE", "looks": 0, "data": data, "audio": None}

    def _answered(self, job, number, line):
        request = SimpleNamespace(number=number, model=job["model"].removeprefix("models/"), where=None)
        self.read_request(request, camel(line["request"]))
        kind = next((kind for kind, when in self.lines if when(number, job["number"])), None)
        if isinstance(kind, int):
            return [json.dumps({"key": line["key"], "error": {"code": kind, "message": f"code {kind}"}}).encode()]
        if request.where == "no file":
            return [json.dumps({"key": line["key"], "error": {"code": 7, "message": "no such File"}}).encode()]
        self.generated_lines[request.audio, request.text] += 1
        if kind == "missing":
            return []
        if kind == "garbage":
            return [b'{"key": "' + line["key"].encode()[:20]]
        known = ("twice", "no key", "other model")
        text = kind if kind is not None and kind not in known else None
        model = "gemini-3.5-flash" if kind == "other model" else None
        reply = json.loads(self.generated(request, text=text, model=model).body)
        entry = {"response": reply} if kind == "no key" else {"key": line["key"], "response": reply}
        return [json.dumps(entry).encode()] * (1 + (kind == "twice"))

    def _download(self, request, redirected, name):
        if name not in self.files:
            return Reply(404, error(404, "NOT_FOUND", f"File {name} not found."))
        if self.redirects and not redirected:
            return Reply(302, headers={"location": f"/download/v1beta/{name}:download?alt=media"})
        return Reply(body=self.files[name]["data"])

    # -- faults ------------------------------------------------------------------------------------------------------

    def fault_taken_and_not_said(self, request, how="abort", **reply):
        """The job is made, and nobody hears of it."""
        self.respond(request)
        return Reply(how=how, **reply)

    def fault_elsewhere(self, request):
        return Reply(302, headers={"location": "http://127.0.0.1:9/stolen:download"})


if __name__ == "__main__":
    main(BatchServer)
