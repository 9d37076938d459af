"""One HTML file to listen to: mixed clips beside their two sources, with the three distributions."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.clips import encode_flac, load_audio
from ..audio.decoding import SAMPLING_RATE
from ..data.output import write_text
from .pool import row_positions

if TYPE_CHECKING:
    from datasets import Dataset

    from .plan import MixPlan

# told apart by colour-blind readers (Okabe and Ito), further ones repeat
_COLOURS = ("#D55E00", "#E69F00", "#999999", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.35rem; } h2 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
.note { color: #777; } section { border-top: 1px solid #8886; padding: 1rem 0; }
.clips {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 1rem; margin-top: .6rem;
}
.clip { background: #8881; border-radius: 8px; padding: .7rem .8rem; min-width: 0; }
.mixed { outline: 2px solid #E69F00; }
audio { width: 100%; height: 36px; margin: .4rem 0; }
blockquote { margin: .3rem 0; font-style: italic; overflow-wrap: anywhere; }
.row { display: grid; grid-template-columns: 5.5rem 1fr 2.6rem; gap: .4rem; align-items: center; font-size: 13px; }
.row > :first-child { overflow: hidden; text-overflow: ellipsis; }
.track { background: #8883; border-radius: 3px; height: 10px; } .bar { height: 10px; border-radius: 3px; }
.share { text-align: right; font-variant-numeric: tabular-nums; }
"""


def write_listening_page(
    plan: MixPlan,
    mixed: Dataset,
    path: str | Path,
    *,
    number: int = 8,
    notes: Sequence[str] = (),
) -> Path:
    """Write a page with some mixed clips, each between its two sources: players, words, λ and the distributions.

    The file is complete in itself, and whatever comes from the data is escaped. It holds recordings: treat it like
    them.

    Args:
        plan: The plan.
        mixed: What :meth:`MixPlan.map` made of it, or any of its rows.
        path: The HTML file to write.
        number: Mixed clips to show, taken evenly from the plan.
        notes: Shown under the heading, such as ``simulated data``.

    Returns:
        The path.
    """
    shown = min(number, len(mixed))
    places = np.unique(np.linspace(0, max(0, len(mixed) - 1), shown).round().astype(int)).tolist()
    known = row_positions(plan.dataset)
    sections = []
    for row in (mixed[place] for place in places):
        first, second = (plan.dataset[known[name]] for name in row["mixed_from"])
        ratio = float(row["mix_ratio"])
        clips = [
            _clip(f"first source, share {ratio:.2f}", first),
            _clip("mixed", row, "mixed"),
            _clip(f"second source, share {1 - ratio:.2f}", second),
        ]
        sections.append(f"<section><h2>{_text(row['id'])}</h2><div class='clips'>{''.join(clips)}</div></section>")
    about = "; ".join([f"{len(places)} of {len(mixed)} mixed rows", *notes])
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        # nothing from elsewhere may be loaded or run, whatever the data holds
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; media-src data:; style-src 'unsafe-inline'\">"
        f"<title>Mixed clips</title><style>{_STYLE}</style></head><body><h1>Mixed clips</h1>"
        f"<p class='note'>{_text(about)}. Bars: shares of each emotion in the training target.</p>"
        f"{''.join(sections)}</body></html>\n"
    )
    return write_text(path, page)


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _clip(role: str, row: Mapping[str, Any], kind: str = "") -> str:
    wave = load_audio(row["audio"], row_id=row["id"])
    data = base64.b64encode(encode_flac(wave)).decode("ascii")
    words = f"<blockquote>{_text(row['transcript'])}</blockquote>" if row.get("transcript") else ""
    who = f", {_text(row['speaker'])}" if row.get("speaker") else ""
    bars = "".join(
        f"<div class='row'><span>{_text(name)}</span><div class='track'>"
        f"<div class='bar' style='width:{100 * share:.1f}%;background:{_COLOURS[k % len(_COLOURS)]}'></div></div>"
        f"<span class='share'>{share:.2f}</span></div>"
        for k, (name, share) in enumerate(row["emotion_distribution"].items())
    )
    return (
        f"<div class='clip {kind}'><strong>{_text(role)}</strong>"
        f"<div class='note'>{_text(row['id'])}{who}, {len(wave) / SAMPLING_RATE:.2f} s</div>"
        f"<audio controls preload='metadata' src='data:audio/flac;base64,{data}'></audio>{words}{bars}</div>"
    )
