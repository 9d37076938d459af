"""What a model card says, gathered from the files that lie in a checkpoint's folder and beside its scores."""

from __future__ import annotations

import csv
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..._checkpoint_files import ADAPTER_CONFIG_NAME, CONFIG_NAME, PEFT_CONFIG_NAME, PROCESSOR_NAME, is_adapter
from ..._files import is_ordinary
from ..._lazy import missing_extra
from ...data.intact import read_json
from ...data.preparation_file import backends_of, read_preparation
from ...markdown import hub_id, last_part, one_line
from ..files import PLOTS

logger = logging.getLogger(__name__)

# What of the training arguments a reader needs to repeat a training
HYPERPARAMETERS = (
    "learning_rate", "head_learning_rate", "layer_decay", "lr_scheduler_type", "warmup_steps", "weight_decay",
    "max_grad_norm", "optim", "num_train_epochs", "max_steps", "per_device_train_batch_size",
    "max_audio_tokens_per_batch", "gradient_accumulation_steps", "bf16", "fp16", "balanced_sampling",
    "perturb_waveforms", "early_stopping_patience", "metric_for_best_model", "target_column", "score_column", "seed",
)  # fmt: skip
RECIPE = ("freeze", "freeze_audio_tower", "freeze_projector", "freeze_language_model", "load_in_4bit")
HEAD = ("pooling", "use_weighted_layer_sum", "average_frames", "head_hidden_size")
# Licences that known base models name on the Hub.
KNOWN_BASES = {
    "Qwen/Qwen2-Audio-7B": "apache-2.0",
    "Qwen/Qwen2-Audio-7B-Instruct": "apache-2.0",
    **{f"openai/whisper-{size}": "apache-2.0" for size in ("tiny", "tiny.en", "base", "small", "medium", "large-v3")},
    "facebook/hubert-large-ll60k": "apache-2.0",
    "facebook/wav2vec2-base": "apache-2.0",
    "facebook/w2v-bert-2.0": "mit",
}
# Naming the source, which a card does, is all that these ask of a model made from it.
_PERMISSIVE = frozenset((
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "odc-by", "pddl",
    "unlicense",
))  # fmt: skip
# What the product of these and a permissive one must carry: share-alike and non-commercial terms pass on.
_PASSED_ON = frozenset((
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "odbl",
))  # fmt: skip


@dataclass
class ModelFacts:
    """Everything that the template of the model card shows. What is not known is None or empty, and is left out."""

    name: str
    emotions: tuple[str, ...]  # in the order of the logits
    layout: str = "full"  # `full`, `merged` or `adapter`
    repo_id: str | None = None  # where it will be on the Hub
    backbone_type: str | None = None  # `model_type` of the backbone
    base: str | None = None
    base_id: str | None = None  # of a backbone that is on the Hub
    base_license: str | None = None
    license: str = "other"
    dataset: str | None = None
    dataset_id: str | None = None
    data: dict[str, Any] = field(default_factory=dict)  # of `training_facts.json`
    preparation: dict[str, dict[str, Any]] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    head: dict[str, Any] = field(default_factory=dict)  # what of it is not the paper's
    processor: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)  # a temperature and what it was fitted on
    scores: dict[str, Any] = field(default_factory=dict)
    plots: list[str] = field(default_factory=list)
    train_seconds: float | None = None
    hardware: str | None = None
    energy_kwh: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    languages: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # what had to be left out, and why

    @property
    def vote_source(self) -> str | None:
        """Who gave the votes."""
        source = self.preparation.get("source", {})
        return self.data.get("vote_source") or source.get("vote_source") or self.scores.get("vote_source")

    @property
    def reads_transcripts(self) -> bool:
        """Whether there is a prompt or a text encoder for them, and it is used."""
        has_place = self.processor.get("prompt_version") is not None or bool(self.processor.get("text_encoder"))
        return bool(self.processor.get("use_transcript")) and has_place

    @property
    def warnings(self) -> list[str]:
        """What the first lines of the card must say of the votes: `simulated`, `borrowed`."""
        text = " ".join(
            str(part).lower()
            for part in (
                self.vote_source,
                self.data.get("description"),
                self.data.get("corpora"),
                self.scores.get("notes"),
            )
            if part
        )
        found = [word for word in ("simulated", "borrowed") if word in text]
        annotation = self.preparation.get("annotation", {})
        if "simulated" in backends_of(annotation):
            found.append("simulated annotators")
        return found

    def votes(self, kind: str) -> int | None:
        """Human or synthetic votes over all splits; None where no split has the column."""
        counts = [split.get(f"{kind}_votes") for split in self.data.get("splits", {}).values()]
        known = [count for count in counts if count is not None]
        return sum(known) if known else None


