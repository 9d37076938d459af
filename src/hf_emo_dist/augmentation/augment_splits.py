"""The augmentation of a data set on disk: settings as arguments, and a function that balances its training split."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._fields import option
from .._lazy import need
from ..data.output import write_json, write_text
from ..data.rows import column_of
from ..markdown import as_prose
from .dime import DiMEAug
from .features import FEATURE_KINDS, feature_matrix
from .mixed_dataset import undecoded, with_mix_columns
from .plan_report import PlanReport, class_mass_plot
from .pool import check_trainable, row_positions

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)


@dataclass
class AugmentationArguments:
    """How training data is augmented, as options of a command.

    Example:
        >>> AugmentationArguments(augment="paper").dime(["angry", "sad"]).target
        'dominant'
    """

    augment: str = option("none", "DiME-Aug preset for the training split: none, default or paper.")
    augment_seed: int = option(0, "Seed of the plan.")
    augment_features: Sequence[str] | str | None = option(
        None,
        "Features of the neighbours: paper, backbone, text, lexical, module:Name of your own class, or a "
        "column. Default: the preset's.",
    )
    augment_backbone: str | None = option(
        None, "Checkpoint whose audio tower makes the features: a Hub id or a local folder."
    )
    augment_target: int | Mapping[str, int] | str | None = option(
        None, "mass, dominant, a number of rows, or rows by emotion such as sad=500,angry=500. Default: the preset's."
    )
    augment_target_ratio: float | None = option(
        None, "Level to reach, as a share of the largest emotion. Default: the preset's."
    )
    augment_neighbours: str | None = option(
        None, "Who may be mixed: distribution, dominant or any. Default: the preset's."
    )
    augment_speakers: str = option("any", "Speakers that are mixed: any, different or same.")
    augment_mixing: str | None = option(
        None, "How two clips become one: between_class, paper, or module:Name of your own. Default: the preset's."
    )
    augment_lengths: str = option("align", "The shorter clip: align, pad or loop.")
    augment_num_proc: int | None = option(None, "Processes for features and mixing.")
    augment_examples: int = option(8, "Mixed clips on the listening page; 0 writes none.")

    def __post_init__(self) -> None:
        if self.augment not in ("none", "default", "paper"):
            raise ValueError(f"augment={self.augment!r} is not known. Mend: none, default or paper.")
        if self.augment_examples < 0:
            raise ValueError(f"augment_examples={self.augment_examples} is no number of clips. Mend: 0 writes none.")
        if self.augment != "none":
            self.dime(None)  # what does not fit is said before anything is computed

    def described(self) -> dict[str, Any]:
        """The settings for a card, without paths and without what changes no figure."""
        left_out = ("augment", "augment_backbone", "augment_num_proc", "augment_examples")
        values = {entry.name: getattr(self, entry.name) for entry in fields(AugmentationArguments)}
        return {"preset": self.augment} | {k: v for k, v in values.items() if k not in left_out and v is not None}

    def dime(self, emotions: Sequence[str] | None) -> DiMEAug:
        """The :class:`DiMEAug` of these settings.

        Raises:
            ValueError: A setting is not known or out of range.
        """
        entries = fields(AugmentationArguments)
        options = {entry.name.removeprefix("augment_"): getattr(self, entry.name) for entry in entries}
        preset, _ = options.pop("augment"), options.pop("examples")  # the others are named like DiMEAug's arguments
        return DiMEAug(emotions=emotions, preset=preset if preset != "none" else "default", **options)


def check_augmentation(settings: AugmentationArguments, rows: Dataset, emotions: Sequence[str] | None = None) -> None:
    """Find what would end augmenting later: it is missed before hours or money are spent on what comes first.

    Args:
        settings: What will be done.
        rows: The training split, whose `emotion_distribution` is still to be written.
        emotions: The label set that it will have; None where that is not known yet.

    Raises:
        ValueError, OSError: The split must not be augmented, or ids are missing; a target names no emotion; a column of
            features is not there or holds none; clips cannot be mixed so; or the backbone cannot be loaded.
        ModuleNotFoundError: An extra is missing: ``augment``, ``reports`` for the plot, ``train`` for a backbone's
            features.
    """
    if not len(rows):
        return
    need("faiss", "DiMEAug")
    need("matplotlib", "the plot of the class mass")
    dime = settings.dime(emotions)
    check_trainable(rows, ("id",))
    row_positions(rows)
    if dime.speakers == "different" and not any(column_of(rows, "speaker") or ()):
        raise ValueError("speakers='different' needs a column 'speaker'. Mend: add it, or take speakers='any'.")
    _try_mixing(dime)
    for kind in dime.features or ():
        # A column costs nothing to read, so that all of it is; of what is computed, one row is tried.
        some = rows if kind in rows.column_names and kind not in FEATURE_KINDS else rows.select(range(1))
        try:
            found = feature_matrix(some, kind, settings.augment_backbone)
            if some is rows and not np.isfinite(found).all(axis=1).any():
                raise ValueError(f"No row has finite features ({kind}). Mend: check the column.")
        except OSError as error:
            raise OSError(
                f"The backbone {settings.augment_backbone!r} cannot be loaded: {error} Mend: check augment_backbone."
            ) from error


def _try_mixing(dime: DiMEAug) -> None:
    """Mix two tones, in the way of the user's own where there is one."""
    first, second = (0.1 * np.sin(np.arange(1600, dtype=np.float32) * pitch) for pitch in (0.1, 0.2))
    try:
        mixed = np.asarray(dime.mixer()(first, second, 0.5))
        told = (
            ""
            if mixed.ndim == 1 and np.issubdtype(mixed.dtype, np.floating)
            else f"it gives {mixed.dtype} {mixed.shape}"
        )
    except Exception as error:  # noqa: BLE001 - the user's own code
        told = f"{type(error).__name__}: {error}"
    if told:
        raise ValueError(
            f"mixing={dime.mixing!r} does not mix two clips ({told}). Mend: a function (first, second, ratio) that "
            "gives one waveform."
        )


