"""`hf-emo-dist read WHAT …`: the user's own table of votes, or a corpus from its files, written as a data set."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import corpora
from ..audio.check import check_audio as check_clips
from ..corpora import CorpusReport, find_reader, understand_dataset, understand_table
from ..corpora.exports import EXPORTS, find_export
from ..data.opened import NOT_STATED
from ..data.output import check_folder, claimed, working_folder
from ..emotions import PAPER_EMOTIONS, canonical_emotion
from .arguments import Options, Values

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from ..corpora import CorpusInfo
    from ..corpora.table.reading import TableReading

#: What these commands say to every reader.
_OURS = ("report", "cache_dir", "progress")


def kinds() -> Mapping[str, str]:
    """The user's own table, the tools whose exports are read, and the corpora; `module:reader` is one, too."""
    titles = {name: find_reader(name).info.title for name in corpora.CORPORA}
    return {
        "table": "your own table of audio files and votes, whatever its form",
        "dataset": "a data set of the Hub, a Parquet folder or an AudioFolder with a column of labels",
        **{name: find_export(name).title for name in EXPORTS},
        **titles,
    }


#: What reads rows of any origin, and what the help says of it first and last.
_ROWS: Mapping[str, tuple[Callable[..., TableReading], str, str]] = {
    "table": (
        understand_table,
        "Turn a table of audio files and votes (.csv, .tsv, .xlsx, .json, .jsonl, .parquet) into a data set. It needs "
        "a "
        "column of audio files, and the votes in any of these forms: one column of counts an emotion (or of shares or "
        "percent); one column of labels (angry|angry|sad, a list, or counts as a mapping); one row a rating, of one "
        "file "
        "in several rows; one column a rater. Columns and labels of other names are told by the options; what it does "
        "not understand it asks. --dry_run says what was understood and writes nothing.",
        "A spreadsheet with one row a rating and German labels: hf-emo-dist read table ratings.xlsx recordings my_data "
        "--file_column Datei --votes_column Emotion --rater_column Person --speaker_column Sprecher --merge "
        "'Wut=angry,Freude=happy,Trauer=sad' --dry_run. To keep the labels as they are, in place of --merge: "
        "--emotions "
        "'Wut,Freude,Trauer'. One column a rater: --votes_column 'rater 1,rater 2,rater 3'. Percent of 10 people: "
        "--num_raters 10.",
    ),
    "dataset": (
        understand_dataset,
        "Turn a data set with audio and a column of labels into one with votes and distributions: of the Hub, a "
        "Parquet "
        "folder or file, or an AudioFolder. Rows with the same audio are one clip. --dry_run says what was understood "
        "and writes nothing.",
        "One row a rating: hf-emo-dist read dataset owner/name my_data --votes_column label --rater_column annotator "
        "--dry_run. A majority label, or what an actor was asked for, is no vote.",
    ),
}


def _reads_rows(kind: str) -> tuple[Callable[..., TableReading], str, str] | None:
    """What understands a kind of rows, and its help first and last; None for a corpus."""
    export = find_export(kind) if kind in EXPORTS or ":" in kind else None
    if export is not None and hasattr(export, "example"):
        about = f"Turn {export.title} into a data set. --dry_run says what was understood and writes nothing."
        return export, about, f"For example: {export.example}"
    return _ROWS.get(kind)


def options(kind: str) -> Options:
    """Those of the reader, and how it is written."""
    rows = _reads_rows(kind)
    if rows is not None:
        understand, about, epilog = rows
        return Options(understand, write_rows, without=_OURS, about=about, epilog=epilog)
    reader = find_reader(kind)
    info = reader.info
    may_vote = info.has_votes or "votes" in inspect.signature(reader).parameters  # from a table that the user brings
    without = [*_OURS, *(("public",) if info.restricted else ()), *(() if may_vote else ("outside", "preset"))]
    return Options(
        reader,
        write_corpus,
        without=without,
        about=f"Turn {info.title} into a data set.",
        epilog=f"Terms: {info.terms} Cite: {info.citation}",
    )


def run(kind: str, values: Values) -> None:
    """Read, write and report."""
    rows = _reads_rows(kind)
    if rows is not None:
        values.call(write_rows, understand=rows[0], values=values)
    else:
        values.call(write_corpus, kind=kind, values=values)


