"""`MixPlan`: who is mixed with whom and in which proportion, decided before any audio is touched."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cache import cache_place
from .mixed_dataset import MIX_AUDIO, RowMixer, mixed_features, stored_features
from .mixing import BetweenClassMixer, Mixer
from .plan_report import PlanReport
from .pool import row_positions

if TYPE_CHECKING:
    from datasets import Dataset

    from .lazy import LazyMixer

__all__ = ["MixPlan"]

logger = logging.getLogger(__name__)

_METADATA = b"hf_emo_dist.mix_plan"


class MixPlan:
    """A plan: a small data set of pairs, which can be looked at, saved, and carried out with :meth:`map`.

    Attributes:
        rows: ``datasets.Dataset`` with the columns `id` (of the mixed row), `id_i`, `id_j`, `mix_ratio` (λ, the share of `id_i`), `seed`
            and `distance` (of the two, in the scaled features); sorted by `id_i`.
        report: Class mass before and after, and warnings.
        dataset: What the plan was made for.
        mixer: Of :meth:`map`, unless another one is given.

    Example:
        >>> plan = DiMEAug(seed=0).plan(dataset)  # doctest: +SKIP
        >>> print(plan.report)  # doctest: +SKIP
        >>> mixed = plan.map(BetweenClassMixer(lengths="loop"), num_proc=4)  # doctest: +SKIP
    """

    def __init__(self, rows: Dataset, report: PlanReport, dataset: Dataset, mixer: Mixer | None = None) -> None:
        self.rows, self.report, self.dataset = rows, report, undecoded(dataset)
        self.mixer: Mixer = mixer or BetweenClassMixer()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Any:
        return iter(self.rows)

    def __getitem__(self, key: Any) -> Any:
        return self.rows[key]

    def __repr__(self) -> str:
        return f"MixPlan({len(self.rows)} mixed rows of {self.report.sources} sources, from {len(self.dataset)} utterances)"

    @property
    def seed(self) -> int:
        """Of all draws."""
        return int(self.report.settings.get("seed", 0))

    @property
    def alpha(self) -> float:
        """λ is drawn from Beta(alpha, alpha)."""
        return float(self.report.settings.get("alpha", 1.0))

    def save(self, path: str | Path) -> Path:
        """Writes the plan and its report as one Parquet file, and returns its path.

        Raises:
            OSError: The file cannot be written.
        """
        import pyarrow.parquet as pq

        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        table = self.rows.with_format("arrow")[:]
        about = json.dumps(self.report.to_dict()).encode()
        part = target.with_name(f".{target.name}.part")
        pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), _METADATA: about}), part)
        part.replace(target)
        return target

    @classmethod
    def load(cls, path: str | Path, dataset: Dataset, mixer: Mixer | None = None) -> MixPlan:
        """Reads a plan that :meth:`save` wrote, for the data set that it was made for; the order of its rows may be another.

        Raises:
            ValueError: The file is no plan, or the data set lacks a source; names it.
            OSError: The file cannot be read.
        """
        import pyarrow.parquet as pq
        from datasets import Dataset

        table = pq.read_table(path)
        about = (table.schema.metadata or {}).get(_METADATA)
        if about is None:
            raise ValueError(f"{path} is not a plan of DiMEAug. Mend: give a file that MixPlan.save wrote.")
        plan = cls(Dataset(table), PlanReport.from_dict(json.loads(about)), dataset, mixer)
        plan.positions()
        return plan

    def positions(self) -> tuple[list[int], list[int]]:
        """Row numbers of the sources in the data set, (n,) each.

        Raises:
            ValueError: The data set lacks a source.
        """
        known = row_positions(self.dataset)
        pairs = []
        for name in ("id_i", "id_j"):
            ids = self.rows[name][:]
            missing = [row_id for row_id in ids if row_id not in known]
            if missing:
                raise ValueError(
                    f"The data set lacks {len(set(missing))} sources of the plan (first: {missing[0]!r}). "
                    "Mend: give the data set that the plan was made for, or plan anew."
                )
            pairs.append([known[row_id] for row_id in ids])
        return pairs[0], pairs[1]

    def map(self, mixer: Mixer | None = None, num_proc: int | None = None, space: str = "waveform") -> Dataset:
        """Carries the plan out: the mixed rows as a data set of the data contract, in the order of the plan.

        A row whose clips cannot be mixed (silent, unreadable) is left out and named in the log; the others go on. The rows are written to
        the cache of ``datasets`` as they are made, so memory does not grow with their number, and a second call reads them back.

        Args:
            mixer: ``mixer(first (T1,), second (T2,), ratio) -> (T,)``, 16 kHz. Default: the plan's own.
            num_proc: Processes; the audio does not depend on it.
            space: ``"waveform"``; or ``"embedding"``, which keeps both clips, in `audio` and `mix_audio`, for a trainer with
                ``mix_embeddings=True``.

        Returns:
            The mixed rows, with the data set's columns and `mixed_from`, `mix_ratio`.

        Raises:
            ValueError: The data set lacks a source.
        """
        return self.map_with_problems(mixer, num_proc, space)[0]

    def map_with_problems(
        self, mixer: Mixer | None = None, num_proc: int | None = None, space: str = "waveform"
    ) -> tuple[Dataset, dict[str, str]]:
        """As :meth:`map`; also what could not be mixed: id of the mixed row to the reason."""
        from datasets import Features, Value

        chosen = None if _is_embedding(space) else (mixer or self.mixer)
        features = mixed_features(self.dataset.features, pairs=chosen is None)
        stored = Features({**stored_features(features), "problem": Value("string")})
        first, second = self.positions()
        work = self.rows.select_columns(["id", "mix_ratio"]).add_column("i", first).add_column("j", second)
        columns = [name for name in features if name not in ("mixed_from", "mix_ratio")]
        if len(work):
            made = work.map(
                RowMixer(self.dataset, chosen, columns),
                batched=True,
                batch_size=16,
                writer_batch_size=64,
                num_proc=num_proc if num_proc and num_proc > 1 and len(work) > 1 else None,
                remove_columns=work.column_names,
                features=stored,
                **self.place(chosen, features),
                desc="mixing",
            )
        else:
            made = _empty(stored)
        problems = {i: p for i, p in zip(made["id"], made["problem"], strict=True) if p is not None}
        if problems:
            made = made.select([place for place, problem in enumerate(made["problem"]) if problem is None])
            first_id, reason = next(iter(problems.items()))
            logger.warning(
                "%d of %d rows could not be mixed and are left out: %s. %s: %s",
                len(problems),
                len(work),
                ", ".join(list(problems)[:10]),
                first_id,
                reason,
            )
        return as_contract(made.remove_columns("problem"), features), problems

    def lazy(self, mixer: Mixer | None = None, space: str = "waveform", perturbation: Any = None) -> LazyMixer:
        """Mixes rows when they are read, and draws λ anew each epoch: see :class:`~hf_emo_dist.augmentation.lazy.LazyMixer`."""
        from .lazy import LazyMixer

        return LazyMixer(self, None if _is_embedding(space) else (mixer or self.mixer), perturbation)

    def place(self, mixer: Mixer | None, *others: object) -> dict[str, str]:
        """Where rows are kept that are made by this plan with a mixer: arguments of ``Dataset.map``."""
        from datasets.fingerprint import Hasher

        return cache_place(
            "mixed rows", 1, self.rows._fingerprint, self.dataset._fingerprint, Hasher.hash(mixer), *others
        )


def _is_embedding(space: str) -> bool:
    if space not in ("waveform", "embedding"):
        raise ValueError(f"`space` must be 'waveform' or 'embedding', got {space!r}.")
    return space == "embedding"


def undecoded(dataset: Dataset) -> Dataset:
    """The data set with its audio left as bytes and no other format.

    Raises:
        ValueError: There is no `audio` column of the type `Audio`.
    """
    from datasets import Audio

    feature = dataset.features.get("audio")
    if not isinstance(feature, Audio):
        raise ValueError(
            f"Column 'audio' must be of the type Audio, it is {feature}. Mend: open the data with load_emotion_dataset."
        )
    plain = dataset.with_format(None)
    if feature.decode:
        plain = plain.cast_column("audio", Audio(sampling_rate=feature.sampling_rate, decode=False))
    return plain


def as_contract(dataset: Dataset, features: Any) -> Dataset:
    """Names the audio columns of a data set that was made with :func:`stored_features` as what they are."""
    from datasets import Audio

    for name, feature in features.items():
        if isinstance(feature, Audio):
            dataset = dataset.cast_column(name, feature)
    return dataset.select_columns(list(features))


def _empty(features: Any) -> Dataset:
    from ..data.writing import build_dataset

    return build_dataset([], features)


def with_mix_columns(dataset: Dataset, pairs: bool = False) -> Dataset:
    """Original rows with `mixed_from`, `mix_ratio` (and `mix_audio`) of null, ready to stand beside mixed ones."""
    import pyarrow as pa
    from datasets import Dataset, Features, concatenate_datasets

    features = mixed_features(dataset.features, pairs)
    names = ["mixed_from", "mix_ratio", *([MIX_AUDIO] if pairs else [])]
    dataset = dataset.remove_columns([name for name in names if name in dataset.column_names])
    added = Features({name: features[name] for name in names})
    schema = added.arrow_schema
    nulls = pa.table([pa.nulls(len(dataset), type=field.type) for field in schema], schema=schema)
    return concatenate_datasets([dataset, Dataset(nulls)], axis=1).select_columns(list(features))
