"""Which files of a checkpoint go to the Hub, and what is taken out of them: paths of this machine, and secrets."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._checkpoint_files import PEFT_CONFIG_NAME, is_adapter
from .._own_code import OwnCodeError
from ..data.intact import read_json
from ..markdown import hub_id, last_part
from ..modeling.whole_files import MEND, broken_files_named, check_whole
from .contents import NotLookedThroughError, places
from .secrets import of_this_user

# What evaluation draws.
PLOTS = ("reliability.png", "predicted_against_target.png", "by_group.png")
# What training and evaluation leave beside a checkpoint.
RESULTS = (
    "training_args.json",
    "training_facts.json",
    "train_results.json",
    "recipe.json",
    "scores.json",
    "scores.md",
    *PLOTS,
)
# Nothing else is uploaded: no optimizer, no pickle, no log, no predictions on somebody's recordings.
CHECKPOINT_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "emotion_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    *RESULTS,
)
# Vocabularies and templates hold any string; only the others are searched for paths to take out.
_AS_THEY_ARE = ("tokenizer.json", "vocab.json", "added_tokens.json", "special_tokens_map.json", "chat_template.json")
_TEXT = (".json", ".md", ".txt", ".py", ".jinja", ".yaml", ".csv")
# These name code that comes with a checkpoint: ours needs none, and nobody is to be asked to run a stranger's.
_CODE = ("auto_map", "custom_pipelines")
# Keys of this machine or of this user, where they hold text: a number such as `pad_token_id` is neither.
_DROPPED = re.compile(
    r"(?i)(token$|_token|secret|password|api_?key|_dir$|^run_name$|_name_or_path$|^name_or_path$|^local_files_only$|^is_local$)"
)
_SPECIAL_TOKEN = re.compile(
    r"^\w*(bos|eos|pad|unk|sep|cls|mask|audio|image|video|text)_token\w*$|^base_model_name_or_path$"
)
_PATH = re.compile(
    r"(?<![\w.:/\\<])(?:~|file://)?(?:/(?!/)[^\s/:\"'<>|]+){2,}/?|\b[A-Za-z]:\\[^\s\"'<>|]+|\\\\[^\s\\]+\\[^\s\"'<>|]+"
)
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b")


class SecretFoundError(ValueError):
    """Something secret, or a path of this machine, is in a file that was about to be uploaded."""


@dataclass(frozen=True)
class UploadFile:
    """One file as it is uploaded: `content` is the local file, or its bytes where something was taken out."""

    path_in_repo: str
    content: Path | bytes = field(repr=False)
    root: Path | None = field(default=None, repr=False)  # the folder that it must lie in; by default its own
    size: int = field(init=False)

    def __post_init__(self) -> None:
        size = len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size
        object.__setattr__(self, "size", size)

    def read(self) -> bytes:
        """What will be uploaded."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


def checkpoint_files(
    folder: str | Path,
    *,
    base_model: str | None = None,
    readme: str,
    extra: Mapping[str, Path] | None = None,
) -> list[UploadFile]:
    """Return the files of a checkpoint's folder that are uploaded, cleaned.

    Args:
        folder: Full, merged or adapter.
        base_model: Hub id that an adapter names as its backbone, instead of what it was trained from.
        readme: Text of the card.
        extra: Name → further file, such as scores that lie elsewhere.

    Raises:
        OSError: The folder holds no weights in safetensors.
        ValueError: An adapter's backbone is a local folder, which nobody else has; or a file is damaged
            (`BrokenFileError` names it).

    Example:
        >>> checkpoint_files("runs/mini", readme="# Mini")  # doctest: +SKIP
        [UploadFile(path_in_repo='config.json', size=2210), ...]
    """
    root = Path(folder)
    if not any(root.glob("*.safetensors")):
        raise OSError(
            f"'{folder}' holds no .safetensors file: it is no checkpoint. Mend: name the output folder of a training."
        )
    check_whole(root)
    _check_loads(root)
    names = sorted(
        path.name
        for path in root.iterdir()
        if path.is_file() and any(fnmatch.fnmatchcase(path.name, pattern) for pattern in CHECKPOINT_FILES)
    )
    if is_adapter(root):  # a full model of an earlier run may lie in the same folder
        earlier = ("config.json", "generation_config.json")
        names = [name for name in names if name not in earlier and not name.startswith("model")]
    sources = {**{name: root / name for name in names}, **(extra or {})}
    files = [UploadFile(name, _content(name, path, base_model)) for name, path in sorted(sources.items())]
    return [*files, UploadFile("README.md", readme.encode())]


def _check_loads(folder: Path) -> None:
    """Read settings and processor as whoever downloads them will: what cannot be loaded is of no use to anybody."""
    from ..modeling.adapters import adapter_settings
    from ..modeling.families import read_config
    from ..modeling.processing import EmotionDistributionProcessor

    with broken_files_named(folder, {}):
        if is_adapter(folder):
            adapter_settings(folder, {})
        else:
            read_config(folder, {})
        with contextlib.suppress(OwnCodeError):  # a family of the user's own code
            EmotionDistributionProcessor.from_pretrained(folder)


