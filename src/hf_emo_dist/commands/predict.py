"""`hf-emo-dist predict`: distributions of perceived emotions for audio files, as a bar chart, JSON or CSV."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO

from ..data.map_engine import current_engine
from ..engines.choice import EngineChoice
from ..markdown import csv_text
from .arguments import Options, Values
from .predict_by_engine import results_of
from .terminal import in_one_line

logger = logging.getLogger(__name__)

BAR_WIDTH = 40
#: How answers are written: a name that is no UTF-8 as JSON writes it, and in a table for people to see.
_AS_TEXT: dict[str, Any] = {"encoding": "utf-8", "newline": "", "errors": "backslashreplace"}
AUDIO = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".rf64", ".w64", ".sph")
#: Names of recordings that have to be converted first.
OTHERS = (
    ".m4a",
    ".mp4",
    ".m4b",
    ".mov",
    ".3gp",
    ".webm",
    ".mka",
    ".mkv",
    ".wma",
    ".aac",
    ".amr",
    ".ape",
    ".wv",
    ".shn",
)


def options() -> Options:
    """Those of `predict`, and where it runs."""
    return Options(predict, EngineChoice)


def run(values: Values) -> None:
    """Predict, and write."""
    with values.call(EngineChoice).open():
        values.call(predict)


def predict(
    files: Sequence[str],
    *,
    model: str,
    revision: str | None = None,
    format: Literal["table", "json", "csv"] = "table",
    output: str | None = None,
    transcript: str | None = None,
    top_k: int | None = None,
    track: bool = False,
    window_seconds: float = 30.0,
    apply_temperature: bool = False,
    concentration: bool = False,
    batch_size: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    load_in_4bit: bool = False,
    allow_private_addresses: bool = False,
    overwrite: bool = False,
) -> None:
    """Predict the distribution of perceived emotions for audio files.

    Args:
        files: Audio files (WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF, RF64, W64, SPHERE), http(s) addresses, or folders,
            which stand for all recordings inside, whatever they are called.
        model: Checkpoint: a local folder or a Hub id.
        revision: Branch, tag or commit of a checkpoint on the Hub.
        format: Bars, JSON, or CSV.
        output: File to write instead of the terminal. It appears when it is whole; until then answers are kept beside
            it in OUTPUT.partial, from where the same command goes on.
        transcript: What is said, for one file and a model that reads transcripts.
        top_k: Show only so many emotions, the most probable ones.
        track: Also how the distribution changes over time, window by window.
        window_seconds: Longest window of a longer recording.
        apply_temperature: Give distributions at the temperature that was fitted on validation votes and is kept with
            the checkpoint.
        concentration: Also how sure the model is, in votes, for one trained with dirichlet_multinomial.
        batch_size: Windows a forward pass.
        device: cpu, cuda, ... Default: a GPU where there is one.
        dtype: float32, bfloat16 or float16. Default: as saved.
        load_in_4bit: The backbone in 4 bits (needs bitsandbytes and a GPU).
        allow_private_addresses: Also fetch from http(s) addresses of this machine and its network.
        overwrite: Replace a file that is there.
    """
    from ..audio.faults import told_by_reason, told_parts
    from ..audio.inputs import check_window
    from ..data.output import claimed_file, output_file
    from ..evaluation.resuming import backbone_stamp
    from .partial_answers import PartialAnswers

    names = expand(files)
    if transcript is not None and len(names) != 1:
        raise ValueError(f"--transcript is for one file, and there are {len(names)}. Mend: predict one at a time.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"--top_k {top_k} shows nothing. Mend: at least 1.")
    check_window(window_seconds)
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} is too small. Mend: at least 1.")
    written: Any = {"table": _write_table, "json": _write_json, "csv": _write_csv}[format]
    how: dict[str, Any] = {"window_seconds": window_seconds, "apply_temperature": apply_temperature}
    how["return_concentration"] = concentration
    if allow_private_addresses:
        how["allow_private_addresses"] = True
    if transcript is not None:
        how["transcript"] = [transcript]
    open_pipe = partial(open_pipeline, model, revision=revision, device=device, dtype=dtype, load_in_4bit=load_in_4bit)
    bad: dict[str, str] = {}

    def write(answers: Iterator[dict[str, Any]], out: TextIO, emotions: Sequence[str]) -> None:
        def seen() -> Iterator[dict[str, Any]]:
            for answer in answers:
                if "error" in answer:
                    bad[answer["file"]] = answer["error"]
                yield answer

        more = (emotions, concentration) if format == "csv" else ()
        written(*more, seen(), out, top_k, track)

    with ExitStack() as stack:
        if output:
            file = stack.enter_context(claimed_file(output, overwrite))
            made_with = {**how, "model": backbone_stamp(model), "revision": revision, "dtype": dtype}
            made_with["load_in_4bit"] = load_in_4bit
        rest: Sequence[str] = names
        if output:
            kept = stack.enter_context(PartialAnswers(file, names, made_with, batch_size))
            rest = names[kept.done :]
        emotions, answers = _predicted(open_pipe, rest, batch_size, how)
        if output:
            if kept.done:
                logger.info("%d of %d files were predicted before", kept.done, len(names))
            with _says_how_to_go_on(kept.path):
                for answer in answers:
                    kept.add(answer)
                with output_file(file) as part, open(part, "w", **_AS_TEXT) as out:
                    write(kept.answers(), out, emotions)
            kept.remove()
        else:
            if hasattr(sys.stdout, "reconfigure"):  # a file's name need not be text
                sys.stdout.reconfigure(errors="backslashreplace")
            write(answers, sys.stdout, emotions)
    if bad:
        told = [f"  {line}" for line in told_by_reason(told_parts(file, error) for file, error in bad.items())]
        shown = ", ".join(map(in_one_line, list(bad)[:40]))
        raise ValueError(
            "\n".join([f"{len(bad)} of {len(names)} files could not be predicted: {shown}", *map(in_one_line, told)])
        )


def _predicted(
    open_pipe: Callable[[], Any], names: Sequence[str], batch_size: int, how: Mapping[str, Any]
) -> tuple[Sequence[str], Iterator[dict[str, Any]]]:
    """The checkpoint's emotions, and the answer for each file as it comes."""
    options = {"return_track": True, **how}
    engine = current_engine()
    results: Iterator[dict[str, Any]]
    emotions: Sequence[str]
    if engine is not None and names:
        emotions, results = results_of(engine, names, open_pipe, options, batch_size)
    else:
        pipe = open_pipe()
        emotions, results = pipe.model.config.emotions, pipe(iter(names), batch_size=batch_size, **options)
    return emotions, _answers(results, names, emotions, shows_bar=engine is None and len(names) > 8)


