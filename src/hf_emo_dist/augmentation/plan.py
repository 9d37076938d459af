"""`MixPlan`: who is mixed with whom and in which proportion, decided before any audio is touched."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.intact import BrokenFileError, read_parquet
from ..data.output import output_file
from .mixed_dataset import MIX_COLUMNS, RowMixer, cached_map, mixed_features, undecoded, with_mix_columns
from .mixing import BetweenClassMixer, Mixer
from .plan_report import PlanReport
from .pool import row_positions

if TYPE_CHECKING:
    from datasets import Dataset

    from .lazy import LazyMixer
    from .perturbation import WaveformPerturbation

logger = logging.getLogger(__name__)

_METADATA = b"hf_emo_dist.mix_plan"
_PLAN_AGAIN = "plan again: DiMEAug(...).plan(dataset).save(path)."


class MixPlan:
    """A plan: a small data set of pairs, which can be looked at, saved, and carried out with :meth:`map`.

    Attributes:
        rows: ``datasets.Dataset`` with the columns `id` (of the mixed row), `id_i`, `id_j`, `mix_ratio` (λ, the share
            of `id_i`), `seed` and `distance` (of the two, in the scaled features); sorted by `id_i`.
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
        # λ is drawn by the seed, from Beta(alpha, alpha)
        self.seed, self.alpha = int(report.settings.get("seed", 0)), float(report.settings.get("alpha", 1.0))

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Any:
        return iter(self.rows)

    def __getitem__(self, key: Any) -> Any:
        return self.rows[key]

    def __repr__(self) -> str:
        about = f"{len(self.rows)} mixed rows of {self.report.sources} sources"
        return f"MixPlan({about}, from {len(self.dataset)} utterances)"

    def save(self, path: str | Path) -> Path:
        """Write the plan and its report as one Parquet file.

        Returns:
            Its path.

        Raises:
            OSError: The file cannot be written.
        """
        import pyarrow.parquet as pq

        table = self.rows.with_format("arrow")[:]
        about = json.dumps(self.report.to_dict()).encode()
        with output_file(path) as part:
            pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), _METADATA: about}), part)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, dataset: Dataset, mixer: Mixer | None = None) -> MixPlan:
        """Read a plan that :meth:`save` wrote.

        Args:
            path: The file.
            dataset: What the plan was made for; the order of its rows may be another.
            mixer: Of :meth:`map`. Default: that of the preset ``"default"``.

        Raises:
            ValueError: The file is no plan, or the data set lacks a source; names it.
            BrokenFileError: (A ValueError.) The file is damaged.
            OSError: The file cannot be read.
        """
        from datasets import Dataset

        table = read_parquet(path, _PLAN_AGAIN)
        about = (table.schema.metadata or {}).get(_METADATA)
        if about is None:
            raise ValueError(f"{path} is not a plan of DiMEAug. Mend: give a file that MixPlan.save wrote.")
        try:
            report = PlanReport(**json.loads(about))
        except (ValueError, TypeError) as error:
            raise BrokenFileError(path, f"its report cannot be read: {error}", _PLAN_AGAIN) from error
        plan = cls(Dataset(table), report, dataset, mixer)
        plan.positions()  # a source that is not there is missed now, not at the first row
        return plan

    def map(self, mixer: Mixer | None = None, num_proc: int | None = None) -> Dataset:
        """Carry the plan out: the mixed rows as a data set of the data contract, in the order of the plan.

        A row whose clips cannot be mixed (silent, unreadable) is left out and named in the log; the others go on. The
        rows are written to the cache of ``datasets`` as they are made, so memory does not grow with their number, and a
        second call reads them back.

        Args:
            mixer: ``mixer(first (T1,), second (T2,), ratio) -> (T,)``, 16 kHz. Default: the plan's own.
            num_proc: Processes; the audio does not depend on it.

        Returns:
            The mixed rows, with the data set's columns and `mixed_from`, `mix_ratio`.

        Raises:
            ValueError: The data set lacks a source.
        """
        return self.map_with_problems(mixer, num_proc)[0]

    def map_with_problems(
        self, mixer: Mixer | None = None, num_proc: int | None = None
    ) -> tuple[Dataset, dict[str, str]]:
        """As :meth:`map`; also what could not be mixed: id of the mixed row to the reason."""
        made = self.made(mixer or self.mixer, num_proc)
        found = made["problem"][:]
        problems = {i: problem for i, problem in zip(made["id"], found, strict=True) if problem is not None}
        if problems:
            made = made.select([place for place, problem in enumerate(found) if problem is None])
            first_id, reason = next(iter(problems.items()))
            logger.warning(
                "%d of %d rows could not be mixed and are left out: %s. %s: %s",
                len(problems),
                len(self.rows),
                ", ".join(list(problems)[:10]),
                first_id,
                reason,
            )
        return self.as_contract(made), problems

    def positions(self) -> tuple[list[int], list[int]]:
        """Row numbers of the sources in the data set, (n,) each; raises a ValueError where one is not there."""
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

    def made(self, mixer: Mixer | None, num_proc: int | None = None, batch_size: int = 16) -> Dataset:
        """The mixed rows, in the order of the plan and kept in the cache, with a further column `problem`."""
        from datasets import Audio, Features, Value
        from datasets.fingerprint import Hasher

        from ..data.writing import build_dataset

        features = mixed_features(self.dataset.features)
        # Audio columns as the structs that they are stored as: encoding an Audio column would need torchcodec
        plain = {"bytes": Value("binary"), "path": Value("string")}
        stored = Features({name: plain if isinstance(kind, Audio) else kind for name, kind in features.items()})
        stored = Features({**stored, "problem": Value("string")})
        if not len(self.rows):
            return build_dataset([], stored)
        first, second = self.positions()
        work = self.rows.select_columns(["id", "mix_ratio"]).add_column("i", first).add_column("j", second)
        sources = self.dataset if mixer is not None else self.dataset.remove_columns("audio")
        function = RowMixer(sources, mixer, [name for name in features if name not in MIX_COLUMNS])
        depends_on = ("mixed rows", 1, self.rows._fingerprint, self.dataset._fingerprint, Hasher.hash(mixer), features)
        doing = "mixing" if mixer is not None else "planning rows"
        return cached_map(work, function, stored, depends_on, num_proc, batch_size, doing)

    def as_contract(self, made: Dataset) -> Dataset:
        """What `made` gave, ready for use: without `problem`, audio of the type `Audio` again."""
        from datasets import Audio

        features = mixed_features(self.dataset.features)
        for name, feature in features.items():
            if isinstance(feature, Audio):
                made = made.cast_column(name, feature)
        return made.select_columns(list(features))

    def joined(self, mixed: Dataset) -> Dataset:
        """The original rows and, after them, the mixed ones that :meth:`map` made."""
        from datasets import concatenate_datasets

        originals = with_mix_columns(self.dataset)
        return concatenate_datasets([originals, mixed.select_columns(originals.column_names)], split=self.dataset.split)

    def lazy(self, mixer: Mixer | None = None, perturbation: WaveformPerturbation | None = None) -> LazyMixer:
        """Mix rows when they are read, with λ drawn anew each epoch.

        Args:
            mixer: As for :meth:`map`.
            perturbation: Of all rows, after mixing.

        Returns:
            The transform, whose `dataset` and `iterable_dataset` give the rows.

        Raises:
            ValueError: The data set lacks a source.
        """
        from .lazy import LazyMixer  # a subclass of a class of `datasets`, which is imported when it is needed

        return LazyMixer(self, mixer or self.mixer, perturbation)