def _content(name: str, path: Path, base_model: str | None) -> Path | bytes:
    if not name.endswith(".json") or name in _AS_THEY_ARE:
        return path
    values = read_json(inside(path), MEND)
    if name == PEFT_CONFIG_NAME:
        base = base_model or values.get("base_model_name_or_path")
        facts = path.with_name("training_facts.json")
        was_local = facts.is_file() and read_json(facts, MEND).get("backbone_is_local")
        if hub_id(base) is None or (was_local and base_model is None):
            raise ValueError(
                f"the adapter's backbone is '{last_part(base)}', a local folder that nobody else has. Mend: name the "
                "same backbone on the Hub with base_model='owner/name', or push with merge=True, which folds the "
                "adapter in."
            )
        values["base_model_name_or_path"] = base
    return (json.dumps(clean_json(values), indent=2, ensure_ascii=False) + "\n").encode()


def clean_json(value: Any) -> Any:
    """The same value without tokens and other secrets, folders, and absolute paths; of these the last part is left.

    >>> clean_json({"hub_token": "hf_x", "output_dir": "o", "backbone": "/home/me/mini", "note": "see /home/me/a.txt"})
    {'backbone': 'mini', 'note': 'see a.txt'}
    """
    if isinstance(value, dict):
        return {
            key: clean_json(entry)
            for key, entry in value.items()
            if key not in _CODE and not _is_private(str(key), entry)
        }
    if isinstance(value, list):
        return [clean_json(entry) for entry in value]
    if isinstance(value, str):
        if os.path.isabs(value) or value.startswith("~"):
            return last_part(value)
        return _HUB_TOKEN.sub("(removed)", _PATH.sub(lambda match: last_part(match[0]), value))
    return value


def _is_private(key: str, value: Any) -> bool:
    return isinstance(value, str | bool) and _DROPPED.search(key) is not None and _SPECIAL_TOKEN.match(key) is None


def check_uploads(files: Iterable[UploadFile], not_secret: Sequence[str] = ()) -> None:
    """Look once more through every file for keys and tokens, and through every text for this machine's folders.

    Args:
        files: What is about to be uploaded.
        not_secret: Places as the error names them, also with `*`, where what was found is no secret.

    Raises:
        SecretFoundError: Something was found, a file lies outside of the folder that is pushed, or it cannot be
            searched.
    """
    secrets = of_this_user()
    folders = _own_folders()
    accepted = re.compile("|".join(map(fnmatch.translate, not_secret)) or r"(?!)")
    for file in files:
        if isinstance(file.content, Path):
            inside(file.content, file.root)
        try:
            for place in places(file.path_in_repo, file.content, secrets):
                if not accepted.match(place.path):
                    raise _found(place.path, f"{place.path} holds {place.what} ({place.detail})")
        except NotLookedThroughError as error:
            if not accepted.match(file.path_in_repo):
                raise _found(
                    file.path_in_repo, f"{file.path_in_repo} could not be searched for secrets: {error}"
                ) from error
        if file.path_in_repo.endswith(_TEXT) and not file.path_in_repo.endswith(_AS_THEY_ARE):
            text = file.read().decode("utf-8", "replace")
            if any(folder.search(text) for folder in folders) and not accepted.match(file.path_in_repo):
                raise _found(file.path_in_repo, f"{file.path_in_repo} holds a path of this machine")


def _found(place: str, what: str) -> SecretFoundError:
    # said without the thing itself: messages end up in logs
    return SecretFoundError(
        f"{what}: nothing was uploaded. Mend: take it out of the file; if it is no secret, say so with "
        f"not_secret=[{place!r}] (--not_secret '{place}')."
    )


def inside(path: Path, root: Path | None = None) -> Path:
    """The path, if it is an ordinary file, and no link to one outside of a folder (by default the one it lies in).

    Raises:
        SecretFoundError: It is none: whoever made the folder could have any file of this machine uploaded.
    """
    folder = (root or path.parent).resolve()
    real = path.resolve()
    if real.is_file() and not real.is_relative_to(folder):
        raise SecretFoundError(
            f"{path} is a link to a file outside of {folder}: nothing was uploaded. Mend: put the file itself in its "
            "place (cp -L) if it is to be published."
        )
    if real.exists() and not real.is_file():
        raise SecretFoundError(f"{path} is no ordinary file: nothing was uploaded. Mend: take it away.")
    return path


def _own_folders() -> list[re.Pattern[str]]:
    folders = {str(Path.home()), tempfile.gettempdir(), os.getcwd()}
    return [re.compile(rf"(?<![\w.:/-]){re.escape(folder)}[/\\]") for folder in folders if len(folder) > 3]