def write_rows(
    output: str,
    *,
    understand: Any,
    values: Any,
    dry_run: bool = False,
    vote_source: str = NOT_STATED,
    description: str = "Speech with votes on the perceived emotion.",
    license: str | None = None,
    speaker_split: Mapping[str, float] | None = None,
    seed: int = 0,
    unusable: Literal["keep", "skip"] = "keep",
    overwrite: bool = False,
) -> None:
    """Say what was understood of a table or a data set, and write it.

    Args:
        output: Folder to write.
        dry_run: Say what was understood, and what would be refused, and stop before anything is written.
        vote_source: Who gave the votes, for the first line of the data set's card.
        description: For the card.
        license: License identifier for the card, such as cc-by-4.0.
        speaker_split: Split anew by speakers: shares of train,validation,test such as 0.8,0.1,0.1, or of train,test.
        seed: For `speaker_split`.
        unusable: What becomes of clips that are damaged, silent or cannot be used for another reason: keep lists them,
            skip leaves them out, too.
        overwrite: Replace a data set that is already in OUTPUT.
    """
    from ..data.data_facts import describe_dataset
    from ..data.loading import emotions_of
    from ..data.splits import speaker_disjoint_split
    from ..data.writing import write_dataset

    folder = Path(output).expanduser().resolve()
    sources = [values[name] for name in ("table", "export", "audio_dir", "source") if name in values.options.options]
    refusal = _refusal(folder, overwrite, sources) if dry_run else None
    report = CorpusReport(sources[-1])
    with contextlib.ExitStack() as held:
        if not dry_run:
            held.enter_context(claimed(folder, overwrite, source=sources))
        reading = values.call(understand, report=report)
        _print(reading.summary())
        if report.problems or report.outside:
            _print(report.summary(5))
        if speaker_split:  # before any audio is read
            speaker_disjoint_split(reading.without_audio(), speaker_split, seed=seed)
        if dry_run:
            _print("Nothing was written: this was a dry run.")
            if refusal is not None:
                _print(f"Without --dry_run it would end here: {refusal}")
            return
        cache = held.enter_context(working_folder(folder))
        dataset, checked = reading.build(cache), ""
        if unusable == "skip":
            dataset, checked = _usable(dataset)
        if speaker_split:
            dataset = speaker_disjoint_split(_together(dataset), speaker_split, seed=seed)
        write_dataset(
            dataset,
            folder,
            description=description,
            vote_source=vote_source,
            emotions=emotions_of(dataset),
            license=license,
            overwrite=overwrite,
            describe=report.write,
        )
        _print(describe_dataset(dataset))
        # Problems are listed, and nothing is dropped that was not asked for: a bad clip is the researcher's decision.
        with _checking(folder):
            _print(checked or check_clips(_together(dataset)).summary())
        _print(f"Wrote {folder}")


