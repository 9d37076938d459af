"""`hf-emo-dist predict`: distributions of perceived emotions for audio files, as a bar chart, JSON or CSV."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

__all__ = ["add_arguments", "open_pipeline", "predict_files", "run"]

BAR_WIDTH = 40
AUDIO = (".wav", ".flac", ".ogg", ".mp3")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the subcommand."""
    parser.add_argument(
        "files", nargs="+", help="audio files (WAV, FLAC, OGG, MP3), http(s) addresses, or folders of audio files"
    )
    parser.add_argument("--model", required=True, help="checkpoint: a local folder or a Hub id")
    parser.add_argument("--revision", help="branch, tag or commit of a checkpoint on the Hub")
    parser.add_argument(
        "--format", choices=("table", "json", "csv"), default="table", help="default: table, a bar chart"
    )
    parser.add_argument("--output", help="file to write instead of the terminal")
    parser.add_argument("--transcript", help="what is said, for one file and a model that reads transcripts")
    parser.add_argument("--top_k", type=int, help="show only so many emotions, the most probable ones")
    parser.add_argument(
        "--track", action="store_true", help="also how the distribution changes over time, window by window"
    )
    parser.add_argument(
        "--window_seconds", type=float, default=30.0, help="longest window of a longer recording (default: 30)"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="windows a forward pass (default: 8)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: as saved)")
    parser.add_argument(
        "--load_in_4bit", action="store_true", help="the backbone in 4 bits (needs bitsandbytes and a GPU)"
    )


def run(args: argparse.Namespace) -> None:
    """Predicts, and prints what was heard in each file.

    Raises:
        ValueError: after everything else was printed, when files could not be read; it names them.
    """
    files = expand(args.files)
    if args.transcript is not None and len(files) != 1:
        raise ValueError(f"--transcript is for one file, and there are {len(files)}")
    if args.top_k is not None and args.top_k < 1:
        raise ValueError(f"--top_k {args.top_k}: at least 1")
    answers = predict_files(
        files,
        args.model,
        revision=args.revision,
        transcript=args.transcript,
        window_seconds=args.window_seconds,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        load_in_4bit=args.load_in_4bit,
    )
    bad = []
    first = next(answers)  # whatever is wrong with the model shows before a file is opened for writing
    write = {"table": _write_table, "json": _write_json, "csv": _write_csv}[args.format]
    with ExitStack() as stack:
        out: TextIO = sys.stdout
        if args.output:
            out = stack.enter_context(open(args.output, "w", encoding="utf-8", newline=""))
        for answer in write(_chain(first, answers), out, args.top_k, args.track):
            if "error" in answer:
                bad.append(answer["file"])
    if bad:
        raise ValueError(f"{len(bad)} of {len(files)} files could not be predicted: {', '.join(bad[:10])}")


def expand(names: Sequence[str]) -> list[str]:
    """The files that are meant: a folder stands for the audio files in it.

    Raises:
        ValueError: a folder holds no audio file.
    """
    files: list[str] = []
    for name in names:
        if Path(name).is_dir():
            inside = sorted(str(path) for path in Path(name).iterdir() if path.suffix.lower() in AUDIO)
            if not inside:
                raise ValueError(f"the folder {name} holds no audio file ({', '.join(AUDIO)})")
            files += inside
        else:
            files.append(name)
    return files


def predict_files(
    files: Sequence[str],
    model: str,
    *,
    revision: str | None = None,
    transcript: str | None = None,
    window_seconds: float = 30.0,
    batch_size: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    load_in_4bit: bool = False,
) -> Iterator[dict[str, Any]]:
    """One mapping a file, in their order: `file`, and `distribution` (emotion → share, in the model's order) and `track` (windows with
    `start` and `end` in seconds and their `distribution`), or `error`.

    Raises:
        OSError: no checkpoint can be loaded.
        ValueError: an option is out of range.
    """
    from tqdm.auto import tqdm

    from ..audio.inputs import check_window

    check_window(window_seconds)
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    pipe = open_pipeline(model, revision=revision, device=device, dtype=dtype, load_in_4bit=load_in_4bit)
    options: dict[str, Any] = {"window_seconds": window_seconds, "return_track": True}
    if transcript is not None:
        options["transcript"] = [transcript]
    results = pipe(iter(files), batch_size=batch_size, **options)
    # a bar on long work only, and only where somebody watches
    bar = tqdm(results, total=len(files), desc="predict", unit="file", disable=True if len(files) < 9 else None)
    emotions = pipe.model.config.emotions
    for file, result in zip(files, bar, strict=True):
        if "error" in result:
            yield {"file": file, **result}
            continue
        windows = [{**window, "distribution": _ordered(window["distribution"], emotions)} for window in result["track"]]
        yield {"file": file, "distribution": _ordered(result["distribution"], emotions), "track": windows}


