"""The model card: metadata that the Hub reads, and `model_card_template.md` filled from what is known."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...markdown import Safe, as_code, as_text, one_line, yaml_value
from .._renamed import renamed
from .model_facts import ModelFacts, gather_model_facts
from .rendering import render, with_mark, write_card
from .tables import (
    annotation_rows,
    combine_rows,
    count_text,
    fairness_tables,
    link,
    number_text,
    settings_text,
    temperature_rows,
    temperature_text,
)

logger = logging.getLogger(__name__)

METRICS = {
    "js_divergence": "Jensen-Shannon divergence, base 2",
    "bhattacharyya_coefficient": "Bhattacharyya coefficient",
    "log_likelihood_per_vote": "Log-likelihood a vote, nats",
    "accuracy": "Accuracy of the dominant emotion",
    "macro_f1": "Macro F1 of the dominant emotion",
}
PLOT_TITLES = {
    "reliability.png": "Reliability: human shares against predicted ones",
    "predicted_against_target.png": "Predicted against human shares",
    "by_group.png": "JS divergence by group",
}
PREDICTORS = {"model": "this model", "mean_of_training_targets": "mean of the training targets", "uniform": "uniform"}
WEIGHTS = {
    "full": "all in one checkpoint",
    "merged": "LoRA, folded into the backbone's weights",
    "adapter": "LoRA and the head, beside the backbone",
}


@renamed(licence="license")
def write_model_card(
    checkpoint: str | Path,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    repo_id: str | None = None,
    scores: str | os.PathLike[str] | None = None,
    dataset: str | os.PathLike[str] | None = None,
    base_model: str | None = None,
    license: str | None = None,
    layout: str | None = None,
) -> bool:
    """Write the card of a checkpoint's folder into its `README.md`, and say whether that was done.

    Args:
        checkpoint: A local folder: full, merged or adapter.
        output: Another file than the folder's `README.md`.
        overwrite: Replace a README that somebody has edited, which is kept otherwise.
        repo_id: Where the checkpoint will be on the Hub.
        scores: A `scores.json`; by default the one in the folder. Plots are taken from beside it.
        dataset: Folder or Hub id of the data set, where the training did not record it.
        base_model: Hub id of the backbone, where the training used a local copy of it.
        license: Of the checkpoint; by default worked out from those of base model and data.
        layout: `merged` says that a full checkpoint was an adapter once.

    Returns:
        Whether the card was written; False where an edited README was kept.

    Raises:
        OSError: The folder is no checkpoint, or `scores` is not there.
        ValueError: A file in it is no JSON.

    Example:
        >>> write_model_card("my_model", repo_id="you/my-model")  # doctest: +SKIP
        True
    """
    file = Path(output) if output is not None else Path(checkpoint) / "README.md"
    facts = gather_model_facts(
        checkpoint,
        repo_id=repo_id,
        scores=scores,
        dataset=dataset,
        base_model=base_model,
        license=license,
        layout=layout,
    )
    written = write_card(file, model_card(facts), overwrite)
    if not written:
        logger.warning("%s was edited by hand and is kept; to write it anew ask for overwrite", file)
    return written


def model_card(facts: ModelFacts) -> str:
    """The whole README, with a mark at its end by which an unedited card is known again.

    >>> "`angry`, `sad`" in model_card(ModelFacts("mine", ("angry", "sad")))
    True
    """
    data_license = facts.data.get("license") or facts.preparation.get("source", {}).get("license")
    return with_mark(
        render(
            "model_card_template.md",
            facts=facts,
            metadata=Safe(model_metadata(facts).to_yaml()),
            model_id=Safe(facts.repo_id or "path/to/this/folder"),
            dataset_link=link(facts.dataset_id, "datasets/")
            or (as_code(facts.dataset) if facts.dataset else "not recorded"),
            base_link=link(facts.base_id)
            or Safe(f"{as_code(facts.base)}, a local folder" if facts.base else "not recorded"),
            human_votes=count_text(facts.votes("human")),
            synthetic_votes=count_text(facts.votes("synthetic"), none="none"),
            annotation=annotation_rows(facts.preparation.get("annotation", {})),
            combined=combine_rows(facts.preparation.get("combine", {})),
            mixing=settings_text(facts.preparation.get("dime_aug", {})),
            weights=Safe(WEIGHTS[facts.layout] + (f" ({settings_text(facts.lora)})" if facts.lora else "")),
            head=settings_text(facts.head),
            loss=settings_text({key: value for key, value in facts.model.items() if value is not None}),
            duration=_duration(facts.train_seconds),
            scored_on=as_code(facts.dataset) if facts.dataset else "the data set",
            predictors=list(_predictors(facts.scores)),
            plot_titles=PLOT_TITLES,
            temperature=temperature_text(facts.calibration),
            temperature_rows=temperature_rows(facts.scores),
            fairness=fairness_tables(facts.scores),
            license_text=Safe(
                f"{as_code(facts.license)}: given by whoever wrote this card, or worked out by rule from the "
                f"backbone's licence ({as_code(facts.base_license) if facts.base_license else 'unknown'}) and the "
                f"data's ({as_code(data_license) if data_license else 'unknown'}); no legal advice."
            ),
        )
    )


def model_metadata(facts: ModelFacts) -> Any:
    """The card's metadata as `huggingface_hub.ModelCardData`; nothing in it can end the YAML block."""
    from huggingface_hub import ModelCardData

    tags = ["hf-emo-dist", "speech-emotion-recognition", "label-distribution", "safetensors"]
    tags += ["peft", "lora"] if facts.layout == "adapter" else []
    tags += [word.replace(" ", "-") + ("-votes" if " " not in word else "") for word in facts.warnings]
    values: dict[str, Any] = {
        "language": facts.languages or None,
        "license": facts.license,
        "library_name": "hf-emo-dist",
        "pipeline_tag": "audio-classification",
        "tags": tags,
        "datasets": [facts.dataset_id] if facts.dataset_id else None,
        "base_model": facts.base_id,
        "base_model_relation": ("adapter" if facts.layout == "adapter" else "finetune") if facts.base_id else None,
        "emotions": list(facts.emotions),
        "vote_source": facts.vote_source,
    }
    results = list(_results(facts))
    if results:
        values |= {"metrics": list(dict.fromkeys(result.metric_type for result in results))}
    data = ModelCardData(**yaml_value({key: value for key, value in values.items() if value is not None}))
    if results:
        data.model_name, data.eval_results = one_line(facts.name), results
    return data