def gather_model_facts(
    checkpoint: str | Path,
    *,
    repo_id: str | None = None,
    scores: str | os.PathLike[str] | None = None,
    dataset: str | os.PathLike[str] | None = None,
    base_model: str | None = None,
    license: str | None = None,
    layout: str | None = None,
) -> ModelFacts:
    """Read what there is; the arguments are those of `write_model_card`.

    Raises:
        OSError: The folder is no checkpoint, or `scores` is not there.
        ValueError: A file in it is no JSON.
    """
    folder = Path(checkpoint)
    adapter = _read(folder / PEFT_CONFIG_NAME) if is_adapter(folder) else {}
    config = _read(folder / (ADAPTER_CONFIG_NAME if adapter else CONFIG_NAME))
    if not config:
        raise OSError(
            f"'{checkpoint}' is no checkpoint: it has neither {CONFIG_NAME} nor {PEFT_CONFIG_NAME} with "
            f"{ADAPTER_CONFIG_NAME}. Mend: name the output folder of a training."
        )
    try:
        from ...modeling.configuration import emotion_config
        from ...modeling.whole_files import settings_named
    except ModuleNotFoundError as error:
        raise missing_extra("a model card", error) from error

    with settings_named(folder, {}):
        known = emotion_config(config, checkpoint)
        emotions = known.emotions
    recipe, arguments = _read(folder / "recipe.json"), _read(folder / "training_args.json")
    recorded, results = _read(folder / "training_facts.json"), _read(folder / "train_results.json")
    if scores is not None and not is_ordinary(scores):
        raise OSError(f"There are no scores at '{scores}'. Mend: let hf-emo-dist evaluate write them with --output.")
    score_file = Path(scores) if scores is not None else folder / "scores.json"
    base = (
        base_model
        or recorded.get("backbone")
        or adapter.get("base_model_name_or_path")
        or recipe.get("backbone")
        or config.get("_name_or_path")
    )
    data = dict(recorded.get("data") or {})
    source = str(dataset or data.get("dataset") or recipe.get("dataset") or "") or None
    if source is not None and Path(source).is_dir():
        data = {**_of_folder(source, counted=bool(data.get("splits"))), **data}
        data["preparation"] = read_preparation(source) or data.get("preparation") or {}
    preparation = data.pop("preparation", None) or {}
    recorded_here = dataset is None and data.pop("dataset_is_local", False)
    data_id = (None if recorded_here else hub_id(source)) or hub_id(preparation.get("source", {}).get("dataset"))
    base_id = None if base_model is None and recorded.get("backbone_is_local") else hub_id(base)
    facts = ModelFacts(
        name=one_line((repo_id or folder.resolve().name).split("/")[-1]),
        emotions=emotions,
        backbone_type=known.backbone_type,
        layout=layout or ("adapter" if adapter else "merged" if recipe.get("lora") else "full"),
        repo_id=repo_id,
        base=last_part(base) if base and base_id is None else base,
        base_id=base_id,
        base_license=_license_of(base),
        dataset=data.get("pretty_name") or (last_part(source) if source and not data_id else data_id),
        dataset_id=data_id,
        data=data,
        preparation=preparation,
        model={
            key: config.get(key) for key in ("loss_type", "entropy_weight", "head_dropout", "head_projection_dropout")
        },
        head={key: config[key] for key in HEAD if config.get(key) is not None},
        calibration=config.get("calibration") or {},
        processor=_read(folder / PROCESSOR_NAME),
        lora={
            key: adapter[key]
            for key in ("r", "lora_alpha", "lora_dropout", "target_modules")
            if adapter.get(key) is not None
        },
        hyperparameters={
            **{key: arguments[key] for key in HYPERPARAMETERS if arguments.get(key) not in (None, False, "", -1)},
            **{key: recipe[key] for key in RECIPE if recipe.get(key)},
        },
        scores=_read(score_file),
        plots=[name for name in PLOTS if (score_file.parent / name).is_file()] if score_file.is_file() else [],
        train_seconds=results.get("train_runtime"),
        hardware=recorded.get("hardware"),
        energy_kwh=_energy(folder / "emissions.csv"),
        versions=dict(recorded.get("versions") or {}),
        languages=[
            language for language in data.get("languages", []) if len(language) in (2, 3) and language.isalpha()
        ],
    )
    facts.license = license or combined_license(
        facts.base_license, data.get("license") or preparation.get("source", {}).get("license")
    )
    if not facts.lora and recipe.get("lora"):
        facts.lora = {"preset": recipe["lora"], **{key: recipe.get(f"lora_{key}") for key in ("r", "alpha", "dropout")}}
    scored = facts.scores.get("emotions")
    if scored and set(scored) != set(emotions):
        facts.problems.append("the scores are over other emotions than the model's and were left out")
        facts.scores, facts.plots = {}, []
    for problem in facts.problems:
        logger.warning("the card of %s: %s", facts.name, problem)
    return facts


