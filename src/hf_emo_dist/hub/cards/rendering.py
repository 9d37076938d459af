"""Templates → cards, and telling a card that was written here from one that somebody has edited."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from ..._yaml import read_yaml
from ...data.output import write_text
from ...markdown import Safe, as_code, as_text

_MARK = re.compile(r"\n*<!-- hf-emo-dist card ([0-9a-f]{16}) ([0-9a-f]{16}) -->\s*\Z")
# What peft's writer changes in a card
_PEFT_KEYS = ("library_name", "tags", "base_model")
_PEFT_LINES = re.compile(r"\n*^### Framework versions\n+(?:- PEFT [^\n]*\n*)+\Z", re.MULTILINE)
_UNFILLED = "[More Information Needed]"


def render(template: str, **values: Any) -> str:
    """Fill a Jinja template of this folder; every value that is not marked as safe is escaped for Markdown."""
    from jinja2 import Environment

    environment = Environment(
        finalize=as_text, autoescape=False, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters.update(code=as_code, safe=Safe, text=as_text)
    text = (Path(__file__).parent / template).read_text(encoding="utf-8")
    text = environment.from_string(text).render(**values)
    return re.sub(r"\n{3,}", "\n\n", text)


def with_mark(card: str) -> str:
    """The card with a comment at its end by which `is_edited` knows it again."""
    body = card.rstrip() + "\n"
    full, without = _digests(body)
    return f"{body}\n<!-- hf-emo-dist card {full} {without} -->\n"


def is_edited(card: str) -> bool:
    """Whether a README is a person's work, at least in part: not ours as written, and no library's unfilled form.

    What peft's writer does to one of ours (its own tags and library name, and a line with its version) is no edit.

    Args:
        card: The text of the README.

    Returns:
        Whether somebody's words would be lost by writing it anew.

    Example:
        >>> ours = with_mark("# A card")
        >>> is_edited(ours), is_edited(ours.replace("A card", "My card")), is_edited("# Mine")
        (False, True, True)
    """
    text = _PEFT_LINES.sub("\n", card.replace("\r\n", "\n"))
    mark = _MARK.search(text)
    if mark is None:
        # A form that peft or transformers wrote, and nobody filled in.
        form = _UNFILLED in card and ("# Model Card for Model ID" in card or "generated automatically" in card)
        return bool(_body(card)) and not form
    full, without = _digests(text[: mark.start()].rstrip() + "\n")
    from_peft = re.search(r"^library_name: peft$", card, flags=re.MULTILINE) is not None
    return full != mark[1] and not (from_peft and without == mark[2])


def write_card(file: str | Path, card: str, overwrite: bool = False) -> bool:
    """Write a README, unless somebody has edited the one that is there; say whether that was done."""
    target = Path(file)
    if target.is_file() and not overwrite and is_edited(target.read_text(encoding="utf-8")):
        return False
    write_text(target, card)
    return True


def _body(card: str) -> str:
    """The card without its metadata: the Hub makes READMEs that have nothing else."""
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    match = REGEX_YAML_BLOCK.search(card)
    return card[match.end() if match else 0 :].strip()


def _digests(text: str) -> tuple[str, str]:
    """Of the card, and of the card without what peft's writer changes in its metadata."""
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    match = REGEX_YAML_BLOCK.search(text)
    body = text
    data: Any = {}
    if match is not None:
        body = text[match.end() :]
        try:
            data = read_yaml(match.group(2)) or {}
        except yaml.YAMLError:
            data = {"unreadable": match.group(2)}
    if not isinstance(data, dict):
        data = {"unreadable": str(data)}
    without = {key: value for key, value in data.items() if key not in _PEFT_KEYS}
    digests = [
        hashlib.sha256(json.dumps([values, body.strip()], sort_keys=True, default=str).encode()).hexdigest()[:16]
        for values in (data, without)
    ]
    return digests[0], digests[1]