def _results(facts: ModelFacts) -> Iterable[Any]:
    from huggingface_hub import EvalResult

    name = facts.dataset or "data set that is not named"
    for word in facts.warnings:
        name += f" ({word}{'' if ' ' in word else ' votes'})"
    for metric, title in METRICS.items():
        value = facts.scores.get(metric)
        if isinstance(value, int | float) and math.isfinite(value):
            yield EvalResult(
                task_type="audio-classification",
                task_name="Speech emotion distribution",
                dataset_type=one_line(facts.dataset_id or "local"),
                dataset_name=one_line(name),
                dataset_split=one_line(facts.scores["split"]) if facts.scores.get("split") else None,
                metric_type=metric,
                metric_name=title,
                metric_value=float(value),
            )


def _predictors(scores: Mapping[str, Any]) -> Iterable[list[str]]:
    predictors = scores.get("predictors") or ({"model": scores} if scores else {})
    for name, values in predictors.items():
        title = PREDICTORS.get(name) or as_text(str(name).replace("_", " "))
        numbers = [number_text(values.get(key)) for key in list(METRICS)[1:]]
        yield [f"**{title}**" if name == "model" else title, _interval(values), *numbers]


def _interval(values: Mapping[str, Any]) -> str:
    value = values.get("js_divergence")
    known = [bound for bound in values.get("js_interval") or () if isinstance(bound, int | float)]
    return number_text(value) + (f" [{known[0]:.3f}, {known[1]:.3f}]" if len(known) == 2 else "")


def _duration(seconds: float | None) -> str:
    if not seconds:
        return ""
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
