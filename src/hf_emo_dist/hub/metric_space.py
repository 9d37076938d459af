"""A metric as a Space: `evaluate.load("you/js_divergence")` anywhere, without this package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..markdown import one_line
from .commit import PushReport, commit_files, full_name
from .files import UploadFile
from .vendoring import standalone_source

__all__ = ["metric_files", "push_metric"]

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
) -> PushReport:
    """Pushes a metric to a Space, where `evaluate.load(repo_id)` finds it. It works without this package installed.

    Args:
        folder: of an `evaluate` module, such as `metrics/js_divergence`, with `<name>.py` and `README.md`.
        repo_id: `owner/name`; `evaluate` wants the Space to have the metric's name.
        private, token, revision, create_pr, commit_message, dry_run: as for `push_model`.

    Raises:
        ValueError: the Space has another name than the metric, or the module cannot be put into one file.
        OSError: the folder holds no metric, or the Hub cannot be reached.

    Example:
        >>> print(push_metric("metrics/js_divergence", "you/js_divergence", dry_run=True))  # doctest: +SKIP
    """
    if not dry_run:
        repo_id = full_name(repo_id, token)
    files = metric_files(folder, repo_id)
    name = Path(folder).resolve().name
    if repo_id.split("/")[-1] != name:
        raise ValueError(
            f"evaluate looks for {repo_id.split('/')[-1]}.py in the Space {repo_id}: give the Space the metric's name, {name}"
        )
    return commit_files(
        repo_id,
        files,
        repo_type="space",
        space_sdk="gradio",
        message=commit_message or f"Upload the metric {name} with hf_emo_dist",
        private=private,
        token=token,
        revision=revision,
        create_pr=create_pr,
        dry_run=dry_run,
    )


def metric_files(folder: str | os.PathLike[str], repo_id: str) -> list[UploadFile]:
    """The files of a metric's Space: the module with all that it needs, a page, requirements and the README.

    Raises:
        OSError: the folder holds no `<name>.py`.
        ValueError: the module cannot be put into one file.
    """
    root = Path(folder).resolve()
    module = root / f"{root.name}.py"
    if not module.is_file():
        raise OSError(
            f"'{folder}' holds no {root.name}.py: name the folder of an evaluate module, such as metrics/js_divergence"
        )
    title = root.name.replace("_", " ")
    return [
        UploadFile("README.md", _readme(root / "README.md", title, repo_id).encode()),
        UploadFile("app.py", APP.replace("{name}", root.name).replace("{title}", title).encode()),
        UploadFile(module.name, standalone_source(module).encode()),
        UploadFile("requirements.txt", REQUIREMENTS.encode()),
    ]


def _readme(file: Path, title: str, repo_id: str) -> str:
    from huggingface_hub import RepoCard

    text = file.read_text(encoding="utf-8") if file.is_file() else f"---\ntitle: {title}\n---\n# {title}\n"
    card = RepoCard(text)
    wanted: dict[str, Any] = {"sdk": "gradio", "sdk_version": SDK_VERSION, "app_file": "app.py", "pinned": False}
    for key, value in {"title": title, "tags": ["evaluate", "metric"], **wanted}.items():
        if card.data.get(key) is None:
            card.data[key] = value
    card.data["title"] = one_line(card.data["title"])
    card.text = (
        f'\n> `evaluate.load("{repo_id}")` is enough: this Space holds all that the metric takes from `hf_emo_dist`. Where the text below asks for '
        f"that package or for a local folder, neither is needed here.\n{card.text}"
    )
    return str(card)
