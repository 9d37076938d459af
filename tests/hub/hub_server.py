"""A server on localhost that speaks the Hub's protocol, as far as huggingface_hub, transformers and datasets use it.

Repositories with commits (ndjson), upload modes, the LFS batch API with single and multipart uploads, resolve with
HEAD, ETag and a redirect to another address for large files, trees, private repositories, tokens that may only read,
metadata validation, rate limits; and faults on demand.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from hub_repos import Blob, Repo, metadata_errors

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
LARGE = 2_000  # bytes from which a file counts as large, besides those with the endings below
LARGE_NAMES = (".safetensors", ".parquet", ".bin", ".png")


@dataclass
class Fault:
    """What happens to the next `times` requests that match: a status, or `cut`: the connection breaks in the body."""

    method: str
    path: str
    times: int
    status: int | None = None
    headers: dict = field(default_factory=dict)
    cut: bool = False
    after: bool = False  # the request is carried out, and only its answer is lost


class Stop(Exception):
    def __init__(self, status, code=None, message="", **headers):
        super().__init__(status)
        self.status, self.code, self.message, self.headers = status, code, message, headers


class HubServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lock = threading.RLock()
        self.repos, self.large, self.parts = {}, {}, {}
        self.tokens = {
            "hf_writes0000000000000000000000": ("me", True),
            "hf_reads00000000000000000000000": ("me", False),
        }
        self.tokens["hf_somebody_else0000000000000000"] = ("you", True)
        self.requests, self.faults, self.leaks = [], [], []  # leaks: tokens that went to the storage
        self.part_size = None  # upload large files in parts of so many bytes

    def repo(self, name, kind="model"):
        return self.repos[kind, name]

    def fail(self, method, path, times=1, **what):
        self.faults.append(Fault(method, path, times, **what))

    def count(self, method, path):
        return sum(m == method and re.search(path, p) is not None for m, p in self.requests)

    def handle_error(self, request, client_address):
        pass  # clients that went away


@contextmanager
def running():
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def put(server, name, folder, kind="model"):
    """A repository with the files of a folder, as if somebody had pushed it."""
    files = {
        path.name: Blob(path.read_bytes(), path.suffix == ".safetensors") for path in folder.iterdir() if path.is_file()
    }
    server.repos[kind, name] = repo = Repo(kind, name, False)
    for blob in files.values():
        if blob.large:
            server.large[blob.sha256] = blob.data
    repo.add("upload", files, "main")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.handle_request()

    do_HEAD = do_POST = do_PUT = do_GET

    def handle_request(self):
        url = urlsplit(self.path)
        self.route, self.query = unquote(url.path), parse_qs(url.query)
        with self.server.lock:
            self.server.requests.append((self.command, self.route))
            fault = next(
                (
                    f
                    for f in self.server.faults
                    if f.times and f.method == self.command and re.search(f.path, self.route)
                ),
                None,
            )
            if fault is not None:
                fault.times -= 1
        length = int(self.headers.get("Content-Length") or 0)
        if fault is not None and fault.cut and not fault.after:
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.close()
            return
        self.body = (
            self.read_chunked() if "chunked" in self.headers.get("Transfer-Encoding", "") else self.rfile.read(length)
        )
        if fault is not None and fault.status is not None and not fault.after:
            return self.answer(fault.status, {"error": "as ordered"}, **fault.headers)
        try:
            status, content, headers = self.dispatch()
        except Stop as stop:
            headers = {"X-Error-Message": stop.message, **stop.headers}
            if stop.code:
                headers["X-Error-Code"] = stop.code
            status, content = stop.status, {"error": stop.message}
        if fault is not None and fault.after:
            self.close_connection = True
            self.connection.close()
            return
        self.answer(status, content, **headers)

    def read_chunked(self):
        data = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def answer(self, status, content, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, str(value))
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # who asks, and for what

    def user(self):
        header = self.headers.get("Authorization")
        if header is None:
            return None, False
        known = self.server.tokens.get(header.removeprefix("Bearer "))
        if known is None:
            raise Stop(401, message="Invalid credentials in Authorization header")
        return known

    def find(self, kind, name, write=False):
        user, may_write = self.user()
        repo = self.server.repos.get((kind, name))
        owner = name.split("/")[0]
        if repo is None or (repo.private and user != owner):
            if user is None:
                raise Stop(401, "RepoNotFound", "Invalid username or password.")
            raise Stop(404, "RepoNotFound", "Repository not found")
        if write and (user != owner or not may_write):
            raise Stop(403, message="You don't have the rights to write here")
        return repo

    def revision(self, repo, revision):
        commit = repo.at(revision)
        if commit is None:
            raise Stop(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def dispatch(self):
        patterns = [
            (r"/api/whoami-v2", self.whoami),
            (r"/api/repos/create", self.create),
            (r"/api/validate-yaml", self.validate),
            (r"/api/(models|datasets|spaces)/([^/]+/[^/]+)/preupload/(.+)", self.preupload),
            (r"/api/(models|datasets|spaces)/([^/]+/[^/]+)/commit/(.+)", self.commit),
            (r"/api/(models|datasets|spaces)/([^/]+/[^/]+)/branch/(.+)", self.branch),
            (r"/api/(models|datasets|spaces)/([^/]+/[^/]+)/tree/([^/]+)/?(.*)", self.tree),
            (r"/api/(models|datasets|spaces)/([^/]+/[^/]+)/paths-info/(.+)", self.paths_info),
            (r"/api/(models|datasets|spaces)/([^/]+/[^/]+)/revision/(.+)", self.info),
            (r"/api/(models|datasets|spaces)/([^/]+/[^/]+)", self.info),
            (r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.batch),
            (r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
            (r"/storage/([0-9a-f]{64})(?:/(\d+))?", self.storage),
        ]
        for pattern, method in patterns:
            match = re.fullmatch(pattern, self.route)
            if match:
                with self.server.lock:
                    result = method(*match.groups())
                return (*result, {}) if len(result) == 2 else result
        raise Stop(404, message=f"no such route: {self.command} {self.route}")

    def whoami(self):
        user, may_write = self.user()
        if user is None:
            raise Stop(401, message="Invalid username or password.")
        return 200, {
            "type": "user",
            "name": user,
            "orgs": [],
            "auth": {"accessToken": {"role": "write" if may_write else "read"}},
        }

    def create(self):
        user, may_write = self.user()
        if user is None:
            raise Stop(401, message="Invalid username or password.")
        asked = json.loads(self.body)
        owner, kind = asked.get("organization") or user, asked.get("type") or "model"
        if owner != user or not may_write:
            raise Stop(403, message=f"You don't have the rights to create a {kind} under the namespace {owner}")
        name = f"{owner}/{asked['name']}"
        path = {"model": ""}.get(kind, f"{kind}s/") + name
        if (kind, name) in self.server.repos:
            return 409, {"error": "You already created this repo", "url": f"{self.server.url}/{path}"}
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.repos[kind, name] = Repo(kind, name, private, asked.get("sdk"))
        return 200, {"url": f"{self.server.url}/{path}", "name": name}

    def validate(self):
        asked = json.loads(self.body)
        errors = metadata_errors(asked["content"], asked["repoType"])
        return (400 if errors else 200), {"errors": [{"message": error} for error in errors], "warnings": []}

    def preupload(self, kind, name, revision):
        repo = self.find(KINDS[kind], name, write=True)
        files = self.revision(repo, revision)[2]
        answers = []
        for file in json.loads(self.body)["files"]:
            base64.b64decode(file["sample"])
            large = file["path"].endswith(LARGE_NAMES) or (
                file["size"] > LARGE and not file["path"].endswith((".md", ".json", ".py"))
            )
            answer = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if there := files.get(file["path"]):
                answer["oid"] = there.sha256 if there.large else there.oid
            answers.append(answer)
        return 200, {"files": answers, "commitOid": repo.at(revision)[0]}

    def batch(self, kind, name):
        self.find(KINDS[kind or "models"], name, write=True)
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.server.large:
                href = f"{self.server.url}/storage/{wanted['oid']}"
                upload, size = {"href": href}, self.server.part_size
                if size and wanted["size"] > size:
                    count = -(-wanted["size"] // size)
                    upload["header"] = {"chunk_size": str(size), **{str(i): f"{href}/{i}" for i in range(1, count + 1)}}
                entry["actions"] = {"upload": upload}
            objects.append(entry)
        return 200, {"transfer": "basic", "objects": objects}

    def storage(self, oid, part):
        if self.command == "PUT" and part:
            self.server.parts.setdefault(oid, {})[int(part)] = self.body
            return 200, b"", {"ETag": hashlib.md5(self.body).hexdigest()}
        if self.command == "GET":
            if self.headers.get("Authorization") is not None:
                self.server.leaks.append(self.route)
            return 200, self.server.large[oid], {"Content-Type": "application/octet-stream"}
        if self.command == "POST":  # all parts are there
            parts = self.server.parts.pop(oid)
            assert [p["partNumber"] for p in json.loads(self.body)["parts"]] == sorted(parts)
            self.body = b"".join(parts[i] for i in sorted(parts))
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Stop(400, message="the content is not what its name says")
        self.server.large[oid] = self.body
        return 200, b""

    def commit(self, kind, name, revision):
        repo = self.find(KINDS[kind], name, write=True)
        files = dict(self.revision(repo, revision)[2])
        header = {}
        for line in self.body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                header = value
            elif key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif key == "lfsFile":
                if value["oid"] not in self.server.large:
                    raise Stop(400, message=f"{value['path']} was not uploaded")
                files[value["path"]] = Blob(self.server.large[value["oid"]], True)
            elif key == "deletedFile":
                files.pop(value["path"])
        if header.get("parentCommit") not in (None, repo.at(revision)[0]):
            raise Stop(412, message="A commit has happened since. Please refresh and try again.")
        if "README.md" in files and metadata_errors(files["README.md"].data.decode(), repo.kind):
            raise Stop(400, message="invalid metadata")
        oid = repo.add(header["summary"], files, revision)
        return 200, {"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid, "hookOutput": ""}

    def branch(self, kind, name, branch):
        repo = self.find(KINDS[kind], name, write=True)
        if branch in repo.branches:
            return 409, {"error": "Reference already exists"}
        repo.branches[branch] = repo.branches["main"]
        return 201, {}

    def info(self, kind, name, revision="main"):
        repo = self.find(KINDS[kind], name)
        oid, _, files = self.revision(repo, revision)
        return 200, {
            "_id": "0", "id": name, "sha": oid, "private": repo.private, "disabled": False, "gated": False, "tags": [],
            "downloads": 0, "likes": 0, "lastModified": "2026-01-01T00:00:00.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z", "sdk": repo.sdk,
            "siblings": [{"rfilename": path} for path in sorted(files)],
        }  # fmt: skip

    def entry(self, path, blob):
        entry = {"type": "file", "oid": blob.oid, "size": len(blob.data), "path": path}
        if blob.large:
            entry["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 130}
        return entry

    def tree(self, kind, name, revision, folder):
        files = self.revision(self.find(KINDS[kind], name), revision)[2]
        prefix = f"{folder.rstrip('/')}/" if folder else ""
        inside = {path: blob for path, blob in files.items() if path.startswith(prefix)}
        if folder and not inside:
            raise Stop(404, "EntryNotFound", f"{folder} does not exist")
        entries, folders = [], set()
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        for path, blob in sorted(inside.items()):
            parts = path.removeprefix(prefix).split("/")
            folders |= {prefix + "/".join(parts[:i]) for i in range(1, len(parts) if recursive else min(2, len(parts)))}
            if recursive or len(parts) == 1:
                entries.append(self.entry(path, blob))
        return 200, [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in sorted(folders)
        ] + entries

    def paths_info(self, kind, name, revision):
        files = self.revision(self.find(KINDS[kind], name), revision)[2]
        paths = json.loads(self.body)["paths"] if self.body[:1] == b"{" else parse_qs(self.body.decode())["paths"]
        paths = [paths] if isinstance(paths, str) else paths
        found = [self.entry(path, files[path]) for path in paths if path in files]
        for path in paths:
            if path not in files and any(other.startswith(f"{path.rstrip('/')}/") for other in files):
                found.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
        return 200, found

    def resolve(self, kind, name, revision, path):
        oid, _, files = self.revision(self.find(KINDS[kind or "models"], name), revision)
        if path not in files:
            raise Stop(404, "EntryNotFound", f"{path} does not exist", **{"X-Repo-Commit": oid})
        blob = files[path]
        headers = {"X-Repo-Commit": oid, "Accept-Ranges": "bytes"}
        if blob.large:
            headers |= {
                "X-Linked-Etag": f'"{blob.sha256}"',
                "X-Linked-Size": len(blob.data),
                # another host's name, as with the real Hub's storage: the token must not go there
                "Location": f"http://localhost:{self.server.server_port}/storage/{blob.sha256}",
            }
            return 302, b"", headers
        return 200, blob.data, {**headers, "ETag": f'"{blob.oid}"', "Content-Type": "application/octet-stream"}
