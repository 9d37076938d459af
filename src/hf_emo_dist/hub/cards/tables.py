"""Parts that the cards of models and of data sets share: annotators, settings and counts as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...markdown import Safe, as_code, as_text


def annotation_rows(about: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Rows (title, Markdown) about synthetic annotators, from the part `annotation` of `preparation.json`."""
    if not about:
        return []
    answered = about.get("model_versions") or []
    failures = about.get("failures") or {}
    version, preset = as_code(about.get("prompt_version") or "unknown"), as_code(about.get("preset") or "none")
    # A panel may name several models: each has members of its own.
    models = [about, *(other for other in about.get("others") or () if isinstance(other, Mapping))]
    rows: list[tuple[str, Any]] = []
    for one in models:
        panel = one.get("panel") or []
        model, backend = (as_code(one.get(key) or "unknown") for key in ("model", "backend"))
        told = f"{len(panel)} annotators: {'; '.join(map(_member, panel[:20]))}" if panel else "not recorded"
        rows.append(("Annotator model", f"{model} through {backend}"))
        rows.append(("Panel" if len(models) == 1 else f"Panel of {model}", told))
        if isinstance(one.get("weights"), Mapping):
            facts = {name: value for name, value in one["weights"].items() if value is not None}
            rows.append(("Weights" if len(models) == 1 else f"Weights of {model}", settings_text(facts)))
    rows.insert(1, ("Version that answered", ", ".join(as_code(name) for name in answered) or "not recorded"))
    rows.insert(2, ("Prompts", f"version {version}, preset {preset}"))
    if about.get("num_requests") is not None:
        asked, voted = as_text(about["num_requests"]), as_text(about.get("num_votes", "unknown"))
        failed = settings_text(failures) if isinstance(failures, dict) and failures else as_text(failures or "none")
        rows.append(("Requests", f"{asked}; votes: {voted}; failures: {failed}"))
    read = about.get("read_outs")
    if isinstance(read, Mapping) and isinstance(read.get("mean"), int | float):
        rows.append(
            (
                "Label probabilities",
                f"were read off the model and not sampled, {as_text(read.get('number', 'unknown'))} times. Of its "
                f"probability {_number(read['mean'], 3)} was on the labels on average, "
                f"{_number(read.get('least', math.nan), 3)} at the least, under 0.5 in "
                f"{as_text(read.get('under_half', 'unknown'))}; the rest went to other answers, and distributions are "
                "over the labels alone",
            )
        )
    partial = about.get("partial")
    if isinstance(partial, Mapping):
        clips = partial.get("clips_by_votes") or {}
        told = ", ".join(f"{as_text(number)} on {as_text(count)} clips" for number, count in clips.items())
        wanted, why = as_text(partial.get("wanted_a_clip", "unknown")), as_text(str(partial.get("why") or "unknown"))
        rows.insert(0, ("NOT COMPLETE", f"The run was cut short: {why} Votes, of {wanted} wanted: {told}."))
    if isinstance(about.get("cost_usd"), int | float):
        rows.append(("Cost of annotating", f"{about['cost_usd']:.2f} USD"))
    for one in models:
        heard = one.get("hearing_test")
        if isinstance(heard, Mapping) and heard.get("verdict"):
            who = "the model" if len(models) == 1 else as_code(one.get("model") or "unknown")
            rows.append((f"Does {who} hear?", _heard(heard)))
    return [(title, Safe(text)) for title, text in rows]


def _heard(test: Mapping[str, Any]) -> str:
    """What a hearing test found, with its figures."""
    verdict = str(as_text(test["verdict"]))
    if test.get("reason"):
        verdict += f" ({as_text(test['reason'])})"
    shares = test.get("agreement")
    if not isinstance(shares, Mapping) or not isinstance(shares.get("own"), int | float):
        return verdict
    told = {"own": "its own audio", "other": "another clip's", "silence": "silence"}
    parts = [f"{_number(shares[name], 2)} with {words}" for name, words in told.items() if name in shares]
    p_value = test.get("p_value")
    p_text = f", p = {_number(p_value, 2)}" if isinstance(p_value, int | float) else ""
    clips = as_text(test.get("clips", "unknown"))
    return f"{verdict}{p_text}: agreement with other answers about a clip {', '.join(parts)} ({clips} clips)"