def augment_splits(
    splits: DatasetDict | Mapping[str, Any],
    settings: AugmentationArguments,
    output_dir: str | Path,
    *,
    emotions: Sequence[str] | None = None,
    train_split: str = "train",
    notes: Sequence[str] = (),
) -> tuple[DatasetDict, PlanReport | None]:
    """Augment the training split alone, and write what was done into a folder.

    The folder gets ``augmentation.md`` and ``augmentation.json`` (class mass before and after, warnings, what could not
    be mixed), ``augmentation_plan.parquet``, ``class_mass.png`` and ``mixed_clips.html``, a page to listen to.

    Args:
        splits: Data sets of the data contract; only `train_split` is changed.
        settings: What to do; ``augment="none"`` gives the splits as they are.
        output_dir: Folder of the report.
        emotions: The label set. Default: the fields of `emotion_distribution`.
        train_split: Name of the training split.
        notes: Shown on plot and page, such as ``simulated data``.

    Returns:
        The splits, and the plan's report (`None` without augmentation). The other splits have the same columns, filled
        with null, so that all can be written together.

    Raises:
        ValueError: There is no such split, or see :meth:`DiMEAug.plan`.
        ModuleNotFoundError: An extra is missing: ``augment``, ``reports`` for the plot, ``train`` for a backbone's
            features.

    Example:
        >>> splits, report = augment_splits(dataset, AugmentationArguments(augment="default"), "out")  # doctest: +SKIP
    """
    from datasets import DatasetDict

    from .listening_page import write_listening_page

    if settings.augment == "none":
        return DatasetDict(splits), None
    if train_split not in splits:
        raise ValueError(
            f"There is no split {train_split!r} to augment (there are {', '.join(splits)}). Mend: name another."
        )
    folder = Path(output_dir)
    plan = settings.dime(emotions).plan(splits[train_split])
    mixed, problems = plan.map_with_problems(num_proc=settings.augment_num_proc)
    result = {
        name: plan.joined(mixed) if name == train_split else with_mix_columns(undecoded(rows))
        for name, rows in splits.items()
    }
    plan.save(folder / "augmentation_plan.parquet")
    failed = "".join(
        f"Could not be mixed: {as_prose(row_id)}: {as_prose(reason)}\n" for row_id, reason in problems.items()
    )
    write_text(folder / "augmentation.md", plan.report.to_markdown() + failed)
    about = {**plan.report.to_dict(), "rows_written": len(mixed), "not_mixed": problems}
    write_json(folder / "augmentation.json", about)
    class_mass_plot(plan.report, folder / "class_mass.png", notes=notes)
    if settings.augment_examples and len(mixed):
        write_listening_page(plan, mixed, folder / "mixed_clips.html", number=settings.augment_examples, notes=notes)
    logger.info("%d mixed rows beside %d utterances", len(mixed), plan.report.rows_before)
    return DatasetDict(result), plan.report
