"""The command line of every corpus script: its options, reading, writing, and the report of what was left out."""

from __future__ import annotations

import argparse
import inspect
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from ..corpora.options import Outside, ReadOptions
from ..corpora.registry import CORPORA, find_reader
from ..corpora.utterances import CorpusInfo, CorpusReport, SplitBy
from ..emotions import PAPER_EMOTIONS, canonical_emotion

if TYPE_CHECKING:
    from datasets import DatasetDict

__all__ = ["CORPORA", "run_corpus_command", "speaker_fractions"]


_SPLITS = {2: ("train", "test"), 3: ("train", "validation", "test")}
_SHARED = frozenset(ReadOptions.__annotations__)
_WRITING = ("source", "output", "preset", "max_shard_size", "check_audio", "overwrite", "push_to_hub", "public")


def speaker_fractions(text: str) -> dict[str, float]:
    """Parse ``0.8,0.1,0.1`` (train, validation, test) or ``0.8,0.2`` (train, test).

    >>> speaker_fractions("0.8,0.2")
    {'train': 0.8, 'test': 0.2}
    """
    parts = text.split(",")
    if len(parts) not in _SPLITS:
        raise argparse.ArgumentTypeError("give two or three shares, such as 0.8,0.1,0.1")
    return dict(zip(_SPLITS[len(parts)], (float(part) for part in parts), strict=True))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _merge(text: str) -> dict[str, str]:
    """Parse ``excited=happy,joy=happy``."""
    pairs = [part.partition("=") for part in _names(text)]
    if not all(old.strip() and new.strip() for old, _, new in pairs):
        raise argparse.ArgumentTypeError("write from=to, such as excited=happy")
    return {old.strip(): new.strip() for old, _, new in pairs}