def _member(member: Any) -> str:
    if not isinstance(member, dict):
        return as_code(member)
    parts = [str(member[key]) for key in ("focus", "mode") if member.get(key)]
    if member.get("temperature") is not None:
        parts.append(f"temperature {member['temperature']}")
    return as_code(", ".join(parts))


#: What targets are, by the method that `preparation.json` names.
_METHODS = {
    "posterior": "By a Dirichlet posterior: human votes, counted one by one, beside a prior that the annotators' "
    "answers make, for what these were measured to be worth",
    "weighted": "Human votes, counted one by one, beside a prior and synthetic votes of one weight",
    "human": "There are no synthetic votes: the target is the distribution of the human votes",
}
_POOLED = (
    "Pooled one for one, as in arXiv 2601.14620: on CREMA-D's votes this was measured to make worse targets than the "
    "human votes alone"
)
_POOL_WEIGHTS = ("human_weight", "synthetic_weight", "distribution_weight")


def combine_rows(about: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Rows (title, Markdown) about how votes became targets, from the part `combine` of `preparation.json`."""
    title = "How votes were combined"
    method = about.get("method")
    if method == "pool" or (method is None and set(about) & set(_POOL_WEIGHTS)):  # of data before there were methods
        values = about if method is None else about.get("settings") or {}
        weights = {name: value for name, value in values.items() if name in _POOL_WEIGHTS and value != 1.0}
        if weights:
            return [(title, Safe(f"Pooled, not one for one: {settings_text(weights)}"))]
        return [(title, Safe(f"{_POOLED}."))]
    if method not in _METHODS:
        return [(title, settings_text(about))] if about else []
    told = _METHODS[method]
    if method == "weighted":
        told += f" ({_number(about.get('weight'))}, {'given' if about.get('weight_given') else 'fitted'})"
    rows: list[tuple[str, Any]] = [(title, f"{told}.")]
    learnt = about.get("fitted_on")
    if isinstance(learnt, Mapping):
        where = f" of split {as_code(learnt['split'])}" if learnt.get("split") else ""
        speakers = f" ({as_text(learnt['speakers'])} speakers)" if learnt.get("speakers") else ""
        number, votes = as_text(learnt.get("rows", "unknown")), _number(learnt.get("votes"), 6)
        rows.append(("Fitted on", f"{number} rows{where}{speakers} with {votes} human votes"))
    data = ", ".join(map(as_text, about.get("data") or ()))
    aside = f" ({data})" if data else ""
    for name, worth in (about.get("worth") or {}).items():
        answers = "; ".join(
            f"{as_text(number)} answer{'s' * (number != '1')} {_with_interval(found)}"
            for number, found in worth.items()
        )
        rows.append(("What answers are worth", f"{as_code(name)}, in human votes: {answers}{aside}"))
    if about.get("verdict"):
        rows.append(("Do they help?", f"{as_text(about['verdict'])}{aside}"))
    rows += [("Mind", as_text(note)) for note in about.get("notes") or ()]
    return [(name, Safe(text)) for name, text in rows]


def _number(value: Any, digits: int = 3) -> str:
    return f"{value:,.{digits}g}" if isinstance(value, int | float) and math.isfinite(value) else as_text(value)


def _with_interval(found: Any) -> str:
    values = [number for number in found if isinstance(number, int | float)] if isinstance(found, list | tuple) else []
    if not values:
        return "unknown"
    return f"{values[0]:.2f}" + (f" [{values[1]:.2f}, {values[2]:.2f}]" if len(values) == 3 else "")


#: What the card shows of a temperature and of groups.
_SCORES = {
    "js_divergence": "JS divergence",
    "bhattacharyya_coefficient": "Bhattacharyya",
    "log_likelihood_per_vote": "log-likelihood a vote (nats)",
    "expected_calibration_error": "calibration error",
}


def temperature_text(calibration: Mapping[str, Any]) -> Safe | None:
    """What temperature a checkpoint keeps, and on whose votes it was fitted."""
    value = calibration.get("temperature")
    if not isinstance(value, int | float):
        return None
    votes, rows = _number(calibration.get("votes"), 6), as_text(calibration.get("rows", "unknown"))
    parts = [f"{votes} human votes of {rows} rows"]
    if calibration.get("speakers"):
        parts.append(f"{as_text(calibration['speakers'])} speakers")
    for key in ("split", "dataset"):
        if calibration.get(key):
            parts.append(f"{'data set' if key == 'dataset' else key} {as_code(calibration[key])}")
    notes: list[str] = [as_text(note) for note in calibration.get("notes") or ()]
    likelihood = calibration.get("log_likelihood_per_vote") or {}
    if likelihood:
        before, after = (number_text(likelihood.get(key)) for key in ("before", "after"))
        notes.insert(0, f"their log-likelihood a vote, before and after: {before}, {after} nats")
    return Safe("; ".join([f"{value:.3f}, fitted on {', '.join(parts)}", *notes]))


def temperature_rows(scores: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the scores before and after the temperature, headings first; none where it was not scored."""
    found = scores.get("temperature") or {}
    if not found.get("before") or not found.get("after"):
        return []
    rows = [["", *_SCORES.values()]]
    for title, key in (("as predicted", "before"), ("at the temperature", "after")):
        rows.append([title, *(number_text(found[key].get(name)) for name in _SCORES)])
    return rows


def fairness_tables(scores: Mapping[str, Any]) -> list[tuple[Safe, list[list[str]], list[Safe]]]:
    """For each column that was scored by: its name, a table (headings, groups, the gap), and notes."""
    tables = []
    for column, found in (scores.get("by") or {}).items():
        rows = [["group", "utterances", "speakers", *_SCORES.values(), "JS of the mean predictor"]]
        for name, group in (found.get("groups") or {}).items():
            values = group.get("scores") or {}
            numbers = [group.get(key) for key in ("num_examples", "num_speakers")]
            counts = ["-" if number is None else as_text(number) for number in numbers]
            cells = [_estimate_text(values.get(score)) for score in _SCORES]
            rows.append([as_text(name), *counts, *cells, number_text(group.get("mean_predictor"))])
        gap = found.get("gap") or {}
        if gap:
            cells = [
                f"{_estimate_text(gap[score])} ({as_text(gap[score].get('best'))} best, "
                f"{as_text(gap[score].get('worst'))} worst)"
                if score in gap
                else "-"
                for score in _SCORES
            ]
            rows.append(["**gap**", "", "", *cells, ""])
        tables.append((as_code(column), rows, [as_text(note) for note in found.get("notes") or ()]))
    return tables


def _estimate_text(estimate: Mapping[str, Any] | None) -> str:
    value, low, high = ((estimate or {}).get(key) for key in ("value", "low", "high"))
    bounds = f" [{low:.3f}, {high:.3f}]" if isinstance(low, int | float) and isinstance(high, int | float) else ""
    return number_text(value) + bounds


def settings_text(values: Mapping[str, Any]) -> Safe:
    """Names and values in a row, such as `preset paper, weight 1`."""
    return Safe(
        ", ".join(f"{as_text(str(key).replace('_', ' '))} {as_code(_plain(value))}" for key, value in values.items())
    )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def link(name: str | None, prefix: str = "") -> Safe | None:
    """A link to a repository on the Hub, where `name` is the id of one (see `markdown.hub_id`)."""
    return Safe(f"[{name}](https://huggingface.co/{prefix}{name})") if name else None  # a valid id needs no escape


def count_text(count: int | None, none: str = "not recorded") -> str:
    """A count with thousands apart."""
    return none if count is None else f"{count:,}"


def number_text(value: Any) -> str:
    """A figure with three decimals, a dash where there is none."""
    return f"{value:.3f}" if isinstance(value, int | float) and math.isfinite(value) else "-"
