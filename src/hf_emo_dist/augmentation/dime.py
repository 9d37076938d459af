"""`DiMEAug`: balances a training split by mixing neighbouring utterances."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..distributions import check_choice, dominant
from .features import feature_matrix
from .mixed_dataset import undecoded
from .mixing import Lengths, Mixer, mix_distributions, mixer_named
from .neighbours import IndexKind, Metric, scale_features
from .pairing import Pairs, choose_pairs, draw_ratio, mixed_id
from .plan import MixPlan
from .plan_report import PlanReport, redundancy_warnings
from .pool import Pool, check_trainable, read_pool, row_positions
from .targets import balance_vector, check_numbers

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

#: What each preset sets; an argument that is given comes before it.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {
        "neighbours": "distribution",
        "num_neighbours": 5,
        "target": "mass",
        "target_ratio": 1.0,
        "max_growth": 1.0,
        "max_repeats": 20,
        "mixing": "between_class",
    },
    "paper": {
        "features": ("paper",),
        "neighbours": "dominant",
        "num_neighbours": 2,
        "target": "dominant",
        "target_ratio": 0.30,
        "max_growth": math.inf,
        "max_repeats": math.inf,
        "mixing": "paper",
    },
}


@dataclass
class DiMEAug:
    """Balances a training split by mixing neighbours: their audio, their distributions and their transcripts.

    `augment` gives the original rows and the mixed ones; `plan` gives the plan alone. The plan is the same, bit for
    bit, whatever `num_proc`, the batch size or the order of the rows: it is drawn from (seed, row id).

    A mixed row has a new id, `mixed_from` (the two ids), `mix_ratio` (λ, the share of the first), an
    `emotion_distribution` mixed by λ exactly, the transcript and the speaker of the dominant source, 16 kHz FLAC audio,
    and no votes: it is for training only.

    **The preset** ``"paper"`` follows DiME-Aug of arXiv 2601.14620: 82 features, standardised; Euclidean neighbours of
    the same dominant emotion, the two nearest; each dominant class filled up to 0.30 × the largest; λ ~ U(0, 1);
    waveforms cut to the shorter and mixed linearly; the dominant source's transcript. These faults of its released code
    are absent:

    - the prompt is made from the mixed row, so the dominant source's transcript reaches the model (there, the first
      clip's prompt stays, and the rule for the transcript has no effect);
    - ids of mixed rows are deterministic and unique (there, file names are random and can collide);
    - two real neighbours are found, neither the clip itself nor a copy of it (there, k = 3 holds the clip itself);
    - a clip that cannot be read is left out and named (there, dummy tokens with a uniform target take its place);
    - each draw depends on (seed, row id), not on a global generator and the order of the rows.

    That mixing ignores loudness and cuts to the shorter clip is part of the paper's method, and of this preset; the
    default does neither.

    Args:
        emotions: The label set. Default: the fields of `emotion_distribution`.
        seed: Of all draws.
        preset: ``"default"`` or ``"paper"``: what the arguments below are where they are not given.
        backbone: Checkpoint whose audio tower makes the features (folder or Hub id), or ``(model, processor)``.
        features: ``"paper"``, ``"backbone"``, ``"text"``, ``"lexical"``; ``"module:Name"``, your own subclass of
            ``hf_emo_dist.augmentation.FeatureExtractor``; a column of the data set; or several of these, each with the
            same weight. Default: ``"backbone"`` where one is given, else ``"paper"``.
        neighbours: Who may be mixed: ``"distribution"``, rows whose posterior mean distributions differ by at most
            `max_divergence`; ``"dominant"``, rows of the same dominant emotion; ``"any"``.
        max_divergence: Largest Jensen-Shannon divergence (base 2) of the smoothed distributions, for
            ``neighbours="distribution"``.
        concentration: Votes that the uniform prior of the smoothing counts for.
        num_neighbours: Nearest neighbours that a source is mixed with.
        metric: ``"standardised"`` (Euclidean) or ``"cosine"``.
        speakers: ``"any"``, ``"different"`` (never the same speaker) or ``"same"`` (only the same).
        index: ``"exact"``; ``"ivf"``, approximate; or ``"auto"``: exact up to 10,000 rows that may be mixed with each
            other.
        target: ``"mass"``, expected class mass towards `balance`; ``"dominant"``, the paper's rule; a dict, rows to
            have by dominant emotion; or a number of rows to add. For ``"dominant"`` and a dict both sources have the
            same dominant emotion, and so has the mixed row.
        target_ratio: Level to reach, as a share of the emotion with the most mass (or rows).
        balance: ``"uniform"``, or emotion to its share of the mass.
        max_growth: Most rows to add, as a share of the rows there are, for ``target="mass"``; ``math.inf`` is no bound.
        max_repeats: Most mixed rows that one utterance begins; ``math.inf`` is no bound.
        alpha: λ ~ Beta(alpha, alpha); 1 is U(0, 1).
        mixing: ``"between_class"``, ``"paper"``; ``"module:Name"``, a function or a class of your own; or a function
            ``(first, second, ratio) -> waveform``.
        lengths: For ``"between_class"``: what becomes of the shorter clip, ``"align"``, ``"pad"`` or ``"loop"``.
        fade_seconds: For ``"between_class"``: fade of the shorter clip's ends.
        num_proc: Processes for features and mixing.

    Raises:
        ValueError: An argument is not known or out of range.

    Example:
        >>> DiMEAug(emotions=["angry", "sad"], seed=0).target, DiMEAug(preset="paper").target_ratio
        ('mass', 0.3)
        >>> train = DiMEAug(seed=0, backbone="my_backbone").augment(dataset["train"])  # doctest: +SKIP
    """

    emotions: Sequence[str] | None = None
    seed: int = 0
    preset: str = "default"
    backbone: Any = None
    features: str | Sequence[str] | None = None
    neighbours: str | None = None
    max_divergence: float = 0.25
    concentration: float = 1.0
    num_neighbours: int | None = None
    metric: Metric = "standardised"
    speakers: str = "any"
    index: IndexKind = "auto"
    target: str | int | Mapping[str, int] | None = None
    target_ratio: float | None = None
    balance: str | Mapping[str, float] = "uniform"
    max_growth: float | None = None
    max_repeats: float | None = None
    alpha: float = 1.0
    mixing: str | Mixer | None = None
    lengths: Lengths = "align"
    fade_seconds: float = 0.01
    num_proc: int | None = None

    @classmethod
    def paper(cls, *_: object, **__: object) -> NoReturn:
        """Gone: ``DiMEAug(preset="paper")``."""
        raise AttributeError('DiMEAug.paper is gone. Mend: DiMEAug(preset="paper", ...), with the same arguments.')

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, tuple(PRESETS))
        preset = PRESETS[self.preset]
        for name in ("neighbours", "num_neighbours", "target", "target_ratio", "max_growth", "max_repeats", "mixing"):
            if getattr(self, name) is None:
                setattr(self, name, preset[name])
        if self.features is None:
            self.features = preset.get("features") or (("backbone",) if self.backbone is not None else ("paper",))
        self.features = (self.features,) if isinstance(self.features, str) else tuple(self.features)
        self._check()

    def _check(self) -> None:
        check_choice("neighbours", str(self.neighbours), ("distribution", "dominant", "any"))
        check_choice("speakers", self.speakers, ("any", "different", "same"))
        check_choice("metric", self.metric, ("standardised", "cosine"))
        check_choice("index", self.index, ("auto", "exact", "ivf"))
        if not self.features:
            raise ValueError("`features` is empty. Mend: name a kind of features or a column.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ValueError(f"`seed` is {self.seed!r}. Mend: a whole number.")
        if isinstance(self.target, Mapping):
            check_numbers(self.target, self.emotions)
        if not isinstance(self.target, Mapping) and (isinstance(self.target, bool) or not isinstance(self.target, int)):
            check_choice("target", str(self.target), ("mass", "dominant"))
        if isinstance(self.target, int) and self.target < 0:
            raise ValueError(
                f"`target` must be a number of rows from 0, got {self.target}. Mend: give how many to add."
            )
        ranges = {
            "max_divergence": (0.0, 1.0),
            "target_ratio": (0.0, 1.0),
            "alpha": (1e-3, 1e6),
            "concentration": (1e-9, 1e9),
            "num_neighbours": (1, 1000),
            "max_growth": (0.0, 1e6),
            "max_repeats": (1, 1_000_000_000),
        }
        for name, (low, high) in ranges.items():
            value, bound = getattr(self, name), name in ("max_growth", "max_repeats")
            if not low <= value <= high and not (bound and value == math.inf):
                mend = "leave it out, or math.inf for no bound" if bound else "leave it out"
                raise ValueError(f"`{name}` must be from {low:g} to {high:g}, got {value}. Mend: {mend}.")
        self.mixer()

    def mixer(self) -> Mixer:
        """The function that makes one waveform of two."""
        return self.mixing if callable(self.mixing) else mixer_named(str(self.mixing), self.lengths, self.fade_seconds)

    def settings(self) -> dict[str, Any]:
        """All settings, ready for JSON, which has no infinity: no bound is null there."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "num_proc"}
        values["features"] = list(self.features or ())
        plain = (str, int, float, bool, type(None), list, dict)
        made = {name: value if isinstance(value, plain) else str(value) for name, value in values.items()}
        return {name: None if value == math.inf else value for name, value in made.items()}

    def plan(self, dataset: Dataset) -> MixPlan:
        """Decide who is mixed with whom. No audio is mixed; features are computed unless the data set has their column.

        Args:
            dataset: A training split of the data contract, with `id`, `emotion_distribution` and `audio`.

        Returns:
            The plan, with its report.

        Raises:
            TypeError: `dataset` is a dict of splits or a stream.
            ValueError: It is a validation or test split, has mixed rows, repeated ids, no distribution, other labels,
                or no finite features.
        """
        check_trainable(dataset)
        if len(dataset) == 0:
            raise ValueError("The data set has no rows. Mend: give a training split with rows.")
        plain = undecoded(dataset)
        positions = row_positions(plain)
        # the same words are spoken in many recordings; other features tell these apart
        words_only = set(self.features or ()) <= {"text", "lexical"}
        ids = sorted(positions)
        order = np.array([positions[row_id] for row_id in ids], dtype=np.int64)
        pool = read_pool(plain, self.emotions, self._matrix(plain, order), ids, order, hash_clips=words_only)
        if not pool.usable.any():
            raise ValueError(
                f"No row has finite features ({', '.join(self.features or ())}). Mend: check the audio or the column."
            )
        if self.speakers == "different" and (pool.speakers < 0).all():
            raise ValueError("speakers='different' needs a column 'speaker'. Mend: add it, or take speakers='any'.")
        pairs = choose_pairs(pool, self)
        rows, ratios = self._rows(pool, pairs)
        report = self._report(pool, pairs, ratios)
        for text in report.warnings:
            logger.warning("%s", text)
        return MixPlan(rows, report, dataset, self.mixer())

    def augment(self, dataset: Dataset) -> Dataset:
        """Give the original rows and the mixed ones; the originals keep all of their columns.

        Args:
            dataset: As for :meth:`plan`.

        Returns:
            The data set with `mixed_from` and `mix_ratio` (null on original rows), originals first.

        Raises:
            TypeError, ValueError: As for :meth:`plan`.
        """
        plan = self.plan(dataset)
        return plan.joined(plan.map(num_proc=self.num_proc))

    def _matrix(self, dataset: Dataset, order: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scaled features (N, d) of the rows in `order`, by id, so that the order of the data set has no influence."""
        blocks = []
        is_sorted = bool((np.diff(order) == 1).all())  # then nothing is copied, which counts with a million rows
        for kind in self.features or ():
            values = feature_matrix(dataset, kind, self.backbone, self.num_proc)
            values = scale_features(values if is_sorted else values[order], self.metric)
            if len(self.features or ()) > 1 and self.metric == "standardised":
                values /= np.float32(np.sqrt(values.shape[1]))  # each block with the same weight, whatever its size
            blocks.append(values)
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def _rows(self, pool: Pool, pairs: Pairs) -> tuple[Dataset, NDArray[np.float64]]:
        import pyarrow as pa
        from datasets import Dataset

        first = [pool.ids[i] for i in pairs.first]
        second = [pool.ids[j] for j in pairs.second]
        ids = [mixed_id(self.seed, a, b, copy) for a, b, copy in zip(first, second, pairs.copy.tolist(), strict=True)]
        taken = set(ids) & set(pool.ids)
        if taken or len(set(ids)) < len(ids):
            raise ValueError(f"Ids of mixed rows are taken ({sorted(taken)[:3]}). Mend: choose another seed.")
        ratios = np.array([draw_ratio(self.seed, row_id, alpha=self.alpha) for row_id in ids], dtype=np.float64)
        table = pa.table(
            {
                "id": pa.array(ids, pa.string()),
                "id_i": pa.array(first, pa.string()),
                "id_j": pa.array(second, pa.string()),
                "mix_ratio": pa.array(ratios.astype(np.float32)),
                "seed": pa.array(np.full(len(ids), self.seed, dtype=np.int64)),
                "distance": pa.array(pairs.distance),
            }
        )
        return Dataset(table), ratios

    def _report(self, pool: Pool, pairs: Pairs, ratios: NDArray[np.float64]) -> PlanReport:
        size = len(pool.emotions)
        added = mix_distributions(pool.distributions[pairs.first], pool.distributions[pairs.second], ratios)
        before = pool.distributions.sum(axis=0)
        after = before + added.sum(axis=0)
        counts = np.bincount(pool.dominant, minlength=size)
        uses = np.bincount(np.concatenate([pairs.first, pairs.second]), minlength=len(pool.ids))
        used = uses[uses > 0]
        # a row meets a source with a chance in proportion to its use
        uses_mean = float((used**2).sum() / used.sum()) if len(used) else 0.0
        mixed_counts = np.bincount(dominant(added), minlength=size) if len(added) else np.zeros(size, dtype=np.int64)
        found = pairs.neighbours
        balance = balance_vector(self.balance, pool.emotions)
        report = PlanReport(
            emotions=list(pool.emotions),
            rows_before=len(pool.ids),
            rows_added=len(ratios),
            mass_before=before.tolist(),
            mass_after=after.tolist(),
            counts_before=counts.tolist(),
            counts_after=(counts + mixed_counts).tolist(),
            balance=balance.tolist(),
            sources=len(used),
            uses_mean=uses_mean,
            uses_most=int(used.max(initial=0)),
            unmet=pairs.unmet,
            left_out=pool.left_out,
            index=found.index if found is not None else "exact",
            recall=found.recall if found is not None else None,
            settings=self.settings(),
        )
        report.warnings = redundancy_warnings(report, None if isinstance(self.target, Mapping) else balance)
        report.warnings += [f"the target of {name} is not reached: {reason}" for name, reason in pairs.unmet.items()]
        return report