def _answers(
    results: Iterator[dict[str, Any]], names: Sequence[str], emotions: Sequence[str], shows_bar: bool
) -> Iterator[dict[str, Any]]:
    from tqdm.auto import tqdm

    # a bar on long work only, and only where somebody watches
    bar = tqdm(results, total=len(names), desc="predict", unit="file", disable=None if shows_bar else True)
    for file, result in zip(names, bar, strict=True):
        if "error" in result:
            yield {"file": file, **result}
            continue
        windows = [{**window, "distribution": ordered(window["distribution"], emotions)} for window in result["track"]]
        # `silent` and `concentration`, where they are there, with the rest
        yield {"file": file, **result, "distribution": ordered(result["distribution"], emotions), "track": windows}


@contextmanager
def _says_how_to_go_on(partial: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"what was predicted is in {partial}; run the same command to go on") from stop


def expand(names: Sequence[str]) -> list[str]:
    """The files that are meant: a folder stands for the recordings in it and in its folders, by name.

    Those that cannot be decoded are among them, so that they are named with what is to be done.
    """
    files: list[str] = []
    for name in names:
        if not Path(name).is_dir():
            files.append(name)
            continue
        there = sorted(path for path in Path(name).rglob("*") if not path.is_dir())
        inside = [path for path in there if _is_recording(path)]
        if not inside:
            raise ValueError(
                f"The folder {name} holds no audio file, nor do its folders. Mend: name one with {', '.join(AUDIO)}."
            )
        deep = sum(path.parent != Path(name) for path in inside)
        logger.info(
            "%s: %d audio files%s%s",
            name,
            len(inside),
            f", {deep} of them in its folders" if deep else "",
            f"; no audio: {len(there) - len(inside)} other" if len(there) > len(inside) else "",
        )
        files += map(str, inside)
    return files


