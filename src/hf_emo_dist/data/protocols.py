"""Protocols of the field: who is tested in which fold, and against what labels, so that figures can be held against
published ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._tables import resolve
from ..distributions import FloatArray
from ..scores.classes import smoothed_labels

#: What becomes of responses that came late, and of clips that are marked.
Kept = Literal["keep", "drop"]

# 1037, cremad-1037, or a clip of hers such as 1037_IWL_HAP_XX
_NUMBER = re.compile(r"(?:^|[^0-9])(\d{4})$|^(\d{4})_")


@dataclass(frozen=True)
class Protocol:
    """Folds of whole speakers, each tested once, and how labels are made of votes.

    Attributes:
        name: As it is asked for.
        source: Where it is from.
        corpus: Value of the column `corpus`.
        emotions: Its label set.
        speakers: For each fold the first and the last number of the speakers who are tested. Those of the next fold, in
            a circle, choose the model, and it learns from the others.
        rows: Column to the value that a row must have in it, where there is such a column.
        late_responses: Whether votes that came later than 10 s after the clip count.
        marked_clips: Whether clips count of which the corpus says that the raters heard something else.
        smoothing: Of `smoothed_labels`.
        decimals: To which its labels are rounded.
    """

    name: str
    source: str
    corpus: str
    emotions: tuple[str, ...]
    speakers: tuple[tuple[int, int], ...]
    rows: Mapping[str, str] = field(default_factory=dict)
    late_responses: Kept = "keep"
    marked_clips: Kept = "keep"
    smoothing: float = 0.05
    decimals: int = 6

    def fold_of(self, speakers: Sequence[Any], corpora: Sequence[Any] | None = None) -> NDArray[np.int64]:
        """The number of each row's fold, from 1, (N,), by who speaks; some folds may have no rows.

        Args:
            speakers: Who speaks in each row: a number, `cremad-1037`, or the name of a clip that begins with it.
            corpora: The column `corpus`, where there is one.

        Raises:
            ValueError: A speaker, or a corpus, is none of the protocol's; or only one fold has rows.

        Example:
            >>> EMO_SUPERB.fold_of(["cremad-1001", 1054, "1091_IEO_ANG_LO"]).tolist()
            [1, 3, 5]
        """
        others = sorted({str(name) for name in corpora or () if name is not None} - {self.corpus})
        if others:
            raise ValueError(
                f"{self.name} is a protocol of {self.corpus}, and there are rows of {', '.join(others[:5])}. Mend: "
                f"choose the rows of {self.corpus}, or make folds of your own with --num_folds or --fold_column."
            )
        known: dict[Any, int] = {}
        for speaker in speakers:
            if speaker not in known:
                known[speaker] = self.fold(speaker)
        folds = np.array([known[speaker] for speaker in speakers], dtype=np.int64)
        if len(np.unique(folds)) < 2:
            raise ValueError(
                f"All rows are of one fold of {self.name}, so that no other is left to learn from. Mend: give more "
                "speakers."
            )
        return folds

    def fold(self, speaker: Any) -> int:
        """The number of one speaker's fold, from 1; errors as for :meth:`fold_of`."""
        found = _NUMBER.search(str(speaker))
        number = int(found[1] or found[2]) if found else -1
        for place, (first, last) in enumerate(self.speakers, start=1):
            if first <= number <= last:
                return place
        raise ValueError(
            f"Speaker {speaker!r} is none of {self.corpus}'s, who are numbered {self.speakers[0][0]} to "
            f"{self.speakers[-1][1]} and by whom {self.name}'s folds are made. Mend: check the column of speakers, or "
            "make folds of your own with --num_folds or --fold_column."
        )

    def choosing_fold(self, fold: int, there: Sequence[int]) -> int:
        """The fold whose speakers choose the model that is tested on another: the next in a circle that has rows.

        >>> EMO_SUPERB.choosing_fold(5, [1, 2, 3, 4, 5]), EMO_SUPERB.choosing_fold(4, [1, 2, 3, 4])
        (1, 1)
        """
        number = len(self.speakers)
        return next(k for k in ((fold + step - 1) % number + 1 for step in range(1, number + 1)) if k in set(there))

    def labels(self, shares: ArrayLike) -> FloatArray:
        """Its labels (N, K) of the shares of the votes: smoothed, and rounded as in its files.

        >>> EMO_SUPERB.labels([[1.0, 5.0, 0.0, 0.0, 0.0, 0.0]] / np.float64(6)).tolist()[0][:3]
        [0.166667, 0.793333, 0.01]
        """
        return np.asarray(np.round(smoothed_labels(shares, self.smoothing), self.decimals))

    def differs(self, emotions: Sequence[str]) -> list[str]:
        """What must be said where the label set is another than the protocol's."""
        if set(emotions) == set(self.emotions):
            return []
        return [f"{len(emotions)} emotions where {self.name} has {len(self.emotions)}: not comparable with its figures"]


#: Wu et al. 2024, arXiv 2402.13018. The folds are those of its released label files, `labels_consensus_1.csv` to `_5`.
EMO_SUPERB = Protocol(
    name="emo_superb",
    source="EMO-SUPERB (Wu et al. 2024, arXiv 2402.13018)",
    corpus="cremad",
    emotions=("angry", "sad", "disgust", "fear", "neutral", "happy"),
    speakers=((1001, 1018), (1019, 1036), (1037, 1054), (1055, 1072), (1073, 1091)),
    rows=MappingProxyType({"modality": "voice"}),
)

#: protocol → (module of this room and name)
PROTOCOLS = {"emo_superb": "protocols:EMO_SUPERB"}


def protocol_of(name: str) -> Protocol:
    """A protocol of `PROTOCOLS`, or the user's own as `module:Name`.

    Args:
        name: Key of `PROTOCOLS`, or `module:Name` of a `Protocol`.

    Raises:
        ValueError: There is no such protocol, or the user's module cannot be imported.

    Example:
        >>> protocol_of("emo_superb").speakers[0]
        (1001, 1018)
    """
    found = resolve(name, PROTOCOLS, "protocol", __package__ or "hf_emo_dist.data")
    if not isinstance(found, Protocol):
        raise ValueError(f"{name!r} is no Protocol. Mend: name a hf_emo_dist.data.protocols.Protocol.")
    return found
