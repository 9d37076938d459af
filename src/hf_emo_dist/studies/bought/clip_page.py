"""The clips as HTML: a player, what people and panel said side by side, and each reply as it came."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from ...annotation.types import FAILURES, OK, Record
from ...audio.clips import encode_flac, load_audio
from ...audio.decoding import SAMPLING_RATE, AudioError
from .choosing import REASONS
from .clips import Clip, Request
from .quoting import quotes, visible

#: Characters of a reply that are shown, and requests of a clip.
MOST_CHARACTERS, MOST_REQUESTS = 4000, 100
WITHHELD = "It quotes the transcript, so it is not shown (--show_transcripts)."


class ClipPage:
    """Makes the HTML of clips.

    Args:
        emotions: In the order of the bars.
        show_transcripts: Whether the words are shown, and replies that quote them.
        most_megabytes: Of sound on the page; what comes after it has no player.
        with_ledger: Whether what came of each request is known.
    """

    def __init__(
        self, emotions: Sequence[str], show_transcripts: bool, most_megabytes: float, with_ledger: bool
    ) -> None:
        self.emotions, self.show_transcripts, self.with_ledger = list(emotions), show_transcripts, with_ledger
        self.room = int(most_megabytes * 1e6)
        self.silent = 0  # clips whose sound found no room
        self.withheld = 0  # replies that quote a transcript
        self.hides_target = False

    def sections(self, clips: Sequence[Clip], audio: Iterable[Any]) -> list[str]:
        """The part of the page that shows clips, with the recordings in the same order."""
        # a target that is what people said is no news
        self.hides_target = all(
            clip.target is None or (clip.people is not None and np.allclose(clip.people, clip.target, atol=1e-6))
            for clip in clips
        )
        shown = "\n".join(self._clip(number, *both) for number, both in enumerate(zip(clips, audio, strict=True)))
        return [f"<h2>Clips</h2>\n{self._filters(clips)}\n<div id='clips'>\n{shown}\n</div>"]

    def text(self, text: str, transcript: str | None) -> str:
        """A service's own words for Markdown and JSON: none that quote the transcript."""
        if not self.show_transcripts and quotes(text, transcript, self.emotions):
            return WITHHELD
        return visible(text[:MOST_CHARACTERS])

    # --- one clip

    def _clip(self, number: int, clip: Clip, audio: Any) -> str:
        said, heard = _top(clip.people), _top(clip.panel)
        cost = clip.cost_usd
        data = {
            "place": number,
            "name": _cut(clip.id, 300),
            "divergence": "" if math.isnan(clip.divergence) else f"{clip.divergence:.6f}",
            "failures": clip.failures,
            "cost": "" if cost is None else f"{cost:.9f}",
            "people": " ".join(map(str, said)),
            "panel": " ".join(map(str, heard)),
            "why": clip.why,
        }
        attributes = " ".join(f'data-{name}="{_text(value)}"' for name, value in data.items())
        about = [f"{name} {value}" for name, value in clip.about.items()]
        words = [", ".join(about)] if about else []
        if clip.why != "all":
            words.append(REASONS[clip.why])
        words.append(_how_far(clip))
        if clip.failures:
            words.append(f"{clip.failures} without a vote")
        if cost is not None:
            words.append(f"{_usd(cost)} in all")
        told, transcript = _text(_cut("; ".join(words), 1000)), ""
        if self.show_transcripts and clip.transcript:
            transcript = f'<blockquote dir="auto">{_text(_cut(clip.transcript, MOST_CHARACTERS))}</blockquote>'
        return (
            f'<article aria-labelledby="clip-{number}" {attributes}>\n'
            f'<h3 id="clip-{number}" dir="auto">{_short(clip.id)}</h3><p class="about">{told}</p>\n'
            f'<div class="pair"><div>{self._player(clip, audio)}{transcript}{self._bars(clip)}</div>\n'
            f"<div>{self._requests(clip)}</div></div></article>"
        )

    def _player(self, clip: Clip, audio: Any) -> str:
        try:
            wave = load_audio(audio, row_id=clip.id)
            sound = base64.b64encode(encode_flac(wave)).decode("ascii")
        except AudioError as error:
            return f'<p class="failed">{_short(str(error).partition(" Mend:")[0])}</p>'
        seconds = f"{len(wave) / SAMPLING_RATE:.2f} s"
        if len(sound) > self.room:
            self.silent += 1
            return f'<p class="note">{seconds}; its sound found no room on the page (--most_megabytes).</p>'
        self.room -= len(sound)
        return (
            f'<audio controls preload="none" aria-label="{_short(f"Clip {clip.id}")}, {seconds}" '
            f'src="data:audio/flac;base64,{sound}"></audio>'
        )

    def _bars(self, clip: Clip) -> str:
        """A table of shares: people, panel and, where it says something else, the target."""
        votes, answers = sum(clip.votes), sum(request.outcome == OK for request in clip.requests)
        heads = [("people", f"people, {votes:g} votes"), ("panel", f"panel, {answers} answers")]
        shares: dict[str, Sequence[float] | None] = {"people": clip.people, "panel": clip.panel}
        if not self.hides_target:
            worth = "" if clip.target_votes is None else f", worth {clip.target_votes:.1f} votes"
            heads.append(("target", f"target{worth}"))
            shares["target"] = clip.target
        head = "".join(f'<th scope="col" class="{kind}">{_text(words)}</th>' for kind, words in heads)
        rows = []
        for place, emotion in enumerate(self.emotions):
            cells = "".join(_bar(kind, shares[kind], place) for kind, _ in heads)
            rows.append(f'<tr><th scope="row" dir="auto">{_text(emotion)}</th>{cells}</tr>')
        return (
            f'<table class="bars"><caption class="unseen">Shares of clip {_short(clip.id)}</caption>'
            f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        )

    # --- what was asked, and what came

    def _requests(self, clip: Clip) -> str:
        if not clip.requests:
            return '<p class="note">Nobody of the panel answered, and the ledger has no request of this clip.</p>'
        columns = ["member", "answer", *(["cost", "what came"] if self.with_ledger else [])]
        head = "".join(f'<th scope="col">{name}</th>' for name in columns)
        rows = "".join(self._request(clip, request) for request in clip.requests[:MOST_REQUESTS])
        more = len(clip.requests) - MOST_REQUESTS
        told = f'<p class="note">and {more} more</p>' if more > 0 else ""
        caption = f'<caption class="unseen">Answers to clip {_short(clip.id)}</caption>'
        return (
            f'<div class="scroll"><table class="asked">{caption}'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{told}"
        )

    def _request(self, clip: Clip, request: Request) -> str:
        how = ", ".join(filter(None, [request.how, request.model]))
        who = f"<b>{_short(request.focus)}</b><br><small>{_short(how)}</small>"
        cells = [who, self._answer(clip, request)]
        if self.with_ledger:
            if request.reply is None:
                cells += ["", '<span class="note">not in the ledger</span>']
            else:
                cells += [_cost(request.reply), self._reply(clip, request.reply, request.earlier)]
        kind = ' class="failed"' if request.outcome != OK else ""
        return f"<tr{kind}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"

    def _answer(self, clip: Clip, request: Request) -> str:
        if request.outcome != OK:
            what = FAILURES.get(request.outcome, "not known to this version")
            again = "" if request.reply is None or request.reply.final else "; the next run asks again"
            return f"<b>{_text(request.outcome)}</b>: {_text(what)}{again}{self._detail(clip, request.detail)}"
        if request.label is not None:
            return f"<b>{_short(request.label)}</b>"
        shares = sorted((request.distribution or {}).items(), key=lambda item: -item[1])
        return _short(", ".join(f"{name} {share:.0%}" for name, share in shares if share) or "no answer")

    def _detail(self, clip: Clip, detail: str) -> str:
        if not detail:
            return ""
        if self._quotes(detail, clip):
            return f'<br><span class="note">{WITHHELD}</span>'
        return f'<br><span class="note" dir="auto">{_text(_cut(detail, 500))}</span>'

    def _reply(self, clip: Clip, reply: Record, earlier: Sequence[Record]) -> str:
        parts = [self._raw(clip, reply)]
        for record in earlier:
            told = f"<b>{_text(record.outcome)}</b>, {_cost(record)}, does not count{self._detail(clip, record.detail)}"
            parts.append(f'<div class="earlier">{told} {self._raw(clip, record)}</div>')
        return "".join(parts)

    def _raw(self, clip: Clip, reply: Record) -> str:
        about = [f"{reply.latency_s:.1f} s"] if reply.latency_s is not None else []
        about += [f"{reply.tries} tries"] if reply.tries > 1 else []
        if reply.text is None:
            return f'<span class="note">{", ".join(["no reply", *about])}</span>'
        told = ", ".join([f"{len(reply.text):,} characters", *about])
        if self._quotes(reply.text, clip):
            return f'<span class="note">{told}. {WITHHELD}</span>'
        return (
            f"<details><summary>reply, {told}</summary>"
            f'<pre dir="auto" tabindex="0">{_text(_cut(reply.text, MOST_CHARACTERS))}</pre></details>'
        )

    def _quotes(self, text: str, clip: Clip) -> bool:
        hidden = not self.show_transcripts and quotes(text, clip.transcript, self.emotions)
        self.withheld += hidden
        return hidden

    # --- choosing among them

    def _filters(self, clips: Sequence[Clip]) -> str:
        emotions = [("", "any"), *((str(place), name) for place, name in enumerate(self.emotions))]
        orders = [("place", "as chosen"), ("divergence", "most disagreement first"), ("agreement", "least first")]
        orders += [("failures", "most failures first"), ("cost", "dearest first"), ("name", "by id")]
        found = list(dict.fromkeys(clip.why for clip in clips))
        parts = [
            '<label>id has <input type="search" id="name" autocomplete="off" spellcheck="false"></label>',
            '<label>JS divergence from <input type="number" id="least" min="0" max="1" step="0.05" value="0"></label>',
            _select("people", "people mostly say", emotions),
            _select("panel", "panel mostly says", emotions),
            '<label><input type="checkbox" id="failures"> only with failures</label>',
        ]
        if len(found) > 1:
            parts.append(_select("why", "shown because", [("", "any reason"), *((why, REASONS[why]) for why in found)]))
        parts.append(_select("order", "order", orders))
        parts.append('<button type="button" id="reset">Show all</button>')
        if self.with_ledger:
            parts.append('<button type="button" id="open" aria-pressed="false">Open replies</button>')
        return (
            '<div id="filters" role="search" aria-label="Choose clips" hidden>'
            f'{"".join(parts)}<p id="shown" role="status"></p></div>'
        )


