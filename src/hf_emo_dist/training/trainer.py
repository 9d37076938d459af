"""`EmotionDistributionTrainer`: transformers' Trainer for distributions over emotions."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction, PreTrainedModel, set_seed
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, number_of_arguments

from ..data.output import write_text
from ..data.rows import notes_about
from ..modeling.adapters import save_adapter_config
from ..modeling.base_content import base_content, check_base_is_on_disk
from ..modeling.calibration import fit_calibration
from ..modeling.losses import distribution_loss
from ..modeling.text_lengths import check_row_lengths
from ..scores.summary import compute_scores
from .arguments import EmotionDistributionTrainingArguments
from .cached_tower import TowerCache, check_repeatable, complete_inputs, hash_for, network_of, open_cache
from .calibration import CalibrateHead
from .checkpoint_facts import facts_of_rows
from .checkpoints import ARGUMENTS_NAME, saved_together
from .choosing import EarlyStoppingCallback, check_metric
from .choosing_trainer import ChoosingTrainer
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
    warn_about_large_rows,
)
from .learning_rates import learning_rates, split_groups
from .refusals import check_adapters, refuse_ignored, refuse_no_data_set, refuse_task_type
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


class EmotionDistributionTrainer(ChoosingTrainer):
    """Trains an `EmotionDistributionModel` on `emotion_distribution` and scores it on `human_distribution`.

    Everything that can be wrong with the data is found before the first step. Evaluation reports `js_divergence` (base
    2), `bhattacharyya_coefficient` and the other figures of `scores.compute_scores`; and the log-likelihood a vote
    (without `human_votes`, of one vote a row, split as its distribution).

    Args:
        model: The model; or give `model_init`.
        args: `EmotionDistributionTrainingArguments`.
        processing_class: The `EmotionDistributionProcessor`; its emotions must be the model's.
        train_dataset: A `Dataset` or `IterableDataset` with `audio` and `args.target_column`.
        eval_dataset: A `Dataset` with `audio` and `args.score_column`; or several by name, where the checkpoint is
            chosen by the mean of the sets' scores, or by one set's (`metric_for_best_model="german_js_divergence"`).
        peft_config: A LoRA configuration, for instance `paper_lora_config()`; the head is trained and saved with it.
        callbacks: Further callbacks, beside early stopping.
        compute_metrics: Instead of `compute_scores`.
        model_init: A function, of nothing or of a search's trial, that makes the model; for `hyperparameter_search`,
            and where every `train` is to start anew.
        compute_loss_func: A loss of (outputs, labels, num_items_in_batch=rows of the optimizer step) that replaces the
            model's own; as in `Trainer`, a sum over rows divided by `num_items_in_batch`.
        optimizers, optimizer_cls_and_kwargs, preprocess_logits_for_metrics: As in `Trainer`.

    Raises:
        ValueError: Columns are missing, targets have other labels, NaN or wrong sums, evaluation data has mixed
            rows, or an option would have no effect.
        AudioError: Clips cannot be used; the message lists all of them.

    Example:
        >>> trainer = EmotionDistributionTrainer(model=model, args=EmotionDistributionTrainingArguments("out"),
        ...     processing_class=processor, train_dataset=train, eval_dataset=validation)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: PreTrainedModel | torch.nn.Module | None = None,
        args: EmotionDistributionTrainingArguments | None = None,
        processing_class: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        peft_config: Any = None,
        callbacks: list[Any] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type, dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        model_init: Callable[..., Any] | None = None,
        compute_loss_func: Callable[..., torch.Tensor] | None = None,
    ) -> None:
        if args is None or processing_class is None or (model is None) == (model_init is None):
            raise ValueError(
                "the trainer needs args, processing_class and either model or model_init. Mend: give them by name."
            )
        refuse_ignored(args, train_dataset, compute_loss_func, compute_metrics is not None)
        refuse_no_data_set(eval_dataset)
        self._processor = processing_class
        self._emotion_args = args
        self._peft_config = peft_config
        self._trains = train_dataset is not None
        self._durations: np.ndarray | None = None
        self._targets: np.ndarray | None = None
        self._tower_cache: TowerCache | None = None
        self._own_scores = compute_metrics is None
        self._made: Any = None  # by model_init, and not handed to transformers yet
        if model is None:
            assert model_init is not None
            self.model_init = model_init
            set_seed(args.seed)
            model = self._made = self._fitted(super().call_model_init(None))
        else:
            model = self._fitted(model)
        self.emotions: tuple[str, ...] = tuple(model.config.emotions)
        self._loss_type = model.config.loss_type
        if (args.target_column, args.score_column) != ("emotion_distribution", "human_distribution"):
            logger.warning(
                "training on `%s`, scoring and choosing on `%s`; the defaults are emotion_distribution and "
                "human_distribution",
                args.target_column,
                args.score_column,
            )
        if args.ddp_find_unused_parameters is None:
            # a forward pass uses every weight; looking for others takes time, and with adapters and reentrant
            # checkpointing it fails
            args.ddp_find_unused_parameters = network_of(model).leaves_weights_unused()
        if args.cache_audio_tower:
            self._tower_cache = open_cache(model, processing_class, args)
        self._perturbation = perturbation_for(train_dataset, args.perturb_waveforms, args.seed)
        callbacks = [AnnounceEpochs(train_dataset, self._perturbation), CalibrateHead(self), *(callbacks or [])]
        if eval_dataset is None:
            args.eval_strategy, args.load_best_model_at_end = IntervalStrategy.NO, False
            if args.save_strategy == SaveStrategy.BEST:
                args.save_strategy = SaveStrategy.EPOCH
        elif args.early_stopping_patience and args.eval_strategy != IntervalStrategy.NO and args.metric_for_best_model:
            callbacks.append(EarlyStoppingCallback(early_stopping_patience=args.early_stopping_patience))
        check_metric(args, eval_dataset, self.emotions, compute_metrics is not None)
        splits = eval_dataset if isinstance(eval_dataset, dict) else {"": eval_dataset}
        for split in splits.values():
            if split is not None and hasattr(train_dataset, "column_names") and hasattr(split, "column_names"):
                warn_about_speakers(train_dataset, split)
        if args.world_size > 1 and train_dataset is not None and not hasattr(train_dataset, "__len__"):
            # the main process would join the batches of all processes, which are of different lengths, and send the
            # pieces out
            args.accelerator_config.dispatch_batches = False
        super().__init__(
            model=None if model_init is not None else model,
            model_init=model_init,
            compute_loss_func=compute_loss_func,
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

    def _fitted(self, model: Any) -> Any:
        """A model as it is trained here: with the losses of the arguments, its adapter, and everything checked."""
        if tuple(self._processor.emotions) != tuple(model.config.emotions):
            raise ValueError(
                f"the processor asks for {list(self._processor.emotions)} and the model answers with "
                f"{list(model.config.emotions)}. Mend: load both with the same emotions in the same order."
            )
        self._set_loss(model)
        if self._trains:
            model.config.calibration = None  # of the weights as they are now, not as they will be
        if self._peft_config is not None:
            from peft import get_peft_model

            adapter = copy.deepcopy(self._peft_config)  # peft writes into it
            refuse_task_type(adapter)
            if getattr(model, "peft_config", None):
                raise ValueError(
                    "this model has an adapter, and peft_config would put another one onto it. Mend: leave peft_config "
                    "out to go on training the first; or merge it (load_emotion_model(name, merge=True)), save model "
                    "and processor into a folder, and load them from there."
                )
            check_base_is_on_disk(model)
            if "head" not in (adapter.modules_to_save or []):
                logger.warning("the head is trained and saved with the adapter: added to modules_to_save")
                adapter.modules_to_save = ["head", *(adapter.modules_to_save or [])]
            source = getattr(model, "base_from", None)
            if source is not None and adapter.revision is None:
                adapter.revision = source[1].get("revision")
            model = get_peft_model(model, adapter)
        elif self._trains and getattr(model, "peft_config", None):  # by the user's own get_peft_model, perhaps
            check_base_is_on_disk(model)
        check_adapters(model)
        return model

    def _set_loss(self, model: Any) -> None:
        args = self._emotion_args
        if args.loss_type is not None:
            model.config.loss_type = args.loss_type
        if args.entropy_weight is not None:
            model.config.entropy_weight = args.entropy_weight

    def call_model_init(self, trial: Any = None) -> Any:
        """Make the model with `model_init`, and what belongs to it: its losses and its adapter."""
        model, self._made = self._made, None
        if model is None or (trial is not None and number_of_arguments(self.model_init) == 1):
            model = self._fitted(super().call_model_init(trial))
            if self._tower_cache is not None:
                self._tower_cache.tower = hash_for(model, self._processor, self._emotion_args)
        return model

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
        self._rows_facts = facts_of_rows(dataset, self._targets)
        if args.group_by_duration and not args.check_audio:
            logger.warning("group_by_duration needs check_audio, which measures durations: batches are random")
        check_row_lengths(self._processor, dataset, args.train_batch_size)
        if args.check_audio:
            self._durations = check_clips(dataset, "training", self._processor.long_audio)
        if self._tower_cache is not None:
            check_repeatable(dataset)
        return Rows(dataset if self._perturbation is None else dataset.with_transform(self._perturbation), collator)

    def _evaluation_rows(self, dataset: Any) -> Any:
        if dataset is None or isinstance(dataset, Rows):
            return dataset
        refuse_no_data_set(dataset)
        if isinstance(dataset, dict):
            return {name: self._evaluation_rows(split) for name, split in dataset.items()}
        check_columns(dataset, self.emotions, self._emotion_args.score_column, "evaluation")
        if self._loss_type == "dirichlet_multinomial":
            check_votes(dataset, "evaluation")
        check_row_lengths(self._processor, dataset, self._emotion_args.eval_batch_size)
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
            rows = self.train_dataset.dataset
            durations = longest_durations(self._durations, self._perturbation, rows)
            tokens = tokens_and_clips(durations, self._processor.long_audio, self._processor.num_tokens)
            ids = rows["id"] if "id" in rows.column_names else range(len(rows))
            warn_about_large_rows(tokens, args.max_audio_tokens_per_batch, ids)
            batches = TokenBatchSampler(
                tokens,
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
        if self.compute_loss_func is not None:
            return self._own_loss(model, inputs, return_outputs, num_items_in_batch, counted)
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

    def _own_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool, num_items: Any, counted: int
    ) -> Any:
        # as in `Trainer`: what it returns is scaled already, by the rows of the whole step over all processes
        assert self.compute_loss_func is not None
        targets = ("labels", "vote_counts", "loss_weight")
        outputs = model(**{name: value for name, value in inputs.items() if name not in targets})
        labels, kept = inputs["labels"], copy.copy(outputs)
        if counted < len(labels):  # the others are repeats
            labels, kept["logits"] = labels[:counted], outputs["logits"][:counted]
        loss = self.compute_loss_func(kept, labels, num_items_in_batch=num_items)
        if model.training and num_items is not None:
            loss = loss * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the optimizer as transformers does, with and without weight decay, and the head's own learning rate."""
        new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        args = self._emotion_args
        if args.head_learning_rate is None and args.layer_decay is None:
            return optimizer
        if not new:
            raise ValueError(
                "head_learning_rate and layer_decay have no effect on an optimizer that was made before. Mend: leave "
                "them out, or leave `optimizers` out."
            )
        split_groups(optimizer, learning_rates(self.accelerator.unwrap_model(model or self.model), args))
        return optimizer

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
        if not self.args.should_save:
            super()._save(output_dir, state_dict)
            return
        folder = Path(output_dir or self.args.output_dir or ".")
        with saved_together(folder, f".saving-{self.args.process_index}") as part:
            super()._save(str(part), state_dict)
            # the arguments in a form that can be read without unpickling; to_json_string masks tokens
            write_text(part / ARGUMENTS_NAME, self.args.to_json_string())
            (part / "training_args.bin").unlink(missing_ok=True)
            model = self.accelerator.unwrap_model(self.model)
            if hasattr(model, "peft_config"):
                save_adapter_config(model.config, part, base_content(model))
