"""The page of `hf-emo-dist demo`: a recording in, what listeners are predicted to hear out, for one checkpoint or side
by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..audio.decoding import AudioError, BadClip
from ..audio.files import read_clip_file
from .predict import ordered

#: Minutes for which a recording stays in the page's temporary folder, so that it can be played and asked about again.
MINUTES_KEPT = 10
# Okabe and Ito's colours, which people with any colour vision tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A8A")
NOTICE = f"""\
**What this shows.** How a group of listeners would be expected to label the recording: *perceived* emotion, as shares
that sum to 1. It does not tell what the speaker feels. Do not use it to judge people at work or in education (in the
EU, Art. 5(1)(f) of the AI Act forbids emotion recognition there), nor for any decision about a person.

**Where the recording goes.** To the computer that this page runs on, and no further. It lies in a temporary folder for
up to {MINUTES_KEPT} minutes, so that it can be played and asked about again, and is then deleted; nothing else is
stored.
"""


def hear(
    pipe: Any, recording: str | Path, transcript: str | None = None, window_seconds: float = 2.0
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The distribution of a recording, and the one of each of its windows, emotions in the model's order."""
    path = Path(recording)
    # as bytes, so that an error has the recording's name and no path
    try:
        clip = {"bytes": read_clip_file(path), "path": path.name}
    except BadClip as bad:
        raise bad.error(path.name) from bad
    words = {"transcript": transcript} if transcript else {}
    emotions = pipe.model.config.emotions
    whole = ordered(pipe(clip, **words), emotions)
    track = pipe(clip, window_seconds=window_seconds, return_track=True, **words)["track"]
    return whole, [{**window, "distribution": ordered(window["distribution"], emotions)} for window in track]


def bars(distribution: Mapping[str, float]) -> str:
    """One bar an emotion, as HTML; the order and the colours are those of `timeline`."""
    rows = "".join(
        f'<div style="display:grid;grid-template-columns:8em 1fr 3.5em;gap:.6em;align-items:center;margin:.35em 0">'
        f"<span>{escape(emotion)}</span>"
        f'<span style="background:#8882;border-radius:3px"><span style="display:block;height:1.1em;border-radius:3px;'
        f'width:{100 * share:.2f}%;background:{_colour(place)}"></span></span>'
        f'<span style="text-align:right;font-variant-numeric:tabular-nums">{share:.0%}</span></div>'
        for place, (emotion, share) in enumerate(distribution.items())
    )
    return f"<div>{rows}</div>"


def timeline(track: Sequence[Mapping[str, Any]]) -> str:
    """The distributions of the windows, stacked and side by side along the time, as HTML with an SVG."""
    end = float(track[-1]["end"])
    shapes = []
    for window in track:
        top = 0.0
        x, width = 1000 * window["start"] / end, 1000 * (window["end"] - window["start"]) / end
        told = ", ".join(f"{emotion} {share:.0%}" for emotion, share in window["distribution"].items())
        title = f"<title>{window['start']:.1f} to {window['end']:.1f} s: {escape(told)}</title>"
        for place, share in enumerate(window["distribution"].values()):
            shapes.append(
                f'<rect x="{x:.2f}" y="{100 * top:.2f}" width="{max(width - 1.5, 0.5):.2f}" '
                f'height="{100 * share:.2f}" fill="{_colour(place)}">'
                f"{title}</rect>"
            )
            top += share
    ticks = "".join(f"<span>{end * part / 4:.1f} s</span>" for part in range(5))
    return (
        '<div style="margin-top:1em"><div style="margin-bottom:.3em">Over time, each window by itself</div>'
        '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" style="width:100%;height:8em;display:block">'
        f"{''.join(shapes)}</svg>"
        f'<div style="display:flex;justify-content:space-between;font-size:.85em">{ticks}</div></div>'
    )


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def build_page(pipes: Mapping[str, Any]) -> Any:
    """The page as a `gradio.Blocks`, not yet served, of pipelines by name."""
    import gradio

    reads = any(pipe.processor.use_transcript for pipe in pipes.values())

    def listen(recording: str | None, transcript: str, window_seconds: float) -> list[str]:
        if recording is None:
            return ["Record or upload something first."] * len(pipes)
        shown = []
        for name, pipe in pipes.items():
            heading = f'<h3 style="margin:0 0 .6em">{escape(name)}</h3>'
            words = transcript.strip() if pipe.processor.use_transcript else None
            try:
                distribution, track = hear(pipe, recording, words, window_seconds)
            except AudioError as error:
                reason = str(error).removeprefix(f"Row {Path(recording).name!r}: ").partition(" Mend:")[0]
                shown.append(
                    f'{heading}<div role="alert">This recording cannot be used: {escape(reason)} '
                    "Upload or record another one.</div>"
                )
            else:
                shown.append(heading + bars(distribution) + timeline(track))
        return shown

    page = gradio.Blocks(title="Perceived emotion", analytics_enabled=False, delete_cache=(60, 60 * MINUTES_KEPT))
    with page:
        gradio.Markdown("# What would listeners hear?")
        with gradio.Row():
            with gradio.Column():
                recording = gradio.Audio(
                    label="Recording", sources=["upload", "microphone"], type="filepath", buttons=[]
                )
                transcript = gradio.Textbox(label="What is said (optional)", visible=reads)
                seconds = gradio.Slider(1, 30, 2, step=0.5, label="Windows of the lower plot, in seconds")
                button = gradio.Button("Listen", variant="primary")
            with gradio.Column():
                gradio.Markdown(NOTICE)
        outputs = []
        with gradio.Row():
            for _ in pipes:
                with gradio.Column():
                    outputs.append(gradio.HTML(show_label=False, container=True, padding=True))
        button.click(listen, [recording, transcript, seconds], outputs, api_name="listen", concurrency_limit=1)
    return page