def _select(name: str, words: str, choices: Sequence[tuple[str, str]]) -> str:
    options = "".join(f'<option value="{_text(value)}">{_text(told)}</option>' for value, told in choices)
    return f'<label>{words} <select id="{name}">{options}</select></label>'


def _text(value: object) -> str:
    return escape(visible(str(value)), quote=True)


def _short(value: object) -> str:
    return _text(_cut(str(value), 300))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} … (cut; {len(text):,} characters in all)"


def _top(shares: Sequence[float] | None) -> list[int]:
    """The places of the largest share; several where they tie."""
    if shares is None:
        return []
    return [place for place, share in enumerate(shares) if share >= max(shares) - 1e-9]


def _bar(kind: str, shares: Sequence[float] | None, place: int) -> str:
    if shares is None:
        return "<td>–</td>"
    # widths as attributes of SVG: the page's policy lets no style attribute through
    width = f"{100 * min(max(shares[place], 0.0), 1.0):.2f}"
    return (
        f'<td><svg class="{kind}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="10"/><rect width="{width}" height="10"/></svg>'
        f"<span>{shares[place]:.0%}</span></td>"
    )


def _how_far(clip: Clip) -> str:
    if math.isnan(clip.divergence):
        return "no divergence: people or panel said nothing"
    chance = "" if math.isnan(clip.by_chance) else f" ({clip.by_chance:.2f} if both had one opinion)"
    return f"JS divergence {clip.divergence:.2f}{chance}"