def _size(text: str) -> int:
    from datasets.utils.py_utils import convert_file_size_to_int

    try:
        return int(convert_file_size_to_int(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError("give a size such as 500MB") from error


def _parser(name: str, info: CorpusInfo) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{name}.py",
        description=f"Turn {info.title} into a Parquet data set folder that every recipe reads.",
        epilog=f"Terms: {info.terms} Cite: {info.citation}",
    )
    add = parser.add_argument
    add("source", help="folder of the corpus")
    add("output", help="folder to write")
    add("--emotions", type=_names, help=f"label set (default: {','.join(info.emotions)})")
    if info.has_votes:
        add(
            "--outside",
            choices=get_args(Outside),
            default="drop_vote",
            help="votes outside the label set: drop the vote (default), leave the utterance out, or count it for 'other'",
        )
        add(
            "--preset", choices=("paper",), help="paper: four emotions, drop_utterance, paper_random (arXiv 2601.14620)"
        )
    add("--merge", type=_merge, metavar="FROM=TO,...", help="count labels for others, such as excited=happy")
    add("--split", choices=get_args(SplitBy), help=f"how rows are split (default: {info.split})")
    add("--fractions", type=speaker_fractions, metavar="SHARES", help="for --split speaker (default: 0.8,0.1,0.1)")
    add("--num_folds", type=int, default=5, help="for --split folds (default: 5)")
    add("--test_fold", type=int, help="for --split folds or session: make three splits, with this fold as test")
    add("--seed", type=int, help="of splits and --limit (default: 0; 42 for paper_random)")
    add("--limit", type=int, metavar="N", help="read N utterances, drawn by seed and id")
    add("--num_proc", type=int, metavar="N", help="threads that read audio files (default: one a core, at most 8)")
    add("--max_shard_size", type=_size, default="500MB", help="size of one Parquet file (default: 500MB)")
    add("--check_audio", action="store_true", help="decode every clip and list those that cannot be used")
    add("--overwrite", action="store_true", help="replace a data set that is already in OUTPUT")
    add("--push_to_hub", metavar="ID", help="upload OUTPUT to the Hub, privately, as owner/name")
    if not info.restricted:
        add("--public", action="store_true", help="make a new repository of --push_to_hub public")
    return parser


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The reader's keywords among the arguments."""
    options = {key: value for key, value in vars(args).items() if key not in _WRITING}
    if getattr(args, "preset", None) == "paper":
        options |= {"emotions": PAPER_EMOTIONS, "outside": "drop_utterance", "split": "paper_random"}
    return {key: value for key, value in options.items() if value is not None or key not in _SHARED}


def _description(info: CorpusInfo, split: str, options: dict[str, Any]) -> str:
    lines = [f"{info.title}. Terms: {info.terms}"]
    if info.restricted:
        lines.append(
            "**Restricted:** do not share this data set, nor send its audio to a remote model without permission."
        )
    if info.has_votes:
        lines.append(f"Votes outside the emotions: `{options.get('outside', 'drop_vote')}`.")
    merged = dict(options.get("merge") or {})
    if options.get("merge_excited"):
        merged["excited"] = "happy"
    if merged:
        lines.append(f"Counted for others: {', '.join(f'{old} for {new}' for old, new in merged.items())}.")
    lines.append(f"Split: `{split}`.")
    if split == "paper_random":
        lines.append("Speakers are in several splits, so scores are not those of unseen speakers.")
    return " ".join(lines)


def _intended(info: CorpusInfo, options: dict[str, Any]) -> list[str]:
    """The label set of a corpus without votes, which has no distribution to take it from."""
    merge = {canonical_emotion(old): canonical_emotion(new) for old, new in (options.get("merge") or {}).items()}
    return list(options.get("emotions") or dict.fromkeys(merge.get(name, name) for name in info.emotions))


def _write(
    info: CorpusInfo, reader: Callable[..., DatasetDict], args: argparse.Namespace, report: CorpusReport
) -> None:
    from ..data.output import check_folder
    from ..data.summary import describe_dataset
    from ..data.writing import write_dataset
    from ..hub.push_data import check_push, push_dataset

    private = not getattr(args, "public", False)
    output = Path(args.output).expanduser().resolve()
    check_folder(output, args.overwrite)  # before hours are spent on reading
    if args.push_to_hub:
        check_push(args.push_to_hub, private=private, restricted=info.restricted)
    options = _options(args)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the output, where there is room for the corpus; the usual cache may be on a small disk.
    cache = Path(tempfile.mkdtemp(prefix=f".{output.name}-reading-", dir=output.parent))
    try:
        dataset = reader(args.source, report=report, cache_dir=cache, **options)
        split = str(options.get("split") or info.split)
        write_dataset(
            dataset,
            output,
            title=info.title,
            description=_description(info, split, options),
            vote_source=info.vote_source,
            citation=info.citation,
            emotions=None if info.has_votes else _intended(info, options),
            license=info.license,
            max_shard_bytes=args.max_shard_size,
            overwrite=args.overwrite,
            progress=True,
        )
        _, readable = report.write(output)
        _print(describe_dataset(dataset))
        _print(f"{report.kept} utterances kept; {report.summary(5)}")
        if args.check_audio:
            _check_audio(dataset)
        _print(f"Wrote {output}; everything that was left out is in {readable.name}. Cite: {info.citation}")
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    if args.push_to_hub:
        # A restricted corpus goes to private repositories only: there is no --public for it, and `push_dataset` looks.
        pushed = push_dataset(output, args.push_to_hub, private=private, allow_restricted=True)
        _print(f"Uploaded to {pushed.url}")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _check_audio(dataset: DatasetDict) -> None:
    from datasets import concatenate_datasets

    from ..audio.check import check_audio

    _print(check_audio(concatenate_datasets(list(dataset.values()))).summary())


def run_corpus_command(name: str, argv: Sequence[str] | None = None) -> int:
    """Read a corpus from its files and write it as a data set folder, by the words of a command line.

    Args:
        name: One of :data:`CORPORA`.
        argv: The words after the program's name. Default: those of this process.

    Returns:
        Exit status: 0, or 1 after an error that the user can mend.
    """
    reader = find_reader(name)
    info = reader.info
    parser = _parser(name, info)
    for option, parameter in inspect.signature(reader).parameters.items():
        if option in _SHARED or option in ("source", "report"):
            continue
        if parameter.annotation is bool:
            parser.add_argument(f"--{option}", action="store_true")
        elif get_origin(parameter.annotation) is Literal:
            parser.add_argument(f"--{option}", choices=get_args(parameter.annotation), default=parameter.default)
        else:
            several = isinstance(parameter.default, tuple)
            parser.add_argument(f"--{option}", type=_names if several else str, default=parameter.default)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    report = CorpusReport(args.source)
    try:
        _write(info, reader, args, report)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