def _is_recording(path: Path) -> bool:
    """Whether a file is one by its name or by its first bytes; of those that are not decoded here, too."""
    from ..audio.faults import BadClip
    from ..audio.signatures import check_head

    if path.suffix.lower() in (*AUDIO, *OTHERS):
        return True
    try:
        check_head(path)
    except BadClip as bad:
        return bad.kind == "unsupported"
    return True


def open_pipeline(
    model: str,
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    load_in_4bit: bool = False,
) -> Any:
    """The pipeline of a checkpoint, on a GPU where there is one and nothing else is said."""
    import torch

    from ..hub.load import load_emotion_model
    from ..modeling.pipeline import SpeechEmotionDistributionPipeline

    if device is not None and torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} is not there: this machine or this torch has no CUDA. Mend: use cpu.")
    network, processor = load_emotion_model(model, revision=revision, dtype=dtype, load_in_4bit=load_in_4bit)
    place = None if load_in_4bit else (device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return SpeechEmotionDistributionPipeline(network, processor, device=place)


def ordered(scores: Sequence[Mapping[str, Any]], emotions: Sequence[str]) -> dict[str, float]:
    """What the pipeline answers as emotion → share, in this order."""
    shares = {entry["label"]: entry["score"] for entry in scores}
    return {emotion: shares[emotion] for emotion in emotions}


def _top(distribution: dict[str, float], top_k: int | None) -> list[tuple[str, float]]:
    return sorted(distribution.items(), key=lambda item: -item[1])[:top_k]


def _write_table(answers: Iterator[dict[str, Any]], out: TextIO, top_k: int | None, track: bool) -> None:
    block = "█"
    try:
        block.encode(out.encoding or "ascii")
    except UnicodeEncodeError:
        block = "#"
    for answer in answers:
        out.write(f"{in_one_line(answer['file'])}\n")
        if "error" in answer:
            out.write(f"  not predicted: {in_one_line(answer['error'])}\n")
        else:
            if "silent" in answer:
                out.write("  silent: what follows is not heard in it\n")
            width = max(map(len, answer["distribution"]))
            for emotion, share in _top(answer["distribution"], top_k):
                out.write(f"  {emotion:<{width}} {share:6.1%}  {block * round(share * BAR_WIDTH)}\n")
            if "concentration" in answer:
                out.write(f"  as sure as {answer['concentration']:.3g} votes\n")
            for window in answer["track"] if track else ():
                shown = ", ".join(
                    f"{emotion} {share:.0%}" for emotion, share in _top(window["distribution"], top_k or 3)
                )
                out.write(f"  {window['start']:7.1f} to {window['end']:.1f} s: {shown}\n")
        out.flush()


def _write_json(answers: Iterator[dict[str, Any]], out: TextIO, top_k: int | None, track: bool) -> None:
    """A list, written as its entries come, and closed whatever happens: what was answered can be read."""
    between = "["
    try:
        for answer in answers:
            shown = {key: value for key, value in answer.items() if key != "track" or track}
            for part in (shown, *shown.get("track", ())):
                if "distribution" in part:
                    part["distribution"] = dict(_top(part["distribution"], top_k)) if top_k else part["distribution"]
            text = json.dumps(shown, indent=2, ensure_ascii=False).replace("\n", "\n  ")
            out.write(f"{between}\n  {text}")
            out.flush()
            between = ","
    finally:
        if between == ",":
            out.write("\n]\n")


def _write_csv(
    emotions: Sequence[str], sure: bool, answers: Iterator[dict[str, Any]], out: TextIO, top_k: int | None, track: bool
) -> None:
    writer = csv.writer(out, lineterminator="\n")
    more = ["concentration"] if sure else []
    writer.writerow(["file", *(["start", "end"] if track else []), *map(csv_text, emotions), *more, "error", "silent"])
    for answer in answers:
        if "error" in answer:
            empty = [""] * (2 * track + len(emotions) + len(more))
            writer.writerow([csv_text(answer["file"]), *empty, csv_text(answer["error"]), ""])
            continue
        for part in answer["track"] if track else [answer]:
            kept = dict(_top(part["distribution"], top_k))
            times = [f"{part['start']:.2f}", f"{part['end']:.2f}"] if track else []
            shares = [f"{kept[name]:.6f}" if name in kept else "" for name in emotions]
            figures = [f"{part[name]:.6g}" for name in more]
            silent = "yes" if "silent" in part else ""
            writer.writerow([csv_text(answer["file"]), *times, *shares, *figures, "", silent])