@contextlib.contextmanager
def _checking(folder: Path) -> Iterator[None]:
    """Let Ctrl-C say what it stopped: the data set has its name by now."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{folder} is written; only the check of its audio was stopped") from None


def _refusal(folder: Path, overwrite: bool, sources: list[str]) -> Exception | None:
    """Why nothing can be written into a folder."""
    try:
        check_folder(folder, overwrite, sources)
    except (OSError, ValueError) as error:
        return error
    return None


def write_corpus(
    output: str,
    *,
    kind: Any,
    values: Any,
    preset: Literal["paper"] | None = None,
    max_shard_size: str = "500MB",
    check_audio: bool = False,
    overwrite: bool = False,
    push_to_hub: str | None = None,
    public: bool = False,
) -> None:
    """Read a corpus and write it.

    Args:
        output: Folder to write.
        preset: paper: four emotions, outside=drop_utterance, split=paper_random (arXiv 2601.14620).
        max_shard_size: Size of one Parquet file.
        check_audio: Decode every clip and list those that cannot be used.
        overwrite: Replace a data set that is already in OUTPUT.
        push_to_hub: Upload OUTPUT to the Hub, privately, as owner/name.
        public: Make a new repository of `push_to_hub` public.
    """
    from ..data.data_facts import describe_dataset
    from ..data.writing import write_dataset
    from ..hub.push_data import check_push, push_dataset

    reader = find_reader(kind)
    info = reader.info
    folder = Path(output).expanduser().resolve()
    shard_bytes = _size(max_shard_size)
    if push_to_hub:
        check_push(push_to_hub, private=not public, restricted=info.restricted)
    preset_options: dict[str, Any] = {}
    if preset == "paper":
        preset_options = {"emotions": PAPER_EMOTIONS, "outside": "drop_utterance", "split": "paper_random"}
    given = {**values.given, **preset_options}
    report = CorpusReport(values["source"])
    with claimed(folder, overwrite, source=values["source"]), working_folder(folder) as cache:
        dataset = values.call(reader, report=report, cache_dir=cache, **preset_options)
        if report.info is not None and report.info.name == info.name:
            info = report.info  # an option may change what is known, such as RAVDESS's votes
        write_dataset(
            dataset,
            folder,
            title=info.title,
            description=_description(info, given),
            vote_source=info.vote_source,
            citation=info.citation,
            emotions=None if info.has_votes else _intended(info, given),
            license=info.license,
            max_shard_bytes=shard_bytes,
            overwrite=overwrite,
            progress=True,
            describe=report.write,
        )
        _print(describe_dataset(dataset))
        _print(f"{report.kept} utterances kept; {report.summary(5)}")
        if check_audio:
            with _checking(folder):
                _print(check_clips(_together(dataset)).summary())
        _print(f"Wrote {folder}; everything that was left out is in reading_report.txt. Cite: {info.citation}")
    if push_to_hub:
        # A restricted corpus goes to private repositories only: there is no --public for it, and `push_dataset` looks.
        pushed = push_dataset(folder, push_to_hub, private=not public, allow_restricted=True)
        _print(f"Uploaded to {pushed.url}")


def _description(info: CorpusInfo, given: Mapping[str, Any]) -> str:
    lines = [f"{info.title}. Terms: {info.terms}"]
    if info.restricted:
        lines.append(
            "**Restricted:** do not share this data set, nor send its audio to a remote model without permission."
        )
    if info.has_votes:
        lines.append(f"Votes outside the emotions: `{given.get('outside', 'drop_vote')}`.")
    merged = dict(given.get("merge") or {})
    if given.get("merge_excited"):
        merged["excited"] = "happy"
    if merged:
        lines.append(f"Counted for others: {', '.join(f'{old} for {new}' for old, new in merged.items())}.")
    if given.get("protocol"):
        lines.append(f"Read by the protocol `{given['protocol']}`; its folds are in the column `fold`.")
        return " ".join(lines)
    split = given.get("split") or info.split
    lines.append(f"Split: `{split}`.")
    if split == "paper_random":
        lines.append("Speakers are in several splits, so scores are not those of unseen speakers.")
    return " ".join(lines)


def _intended(info: CorpusInfo, given: Mapping[str, Any]) -> list[str]:
    """The label set of a corpus without votes, which has no distribution to take it from."""
    merge = {canonical_emotion(old): canonical_emotion(new) for old, new in (given.get("merge") or {}).items()}
    return list(given.get("emotions") or dict.fromkeys(merge.get(name, name) for name in info.emotions))


def _size(text: str) -> int:
    from datasets.utils.py_utils import convert_file_size_to_int

    try:
        return int(convert_file_size_to_int(text))
    except ValueError as error:
        raise ValueError(f"--max_shard_size {text!r} is no size. Mend: such as 500MB.") from error


def _together(dataset: DatasetDict) -> Dataset:
    from datasets import concatenate_datasets

    return concatenate_datasets(list(dataset.values()))


def _usable(dataset: DatasetDict) -> tuple[DatasetDict, str]:
    """The rows whose clips can be used, and what was found about the others."""
    from datasets import DatasetDict

    # A long clip can be used: training cuts it into windows where it is told to.
    reports = {split: check_clips(rows, long_audio="window") for split, rows in dataset.items()}
    kept = {split: dataset[split].select(report.usable) for split, report in reports.items() if report.usable}
    if not kept:
        next(iter(reports.values())).raise_if_any()
    lines = []
    for split, report in reports.items():
        found = report.summary(max_ids=max(1, len(report.problems)))
        lines.append(f"{split}: {found}" + ("" if report.ok else f"\n{split}: these were left out."))
    return DatasetDict(kept), "\n".join(lines)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