def _usd(cost: float) -> str:
    """In dollars, with four digits that tell something.

    >>> _usd(0.0), _usd(0.0034021), _usd(1.25)
    ('$0', '$0.003402', '$1.2500')
    """
    return f"${cost:.4f}" if cost >= 0.1 else f"${cost:.4g}" if cost >= 1e-4 else f"${cost:.7f}".rstrip("0").rstrip(".")


def _cost(record: Record) -> str:
    if record.cost_usd is None:
        return '<span class="note">not known</span>'
    assumed = record.assumed_usd or 0.0
    return _usd(record.cost_usd) + (f" <small>{_usd(assumed)} of it by bound</small>" if assumed else "")


STYLE = """
body { max-width: 84rem; }
#filters { display: flex; flex-wrap: wrap; gap: .5rem 1.1rem; align-items: end;
  background: var(--page); border-bottom: 1px solid var(--line); padding: .6rem 0; font-size: .85rem; }
#filters[hidden], article[hidden] { display: none; }
#filters input, #filters select, #filters button { font: inherit; color: inherit; background: var(--page);
  border: 1px solid var(--soft); border-radius: 4px; padding: .2rem .4rem; }
#filters input[type=number] { width: 4.5rem; }
@media (min-width: 60rem) and (min-height: 40rem) { #filters { position: sticky; top: 0; z-index: 1; } }
#shown { margin: 0; padding: .2rem 0; color: var(--soft); }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
article { border-top: 1px solid var(--line); padding: 1rem 0 1.2rem; scroll-margin-top: 8rem; }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
.about { color: var(--soft); font-size: .85rem; margin: .1rem 0 .7rem; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem 2rem; }
@media (min-width: 60rem) { .pair { grid-template-columns: minmax(0, 5fr) minmax(0, 7fr); } }
audio { width: 100%; height: 40px; }
blockquote { margin: .5rem 0; font-style: italic; overflow-wrap: anywhere; }
.bars { width: 100%; table-layout: fixed; margin-top: .5rem; }
.bars th, .bars td { border: 0; padding: .15rem .5rem .15rem 0; vertical-align: middle; overflow-wrap: anywhere; }
.bars td { white-space: nowrap; }
.bars tbody th, .bars thead td { width: 22%; font-weight: normal; }
.bars svg { display: inline-block; width: calc(100% - 3.2rem); height: .75rem; vertical-align: middle; }
.bars span { display: inline-block; width: 2.9rem; text-align: right; }
rect { fill: var(--kind); } rect.track { fill: var(--track); }
svg.people { --kind: #0072b2; } svg.panel { --kind: #d55e00; } svg.target { --kind: #8a8a8a; }
th.people { border-bottom: 3px solid #0072b2; } th.panel { border-bottom: 3px solid #d55e00; }
th.target { border-bottom: 3px solid #8a8a8a; }
.bars thead th { border-bottom-width: 3px; border-bottom-style: solid; }
.asked { width: 100%; min-width: 34rem; table-layout: fixed; }
.asked td { overflow-wrap: anywhere; }
.asked th:nth-child(1) { width: 26%; } .asked th:nth-child(3) { width: 13%; }
.earlier { margin-top: .3rem; padding-top: .3rem; border-top: 1px dotted var(--line); }
.asked small, .asked .note { color: var(--soft); font-size: .8rem; }
.failed { background: var(--fault); }
summary { cursor: pointer; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; max-height: 20rem; overflow: auto;
  background: var(--track); padding: .5rem; margin: .3rem 0; font-size: .8rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
:root { --page: #fff; --track: #e9edf1; --fault: #fdf3ec; }
@media (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --ink: #e6e9ed; --soft: #9aa4af; --line: #39424c; --mark: #56b4e9; --page: #14181d;
    --track: #2a323a; --fault: #3a2618; }
  body { background: var(--page); }
  .warning { background: #3a2618; } .findings { background: #16283a; }
  svg.people { --kind: #56b4e9; } svg.panel { --kind: #e69f00; }
  th.people { border-bottom-color: #56b4e9; } th.panel { border-bottom-color: #e69f00; }
}
@media print { #filters { display: none; } article { break-inside: avoid; } }
"""

