"""`hf-emo-dist read WHAT …`: the user's own table of votes, or a corpus from its files, written as a data set."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .. import corpora
from ..corpora import CorpusReport, find_reader, read_table
from ..data.opened import NOT_STATED
from ..data.output import check_folder
from ..emotions import PAPER_EMOTIONS, canonical_emotion
from .arguments import Options, Values

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from ..corpora import CorpusInfo

#: What these commands say to every reader.
_OURS = ("report", "cache_dir", "progress")


def kinds() -> Mapping[str, str]:
    """The user's own table, and the corpora that have a reader; `module:reader` of the user's own is one, too."""
    titles = {name: find_reader(name).info.title for name in corpora.CORPORA}
    return {"table": "your own table of audio files and votes", **titles}


def options(kind: str) -> Options:
    """Those of the reader, and how it is written."""
    if kind == "table":
        about = "Turn a table of audio files and votes into a data set. Columns: file, and one count column an emotion "
        about += "or a column votes (a|b|c); optional speaker, transcript, split, id; others are kept."
        return Options(read_table, _write_table, without=_OURS, about=about)
    reader = find_reader(kind)
    info = reader.info
    without = [*_OURS, *(("public",) if info.restricted else ()), *(() if info.has_votes else ("outside", "preset"))]
    return Options(
        reader,
        write_corpus,
        without=without,
        about=f"Turn {info.title} into a data set.",
        epilog=f"Terms: {info.terms} Cite: {info.citation}",
    )


def run(kind: str, values: Values) -> None:
    """Read, write and report."""
    if kind == "table":
        folder = Path(values["output"]).expanduser().resolve()
        for source in ("table", "audio_dir"):
            check_folder(folder, values["overwrite"], values[source])
        values.call(_write_table, dataset=values.call(read_table))
    else:
        values.call(write_corpus, kind=kind, values=values)


def _write_table(
    output: str,
    *,
    dataset: DatasetDict,
    vote_source: str = NOT_STATED,
    description: str = "Speech with votes on the perceived emotion.",
    license: str | None = None,
    speaker_split: Mapping[str, float] | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Write what was read from a table.

    Args:
        output: Folder to write.
        vote_source: Who gave the votes, for the first line of the data set's card.
        description: For the card.
        license: License identifier for the card, such as cc-by-4.0.
        speaker_split: Split anew by speakers: shares of train,validation,test such as 0.8,0.1,0.1, or of train,test.
        seed: For `speaker_split`.
        overwrite: Replace a data set that is already in OUTPUT.
    """
    from ..data.data_facts import describe_dataset
    from ..data.loading import emotions_of
    from ..data.splits import speaker_disjoint_split
    from ..data.writing import write_dataset

    if speaker_split:
        dataset = speaker_disjoint_split(_together(dataset), speaker_split, seed=seed)
    folder = write_dataset(
        dataset,
        output,
        description=description,
        vote_source=vote_source,
        emotions=emotions_of(dataset),
        license=license,
        overwrite=overwrite,
    )
    _print(describe_dataset(dataset))
    # Problems are listed and nothing is dropped: what to do about a bad clip is the researcher's decision.
    _check_audio(dataset)
    _print(f"Wrote {folder}")


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
    check_folder(folder, overwrite, values["source"])  # before hours are spent on reading
    shard_bytes = _size(max_shard_size)
    if push_to_hub:
        check_push(push_to_hub, private=not public, restricted=info.restricted)
    preset_options: dict[str, Any] = {}
    if preset == "paper":
        preset_options = {"emotions": PAPER_EMOTIONS, "outside": "drop_utterance", "split": "paper_random"}
    given = {**values.given, **preset_options}
    report = CorpusReport(values["source"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the output, where there is room for the corpus; the usual cache may be on a small disk.
    cache = Path(tempfile.mkdtemp(prefix=f".{folder.name}-reading-", dir=folder.parent))
    try:
        dataset = values.call(reader, report=report, cache_dir=cache, **preset_options)
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
            _check_audio(dataset)
        _print(f"Wrote {folder}; everything that was left out is in reading_report.txt. Cite: {info.citation}")
    finally:
        shutil.rmtree(cache, ignore_errors=True)
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


def _check_audio(dataset: DatasetDict) -> None:
    from ..audio.check import check_audio

    _print(check_audio(_together(dataset)).summary())


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
