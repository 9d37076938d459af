"""`preparation.json`: how a data set was prepared, for the cards. It lies in the folder of the data.

Every part and every key may be missing; unknown keys are kept and not shown. `combine` has a `method`: ``posterior``;
``weighted``, with its ``weight``; ``pool``, with the weights of `combine_votes` among its settings; or ``human``, where
there was nothing to combine. `weights` are of a model on one's own machine, and `read_outs` of label probabilities: how
many, and how much of the model's probability was on the labels. `others` are there where a panel names several models,
`partial` where annotating was cut short, and `hearing_test` is null where none was made. Worth is in human votes and
gain in nats a vote, each with its 95 % interval over speakers, null where it is not known::

    {
      "annotation": {"backend": "gemini", "model": "…", "model_versions": ["…"], "prompt_version": "1",
                     "preset": "default", "panel": [{"focus": "…", "temperature": 1.0, "mode": "label"}, …],
                     "others": [{"backend": "openai", "model": "…", "panel": […], "hearing_test": {…}}],
                     "weights": {"revision": "…", "dtype": "bfloat16", "quantization": null},
                     "read_outs": {"number": 0, "mean": 0.9, "least": 0.4, "under_half": 0},
                     "num_requests": 0, "num_votes": 0, "failures": {"blocked": 0}, "cost_usd": 0.0,
                     "hearing_test": {"verdict": "hears", "p_value": 0.001, "clips": 20, "members": 1, "reason": "",
                                      "agreement": {"own": 0.9, "other": 0.2, "silence": 0.1, "other clips": 0.2},
                                      "answers": {"own": 60, "other": 20, "silence": 20}, "requests": 40, …},
                     "partial": {"why": "…", "wanted_a_clip": 10, "clips_by_votes": {"3": 80, "4": 20}}},
      "combine": {"method": "posterior", "settings": {"agreement": 0.35, "empty": "error", "seed": 0},
                  "fitted_on": {"split": "train", "rows": 0, "speakers": 0, "votes": 0.0, "votes_a_row": {"3": 0},
                                "answers": {"MODEL": {…}}, "left_out": 0},
                  "notes": ["…"], "data": ["simulated data"], "worth": {"MODEL": {"1": [0.4, 0.3, 0.5], "5": […]}},
                  "gain_over_human": [0.05, 0.03, 0.07], "verdict": "…"},
      "dime_aug": {"preset": "default", "num_mixed": 0, …},
      "source": {"dataset": "owner/name", "revision": "…", "license": "…", "vote_source": "…", "restricted": false}
    }
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .intact import BrokenFileError, read_json

PREPARATION_NAME = "preparation.json"
#: Beside it, the fitted `VoteCombiner` that made the targets.
COMBINER_NAME = "combiner.json"
_MEND = "prepare the data again; or remove it, and the cards say nothing of how it was prepared."
PARTS = ("annotation", "combine", "dime_aug", "source")


def backends_of(annotation: Mapping[str, Any]) -> set[str]:
    """The backends that the part `annotation` names: one, or those of a panel's models.

    >>> sorted(backends_of({"backend": "gemini", "others": [{"backend": "simulated"}]}))
    ['gemini', 'simulated']
    """
    asked = [annotation, *(other for other in annotation.get("others") or () if isinstance(other, Mapping))]
    return {str(one["backend"]) for one in asked if one.get("backend")}


def read_preparation(folder: str | Path) -> dict[str, dict[str, Any]]:
    """What `preparation.json` in a folder says, one mapping a part; empty where there is no such file."""
    file = Path(folder) / PREPARATION_NAME
    if not file.is_file():
        return {}
    values = read_json(file, _MEND)
    for part in PARTS:
        if not isinstance(values.get(part, {}), dict):
            raise BrokenFileError(file, f"{part!r} is no JSON object", _MEND)
    return {part: values[part] for part in PARTS if values.get(part)}
