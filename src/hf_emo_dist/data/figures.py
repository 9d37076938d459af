"""Plots as files: whatever a label or a name is, it is drawn as it is written, and the file appears whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import output_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def literal_text(figure: Figure) -> Figure:
    """The figure with its text taken literally: labels, names and notes are a user's, and a ``$`` is no formula.

    Numbers on an axis are left to matplotlib, which writes powers of ten as formulas.

    Args:
        figure: With all of its text.

    Example:
        >>> from matplotlib.figure import Figure
        >>> figure = Figure()
        >>> title = figure.suptitle("$angry_$x$")
        >>> _ = literal_text(figure)
        >>> title.get_parse_math()
        False
    """
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter, ScalarFormatter

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for minor, formatter in ((False, axis.get_major_formatter()), (True, axis.get_minor_formatter())):
                if isinstance(formatter, LogFormatter | ScalarFormatter):
                    for text in axis.get_ticklabels(minor=minor):
                        text.set_parse_math(True)
            axis.get_offset_text().set_parse_math(True)
    return figure


def write_figure(figure: Figure, path: str | Path, **options: Any) -> None:
    """Write a figure to a file, whole or not at all; options as matplotlib's `savefig` takes them."""
    literal_text(figure)
    with output_file(path) as part:
        figure.savefig(part, **options)


def png_of(figure: Figure, dpi: int = 150) -> bytes:
    """A figure as the bytes of a PNG, for a page."""
    image = io.BytesIO()
    literal_text(figure).savefig(image, format="png", dpi=dpi)
    return image.getvalue()
