"""Names that somebody else chose, in Markdown, YAML and CSV: an emotion, a data set, a model may be called anything."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

# what Markdown, with tables, strikethrough and bare links, or HTML could take for markup
_MARKUP = re.compile(r"([\\`*_{}\[\]()#|~!$^]|:(?=//))")
_LIST_START = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=])(?=[\s=-]|$)")
_LINK_START = re.compile(r"(?i)\b(www)\.")
# what Excel, LibreOffice and Google Sheets compute, also in their full-width forms
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE | re.ASCII)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Safe(str):
    """Markdown that was made here, and goes into a card as it is."""


def one_line(value: Any) -> str:
    """A value as one line of visible text: no line breaks, control or direction characters.

    Example:
        >>> one_line("sad\\n---\\nlicense: mit"), one_line("a\\u202eb")
        ('sad --- license: mit', 'ab')
    """
    return _visible(value).strip()


def _visible(value: Any) -> str:
    text = re.sub(r"\s+", " ", str(value))
    return "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn"))


def as_text(value: Any) -> Safe:
    """A value as Markdown that shows just its characters.

    Example:
        >>> as_text("*sad* <b> [x](http://y) 1|2")
        '\\\\*sad\\\\* &lt;b&gt; \\\\[x\\\\]\\\\(http\\\\://y\\\\) 1\\\\|2'
    """
    if isinstance(value, Safe):
        return value
    text = _MARKUP.sub(r"\\\1", _visible(value))
    for char, entity in _ENTITIES.items():
        text = text.replace(char, entity)
    text = _LINK_START.sub(r"\1\\.", text).replace("@", "&#64;")
    return Safe(_LIST_START.sub(lambda m: f"{m[1]}\\{m[2]}" if m[1] else f"\\{m[3]}", text))


# what begins HTML, an entity, a link, an image, a definition, code, a bare address or mathematics
_ACTIVE = re.compile(r"\\|`|\$|<(?=[A-Za-z/!?])|&(?=#|\w+;)|(?<=\])(?=[(:\[])|(?<=:)(?=//)|(?<=!)(?=\[)")


def as_prose(value: Any) -> Safe:
    """A text as Markdown that is read like the text itself and brings in no HTML, link or picture; it may be long.

    Example:
        >>> as_prose("<b>sad</b> [x](http://y), p < 0.05 [0.1, 0.2]")
        '\\\\<b>sad\\\\</b> [x]\\\\(http:\\\\//y), p < 0.05 [0.1, 0.2]'
    """
    if isinstance(value, Safe):
        return value
    return Safe(_ACTIVE.sub(lambda match: f"\\{match[0]}", _visible(value)).strip())


def as_code(value: Any) -> Safe:
    """A value as inline code, also inside a table.

    Example:
        >>> as_code("sad"), as_code("a`b|c")
        ('`sad`', '`` a`b\\\\|c ``')
    """
    text = one_line(value).replace("|", "\\|")
    if "`" not in text:
        return Safe(f"`{text}`" if text else "(no name)")
    fence = "`" * (1 + max(len(run) for run in re.findall("`+", text)))
    return Safe(f"{fence} {text} {fence}")


def yaml_value(value: Any) -> Any:
    """The same value with every string in it on one line, so that none can end a card's metadata.

    Example:
        >>> yaml_value({"a": ["x\\n---", 1.5, None]})
        {'a': ['x ---', 1.5, None]}
    """
    if isinstance(value, dict):
        return {one_line(key): yaml_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [yaml_value(entry) for entry in value]
    return one_line(value) if isinstance(value, str) else value


def csv_text(value: Any) -> Any:
    """A value as a cell that no spreadsheet takes for a formula: a text that begins like one gets an apostrophe first.

    Example:
        >>> csv_text("=1+1"), csv_text("-5.wav"), csv_text("-0.5"), csv_text("a.wav"), csv_text(3)
        ("'=1+1", "'-5.wav", '-0.5', 'a.wav', 3)
    """
    if not isinstance(value, str) or not value.lstrip(" ").startswith(_FORMULA) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


def last_part(path: Any) -> str:
    """The last part of a path of any system.

    Example:
        >>> last_part("/home/me/mini/"), last_part("C:\\\\Users\\\\me\\\\votes"), last_part("mini")
        ('mini', 'votes', 'mini')
    """
    return re.split(r"[/\\]", str(path).rstrip("/\\"))[-1]


def hub_id(name: Any) -> str | None:
    """`name` if it can be a repository on the Hub and is no local folder, else None.

    Example:
        >>> hub_id("Qwen/Qwen2-Audio-7B-Instruct"), hub_id("/home/me/model"), hub_id("../x"), hub_id(None)
        ('Qwen/Qwen2-Audio-7B-Instruct', None, None, None)
    """
    from pathlib import Path

    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    text = str(name or "")
    if text.count("/") != 1 or text.startswith((".", "~", "/")) or Path(text).exists():
        return None
    try:
        validate_repo_id(text)
    except HFValidationError:
        return None
    return text
