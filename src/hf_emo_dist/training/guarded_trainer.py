"""What the trainer does so that no training goes wrong unnoticed: it stops at NaN, and resumes only what fits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .._checkpoint_files import FACTS_NAME
from ..modeling.base_content import check_base
from ..modeling.prediction import ANSWERS_NAN
from ..modeling.whole_files import broken_files_named, write_digests
from .best_checkpoint import Best, best_among_whole, best_at_resume
from .checkpoints import (
    begin,
    checkpoint_to_resume,
    complete,
    full_disk_told,
    has_optimizer,
    has_random_state,
    make_room,
    remove,
    why_not_whole,
)
from .choosing import EarlyStoppingCallback
from .finite import MAX_SKIPPED_STEPS, diverged, is_finite, not_finite_weights, refuse_half_weights
from .hub_trainer import HubTrainer
from .refusals import check_trainable
from .same_training import changed_rates, check_same_training, metric_changed, warn_about_rows

logger = logging.getLogger(__name__)


def _not_of_the_best(record: logging.LogRecord) -> bool:
    """Drop transformers' word that the best checkpoint is not at its recorded path: `best_at_resume` looks further."""
    return "recorded in the resumed state does not exist" not in record.getMessage()


class GuardedTrainer(HubTrainer):
    """`Trainer` that stops where numbers are no numbers, and compares a checkpoint before it goes on with it."""

    _processor: Any
    _emotion_args: Any
    _rows_facts: dict[str, Any] | None = None  # what `facts_of_rows` says of what is trained on
    _skipped_steps: int = 0  # on end, by mixed precision with a loss scale
    _checked: str | None = None  # a checkpoint that `check_resumable` has looked at
    _best_so_far: Best = Best()

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Do the forward and backward pass of a batch, and stop where its loss is no number."""
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if not is_finite(loss):
            raise self._diverged(f"the loss is {float(loss)}", self.state.global_step + 1)
        return loss

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if norm is None or is_finite(norm):
            self._skipped_steps = 0
            return norm
        if getattr(self.accelerator, "scaler", None) is None:
            raise self._diverged(f"the norm of the gradients is {float(norm)}", self.state.global_step + 1)
        self._skipped_steps += 1  # mixed precision with a loss scale skips the step and halves the scale
        if self._skipped_steps >= MAX_SKIPPED_STEPS:
            raise self._diverged(f"the gradients of {MAX_SKIPPED_STEPS} steps on end were not finite in fp16")
        return norm

    def _diverged(self, what: str, step: int | None = None) -> Exception:
        folder = self._get_output_dir(trial=getattr(self, "_trial", None))
        return diverged(what, self.state.global_step if step is None else step, self.args, folder)

    def prediction_step(self, *args: Any, **kwargs: Any) -> tuple[Any, Any, Any]:
        """Evaluate a batch, and stop where the model's answer is no number."""
        loss, logits, labels = super().prediction_step(*args, **kwargs)
        for value in (loss, logits):
            if isinstance(value, torch.Tensor) and not is_finite(value):
                if self.is_in_train:
                    raise self._diverged("the model answers NaN or infinity in evaluation")
                raise ValueError(ANSWERS_NAN)
        return loss, logits, labels

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save model and processor, unless weights are no numbers."""
        self._refuse_weights_that_are_no_numbers()
        folder = Path(output_dir or str(self.args.output_dir))
        # a checkpoint's digests are written when it is complete
        with_digests = self.args.should_save and not folder.name.startswith(PREFIX_CHECKPOINT_DIR)
        if with_digests:
            (folder / FACTS_NAME).unlink(missing_ok=True)  # those of other weights
        super().save_model(output_dir, _internal_call)
        if with_digests and folder.is_dir():
            write_digests(folder, {"rows": self._rows_facts})

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint that is complete or is none; only then do older ones give way to it."""
        run = self._get_output_dir(trial=trial)
        folder = Path(run, f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
        writes, limit = self.args.should_save, self.args.save_total_limit
        self.args.save_total_limit = None
        try:
            with full_disk_told(folder):
                if writes:
                    begin(folder)
                self.accelerator.wait_for_everyone()
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                if writes:
                    complete(folder, {"rows": self._rows_facts})
        except BaseException:
            if writes:  # it is of no use, and its room may be what is missing
                remove(folder)
            raise
        finally:
            self.args.save_total_limit = limit
        if writes:
            make_room(run, limit, folder, self.state.best_model_checkpoint)

    def _load_best_model(self) -> None:
        """Load the best weights that are whole; where none are, those of the last step stay, and that is said."""
        best = self.state.best_model_checkpoint
        reason = None if best is None else why_not_whole(best, only_model=True)
        if best is not None and reason is not None:
            history, step = self.state.log_history, self.state.global_step
            self._take_for_best(best_among_whole(best, reason, history, step, self._emotion_args))
            best = self.state.best_model_checkpoint
        if best is None:
            return
        with broken_files_named(best, {}):
            super()._load_best_model()

    def _take_for_best(self, best: Best) -> None:
        self.state.best_model_checkpoint, self.state.best_global_step = best.folder, best.step
        self.state.best_metric = best.score

    def _refuse_weights_that_are_no_numbers(self) -> None:
        bad = not_finite_weights(self.accelerator.unwrap_model(self.model))
        if bad:
            raise self._diverged(f"{len(bad)} weights are NaN or infinite (first: {bad[0]}) and were not saved")

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """Train, after everything that a checkpoint to resume from says was compared with what would go on.

        Args:
            resume_from_checkpoint: A checkpoint's folder; or True, for the last one in the output folder that is
                whole, and for the beginning where none was written to its end.
            trial: Of a hyperparameter search.
            ignore_keys_for_eval: As in `Trainer`.

        Raises:
            ValueError: The checkpoint is not whole (`CheckpointError`), or of another training.
            DiskFullError: (An OSError.) A checkpoint could not be written; the ones before it stay.
            TrainingDivergedError: Loss, gradients or weights are no longer numbers.
        """
        checkpoint = checkpoint_to_resume(resume_from_checkpoint, str(self.args.output_dir))
        if checkpoint is not None and checkpoint != self._checked:
            self.check_resumable(checkpoint)
        self._checked = None
        self._skipped_steps = 0
        result = super().train(checkpoint, trial, ignore_keys_for_eval)
        self._refuse_weights_that_are_no_numbers()  # the last step's, which no loss has seen
        return result

    def check_resumable(self, checkpoint: str) -> None:
        """Compare everything that a checkpoint says with what would go on from it.

        Args:
            checkpoint: Its folder, which is whole.

        Raises:
            ValueError: It is of another training, or the best checkpoint so far is gone (`CheckpointError`).
        """
        if self.model_init is None:  # else there is no model yet
            self._check_same_training(checkpoint)
        self._best_so_far = Best()
        if metric_changed(checkpoint, self._emotion_args) is None:
            self._best_so_far = best_at_resume(checkpoint, str(self.args.output_dir), self._emotion_args)
        warn_about_rows(checkpoint, self._rows_facts)
        self._checked = checkpoint

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.model_init is not None:
            self._check_same_training(resume_from_checkpoint)
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _check_same_training(self, checkpoint: str) -> None:
        network = self.accelerator.unwrap_model(self.model)
        check_same_training(checkpoint, network, self._processor, self._emotion_args)
        if getattr(network, "peft_config", None):
            check_base(checkpoint, network, {})

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the optimizer as transformers does, of weights that can be trained."""
        network = self.accelerator.unwrap_model(self.model if model is None else model)
        check_trainable(network)
        refuse_half_weights(network)
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        return optimizer

    def _init_training_state(self, *args: Any, **kwargs: Any) -> Any:
        trainer_log = logging.getLogger("transformers.trainer")
        trainer_log.addFilter(_not_of_the_best)
        try:
            result = super()._init_training_state(*args, **kwargs)
        finally:
            trainer_log.removeFilter(_not_of_the_best)
        checkpoint = kwargs.get("resume_from_checkpoint", args[3] if len(args) > 3 else None)
        if checkpoint is None:
            return result
        before = self.state.stateful_callbacks
        for callback in [*self.callback_handler.callbacks, self.control]:
            if not isinstance(callback, ExportableState):
                continue
            saved = before.setdefault(type(callback).__name__, callback.state())  # what was switched on since
            if isinstance(callback, EarlyStoppingCallback) and isinstance(saved, dict):
                # its patience is as it is now; how often nothing was better is as it was
                name = "early_stopping_patience_counter"
                setattr(callback, name, int(saved.get("attributes", {}).get(name, 0)))
        changed = metric_changed(checkpoint, self._emotion_args)
        if changed is not None:
            logger.warning(
                "the best checkpoint so far was chosen by %s, and another score chooses now: the choice starts anew",
                changed,
            )
        self._take_for_best(self._best_so_far)
        return result

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        own_format = self.is_deepspeed_enabled or self.is_fsdp_enabled
        goes_on = own_format or has_optimizer(checkpoint)
        if not goes_on:
            logger.warning(
                "%s has no optimizer state (was it written with save_only_model?): the optimizer's averages and the "
                "learning-rate schedule start anew at step %d. Mend: resume from a checkpoint with optimizer.pt and "
                "scheduler.pt for the weights of an uninterrupted run.",
                checkpoint,
                self.state.global_step,
            )
        if not has_random_state(checkpoint, self.args):
            logger.warning(
                "%s has no state of the random numbers of this process: dropout and the like are drawn anew from step "
                "%d. Mend: resume from a checkpoint with rng_state.pth, with as many processes as before, for the "
                "weights of an uninterrupted run.",
                checkpoint,
                self.state.global_step,
            )
        changed = changed_rates(checkpoint, self._emotion_args)
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
        except ValueError as error:
            raise ValueError(
                f"the optimizer of {checkpoint} is of other weights or of other learning rates ({error}"
                + "".join(f"; {name}: {there} there, {now} now" for name, (there, now) in changed.items())
                + "). Mend: freeze what was frozen, and give head_learning_rate, layer_decay and optim as they were; "
                "or start a new training from it in another output folder."
            ) from error
        for name, (there, now) in changed.items() if goes_on else ():
            logger.warning(
                "%s=%s has no effect: what is resumed from %s goes on with its own, %s. Mend: start a new training "
                "from it to change that.",
                name,
                now,
                checkpoint,
                there,
            )
