"""To the Hub: a metric as a Space, which `evaluate.load("you/js_divergence")` finds from anywhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..markdown import one_line
from .commit import PushReport, commit_files, full_name
from .files import UploadFile, inside

METRICS = Path(__file__).parent / "metrics"
SDK_VERSION = "6.31.0"
REQUIREMENTS = "evaluate>=0.4.3\nnumpy>=1.26\n"
APP = '''"""The page of this metric: rows of predictions and references in, the scores out."""

import json

import evaluate
import gradio

metric = evaluate.load("{name}.py")
EXAMPLE = [[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], [[0.6, 0.4, 0.0], [0.0, 0.2, 0.8]]]


def compute(predictions, references):
    """Scores of distributions given as JSON."""
    try:
        return metric.compute(predictions=json.loads(predictions), references=json.loads(references))
    except (ValueError, TypeError) as error:
        raise gradio.Error(str(error)) from error


page = gradio.Interface(
    fn=compute,
    inputs=[
        gradio.Textbox(json.dumps(EXAMPLE[0]), label="predictions: one distribution a row, as JSON"),
        gradio.Textbox(json.dumps(EXAMPLE[1]), label="references: the same"),
    ],
    outputs=gradio.JSON(label="scores"),
    title="{title}",
    description=metric.info.description,
)

if __name__ == "__main__":
    page.launch()
'''


def metric_folder(name: str) -> str:
    """Return the folder of a metric that comes with this package, for `evaluate.load`.

    Args:
        name: `js_divergence`, `bhattacharyya_coefficient` or `emotion_distribution`.

    Raises:
        ValueError: There is no such metric; the message lists those that there are.

    Example:
        >>> metric_folder("js_divergence").endswith("js_divergence")
        True
    """
    folder = METRICS / name
    if not (folder / f"{name}.py").is_file():
        known = ", ".join(sorted(path.name for path in METRICS.iterdir() if path.is_dir()))
        raise ValueError(f"There is no metric {name!r}. Mend: name one of {known}.")
    return str(folder)


def push_metric(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    dry_run: bool = False,
    not_secret: Sequence[str] = (),
) -> PushReport:
    """Push a metric to a Space, where `evaluate.load(repo_id)` finds it: its folder, and what the Space's page needs.

    Args:
        folder: Of an `evaluate` module, with `<name>.py` and `README.md`; or the name of a metric that comes with this
            package: `js_divergence` and `bhattacharyya_coefficient`, which work where this package is not installed,
            or `emotion_distribution`, which needs it.
        repo_id: `owner/name`; `evaluate` wants the Space to have the metric's name.
        private, token, revision, create_pr, commit_message, dry_run, not_secret: As for `push_model`.

    Returns:
        What was pushed; `str(report)` lists it.

    Raises:
        ValueError: The Space has another name than the metric.
        OSError: The folder holds no metric, or the Hub cannot be reached.

    Example:
        >>> report = push_metric("js_divergence", "you/js_divergence", dry_run=True)
        >>> [file.path_in_repo for file in report.files]
        ['README.md', 'app.py', 'js_divergence.py', 'requirements.txt']
    """
    root = Path(folder).resolve()
    if not root.is_dir() and (METRICS / folder).is_dir():
        root = METRICS / folder
    name = root.name
    if not (root / f"{name}.py").is_file():
        raise OSError(
            f"'{folder}' holds no {name}.py. Mend: name the folder of an evaluate module, or a metric of this package "
            "such as js_divergence."
        )
    if repo_id.split("/")[-1] != name:
        raise ValueError(
            f"evaluate looks for {repo_id.split('/')[-1]}.py in the Space {repo_id}. Mend: give the Space the metric's "
            f"name, {name}."
        )
    if not dry_run:
        repo_id = full_name(repo_id, token)
    title = name.replace("_", " ")
    contents: dict[str, Path | bytes] = {
        "README.md": _readme(root / "README.md", title, repo_id).encode(),
        "app.py": APP.replace("{name}", name).replace("{title}", title).encode(),
        "requirements.txt": REQUIREMENTS.encode(),
    }
    for path in root.iterdir():
        if path.is_file() and path.name != "README.md" and not path.name.startswith("."):
            contents[path.name] = path
    return commit_files(
        repo_id,
        [UploadFile(path, content) for path, content in sorted(contents.items())],
        repo_type="space",
        message=commit_message or f"Upload the metric {name} with hf_emo_dist",
        private=private,
        token=token,
        revision=revision,
        create_pr=create_pr,
        dry_run=dry_run,
        not_secret=not_secret,
    )


def _readme(file: Path, title: str, repo_id: str) -> str:
    """The README with the metadata that makes a Space of a repository, and its code loading from there."""
    from huggingface_hub import RepoCard

    text = inside(file).read_text(encoding="utf-8") if file.is_file() else f"---\ntitle: {title}\n---\n# {title}\n"
    card = RepoCard(text.replace(f'"metrics/{file.parent.name}"', f'"{repo_id}"'))
    wanted: dict[str, Any] = {"sdk": "gradio", "sdk_version": SDK_VERSION, "app_file": "app.py", "pinned": False}
    for key, value in {"title": title, "tags": ["evaluate", "metric"], **wanted}.items():
        if card.data.get(key) is None:
            card.data[key] = value
    card.data["title"] = one_line(card.data["title"])
    return str(card)