SCRIPT = """
"use strict";
(() => {
  const field = (name) => document.getElementById(name);
  const list = field("clips"), clips = Array.from(list.children);
  const chosen = (name) => (field(name) ? field(name).value : "");
  const size = (clip, name) => (clip.dataset[name] === "" ? -1 : Number(clip.dataset[name]));
  const down = (name) => (a, b) => size(b, name) - size(a, name);
  const orders = {
    place: (a, b) => size(a, "place") - size(b, "place"),
    divergence: down("divergence"),
    agreement: (a, b) => (size(a, "divergence") + 3) % 3 - (size(b, "divergence") + 3) % 3,
    failures: down("failures"),
    cost: down("cost"),
    name: (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true }),
  };
  const says = (clip, name) => {
    const wanted = chosen(name);
    return wanted === "" || clip.dataset[name].split(" ").includes(wanted);
  };
  const filter = () => {
    const name = chosen("name").toLowerCase(), least = Number(chosen("least")) || 0;
    let shown = 0;
    for (const clip of clips) {
      const fits = clip.dataset.name.toLowerCase().includes(name)
        && (least <= 0 || size(clip, "divergence") >= least)
        && (!field("failures").checked || size(clip, "failures") > 0)
        && says(clip, "people") && says(clip, "panel") && says(clip, "why");
      clip.hidden = !fits;
      shown += fits;
    }
    field("shown").textContent = `${shown} of ${clips.length} clips shown`;
  };
  const sort = () => {
    const order = orders[chosen("order")];
    list.append(...clips.slice().sort((a, b) => order(a, b) || orders.place(a, b)));
  };
  field("filters").addEventListener("input", (event) => {
    if (event.target.id === "order") sort(); else filter();
  });
  field("reset").addEventListener("click", () => {
    for (const one of field("filters").querySelectorAll("input, select")) {
      if (one.type === "checkbox") one.checked = false;
      else if (one.tagName === "SELECT") one.selectedIndex = 0;
      else one.value = one.defaultValue;
    }
    sort();
    filter();
  });
  if (field("open")) field("open").addEventListener("click", (event) => {
    const open = event.target.getAttribute("aria-pressed") !== "true";
    for (const reply of list.querySelectorAll("details")) reply.open = open;
    event.target.setAttribute("aria-pressed", String(open));
    event.target.textContent = open ? "Close replies" : "Open replies";
  });
  document.addEventListener("play", (event) => {
    for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
  }, true);
  field("filters").hidden = false;
  sort();
  filter();
})();
"""
