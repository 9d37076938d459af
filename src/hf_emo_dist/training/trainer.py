"""`EmotionDistributionTrainer`: transformers' Trainer for distributions over emotions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, EvalPrediction, PreTrainedModel
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ..data.output import write_text
from ..data.rows import notes_about
from ..modeling.adapters import save_adapter_config
from ..modeling.calibration import fit_calibration
from ..modeling.losses import distribution_loss
from ..scores.summary import compute_scores
from .arguments import EmotionDistributionTrainingArguments
from .cached_tower import TowerCache, check_repeatable, complete_inputs, hash_for, open_cache, tower_of
from .collator import (
    COUNTED_ROWS,
    AnnounceEpochs,
    EmotionDistributionCollator,
    Rows,
    StreamedRows,
    collate,
    longest_durations,
    perturbation_for,
    rows_that_count,
)
from .hub_trainer import HubTrainer
from .row_weights import RowWeights
from .sampler import (
    EmotionSampler,
    TokenBatchSampler,
    balancing_weights,
    prepared_loader,
    show_sampler,
    tokens_and_clips,
)
from .validation import check_clips, check_columns, check_names, check_votes, warn_about_launch, warn_about_speakers

logger = logging.getLogger(__name__)


class EmotionDistributionTrainer(HubTrainer):
    """Trains a `Qwen2AudioForEmotionDistribution` on `emotion_distribution` and scores it on `human_distribution`.

    Everything that can be wrong with the data is found before the first step. Evaluation reports `js_divergence` (base
    2), `bhattacharyya_coefficient` and the other figures of `scores.compute_scores`; and the log-likelihood a vote
    (without `human_votes`, of one vote a row, split as its distribution).

    Args:
        model: The model.
        args: `EmotionDistributionTrainingArguments`.
        processing_class: The `EmotionDistributionProcessor`; its emotions must be the model's.
        train_dataset: A `Dataset` or `IterableDataset` with `audio` and `args.target_column`.
        eval_dataset: A `Dataset` (or a dict of them) with `audio` and `args.score_column`.
        peft_config: A LoRA configuration, for instance `paper_lora_config()`; the head is trained and saved with it.
        callbacks: Further callbacks, beside early stopping.
        compute_metrics: Instead of `compute_scores`.
        optimizers, optimizer_cls_and_kwargs, preprocess_logits_for_metrics: As in `Trainer`.

    Raises:
        ValueError: Columns are missing, targets have other labels, NaN or wrong sums, or evaluation data has mixed
            rows.
        AudioError: Clips cannot be used; the message lists all of them.

    Example:
        >>> trainer = EmotionDistributionTrainer(model=model, args=EmotionDistributionTrainingArguments("out"),
        ...     processing_class=processor, train_dataset=train, eval_dataset=validation)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: PreTrainedModel | torch.nn.Module,
        args: EmotionDistributionTrainingArguments,
        processing_class: Any,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        peft_config: Any = None,
        callbacks: list[Any] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type, dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.emotions: tuple[str, ...] = tuple(model.config.emotions)
        if tuple(processing_class.emotions) != self.emotions:
            raise ValueError(
                f"the processor asks for {list(processing_class.emotions)} and the model answers with "
                f"{list(self.emotions)}. Mend: load both with the same emotions in the same order."
            )
        if args.loss_type is not None:
            model.config.loss_type = args.loss_type
        if args.entropy_weight is not None:
            model.config.entropy_weight = args.entropy_weight
        if train_dataset is not None:
            model.config.calibration = None  # of the weights as they are now, not as they will be
        if (args.target_column, args.score_column) != ("emotion_distribution", "human_distribution"):
            logger.warning(
                "training on `%s`, scoring and choosing on `%s`; the defaults are emotion_distribution and "
                "human_distribution",
                args.target_column,
                args.score_column,
            )
        self._loss_type = model.config.loss_type
        self._processor = processing_class
        self._emotion_args = args
        self._durations: np.ndarray | None = None
        self._targets: np.ndarray | None = None
        self._tower_cache: TowerCache | None = None
        if peft_config is not None:
            from peft import get_peft_model

            if "head" not in (peft_config.modules_to_save or []):
                logger.warning("the head is trained and saved with the adapter: added to modules_to_save")
                peft_config.modules_to_save = ["head", *(peft_config.modules_to_save or [])]
            model = get_peft_model(model, peft_config)
        for name, adapter in getattr(model, "peft_config", {}).items():
            if "head" not in (adapter.modules_to_save or []):
                raise ValueError(
                    f"adapter {name!r} does not hold the head, which would reload random. Mend: make the adapter with "
                    "modules_to_save=['head'], or pass peft_config=emotion_lora_config() to the trainer."
                )
        if args.ddp_find_unused_parameters is None:
            # a forward pass uses every weight; looking for others takes time, and with adapters and reentrant
            # checkpointing it fails
            args.ddp_find_unused_parameters = getattr(tower_of(model).config, "encoder_layerdrop", 0.0) > 0
        if args.cache_audio_tower:
            self._tower_cache = open_cache(model, processing_class, args)
        self._perturbation = perturbation_for(train_dataset, args.perturb_waveforms, args.seed)
        callbacks = [AnnounceEpochs(train_dataset, self._perturbation), *(callbacks or [])]
        if eval_dataset is None:
            args.eval_strategy, args.load_best_model_at_end = IntervalStrategy.NO, False
            if args.save_strategy == SaveStrategy.BEST:
                args.save_strategy = SaveStrategy.EPOCH
        elif args.early_stopping_patience and args.load_best_model_at_end:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=args.early_stopping_patience))
        splits = eval_dataset if isinstance(eval_dataset, dict) else {"": eval_dataset}
        for split in splits.values():
            if split is not None and hasattr(train_dataset, "column_names") and hasattr(split, "column_names"):
                warn_about_speakers(train_dataset, split)
        if args.world_size > 1 and train_dataset is not None and not hasattr(train_dataset, "__len__"):
            # the main process would join the batches of all processes, which are of different lengths, and send the
            # pieces out
            args.accelerator_config.dispatch_batches = False
        super().__init__(
            model=model,
            args=args,
            data_collator=collate,
            processing_class=processing_class,
            train_dataset=None if train_dataset is None else self._training_rows(train_dataset),
            eval_dataset=self._evaluation_rows(eval_dataset),
            callbacks=callbacks,
            compute_metrics=compute_metrics or self._score,
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        warn_about_launch(args.world_size)
        # peft's forward takes **kwargs, from which Trainer would conclude that the loss is already scaled
        self.model_accepts_loss_kwargs = False
        self.label_names = ["labels", "vote_counts"]
        if self._tower_cache is not None and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            raise ValueError(
                "cache_audio_tower runs the tower outside the model's forward, which FSDP and DeepSpeed do not allow. "
                "Mend: switch it off, or use DDP."
            )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self._tower_cache is not None:
            # a checkpoint may hold another tower than the one that the trainer was made with
            self._tower_cache.tower = hash_for(
                self.accelerator.unwrap_model(model or self.model), self._processor, self._emotion_args
            )

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = super()._prepare_inputs(inputs)
        if self._tower_cache is None:
            return inputs
        with self.accelerator.autocast():
            return complete_inputs(inputs, self.accelerator.unwrap_model(self.model), self._tower_cache)

    def _training_rows(self, dataset: Any) -> Any:
        args = self._emotion_args
        counted = self._loss_type == "dirichlet_multinomial"
        if counted:
            check_votes(dataset, "training")
        collator = EmotionDistributionCollator(
            self._processor,
            self.emotions,
            args.target_column,
            with_votes=counted,
            with_synthetic_votes=args.count_synthetic_votes and args.target_column == "emotion_distribution",
            tower_cache=self._tower_cache,
            row_weights=None
            if args.concentration_weight is None
            else RowWeights.of(dataset, args.concentration_weight),
        )
        if not hasattr(dataset, "__len__"):
            if args.max_audio_tokens_per_batch:
                raise ValueError(
                    "max_audio_tokens_per_batch needs the clips' durations beforehand, and the training data is a "
                    "stream. Mend: load it with streaming=False, or use per_device_train_batch_size."
                )
            logger.info("the training data is a stream: its rows are checked as they come")
            check_names(dataset, args.target_column, "training")
            if args.world_size == 1 or args.auto_find_batch_size or args.accelerator_config.split_batches:
                return StreamedRows(dataset, collator)
            batch = args.train_batch_size
            return StreamedRows(dataset, collator, batch * args.world_size, batch * args.process_index)
        self._targets = check_columns(dataset, self.emotions, args.target_column, "training")
        if args.group_by_duration and not args.check_audio:
            logger.warning("group_by_duration needs check_audio, which measures durations: batches are random")
        if args.check_audio:
            self._durations = check_clips(dataset, "training", self._processor.long_audio)
        if self._tower_cache is not None:
            check_repeatable(dataset)
        return Rows(dataset if self._perturbation is None else dataset.with_transform(self._perturbation), collator)

    def _evaluation_rows(self, dataset: Any) -> Any:
        if dataset is None or isinstance(dataset, Rows):
            return dataset
        if isinstance(dataset, dict):
            return {name: self._evaluation_rows(split) for name, split in dataset.items()}
        check_columns(dataset, self.emotions, self._emotion_args.score_column, "evaluation")
        if self._loss_type == "dirichlet_multinomial":
            check_votes(dataset, "evaluation")
        if self._emotion_args.check_audio:
            check_clips(dataset, "evaluation", self._processor.long_audio)
        return Rows(
            dataset,
            EmotionDistributionCollator(
                self._processor,
                self.emotions,
                self._emotion_args.score_column,
                with_votes=True,
                tower_cache=self._tower_cache,
            ),
        )

    def get_train_dataloader(self) -> Any:
        """Make the training data loader; with `max_audio_tokens_per_batch` its batches vary in their number of rows."""
        args = self._emotion_args
        if args.max_audio_tokens_per_batch and isinstance(self.train_dataset, Rows):
            assert self._durations is not None
            durations = longest_durations(self._durations, self._perturbation)
            batches = TokenBatchSampler(
                tokens_and_clips(durations, self._processor.long_audio),
                args.max_audio_tokens_per_batch,
                weights=self._sampling_weights(),
                num_processes=args.world_size,
                seed=self._data_seed(),
            )
            loader = prepared_loader(self.accelerator, self.train_dataset, batches, self.data_collator, args)
        else:
            loader = super().get_train_dataloader()
        show_sampler(loader)
        return loader

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Make the evaluation data loader; data sets that are given here are checked like those of the constructor."""
        if not isinstance(eval_dataset, str):
            eval_dataset = self._evaluation_rows(eval_dataset)
        return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """Make the data loader of `predict`."""
        return super().get_test_dataloader(self._evaluation_rows(test_dataset))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if not isinstance(rows, Rows):
            return None
        args = self._emotion_args
        return EmotionSampler(
            len(rows),
            unit=args.train_batch_size * args.world_size * args.gradient_accumulation_steps,
            durations=self._durations if args.group_by_duration else None,
            weights=self._sampling_weights(),
            seed=self._data_seed(),
        )

    def _sampling_weights(self) -> np.ndarray | None:
        balanced = self._emotion_args.balanced_sampling and self._targets is not None
        return balancing_weights(self._targets) if balanced else None  # type: ignore[arg-type]

    def _data_seed(self) -> int:
        args = self._emotion_args
        return args.data_seed if args.data_seed is not None else args.seed

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return torch.utils.data.SequentialSampler(eval_dataset)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """Draw the batches of an optimizer step; an epoch's last batch says how many of its rows count."""
        batches = list(islice(epoch_iterator, num_batches))
        if batches:
            rows = len(batches[-1]["labels"])
            args = self._emotion_args
            # streams say it themselves, batches by token budget are not filled up
            filled_up = isinstance(self.train_dataset, Rows) and not args.max_audio_tokens_per_batch
            size = len(self.train_dataset) if filled_up and not args.dataloader_drop_last else None
            counted = rows_that_count(self.accelerator, rows, size)
            if counted < rows:
                batches[-1] = {**batches[-1], COUNTED_ROWS: counted}
        return batches, self._get_num_items_in_batch(batches, device)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor | int | None:
        # rows of the whole optimizer step, over all processes, so that every row weighs the same in it
        counts = [batch.get(COUNTED_ROWS, len(batch["labels"])) for batch in batch_samples]
        rows = torch.tensor(sum(counts), device=device)
        return self.accelerator.gather(rows).sum() if self.args.world_size > 1 else rows

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the mean loss of this batch's rows, weighted in training by the batch's share of the step's rows."""
        # Trainer divides by the number of accumulated batches and averages over processes, which is exact only if all
        # hold as many rows; the last step of an epoch does not. Rows that accelerate repeats at the end of an epoch
        # have no share in the loss. Row weights have a mean of 1 over the data and are no part of these shares: a step
        # of heavy rows is a larger step.
        rows = len(inputs["labels"])
        counted = inputs.pop(COUNTED_ROWS, rows) if model.training else rows_that_count(self.accelerator, rows)
        outputs = model(**inputs)
        loss = outputs.loss
        if counted < rows:
            config = self.accelerator.unwrap_model(model).config
            target = inputs["vote_counts" if config.loss_type == "dirichlet_multinomial" else "labels"]
            # a batch without any row of its own still takes part in the backward pass, with weight 0
            keep = slice(max(counted, 1))
            weight = inputs.get("loss_weight")
            loss = distribution_loss(
                outputs.logits[keep],
                target[keep],
                config.loss_type,
                config.entropy_weight,
                None if weight is None else weight[keep],
            )
        if model.training and num_items_in_batch is not None:
            batches = self.current_gradient_accumulation_steps * self.args.world_size
            loss = loss * (counted * batches / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    @property
    def calibration(self) -> dict[str, Any] | None:
        """The model's temperature and what it was fitted on, see `modeling.calibration`; None where there is none."""
        found: dict[str, Any] | None = self.accelerator.unwrap_model(self.model).config.calibration
        return found

    def evaluate_and_calibrate(self) -> dict[str, float]:
        """Return the scores on the evaluation data, `eval_…`, after fitting a temperature on its human votes.

        The temperature, `temperature` among the figures, goes into the model's configuration and is saved with it; the
        scores are those without it. Where it cannot be fitted (too few rows with votes, several evaluation data sets),
        a warning says so.
        """
        if not isinstance(self.eval_dataset, Rows):
            logger.warning(
                "no temperature was fitted: the evaluation data is not one data set. Mend: hf-emo-dist temperature "
                "MODEL DATASET --split validation"
            )
            return dict(self.evaluate())
        found = self.predict(self.eval_dataset, metric_key_prefix="eval")
        metrics = dict(found.metrics)
        rows = self.eval_dataset.dataset
        logits = torch.as_tensor(np.asarray(found.predictions), dtype=torch.float64)
        recipe, card = self.recipe, {} if self.opened is None else self.opened.card
        try:
            calibration = fit_calibration(
                logits.softmax(-1).numpy(),
                rows,
                self.emotions,
                dataset=getattr(recipe, "dataset", None),
                split=getattr(recipe, "validation_split", None),
                notes=notes_about(rows, card.get("vote_source")),
            )
        except ValueError as error:
            logger.warning("no temperature was fitted: %s", error)
        else:
            self.accelerator.unwrap_model(self.model).config.calibration = calibration
            metrics["temperature"] = calibration["temperature"]
        self.log(metrics)
        return metrics

    def _score(self, prediction: EvalPrediction) -> dict[str, float]:
        labels, counts = prediction.label_ids
        logits = torch.as_tensor(np.asarray(prediction.predictions), dtype=torch.float64)
        return compute_scores(logits.softmax(-1).numpy(), labels, emotions=self.emotions, counts=counts)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir or ".")
        # the arguments in a form that can be read without unpickling; to_json_string masks tokens
        write_text(folder / "training_args.json", self.args.to_json_string())
        (folder / "training_args.bin").unlink(missing_ok=True)
        model = self.accelerator.unwrap_model(self.model)
        if hasattr(model, "peft_config"):
            save_adapter_config(model.config, folder)
