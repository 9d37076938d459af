"""What lies on the server of `hub_server.py`: files, repositories with commits and branches, rules for metadata."""

import hashlib
import re
from dataclasses import dataclass, field

import yaml

LICENSES = {
    "apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "odbl", "other",
    "unknown",
}  # fmt: skip
REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass
class Blob:
    data: bytes
    large: bool

    @property
    def sha256(self):
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self):
        """git's name for the file, or for the pointer that stands for a large one."""
        data = self.data
        if self.large:
            data = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(data)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repo:
    kind: str
    name: str
    private: bool
    sdk: str | None = None
    commits: list = field(default_factory=list)  # (oid, message, {path: Blob})
    branches: dict = field(default_factory=dict)  # name → index of a commit

    def __post_init__(self):
        self.add("initial commit", {".gitattributes": Blob(b"*.safetensors filter=lfs\n", False)}, "main")

    def add(self, message, files, branch):
        oid = hashlib.sha1(f"{self.name}{len(self.commits)}{message}{sorted(files)}".encode()).hexdigest()
        self.commits.append((oid, message, files))
        self.branches[branch] = len(self.commits) - 1
        return oid

    def at(self, revision):
        if revision in self.branches:
            return self.commits[self.branches[revision]]
        return next((commit for commit in self.commits if commit[0] == revision), None)

    @property
    def files(self):
        return self.at("main")[2]


def metadata_errors(content, kind):
    """What is wrong with a README's metadata."""
    match = re.match(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))", content)
    if match is None:
        return []
    try:
        data = yaml.safe_load(match.group(2))
    except yaml.YAMLError as error:
        return [f"not YAML: {error}"]
    if not isinstance(data, dict):
        return ["the metadata is no mapping"]
    errors = []

    def check(key, ok, what):
        if key in data and not ok(data[key]):
            errors.append(f'"{key}" must be {what}, not {data[key]!r}')

    def texts(value):
        return isinstance(value, list) and all(isinstance(entry, str) and entry for entry in value)

    def ids(value):
        return all(isinstance(v, str) and REPO_ID.fullmatch(v) for v in (value if isinstance(value, list) else [value]))

    check("license", lambda v: v in LICENSES, f"one of {sorted(LICENSES)}")
    check(
        "license_name",
        lambda v: isinstance(v, str) and re.fullmatch(r"[a-z0-9][a-z0-9.\-]*", v),
        "lower case with dashes",
    )
    check("tags", texts, "a list of strings")
    check("metrics", texts, "a list of strings")
    check("base_model", ids, "a model's id")
    check("datasets", ids, "data sets' ids")
    check("library_name", lambda v: isinstance(v, str), "a string")
    check("pipeline_tag", lambda v: v in ("audio-classification",), "a task")
    check(
        "language",
        lambda v: all(re.fullmatch("[a-z]{2,3}", x) for x in (v if isinstance(v, list) else [v])),
        "ISO 639 codes",
    )
    for result in (entry for model in data.get("model-index", []) for entry in model["results"]):
        if (
            not all(isinstance(result["task"].get(k, ""), str) for k in ("type", "name"))
            or "type" not in result["dataset"]
        ):
            errors.append('"model-index" has a result without task or data set')
        if not all(isinstance(m["type"], str) and isinstance(m["value"], int | float) for m in result["metrics"]):
            errors.append('"model-index" has a metric that is no number')
    if kind == "space":
        check("title", lambda v: isinstance(v, str) and v, "a string")
        if data.get("sdk") not in ("gradio", "docker", "static"):
            errors.append('"sdk" is missing')
    return errors