def _of_folder(source: str, counted: bool) -> dict[str, Any]:
    """What a data set's folder says of itself; its rows are counted where the training did not."""
    from ...data.data_facts import about_folder, data_facts

    about = about_folder(source)
    if counted:
        return about
    from ...data.opened import open_dataset

    return {**data_facts(open_dataset(source).splits), **about}


def _license_of(base: Any) -> str | None:
    from ...data.data_facts import about_folder

    if base and Path(str(base)).is_dir():
        found = about_folder(str(base)).get("license")
        return str(found) if found else None
    return KNOWN_BASES.get(str(base))


def combined_license(base: str | None, data: str | None) -> str:
    """The licence identifier for a model made from a base model and a data set; `other` where none follows.

    A rule of thumb, no legal advice.

    >>> combined_license("apache-2.0", "cc-by-4.0"), combined_license("apache-2.0", "cc-by-nc-sa-4.0")
    ('apache-2.0', 'cc-by-nc-sa-4.0')
    >>> combined_license("apache-2.0", None), combined_license("cc-by-sa-4.0", "cc-by-nc-4.0")
    ('other', 'other')
    """
    first, second = (str(name or "").strip().lower() for name in (base, data))
    if first == second and first in _PERMISSIVE | _PASSED_ON:
        return first
    if first in _PERMISSIVE and second in _PERMISSIVE:
        return second if first == "cc0-1.0" else first
    if first in _PERMISSIVE and second in _PASSED_ON:
        return second
    if first in _PASSED_ON and second in _PERMISSIVE:
        return first
    return "other"


def _energy(file: Path) -> float | None:
    """kWh of a training that codecarbon measured, from the file that it leaves."""
    if not file.is_file():
        return None
    with file.open(newline="", encoding="utf-8") as lines:
        try:
            return sum(float(row["energy_consumed"]) for row in csv.DictReader(lines)) or None
        except (KeyError, TypeError, ValueError):
            return None


def _read(file: Path) -> dict[str, Any]:
    return read_json(file, "restore or remove it.") if file.is_file() else {}
