"""YAML of users and strangers: read within bounds, and what is wrong with it in one line of a message."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yaml import Node

#: Bytes of a text at most, where the caller names no other bound: the parser takes some ten seconds for so many.
MOST_BYTES = 1_000_000
#: What a text may come to when each of its aliases is written out, in bytes: some 300,000 short values. An alias takes
#: three bytes and may stand for all that was said before it, so that a page can stand for gigabytes.
MOST_WRITTEN_OUT = 20_000_000
_A_VALUE = 64  # bytes of memory, beside its text


def read_yaml(text: str, most_bytes: int = MOST_BYTES) -> Any:
    """Read a YAML text as plain values, as `yaml.safe_load` does, but within bounds.

    Anchors and aliases are taken, as panel files use them, as long as the whole does not come to more than
    `MOST_WRITTEN_OUT` when they are written out, and none stands within itself.

    Args:
        text: What is to be read.
        most_bytes: How long it may be.

    Returns:
        Its value; None for an empty text.

    Raises:
        yaml.YAMLError: It is no YAML, or comes to more than it may; `in_one_line` says what and where. It is the only
            error: values that a parser takes for dates or numbers and cannot read are among it.

    Example:
        >>> read_yaml("a: &a [1, 2]\\nb: *a")
        {'a': [1, 2], 'b': [1, 2]}
    """
    import yaml

    if len(text) > most_bytes or len(text.encode("utf-8", "replace")) > most_bytes:
        raise yaml.YAMLError(f"it is longer than {most_bytes / 1e6:g} MB, which no such file is")
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _written_out(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.YAMLError("its values lie too deep within each other") from None
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        # what looks like a date or a number, or is marked as one by a tag, and is none
        raise yaml.YAMLError(f"a value cannot be read ({error})") from error


def read_yaml_file(path: str | Path, most_bytes: int = MOST_BYTES) -> Any:
    """Read a file as `read_yaml` does; no more of it than may be there.

    Raises:
        yaml.YAMLError: As `read_yaml`, and where it is not UTF-8.
        OSError: It cannot be read.
    """
    import yaml

    with open(path, "rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:  # it may end within a character
        raise yaml.YAMLError(f"it is longer than {most_bytes / 1e6:g} MB, which no such file is")
    try:
        return read_yaml(data.decode("utf-8"), most_bytes)
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(f"byte {error.start + 1} is no UTF-8") from error


def in_one_line(error: Exception) -> str:
    """Where a text is no YAML, and why; without the drawing that the parser makes of it.

    Example:
        >>> import yaml
        >>> try:
        ...     read_yaml("a: [1")
        ... except yaml.YAMLError as error:
        ...     in_one_line(error)
        "line 1, column 6: expected ',' or ']', but got '<stream end>'"
    """
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is not None and problem:
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return " ".join(str(error).split())


def _written_out(node: Node, known: dict[int, int]) -> int:
    """Bytes of a value with its aliases written out; raises where they are too many, or it stands within itself."""
    import yaml

    found = known.get(id(node))
    if found is not None:
        if found < 0:
            raise yaml.composer.ComposerError(None, None, "a value stands within itself", node.start_mark)
        return found
    known[id(node)] = -1
    size = _A_VALUE
    if isinstance(node, yaml.ScalarNode):
        size += len(node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_written_out(part, known) for pair in node.value for part in pair)
    else:
        size += sum(_written_out(part, known) for part in node.value)
    # A text alone that is within its bound may come to more: each of its bytes is a value at the most.
    if size > max(MOST_WRITTEN_OUT, _A_VALUE * node.end_mark.index):
        told = f"with its aliases written out it comes to more than {MOST_WRITTEN_OUT / 1e6:g} MB"
        raise yaml.composer.ComposerError(None, None, told, node.start_mark)
    known[id(node)] = size
    return size
