"""Targets of human, synthetic, pooled votes or a posterior, with and without DiME-Aug: resumable, one table."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..._lazy import need
from ..._tables import resolve
from ...data.opened import OpenedDataset
from ...data.rows import column_of, rough_intervals, row_ids, speaker_groups
from ...data.targets import counted_votes, scored_matrix
from ...evaluation.refitted_targets import Targets, with_targets
from ...evaluation.resuming import data_stamp, open_recipe, parse_recipe, predicted_by_training, resumable
from ...evaluation.scoring import Bootstrap
from ...evaluation.speaker_folds import folds_with_speakers
from ..study import Plot, Study
from ..vote_table import FloatArray
from .cell_tables import ablation_plot, cell_scores, findings, honest_table, paper_table
from .sources import DEFAULT_SOURCES, FITTED, PartTargets, check_source, fitted_facts, needs_synthetic, targets_of_parts

#: Function of (training rows, emotions, seed) that gives the augmented rows.
Augment = Callable[[Any, Sequence[str], int], Any]

DIME_AUG = "DiME-Aug"


def ablation(
    *recipe: str,
    output: str | Path,
    sources: Sequence[str] = DEFAULT_SOURCES,
    augment: Literal["both", "on", "off"] = "both",
    augment_preset: str = "default",
    augment_with: str | Augment = DIME_AUG,
    seeds: Sequence[int] = (0, 1, 2),
    test_split: str = "test",
    fold_column: str | None = None,
    num_folds: int | None = None,
    validation_speakers: int = 2,
    vote_source: str | None = None,
    overwrite: bool = False,
    keep_checkpoints: bool = False,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Study:
    """Train every cell of sources × augmentation × seeds, and score all on the human votes of the same test rows.

    A cell that has been predicted is not trained again, so that a stopped run goes on where it was. Beside the honest
    table, marked, stands the protocol of arXiv 2601.14620, which scores each source against its own labels, so that
    sources are not comparable. Rows that were mixed from others have no votes, of which the targets are made, and are
    left out: the augmented cells make their own, from training rows alone. Targets that are fitted are fitted on the
    training rows of each part of the data alone: neither those that choose a checkpoint nor those that are scored have
    any influence on them.

    Args:
        *recipe: How to train on what: any argument of `hf-emo-dist train`.
        output: Folder that receives a folder a cell.
        sources: Training targets: human votes; synthetic ones; both pooled, one for one; posterior, a synthetic vote
            for what it was measured to be worth. Also weighted, one fitted weight for all synthetic votes; smoothed,
            human votes towards the fitted prior; column:NAME, a distribution column.
        augment: Without augmentation, with it, or both.
        augment_preset: Preset of DiME-Aug: default or paper.
        augment_with: What augments: DiME-Aug, or module:function of (rows, emotions, seed).
        seeds: Of weights, order and augmentation.
        test_split: Split that is scored, where there are no folds.
        fold_column: Column of folds of whole speakers: every cell is trained once a fold, all rows are scored.
        num_folds: Folds of whole speakers, where no column names them.
        validation_speakers: Training speakers of a fold that choose its checkpoints.
        vote_source: Where the votes come from (default: what the data set's card says).
        overwrite: Train again what has been predicted.
        keep_checkpoints: Keep every cell's checkpoint.
        num_resamples: Bootstrap resamples.
        seed: Of the bootstrap, the folds and their validation speakers.

    Raises:
        ValueError: Before training, for whatever does not fit.
        KeyboardInterrupt: On Ctrl-C; the same call goes on.
    """
    bootstrap = Bootstrap(num_resamples, seed)
    parsed, args = parse_recipe(recipe, output)
    if not sources or not seeds:
        raise ValueError("There is nothing to compare. Mend: give at least one source and one seed.")
    if args.target_column != "emotion_distribution":
        raise ValueError("The ablation makes its own training targets. Mend: leave --target_column out.")
    settings = {"both": (False, True), "on": (True,), "off": (False,)}[augment]
    make, named = None, DIME_AUG
    if True in settings:
        make, named = augmenter_of(augment_with, augment_preset, parsed.backbone)
    opened = open_recipe(parsed, vote_source)
    names = (parsed.train_split, parsed.validation_split, test_split)
    division = divide(opened, names, fold_column, num_folds, validation_speakers, seed)
    test, emotions = division.rows.select(division.scored), opened.emotions()
    references = scored_matrix(test, emotions)
    for source in sources:  # before the first is fitted
        check_source(division.rows, source)
    places = [(part.train, part.test) for part in division.parts]
    targets = {source: targets_of_parts(division.rows, emotions, source, places) for source in sources}
    for source, parts in targets.items():
        if any(all(target is None for target in part.learnt.distributions) for part in parts):
            raise ValueError(
                f"No training row has votes for {source!r}. Mend: annotate the training split, or leave {source} out."
            )
        if args.concentration_weight is not None and any(part.learnt.concentrations is None for part in parts):
            raise ValueError(
                f"concentration_weight needs what each target is worth, which the source {source!r} does not say. "
                f"Mend: --sources {','.join(FITTED)}, or leave concentration_weight out."
            )
    training = _Training(
        parsed, args, division, emotions, references, targets, make, named, overwrite, keep_checkpoints
    )
    predictions: dict[tuple[str, bool], list[FloatArray]] = {}
    details: list[dict[str, Any]] = []
    with resumable(output):
        for source in sources:
            for augmented in settings:
                for training_seed in seeds:
                    predicted, found = training.cell(source, augmented, training_seed)
                    predictions.setdefault((source, augmented), []).append(predicted)
                    details += found

    speakers, known = speaker_groups(test)
    notes = opened.notes(test) + _doubts(division, speakers if known else None, sources)
    study = Study("ablation", f"What to train on: targets from votes, with and without {named}", {}, notes)
    votes = f". Votes: {opened.vote_source}" if opened.vote_source else ""
    study.facts = {
        "data": f"{Path(opened.name).name}{votes}",
        "split": f"{division.told}; {len(set(speakers))} speakers are scored",
        "emotions": ", ".join(emotions),
        "backbone": Path(str(parsed.backbone)).name,
        **fitted_facts(targets),
        "protocol": "every cell is scored on the human votes of the same test rows; figures are means over seeds; 95 % "
        "bootstrap intervals over speakers where known, of the mean over seeds; p-values flip the signs of whole "
        "speakers",
        "seeds": f"training {', '.join(map(str, seeds))}; bootstrap {seed}; {num_resamples} resamples",
    }
    cells = cell_scores(predictions, references, speakers, bootstrap)
    study.results = {"cells": cells, "runs": details}
    counts, squares = counted_votes(test, emotions)
    floor = None
    # the floor is of two votes at least; and of those that are scored against, and no others
    if counts is not None:
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)
        if np.allclose(shares, references, atol=1e-6) and (counts.sum(axis=1) > 1).any():
            floor = bootstrap.floor(counts, speakers, squares=squares)
            study.results["js_divergence_floor"] = floor
    own_labels = {source: _own_labels(division, parts) for source, parts in targets.items()}
    told, study.results["paper_protocol"] = paper_table(predictions, own_labels, emotions)
    study.tables = [honest_table(cells, floor, named), told]
    study.findings = findings(cells)
    caption = (
        "JS divergence to the human votes, mean over seeds, with 95 % intervals over speakers; small marks: single "
        "seeds."
    )
    study.plots = [Plot("ablation", ablation_plot(cells, notes, named), caption)]
    return study


@dataclass(frozen=True)
class Part:
    """One division of the rows (cross-validation has one a fold): a suffix for its cells, and places of rows."""

    suffix: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Division:
    """All rows that take part, their divisions, the places of those that are scored, each once, and all in words."""

    rows: Any
    parts: list[Part]
    scored: np.ndarray
    told: str


def divide(
    opened: OpenedDataset,
    split_names: tuple[str, str, str],
    fold_column: str | None = None,
    num_folds: int | None = None,
    validation_speakers: int = 2,
    seed: int = 0,
) -> Division:
    """Divide a data set by its splits to train, choose and test on or, put together, into folds of whole speakers."""
    from datasets import concatenate_datasets

    if fold_column is None and num_folds is None:
        named = [opened.heard(name) for name in split_names]
        ends = np.cumsum([len(rows) for rows in named])
        train, validation, test = np.split(np.arange(ends[-1]), ends[:-1])
        told = ", ".join(f"{name} ({len(rows)} rows)" for name, rows in zip(split_names, named, strict=True))
        return Division(concatenate_datasets(named), [Part("", train, validation, test)], test, told)
    if fold_column is not None and num_folds is not None:
        raise ValueError("fold_column and num_folds are both given. Mend: give one of them.")
    rows = opened.heard()
    # the same for every cell, so that cells differ in nothing but their targets
    folds, _ = folds_with_speakers(rows, fold_column, num_folds or 0, validation_speakers, seed)
    parts = [Part(f"-fold{index}", fold.learnt, fold.choosing, fold.test) for index, fold in enumerate(folds)]
    scored = np.sort(np.concatenate([part.test for part in parts]))
    told = (
        f"{len(parts)}-fold cross-validation by speaker ({len(rows)} rows, each scored once; checkpoints chosen by "
        f"{validation_speakers} training speakers)"
    )
    return Division(rows, parts, scored, told)


@dataclass(frozen=True)
class _Training:
    """What all cells have in common."""

    recipe: Any
    args: Any
    division: Division
    emotions: tuple[str, ...]
    references: FloatArray
    targets: Mapping[str, Sequence[PartTargets]]
    make: Augment | None
    augmentation: str
    overwrite: bool
    keep_checkpoints: bool

    def cell(self, source: str, augmented: bool, seed: int) -> tuple[FloatArray, list[dict[str, Any]]]:
        """Predictions (N, K) of all scored rows by one cell, which is trained once for each part of the data."""
        args = copy.copy(self.args)
        args.seed = seed
        rows, emotions = self.division.rows, self.emotions
        predicted, details = np.empty_like(self.references), []
        for part, made_here in zip(self.division.parts, self.targets[source], strict=True):
            test, train = rows.select(part.test), rows.select(part.train)
            here = np.searchsorted(self.division.scored, part.test)

            def made(train: Any = train, learnt: Targets = made_here.learnt) -> Any:
                with_own = with_targets(train, learnt, emotions)
                return self.make(with_own, emotions, seed) if augmented and self.make else with_own

            predicted[here], detail = predicted_by_training(
                self.recipe,
                args,
                Path(str(args.output_dir))
                / "cells"
                / f"{source.replace(':', '-')}{'-augmented' if augmented else ''}-seed{seed}{part.suffix}",
                emotions,
                made,
                rows.select(part.validation),
                test,
                {
                    **data_stamp(row_ids(test), emotions, [self.references[here]], [part.train, part.validation]),
                    "targets": made_here.digest,
                    "source": source,
                    "augmentation": self.augmentation if augmented else None,
                },
                overwrite=self.overwrite,
                keep_checkpoints=self.keep_checkpoints,
            )
            details.append({"source": source, "augmented": augmented, "seed": seed, "part": part.suffix[1:], **detail})
        return predicted, details


def _doubts(division: Division, speakers: Any, sources: Sequence[str]) -> list[str]:
    """What makes the figures mean less than they seem to."""
    found = rough_intervals(len(set(speakers))) if speakers is not None else []
    train = np.unique(np.concatenate([part.train for part in division.parts]))
    if len(division.parts) == 1 and speakers is not None:
        shared = set(speakers) & set(speaker_groups(division.rows.select(train))[0])
        if shared:
            found.append(f"{len(shared)} of the test speakers are also trained on")
    made = [column_of(division.rows, name) for name in ("synthetic_votes", "synthetic_annotations")]
    if any(needs_synthetic(source) for source in sources):
        bare = sum(not any(values[place] for values in made if values) for place in train)
        if bare:
            found.append(f"{bare} of {len(train)} training rows have no synthetic votes")
    return found


def _own_labels(division: Division, parts: Sequence[PartTargets]) -> list[dict[str, float] | None]:
    """A source's targets of the scored rows, in their order."""
    by_place = {
        int(place): target
        for part, made in zip(division.parts, parts, strict=True)
        for place, target in zip(part.test, made.own.distributions, strict=True)
    }
    return [by_place[int(place)] for place in division.scored]


def augmenter_of(augmentation: str | Augment, preset: str, backbone: Any) -> tuple[Augment, str]:
    """An augmentation and its name in tables: DiME-Aug, or a user's function, as it is or as `module:function`."""
    if not isinstance(augmentation, str):
        return augmentation, getattr(augmentation, "__name__", "another augmentation")
    if augmentation == DIME_AUG:
        from ...augmentation.dime import DiMEAug

        # what is wrong is said before anything is trained, not at the first augmented cell
        need("faiss", "DiMEAug")
        DiMEAug(preset=preset)
        made = DIME_AUG if preset == "default" else f"{DIME_AUG} ({preset})"

        def dime_aug(rows: Any, emotions: Sequence[str], seed: int) -> Any:
            return DiMEAug(emotions=list(emotions), seed=seed, preset=preset, backbone=backbone).augment(rows)

        return dime_aug, made
    return resolve(augmentation, {DIME_AUG: "augmentation.dime:DiMEAug"}, "augmentation", "hf_emo_dist"), augmentation
