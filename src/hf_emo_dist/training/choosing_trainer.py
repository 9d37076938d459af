"""What the trainer does with scores: the best checkpoint, schedules and searches, each in the score's own direction."""

from __future__ import annotations

import logging
from typing import Any

from .choosing import mean_over_sets
from .guarded_trainer import GuardedTrainer
from .refusals import refuse_no_data_set

logger = logging.getLogger(__name__)

#: Training arguments that are read when the trainer is made: a search cannot choose them.
FIXED_IN_A_SEARCH = ("target_column", "score_column", "count_synthetic_votes", "concentration_weight",
                     "perturb_waveforms", "cache_audio_tower", "check_audio", "early_stopping_patience",
                     "metric_for_best_model", "greater_is_better")  # fmt: skip
#: Schedules that follow the score.
FOLLOW_THE_SCORE = ("reduce_lr_on_plateau", "greedy")


class ChoosingTrainer(GuardedTrainer):
    """`Trainer` that knows in which direction a score is better, and scores several data sets as one."""

    _loss_type: str
    control: Any
    _own_scores: bool = True  # the scores are `compute_scores`', and no function of the user's gives them

    def _set_loss(self, model: Any) -> None:
        raise NotImplementedError

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Make the learning-rate schedule; one that follows the score knows in which direction it is better."""
        kind = getattr(self.args.lr_scheduler_type, "value", self.args.lr_scheduler_type)
        if self.lr_scheduler is None and kind in FOLLOW_THE_SCORE and self.args.metric_for_best_model:
            mode = "max" if self.args.greater_is_better else "min"
            given = dict(self.args.lr_scheduler_kwargs or {})
            if given.setdefault("mode", mode) != mode:
                raise ValueError(
                    f"lr_scheduler_kwargs: mode={given['mode']!r} would lower the rate when "
                    f"{self.args.metric_for_best_model} gets better. Mend: leave mode out."
                )
            self.args.lr_scheduler_kwargs = given
        return super().create_scheduler(num_training_steps, optimizer)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Score the model on the evaluation data; of several data sets also the mean of each score over them.

        Args:
            eval_dataset: Instead of the trainer's: a data set, or several by name.
            ignore_keys: As in `Trainer`.
            metric_key_prefix: Of the scores' names.

        Raises:
            ValueError: The data does not fit, or the model answers NaN.
        """
        refuse_no_data_set(eval_dataset)
        metrics: dict[str, float] = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(data, dict):
            means = mean_over_sets(metrics, list(data), metric_key_prefix)
            metrics = {**metrics, **means}
            self.log(dict(means))
            if self.args.metric_for_best_model in means:  # the sets' own were announced one by one
                self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, dict(metrics))
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        metric = self.args.metric_for_best_model
        if metric is not None and metric not in metrics:
            if self._own_scores:  # such as the correlation with an entropy that is the same for all rows
                logger.warning("%s is not defined for this evaluation: it is no better than those before", metric)
            else:
                logger.warning(
                    "compute_metrics gives no %s (it gives %s): no checkpoint is chosen by it. Mend: name one that it "
                    "gives as metric_for_best_model, and say greater_is_better.",
                    metric,
                    ", ".join(metrics),
                )
            return False
        found: bool = super()._determine_best_metric(metrics, trial)
        return found

    def hyperparameter_search(
        self,
        hp_space: Any = None,
        compute_objective: Any = None,
        n_trials: int = 20,
        direction: Any = None,
        backend: Any = None,
        hp_name: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Search for training arguments, by `metric_for_best_model` and in its own direction unless said otherwise.

        Args:
            hp_space: A function of a trial that gives training arguments by name, such as `learning_rate`,
                `head_learning_rate` or `loss_type`; by default transformers' own.
            compute_objective: A function of an evaluation's scores; by default `metric_for_best_model`.
            n_trials: How many.
            direction: Of an objective of your own: `minimize` or `maximize`.
            backend: `optuna`, `ray` or `wandb`, which must be installed.
            hp_name: A function of a trial that names its folder.
            kwargs: For the backend.

        Returns:
            transformers' `BestRun`.

        Raises:
            ValueError: There is nothing to score on, or the direction is that of a worse score.
        """
        metric = self.args.metric_for_best_model
        if compute_objective is None:
            if self.eval_dataset is None or metric is None:
                raise ValueError(
                    "a search needs scores. Mend: give eval_dataset and metric_for_best_model, or compute_objective."
                )
            better = "maximize" if self.args.greater_is_better else "minimize"
            if direction not in (None, better):
                raise ValueError(
                    f"direction={direction!r} would look for the worst {metric}. Mend: leave it out: it is {better}."
                )
            direction = better

            def compute_objective(metrics: dict[str, float]) -> float:
                return metrics[metric]

        elif direction is None:
            raise ValueError(
                "direction is missing: an objective of your own does not say which is better. Mend: minimize or "
                "maximize."
            )
        return super().hyperparameter_search(
            hp_space, compute_objective, n_trials, direction, backend, hp_name, **kwargs
        )

    def _hp_search_setup(self, trial: Any) -> None:
        args = self._emotion_args
        fixed = {name: getattr(args, name) for name in FIXED_IN_A_SEARCH}
        space = getattr(self, "hp_space", None)
        if trial is not None and space is not None and not isinstance(trial, dict):
            self.hp_space = lambda one: _known(space(one), args)
            try:
                super()._hp_search_setup(trial)
            finally:
                self.hp_space = space
        else:
            _known(trial or {}, args)
            super()._hp_search_setup(trial)
        changed = [name for name, value in fixed.items() if getattr(args, name) != value]
        if changed:
            raise ValueError(
                f"{', '.join(changed)} cannot be searched for: the data was made ready with the first value. Mend: "
                "leave it out of hp_space, and start a trainer for each value."
            )
        if trial is not None:
            network = self.accelerator.unwrap_model(self.model)
            self._set_loss(network)
            if network.config.loss_type == "dirichlet_multinomial" != self._loss_type:
                raise ValueError(
                    "loss_type=dirichlet_multinomial counts votes, and the data was made ready without them. Mend: "
                    "make the trainer with loss_type='dirichlet_multinomial'; the search may then choose others."
                )


def _known(chosen: dict[str, Any], args: Any) -> dict[str, Any]:
    unknown = [name for name in chosen if not hasattr(args, name)]
    if unknown:
        raise ValueError(
            f"hp_space gives {', '.join(unknown)}, which are no training arguments. Mend: correct the names."
        )
    return chosen
