"""Data sets whose own README sends the reader elsewhere: to files of this machine, to other servers or repositories.

``datasets`` opens whatever ``data_files`` of a README names. A stranger's data set could so bring files of whoever
opens it into what is written, and pushed, under another name.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._yaml import in_one_line, read_yaml

#: Files of a data set's folder or repository that may say where its data lies.
NAMES = ("README.md", ".huggingface.yaml")
#: Of a card's metadata, which lists a data set's columns.
MOST_FRONT_BYTES = 2_000_000
_FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)(?:\r?\n---[ \t]*(?:\r?\n|\Z)|\Z)", re.DOTALL)
_ELSEWHERE = re.compile(r"^[/\\~]|^[A-Za-z]:|://|::|(?:^|[/\\])\.\.(?:[/\\]|$)")


def check_folder_stays_inside(folder: Path) -> None:
    """Refuse a local data set whose README names files outside of its folder.

    Raises:
        ValueError: The message names them.
    """
    for name in NAMES:
        if (folder / name).is_file():
            check_stays_inside(beginning_of(folder / name), f"{name} of {folder}")


def check_repository_stays_inside(repo_id: str, revision: str | None) -> None:
    """The same of a data set on the Hub; what cannot be fetched is left to whoever loads it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    for name in NAMES:
        try:
            file = hf_hub_download(repo_id, name, repo_type="dataset", revision=revision)
        except (OSError, HfHubHTTPError):  # there is none, or no connection
            continue
        check_stays_inside(beginning_of(Path(file), f"{name} of {repo_id}"), f"{name} of {repo_id}")


def beginning_of(file: Path, where: str | None = None) -> str:
    """So much of a file as its metadata may take, and a little more: then they are too long.

    Args:
        file: A README or a YAML file of a data set.
        where: What it is called in the message; by default its path.

    Raises:
        ValueError: It is no text in UTF-8, as which `datasets` reads all of it.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.open("rb") as opened:
        beginning = part = opened.read(MOST_FRONT_BYTES + 1000)
        lines = 1
        try:
            while part:
                decoder.decode(part)
                lines, part = lines + part.count(b"\n"), opened.read(2**20)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            line = lines + part[: error.start].count(b"\n")
            raise ValueError(
                f"{where or file} is no text in UTF-8 (line {line}: {error.reason}). Mend: save it as UTF-8, or delete "
                "it: the data is read without it."
            ) from error
    return beginning.decode("utf-8", "replace").removeprefix("\ufeff")


def check_stays_inside(text: str, where: str) -> None:
    """Refuse metadata that names data files elsewhere, or that `datasets`, which reads them without a bound, would
    write out to gigabytes.

    Args:
        text: Of a README, or a YAML file.
        where: What it is, for the message.

    Raises:
        ValueError: A file lies outside, or the metadata is no YAML or comes to more than any such text does.

    Example:
        >>> check_stays_inside("---\\nconfigs:\\n- data_files: data/*.parquet\\n---\\n", "README.md")
        >>> check_stays_inside("---\\nconfigs:\\n- data_files: ../*.parquet\\n---\\n", "README.md")
        Traceback (most recent call last):
        ...
        ValueError: README.md says that the data lies in '../*.parquet', outside of the data set itself, ...
    """
    import yaml

    front = _FRONT.match(text)
    try:
        values = read_yaml(front[1] if front else "" if where.startswith("README") else text, MOST_FRONT_BYTES)
    except yaml.YAMLError as error:
        counted = ", from the line after ---" if front else ""
        raise ValueError(
            f"The metadata of {where} cannot be read ({in_one_line(error)}{counted}). Mend: correct it, "
            "or delete the file: the data is read without it. Of somebody else's on the Hub, download the Parquet "
            "files alone (hf download ... --repo-type dataset --include '*.parquet') and open their folder."
        ) from error
    for place in _places(values):
        if _ELSEWHERE.search(place):
            raise ValueError(
                f"{where} says that the data lies in {place[:200]!r}, outside of the data set itself, and it is not "
                "read from there. Mend: name files of its own in data_files, or open those files themselves."
            )


def _places(values: Any) -> Iterator[str]:
    """What is named as data files or their folder, once each: YAML's aliases can repeat one part without end."""
    configs = values.get("configs") if isinstance(values, dict) else None
    waiting = [
        config[key]
        for config in (configs if isinstance(configs, list) else [configs])
        if isinstance(config, dict)
        for key in ("data_files", "data_dir")
        if key in config
    ]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += [entry for key, entry in value.items() if key != "split"]
        elif isinstance(value, list):
            waiting += value
