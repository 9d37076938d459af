"""What a checkpoint's temperature does to its scores on speakers that it was not fitted on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..data.rows import speaker_groups
from ..data.targets import counted_votes, scored_matrix
from ..emotions import validate_emotions
from ..markdown import as_code, one_line
from ..modeling.calibration import fitted_on, without_speakers
from ..scores.divergences import jensen_shannon_divergence
from ..scores.likelihood import log_likelihood
from ..scores.summary import compute_scores
from ..scores.temperature import at_temperature
from .scoring import Bootstrap, difference_words

#: What the table shows, with its title.
SHOWN = {
    "js_divergence": "JS divergence",
    "bhattacharyya_coefficient": "Bhattacharyya",
    "log_likelihood_per_vote": "log-lik. a vote (nats)",
    "expected_calibration_error": "calibration error",
}


def temperature_report(
    predictions: ArrayLike,
    rows: Any,
    emotions: Sequence[str],
    calibration: Mapping[str, Any],
    *,
    applied: bool = False,
    score_column: str = "human_distribution",
    seed: int = 0,
    num_resamples: int = 2000,
) -> dict[str, Any]:
    """Score predictions before and after a checkpoint's temperature.

    Args:
        predictions: (N, K) at temperature 1.
        rows: N rows with `score_column` and, where known, `human_votes` and `speaker`.
        emotions: The columns of the predictions.
        calibration: What the checkpoint keeps, see `modeling.calibration.fit_calibration`.
        applied: Whether the scores that are reported beside these are those after it.
        score_column: The distribution column that is scored against.
        seed: Of the bootstrap.
        num_resamples: Resamples of speakers.

    Returns:
        `temperature`, `applied` and `fitted_on` (data set, split, rows, votes, speakers, notes); `shared_speakers`, how
        many of these rows' speakers it was fitted on; `before` and `after`, every score of `compute_scores`; and
        `difference`, after minus before with an interval over speakers, of JS divergence and log-likelihood a vote.
        Where speakers are shared, `after` and `difference` are None: they would be scores on what was fitted.

    Example:
        >>> human = [{"angry": 0.8, "sad": 0.2}, {"angry": 0.2, "sad": 0.8}]
        >>> rows = [{"id": str(i), "speaker": f"s{i}", "human_distribution": human[i]} for i in range(2)]
        >>> found = temperature_report(
        ...     [[0.94, 0.06], [0.06, 0.94]], rows, ["angry", "sad"], {"temperature": 2.0}, num_resamples=20)
        >>> found["before"]["js_divergence"] > 10 * found["after"]["js_divergence"]
        True
    """
    names = validate_emotions(emotions)
    references = scored_matrix(rows, names, score_column)
    counts, squares = counted_votes(rows, names)
    before = np.asarray(predictions, dtype=np.float64)
    shared = fitted_on(dict(calibration), rows)
    report: dict[str, Any] = {
        "temperature": calibration["temperature"],
        "applied": applied,
        "fitted_on": without_speakers(dict(calibration)),
        "shared_speakers": shared,
        "before": compute_scores(before, references, names, counts, rater_squares=squares),
        "after": None,
        "difference": None,
    }
    if shared:
        return report
    after = at_temperature(before, float(calibration["temperature"]))
    members, _ = speaker_groups(rows)
    bootstrap = Bootstrap(num_resamples, seed)
    js = [jensen_shannon_divergence(p, references, base=2) for p in (after, before)]
    difference = {"js_divergence": bootstrap.difference(js[0], js[1], members, bounds="js_divergence")}
    if counts is not None and counts.sum() > 0:
        (last, number), (first, _) = log_likelihood(after, counts), log_likelihood(before, counts)
        found = bootstrap.ratio(last - first, number, members)
        difference["log_likelihood_per_vote"] = {"difference": found.pop("value"), **found}
    scores = compute_scores(after, references, names, counts, rater_squares=squares)
    return {**report, "after": scores, "difference": difference}


def temperature_markdown(report: Mapping[str, Any] | None) -> str:
    """What `temperature_report` found, or that there is no temperature, in Markdown."""
    if report is None:
        return (
            "Temperature: none was fitted for this checkpoint (`hf-emo-dist temperature MODEL DATASET --split "
            "validation` does).\n"
        )
    about = report["fitted_on"]
    where = "on votes of a data set that was not recorded"
    if about.get("rows"):
        split = f" of split {as_code(about['split'])}" if about.get("split") else ""
        speakers = f" and {about['speakers']} speakers" if about.get("speakers") else ""
        where = f"on the {about['votes']:g} human votes of {about['rows']} rows{speakers}{split}"
        where += f" of {as_code(about['dataset'])}" if about.get("dataset") else ""
    notes = f" ({one_line('; '.join(about['notes']))})" if about.get("notes") else ""
    lines = [
        f"Temperature {report['temperature']:.3f}, fitted {where}{notes}; "
        f"{'applied' if report['applied'] else 'not applied'} in the tables above.",
    ]
    if report["shared_speakers"]:
        lines.append(
            f"It was fitted on {report['shared_speakers']} of the speakers that are scored here, so that there are no "
            "scores with it."
        )
        return "\n".join(lines) + "\n"
    shown = [name for name in SHOWN if name in report["before"]]
    lines += [
        "",
        f"| | {' | '.join(SHOWN[name] for name in shown)} |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for title, scores in (("as predicted", report["before"]), ("at the temperature", report["after"])):
        cells = [f"{scores[name]:.3f}" if math.isfinite(scores.get(name, math.nan)) else "-" for name in shown]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    differences = [
        difference_words(report["difference"][name]) if name in report["difference"] else "" for name in shown
    ]
    lines.append(f"| difference | {' | '.join(differences)} |")
    return "\n".join(lines) + "\n"
