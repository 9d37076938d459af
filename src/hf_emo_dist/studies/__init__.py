"""Studies of votes and models: each is a function with documented keyword arguments that returns a `Study`.

A study's options on the command line are its function's parameters, so that a new study is one module, one line in
`STUDIES` and one test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._lazy import lazy_attributes
from .._tables import resolve

if TYPE_CHECKING:
    from .study import Study

_NAMES = {"Plot": "study", "Sources": "vote_table", "Study": "study", "StudyTable": "study"}
__all__ = ["STUDIES", "study_of", *_NAMES]
__getattr__ = lazy_attributes(__name__, _NAMES)

#: study → (module of this room and function, what it does in one line)
STUDIES = {
    "saturation": (
        "saturation.saturation:saturation",
        "how many votes an utterance needs, over what independent draws would give",
    ),
    "strata": ("strata:strata", "scores by ambiguity, or by any column, and skill over predictors that hear nothing"),
    "folds": (
        "folds:folds",
        "what hears nothing scores on folds of speakers, by a protocol of the field or of one's own, and the floor",
    ),
    "agreement": ("agreement:agreement", "listeners among themselves, and each synthetic annotator with them"),
    "readout": (
        "readout.readout:readout",
        "read-outs of open models, votes drawn from them, stated distributions, and how many votes make a read-out",
    ),
    "bought": (
        "bought.bought:bought",
        "hear the clips, see human and synthetic votes side by side, read raw replies and failures",
    ),
    "worth": ("worth.worth:worth", "what synthetic votes are worth beside human ones: targets, annotators, next votes"),
    "diagnose": ("diagnose:diagnose", "signs of failure of annotations, augmentation and models, with advice"),
    "cross-corpus": ("cross_corpus:cross_corpus", "train on one corpus, score on another, with a label map"),
    "ablation": (
        "ablation.ablation:ablation",
        "targets from human, synthetic, pooled votes or a posterior, with and without DiME-Aug, over seeds",
    ),
}


def study_of(name: str) -> Callable[..., Study]:
    """The function of a study: one of `STUDIES`, or the user's own as `module:function`.

    Args:
        name: Key of `STUDIES`, or `module:function`.

    Raises:
        ValueError: There is no such study, or the user's module cannot be imported.
        ModuleNotFoundError: A study of the table needs an extra that is not installed; the message names it.

    Example:
        >>> study_of("agreement").__name__
        'agreement'
    """
    found: Callable[..., Study] = resolve(name, {key: place for key, (place, _) in STUDIES.items()}, "study", __name__)
    return found