def open_pipeline(
    model: str,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    load_in_4bit: bool = False,
) -> Any:
    """The pipeline of a checkpoint, on a GPU where there is one and nothing else is said.

    Raises:
        OSError: The checkpoint cannot be loaded.
        ValueError: The device is not there.
    """
    import torch

    from ..hub.load import load_emotion_model
    from ..modeling.pipeline import SpeechEmotionDistributionPipeline

    if device is not None and torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} is not there: this machine or this torch has no CUDA. Mend: use cpu.")
    network, processor = load_emotion_model(model, revision=revision, dtype=dtype, load_in_4bit=load_in_4bit)
    place = None if load_in_4bit else (device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return SpeechEmotionDistributionPipeline(network, processor, device=place)


def _ordered(scores: Sequence[dict[str, Any]], emotions: Sequence[str]) -> dict[str, float]:
    shares = {entry["label"]: entry["score"] for entry in scores}
    return {emotion: shares[emotion] for emotion in emotions}


def _chain(first: dict[str, Any], rest: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rest


def _top(distribution: dict[str, float], top_k: int | None) -> list[tuple[str, float]]:
    return sorted(distribution.items(), key=lambda item: -item[1])[:top_k]


def _write_table(
    answers: Iterator[dict[str, Any]], out: TextIO, top_k: int | None, track: bool
) -> Iterator[dict[str, Any]]:
    block = "█"
    try:
        block.encode(out.encoding or "ascii")
    except UnicodeEncodeError:
        block = "#"
    for answer in answers:
        out.write(f"{answer['file']}\n")
        if "error" in answer:
            out.write(f"  not predicted: {answer['error']}\n")
        else:
            width = max(map(len, answer["distribution"]))
            for emotion, share in _top(answer["distribution"], top_k):
                out.write(f"  {emotion:<{width}} {share:6.1%}  {block * round(share * BAR_WIDTH)}\n")
            for window in answer["track"] if track else ():
                shown = ", ".join(
                    f"{emotion} {share:.0%}" for emotion, share in _top(window["distribution"], top_k or 3)
                )
                out.write(f"  {window['start']:7.1f} to {window['end']:.1f} s: {shown}\n")
        out.flush()
        yield answer


def _write_json(
    answers: Iterator[dict[str, Any]], out: TextIO, top_k: int | None, track: bool
) -> Iterator[dict[str, Any]]:
    shown = []
    for answer in answers:
        shown.append({key: value for key, value in answer.items() if key != "track" or track})
        for part in (shown[-1], *shown[-1].get("track", ())):
            if "distribution" in part:
                part["distribution"] = dict(_top(part["distribution"], top_k)) if top_k else part["distribution"]
        yield answer
    out.write(json.dumps(shown, indent=2, ensure_ascii=False) + "\n")


def _write_csv(
    answers: Iterator[dict[str, Any]], out: TextIO, top_k: int | None, track: bool
) -> Iterator[dict[str, Any]]:
    writer = csv.writer(out, lineterminator="\n")
    header: list[str] | None = None
    waiting: list[dict[str, Any]] = []  # files that could not be read before the emotions were known
    for answer in answers:
        waiting.append(answer)
        if header is None and "distribution" in answer:
            header = list(answer["distribution"])
            writer.writerow(["file", *(["start", "end"] if track else []), *header, "error"])
        if header is not None:
            for row in waiting:
                writer.writerows(_csv_rows(row, header, top_k, track))
            waiting = []
        yield answer
    if header is None:
        writer.writerow(["file", "error"])
        writer.writerows([row["file"], row["error"]] for row in waiting)


def _csv_rows(answer: dict[str, Any], emotions: list[str], top_k: int | None, track: bool) -> Iterator[list[Any]]:
    if "error" in answer:
        yield [answer["file"], *([""] * (2 * track + len(emotions))), answer["error"]]
        return
    for part in answer["track"] if track else [answer]:
        kept = dict(_top(part["distribution"], top_k))
        times = [f"{part['start']:.2f}", f"{part['end']:.2f}"] if track else []
        yield [answer["file"], *times, *(f"{kept[name]:.6f}" if name in kept else "" for name in emotions), ""]
