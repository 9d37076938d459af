"""The HTML page of a study: one file without scripts and without anything fetched, that prints well."""

from __future__ import annotations

import base64
import io
import re
from html import escape

from .study import Plot, Study, StudyTable

__all__ = ["study_page"]

_STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --mark: #0072b2; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0 auto; max-width: 68rem; padding: 1.5rem 1.2rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .8rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.warning { border-left: .3rem solid #d55e00; background: #fdf3ec; padding: .6rem .9rem; font-weight: 600; }
.findings { border-left: .3rem solid var(--mark); background: #eef5fa; padding: .4rem .9rem .4rem 2rem; margin: 1rem 0; }
.findings li { margin: .3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .55rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.prose { min-width: 14rem; }
th { border-bottom: 2px solid var(--ink); }
caption { caption-side: top; text-align: left; font-weight: 600; padding: .4rem 0; }
.note, figcaption { color: var(--soft); font-size: .88rem; max-width: 55rem; }
@media print { body { max-width: none; padding: 0; } .scroll { overflow: visible; } table { font-size: .7rem; } }
figure { margin: 1.4rem 0; }
img { max-width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
"""


def study_page(study: Study) -> str:
    """The page as text; names from data sets are escaped.

    Example:
        >>> page = study_page(Study("demo", "A <study>", {"data": "two rows"}, findings=["1 < 2"]))
        >>> "A &lt;study&gt;" in page, "1 &lt; 2" in page, "http" in page
        (True, True, False)
    """
    title = escape(study.title)
    parts = [f"<h1>{title}</h1>"]
    if study.notes:
        parts.append(f'<p class="warning">{escape("; ".join(study.notes))}</p>')
    if study.findings:
        items = "".join(f"<li>{escape(finding)}</li>" for finding in study.findings)
        parts.append(f'<ul class="findings">{items}</ul>')
    parts += [_figure(plot) for plot in study.plots]
    parts += [_table(table) for table in study.tables]
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in study.all_facts().items())
    parts.append(f"<h2>Data, split, protocol</h2><dl>{facts}</dl>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _figure(plot: Plot) -> str:
    image = io.BytesIO()
    plot.figure.savefig(image, format="png", dpi=150)
    data = base64.b64encode(image.getvalue()).decode("ascii")
    caption = escape(plot.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


#: Cells longer than this are prose, which needs some width; those up to that stay on a line.
_PROSE, _SHORT = 48, 16


def _cell(value: object) -> str:
    """A table cell; where room is short, lines break before an interval and a p-value and not within."""
    whole = r".+" if len(str(value)) <= _SHORT else r"\[[^\]]*\]|\(p [^)]*\)"
    text = re.sub(whole, lambda part: part.group().replace(" ", "\u00a0"), str(value))
    return f"<td{' class=prose' if len(text) > _PROSE else ''}>{escape(text)}</td>"


def _table(table: StudyTable) -> str:
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in table.columns)
    rows = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll"><table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )
