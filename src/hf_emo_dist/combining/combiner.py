"""`VoteCombiner`: what each annotator's vote is worth, learnt from human votes, and targets that use it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..batches import columns_of, is_table, with_added
from ..columns import matrix_to_distributions
from ..data.intact import BrokenFileError, read_json, sealed
from ..data.mixed_rows import is_mixed
from ..data.output import write_json
from ..distributions import FloatArray, check_choice
from ..emotions import validate_emotions
from ..votes import Outside, is_batch
from .choosing import choose, fit_recipe, folds_of
from .evidence import Answers, Evidence
from .evidence_columns import COLUMNS, STRUCTS, columns_as_arrow, evidence_of, evidence_of_rows
from .fitted import Fitted, Method
from .fitting import ASSUMED_AGREEMENT, fit_alone, fit_weight
from .worth import summary_of, worths_of

logger = logging.getLogger(__name__)

Empty = Literal["prior", "drop", "error"]
#: Votes that a synthetic one counts for where nobody could measure it, since there is no human vote at all.
UNMEASURED_WEIGHT = 0.25
#: Rows that a map is fitted on at most, drawn from all: more change nothing that matters in some fifty numbers.
MOST_ROWS = 20_000
_FIT_AGAIN = "fit it again, or take the combiner.json of the data set that it made."
# A correlation of this size matters (asking until answers agree gives a larger one), and at so many standard errors it
# is no chance.
_TELLING, _BEYOND_CHANCE = 0.2, 4.0


class VoteCombiner:
    """Combines human and synthetic votes into targets, a synthetic vote for what it was measured to be worth.

    The target of a row is the mean of a Dirichlet posterior over its distribution. Its prior is what the annotators
    said, through a map that is fitted by the likelihood of the human votes of the rows given (see
    :mod:`hf_emo_dist.combining.posterior`); human votes are then counted one by one. With few human votes, or with
    annotators that say nothing about what listeners hear, that is the human votes smoothed towards the corpus's mean.

    Args:
        emotions: The label set, K labels. Default: the fields, in their order, of `human_distribution`.
        method: ``"posterior"``; ``"weighted"``: one weight for every synthetic vote, fitted in the same way;
            ``"pool"``: one vote each, as arXiv 2601.14620 has it (:func:`hf_emo_dist.combine_votes`).
        weight: Weight of a synthetic vote, for ``method="weighted"``, instead of a fitted one.
        agreement: Fleiss' kappa between listeners that is assumed as far as the votes do not tell, which they do
            where rows have two of them.
        predictions: Distribution columns with out-of-fold predictions of a model of your own: further annotators.
        pilot: Column of booleans: rows whose number of answers does not depend on what was answered. Only these are
            fitted on. Needed where utterances stopped being asked early.
        empty: What becomes of a row without a vote of anybody: ``"prior"``, the mean of the prior; ``"drop"``, which
            writes None; or ``"error"``. With ``"pool"`` the first two are both None.
        outside: What becomes of a vote for something not among `emotions`: ``"error"``, or ``"drop"`` that vote.
        seed: Of folds and samples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.dirichlet([1.0, 1.0], size=400)
        >>> human, model = rng.multinomial(3, truth), rng.multinomial(10, truth[:, ::-1])  # it hears the opposite
        >>> combiner = VoteCombiner(emotions=["happy", "sad"]).fit_counts(human, {"model": model})
        >>> combiner.concentration([[0, 0], [0, 0]], {"model": [[10, 0], [0, 10]]}).argmax(axis=1)
        array([1, 0])
    """

    def __init__(
        self,
        emotions: Sequence[str] | None = None,
        method: Method = "posterior",
        *,
        weight: float | None = None,
        agreement: float = ASSUMED_AGREEMENT,
        predictions: Sequence[str] = (),
        pilot: str | None = None,
        empty: Empty = "prior",
        outside: Outside = "error",
        seed: int = 0,
    ) -> None:
        check_choice("method", method, ("posterior", "weighted", "pool"))
        check_choice("empty", empty, ("prior", "drop", "error"))
        check_choice("outside", outside, ("error", "drop"))
        if isinstance(predictions, str):
            raise ValueError(f"predictions={predictions!r} is one text. Mend: a list of column names.")
        if weight is not None and (method != "weighted" or not np.isfinite(weight) or weight < 0):
            raise ValueError(f"weight={weight} does not fit. Mend: a number from 0 up, with method='weighted'.")
        if not 0 < agreement < 1:
            raise ValueError(f"agreement={agreement} is no Fleiss' kappa between listeners. Mend: between 0 and 1.")
        self.emotions = None if emotions is None else validate_emotions(emotions)
        self.method: Method = method
        self.weight, self.agreement, self.predictions = weight, agreement, tuple(predictions)
        self.pilot, self.empty, self.outside, self.seed = pilot, empty, outside, seed
        self.fitted: Fitted | None = None
        self._warned: set[str] = set()

    # --- fitting

    def fit(self, dataset: Any) -> VoteCombiner:
        """Fit on the rows of a data set (a `Dataset`, or a mapping of columns): give it training rows alone.

        Rows that were mixed from others, which nobody has heard, are left out, and so are rows without human votes.

        Returns:
            The combiner itself.

        Raises:
            UnknownEmotionError: A vote is none of the emotions; the message names the row.
            ValueError: A column does not fit, or `emotions` is needed.
        """
        self.emotions = self._emotions_of(columns_as_arrow(dataset, STRUCTS))
        evidence = evidence_of_rows(dataset, self.emotions, self.outside, self.predictions)
        columns = columns_as_arrow(dataset, ["mixed_from", *([self.pilot] if self.pilot else [])])
        kept = ~_mixed(columns, len(evidence))
        if self.pilot is not None:
            if self.pilot not in columns:
                raise ValueError(f"There is no column {self.pilot!r} that says which rows are of the pilot.")
            values = columns[self.pilot].to_pylist()
            if not any(value is True for value in values) or any(value not in (True, False, None) for value in values):
                raise ValueError(
                    f"The column {self.pilot!r} must be true in the rows of the pilot, and it is "
                    f"{'true in none' if set(values) <= {False, None} else values[0]!r}. Mend: a column of booleans."
                )
            kept &= np.array([bool(value) for value in values])
        if not kept.all():
            evidence = evidence.select(np.flatnonzero(kept))
        return self._fit(evidence)

    def fit_counts(
        self, human: ArrayLike, annotators: Mapping[str, ArrayLike], groups: Sequence[Any] | None = None
    ) -> VoteCombiner:
        """Fit on arrays.

        Args:
            human: Human votes (N, K), in the order of `emotions`.
            annotators: Answers of each annotator by name, (N, K) each; zeros where it did not vote.
            groups: Who speaks, (N,); keeps speakers apart where maps are compared.
        """
        return self._fit(self._evidence(human, annotators, groups))

    def fit_evidence(self, evidence: Evidence) -> VoteCombiner:
        """As `fit`, of evidence in the form that the room has, in the order of `emotions`."""
        if self.emotions is None:
            raise ValueError("`emotions` is needed: arrays do not say it. Mend: VoteCombiner(emotions=[...]).")
        return self._fit(evidence)

    def _fit(self, evidence: Evidence) -> VoteCombiner:
        voted = np.flatnonzero(evidence.human.sum(axis=1) > 0)
        heard = evidence.select(voted).in_order().with_whole_votes(self.seed)
        heard = heard.select(np.flatnonzero(heard.human.sum(axis=1) > 0))
        if self.method == "pool":
            self.fitted = Fitted.described("pool", heard)
            return self
        if len(heard) == 0:
            return self._fit_nothing(evidence)
        if self.method == "weighted":
            alone, weight = fit_weight(heard, self.agreement)
            if self.weight is not None:
                alone, weight = fit_alone(heard.human, self.agreement), self.weight
            self.fitted = Fitted.described("weighted", heard, alone=alone, weight=weight, given=self.weight is not None)
            return self
        folds, table = folds_of(heard, self.seed)
        learnt = heard
        if len(heard) > MOST_ROWS:
            rows = np.sort(np.random.default_rng([self.seed, 2]).permutation(len(heard))[:MOST_ROWS])
            learnt, folds = heard.select(rows), folds[rows]
        choice, parts, plain = choose(learnt, folds, self.agreement, self.seed)
        whole = fit_recipe(learnt, choice.recipe, self.agreement, self.seed)
        by_fold = []
        if choice.recipe.correction is not None:
            by_fold = [parts.get(fold, whole) for fold in range(int(folds.max()) + 1)]
        self.fitted = Fitted.described(
            "posterior", heard, map=whole, parts=by_fold, groups=table, choice=choice, alone=whole.posterior.alone
        )
        self.fitted.about["rows_used"] = len(learnt)
        self.fitted.worth = worths_of(whole.posterior, plain, learnt, self.seed)
        self.fitted.notes += _numbers_that_tell(heard)
        for note in self.fitted.notes:
            logger.warning("%s", note)
        return self

    def _fit_nothing(self, evidence: Evidence) -> VoteCombiner:
        """Nobody has voted: nothing can be learnt, and what is done instead is said."""
        size = evidence.human.shape[1]
        weight = UNMEASURED_WEIGHT if self.weight is None else self.weight
        alone = fit_alone(np.zeros((0, size)), self.agreement)
        self.fitted = Fitted.described("weighted", evidence, alone=alone, weight=weight, given=True)
        note = (
            f"No row has a human vote, so that nothing could be measured: every synthetic vote counts {weight:g} votes "
            f"beside a uniform prior of {alone.sum():.2g}, both assumed. Mend: a few human votes."
        )
        self.fitted.notes.append(note)
        logger.warning("%s", note)
        return self

    def evidence(self, dataset: Any) -> Evidence:
        """What is known of the rows of a data set, mixed rows left out."""
        return self._rows(dataset)[1]

    def rows_and_concentration(self, dataset: Any) -> tuple[list[str], FloatArray]:
        """Ids (or numbers) and Dirichlet parameters (N, K) of the rows of a data set, mixed rows left out."""
        ids, evidence = self._rows(dataset)
        return ids, self.concentration_of(evidence)

    def _rows(self, dataset: Any) -> tuple[list[str], Evidence]:
        names = self._emotions_of(columns_as_arrow(dataset, STRUCTS))
        evidence = evidence_of_rows(dataset, names, self.outside, self.predictions)
        columns = columns_as_arrow(dataset, ["id", "mixed_from"])
        kept = np.flatnonzero(~_mixed(columns, len(evidence)))
        ids = columns["id"].to_pylist() if "id" in columns else [None] * len(evidence)
        return [str(row if ids[row] is None else ids[row]) for row in kept], evidence.select(kept)

    # --- using

    def concentration(
        self, human: ArrayLike, annotators: Mapping[str, ArrayLike], groups: Sequence[Any] | None = None
    ) -> FloatArray:
        """Dirichlet parameters of rows, (N, K): divided by their sum they are the targets, which are worth so many
        votes.

        Args:
            human: Human votes (N, K), in the order of `emotions`.
            annotators: Answers of each annotator by name, (N, K) each; zeros where it did not vote.
            groups: Who speaks, (N,), if the combiner was fitted with groups: a row's target then comes from a map that
                was fitted without its speaker.
        """
        return self.concentration_of(self._evidence(human, annotators, groups))

    def concentration_of(self, evidence: Evidence) -> FloatArray:
        """As `concentration`, of evidence in the form that the room has."""
        fitted = self.needed()
        if fitted.method == "posterior":
            self._warn_of_strangers(fitted, evidence)
        return fitted.prior(evidence) + evidence.human

    def __call__(self, example_or_batch: Mapping[str, Any]) -> Any:
        """Write `human_distribution`, `emotion_distribution` and `emotion_concentration`; for ``Dataset.map``.

        Takes one example or a batch. On a row that was mixed from others, the target stays, and the other two are None.
        A batch of Ray Data (``map_batches(combiner, batch_format="pyarrow")``) is a table, which comes back with them.

        Raises:
            ValueError: The combiner is not fitted, or was fitted for other emotions; or a row does not fit.
        """
        if is_table(example_or_batch):
            return with_added(example_or_batch, self(columns_of(example_or_batch)))
        batched = is_batch(example_or_batch)
        rows: Any = example_or_batch
        if not batched:
            table = getattr(example_or_batch, "pa_table", None)
            if table is None:
                needed = (*COLUMNS, *self.predictions)
                rows = {name: [example_or_batch[name]] for name in needed if name in example_or_batch}
        columns = columns_as_arrow(rows, [*COLUMNS, *self.predictions])
        names = self._emotions_of(columns)
        evidence = evidence_of(columns, names, self.outside, self.predictions)
        human, alpha = evidence.human, self.concentration_of(evidence)
        mixed, voted = _mixed(columns, len(evidence)), human.sum(axis=1) > 0
        spoken = voted.copy()
        for answers in evidence.annotators.values():
            spoken |= answers.number > 0
        total = alpha.sum(axis=1)
        if self.empty == "error" and (bad := np.flatnonzero(~spoken & ~mixed)).size:
            name = columns["id"][int(bad[0])].as_py() if "id" in columns else int(bad[0])
            raise ValueError(f"Row {name!r}: nobody voted. Mend: leave the row out, or pass empty='drop' or 'prior'.")
        kept = (spoken | (self.empty == "prior")) & (total > 0)
        earlier = (
            columns["emotion_distribution"].to_pylist() if mixed.any() and "emotion_distribution" in columns else None
        )
        shares = matrix_to_distributions(human / np.where(voted, human.sum(axis=1), 1.0)[:, None], names)
        targets = matrix_to_distributions(alpha / np.where(total > 0, total, 1.0)[:, None], names)
        result: dict[str, list[Any]] = {
            "human_distribution": [p if ok else None for p, ok in zip(shares, voted & ~mixed, strict=True)],
            "emotion_distribution": [p if ok else None for p, ok in zip(targets, kept, strict=True)],
            "emotion_concentration": [n if ok else None for n, ok in zip(total.tolist(), kept & ~mixed, strict=True)],
        }
        for row in np.flatnonzero(mixed):
            result["emotion_distribution"][row] = None if earlier is None else earlier[row]
        return dict(result) if batched else {name: values[0] for name, values in result.items()}

    # --- what was fitted

    def summary(self) -> str:
        """What was fitted, on what, and what it means, in words."""
        return summary_of(self.needed(), self.emotions or ())

    def to_dict(self) -> dict[str, Any]:
        """All that is needed to combine elsewhere, and what is known of it; for JSON."""
        fitted = self.needed()
        return {
            "format": 1,
            "emotions": list(self.emotions or ()),
            "settings": {
                "method": self.method,
                "weight": self.weight,
                "agreement": self.agreement,
                "predictions": list(self.predictions),
                "pilot": self.pilot,
                "empty": self.empty,
                "outside": self.outside,
                "seed": self.seed,
            },
            "fitted": fitted.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VoteCombiner:
        """The combiner that `to_dict` gave."""
        if values.get("format") != 1 or "fitted" not in values:
            raise ValueError("This is no combiner of this version of hf_emo_dist. Mend: fit it again.")
        combiner = cls(values["emotions"], **values["settings"])
        combiner.fitted = Fitted.from_dict(values["fitted"])
        return combiner

    def save(self, path: str | Path) -> None:
        """Write a JSON file of a few dozen kilobytes."""
        write_json(path, sealed(self.to_dict()))

    @classmethod
    def load(cls, path: str | Path) -> VoteCombiner:
        """Read what `save` wrote.

        Raises:
            ValueError: The file holds something else; it is named.
        """
        try:
            return cls.from_dict(read_json(path, _FIT_AGAIN))
        except BrokenFileError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no combiner: {error}. Mend: the file that VoteCombiner.save wrote.") from error

    def __repr__(self) -> str:
        told = "not fitted" if self.fitted is None else f"fitted on {self.fitted.about['rows']} rows"
        return f"VoteCombiner({list(self.emotions or ())}, method={self.method!r}, {told})"

    def __getstate__(self) -> dict[str, Any]:
        # what was warned of changes no result, and must not change the fingerprint of a map either
        return {**self.__dict__, "_warned": set()}

    # --- within

    def _warn_of_strangers(self, fitted: Fitted, evidence: Evidence) -> None:
        for name, answers in evidence.annotators.items():
            if not answers.number.any():
                continue
            if name not in fitted.annotators:
                self._warn_once(
                    f"{name} voted here and not where the combiner was fitted, so that nobody knows what these votes "
                    "are worth: they count nothing. Mend: fit on rows that have them."
                )
                continue
            known = fitted.about["answers"][name]["versions"]  # none where it was fitted on arrays
            for version in sorted(set(answers.versions) - set(known)) if known else ():
                self._warn_once(
                    f"{version} was not seen where the combiner was fitted; its votes count what those of {name} do. "
                    "Mend: fit on rows that have them, if it may answer otherwise."
                )

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning("%s", message)

    def needed(self) -> Fitted:
        """What was fitted; a ValueError where nothing was."""
        if self.fitted is None:
            raise ValueError("The combiner is not fitted. Mend: combiner.fit(training rows) first.")
        return self.fitted

    def _emotions_of(self, columns: Mapping[str, Any]) -> tuple[str, ...]:
        import pyarrow as pa

        found = None
        for name in STRUCTS:
            if name in columns and pa.types.is_struct(columns[name].type):
                found = validate_emotions([field.name for field in columns[name].type])
                break
        if self.emotions is None:
            if found is None:
                raise ValueError(
                    "`emotions` is needed: there is no human_distribution to take it from. Mend: pass emotions=[...]."
                )
            return found
        if self.fitted is not None and found is not None and set(found) != set(self.emotions):
            raise ValueError(
                f"The combiner was fitted for {', '.join(self.emotions)}, and these rows are of {', '.join(found)}. "
                "Mend: fit a combiner on rows with these labels."
            )
        return self.emotions

    def _evidence(
        self, human: ArrayLike, annotators: Mapping[str, ArrayLike], groups: Sequence[Any] | None
    ) -> Evidence:
        if self.emotions is None:
            raise ValueError("`emotions` is needed: arrays do not say it. Mend: VoteCombiner(emotions=[...]).")
        size = len(self.emotions)

        def checked(values: ArrayLike, name: str, rows: int | None) -> FloatArray:
            array = np.asarray(values, dtype=np.float64)
            if array.ndim != 2 or array.shape[1] != size or rows not in (None, len(array)):
                wanted = f"({'N' if rows is None else rows}, {size})"
                raise ValueError(
                    f"{name} must be of shape {wanted}, for {', '.join(self.emotions or ())}, got {array.shape}."
                )
            bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)).all(axis=1))
            if len(bad):
                raise ValueError(
                    f"{name}, row {bad[0]}: votes must be finite and not negative, got {array[bad[0]]}. Mend: correct "
                    "it."
                )
            return array

        votes = checked(human, "human", None)
        found = {
            str(name): Answers.of_counts(checked(counts, f"Votes of {name!r}", len(votes)))
            for name, counts in annotators.items()
        }
        names = None if groups is None else np.array([str(group) for group in groups])
        if names is not None and len(names) != len(votes):
            raise ValueError(f"{len(votes)} rows but {len(names)} groups. Mend: one a row.")
        return Evidence(votes, found, names)


def _mixed(columns: Mapping[str, Any], rows: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if "mixed_from" not in columns:
        return np.zeros(rows, dtype=bool)
    return is_mixed([{"mixed_from": value} for value in columns["mixed_from"].to_pylist()])


def _numbers_that_tell(evidence: Evidence) -> list[str]:
    """Notes on annotators whose number of answers goes with what they answered, as where asking stopped early.

    Two random answers of a row agree equally often whatever the number of answers, unless this depends on them.
    """
    notes = []
    for name, answers in evidence.annotators.items():
        rows = np.flatnonzero(answers.number >= 2)
        number = answers.number[rows]
        if answers.row is None or len(rows) < 30 or np.ptp(number) == 0:
            continue
        counts = answers.mean[rows] * number[:, None]
        agree = (counts * (counts - 1.0)).sum(axis=1) / (number * (number - 1.0))
        if np.ptp(agree) == 0:
            continue
        away = float(np.corrcoef(number, agree)[0, 1])
        if abs(away) > max(_TELLING, _BEYOND_CHANCE / np.sqrt(len(rows))):
            notes.append(
                f"The number of answers of {name} goes with what was answered (they agree "
                f"{'less' if away < 0 else 'more'} where there are more), so that its worth may be misjudged. Mend: "
                "fit on rows with a number fixed beforehand, pilot='COLUMN'."
            )
    return notes
