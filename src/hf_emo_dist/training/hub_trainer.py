"""What the trainer does with the Hub: cards that say what was trained, pushes with the head and nothing private."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from transformers import Trainer
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils.hub import PushInProgress

from ..data.data_facts import ABOUT, about_folder, data_facts
from ..data.output import output_file, write_json
from ..data.preparation_file import read_preparation
from ..hub.cards.model_card import model_card, write_model_card
from ..hub.cards.model_facts import gather_model_facts
from ..hub.cards.rendering import is_edited
from ..hub.commit import commit_files
from ..hub.files import checkpoint_files, inside
from ..markdown import hub_id

logger = logging.getLogger(__name__)

TRAINING_FACTS_NAME = "training_facts.json"
PACKAGES = ("hf-emo-dist", "torch", "transformers", "peft", "accelerate", "datasets", "huggingface-hub", "safetensors")


class HubTrainer(Trainer):
    """`Trainer` whose cards and pushes are this library's: see `hub.cards` and `hub.files` for what is uploaded."""

    # With `hub_strategy="checkpoint"` or `"all_checkpoints"` the checkpoints' models are pushed, not their optimizers:
    # a training is resumed from the local folder.

    opened: Any = None  # the `OpenedDataset` that is trained on, where there is one
    recipe: Any = None  # the `RecipeArguments` of the training where there are any; they name the data set for the card
    resumed_from: str | None = None  # the checkpoint that the command goes on with
    push_in_progress: Any = None
    _pushes: Any = None

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make the repository as transformers does, unless an adapter's backbone is one that nobody else has."""
        for adapter in getattr(self.accelerator.unwrap_model(self.model), "peft_config", {}).values():
            if hub_id(adapter.base_model_name_or_path) is None:
                raise ValueError(
                    "an adapter is only of use with its backbone, and "
                    f"'{adapter.base_model_name_or_path}' is a local folder that nobody else has. Mend: train from a "
                    "backbone that is on the Hub, or push after training with hf_emo_dist.push_model(..., merge=True)."
                )
        super().init_hf_repo(token=token, private=private)

    def create_model_card(self, *args: Any, license: str | None = None, **kwargs: Any) -> None:
        """Write `README.md` into the output folder, unless it was edited by hand.

        Args:
            args, kwargs: What else transformers' own method takes; not used.
            license: Of the checkpoint; by default worked out from those of base model and data.
        """
        if not self.is_world_process_zero():
            return
        write_training_facts(self)
        write_model_card(
            str(self.args.output_dir), repo_id=self.hub_model_id or self.args.hub_model_id, license=license
        )

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        license: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Save the model and push it with its processor and card in one commit, as `push_model` does.

        Args:
            commit_message: Of the commit.
            blocking: Wait until it is done; otherwise it goes on in the background.
            token: Instead of `args.hub_token`.
            revision: Instead of `args.hub_revision`.
            private: Whether a repository that is made is private; by default `args.hub_private_repo`.
            license: Of the checkpoint, on its card; by default worked out from those of base model and data.
            kwargs: What else transformers' own method takes for a card; not used.

        Returns:
            A `hub.commit.PushReport`, or a `Future` of one with `blocking=False`.

        Raises:
            ValueError: An adapter's backbone is a local folder.
            OSError: The Hub cannot be reached.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token if token is not None else self.args.hub_token
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(license=license)
        self._finish_current_push()
        return self._push(
            Path(str(self.args.output_dir)),
            commit_message or "End of training",
            token,
            revision,
            "",
            in_background=not blocking,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # in the middle of a training, in the background; a failure is a warning and does not stop it
        args = self.args
        if not self.is_world_process_zero() or args.hub_strategy == HubStrategy.END:
            return
        if not args.hub_always_push and self.push_in_progress is not None and not self.push_in_progress.is_done():
            return
        self.callback_handler.on_push_begin(args, self.state, self.control)
        if args.save_strategy == SaveStrategy.STEPS:
            message = f"Training in progress, step {self.state.global_step}"
        else:
            message = f"Training in progress, epoch {int(self.state.epoch or 0)}"
        folders = [""]
        if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            folders.append(
                "last-checkpoint" if args.hub_strategy == HubStrategy.CHECKPOINT else Path(checkpoint_folder).name
            )
        # the checkpoint may be rotated away before the upload is through
        copy = Path(str(args.output_dir)) / f"_push-{self.state.global_step}"
        try:
            _link(Path(checkpoint_folder), copy)
            facts = Path(str(args.output_dir)) / TRAINING_FACTS_NAME
            if self._pushes is None:  # the first push of this training
                facts = write_training_facts(self)
            shutil.copy2(facts, copy / facts.name)
            jobs = [self._push(copy, message, args.hub_token, None, folder, in_background=True) for folder in folders]
        except (OSError, ValueError) as error:
            shutil.rmtree(copy, ignore_errors=True)
            logger.warning("%s was not pushed, training goes on: %s", checkpoint_folder, error)
            return
        jobs[-1].add_done_callback(lambda _: shutil.rmtree(copy, ignore_errors=True))
        if self.push_in_progress is None or self.push_in_progress.is_done():
            self.push_in_progress = PushInProgress(jobs)
        else:
            self.push_in_progress.jobs.extend(jobs)

    def _push(
        self, folder: Path, message: str, token: str | None, revision: str | None, subfolder: str, in_background: bool
    ) -> Any:
        repo_id = str(self.hub_model_id)
        readme = Path(str(self.args.output_dir)) / "README.md"
        edited = inside(readme).read_text(encoding="utf-8") if readme.is_file() else ""
        card = edited if is_edited(edited) else model_card(gather_model_facts(folder, repo_id=repo_id))
        files = checkpoint_files(folder, readme=card)
        if subfolder:
            files = [file for file in files if file.path_in_repo != "README.md"]

        def push() -> Any:
            return commit_files(
                repo_id,
                files,
                message=message,
                private=self.args.hub_private_repo,
                token=token,
                revision=revision if revision is not None else self.args.hub_revision,
                folder=subfolder,
            )

        if not in_background:
            return push()

        def logged() -> Any:
            try:
                return push()
            except (OSError, ValueError, RuntimeError) as error:
                logger.warning("a push to %s failed, training goes on: %s", repo_id, error)
                return None

        # the jobs of one HfApi run one after the other, in a thread of their own
        self._pushes = self._pushes or HfApi()
        return self._pushes.run_as_future(logged)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        readme = Path(output_dir or str(self.args.output_dir)) / "README.md"
        before = readme.read_bytes() if readme.is_file() else None
        super()._save(output_dir, state_dict)
        # peft has written its own, or has put its tags into ours
        if (
            self.args.should_save
            and readme.is_file()
            and hasattr(self.accelerator.unwrap_model(self.model), "peft_config")
        ):
            if before is None:
                readme.unlink()
            else:
                with output_file(readme) as part:
                    part.write_bytes(before)


def _link(source: Path, target: Path) -> None:
    # a copy that costs no space where the file system knows hard links
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file() and not file.name.startswith("optimizer") and file.suffix not in (".bin", ".pt", ".pth"):
            try:
                os.link(file, target / file.name)
            except OSError:
                shutil.copy2(file, target / file.name)


def versions() -> dict[str, str]:
    """Return Python's version and the packages', of those that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    from .. import __version__

    return {**found, "hf-emo-dist": __version__}


def write_training_facts(trainer: Any) -> Path:
    """Write data, machine and versions of a training into its output folder, and return the file."""
    splits, recipe = {}, trainer.recipe
    for name, rows in (("train", trainer.train_dataset), ("validation", trainer.eval_dataset)):
        if rows is not None and not isinstance(rows, dict):
            splits[getattr(recipe, f"{name}_split", name)] = getattr(rows, "dataset", rows)
    data = data_facts(splits)
    source = getattr(recipe, "dataset", None)
    if source is not None:
        # said here, where the paths hold: seen from another folder, data/mine could be the name of a repository
        data |= {"dataset": str(source), "dataset_is_local": Path(source).exists(), "revision": recipe.dataset_revision}
        opened = trainer.opened
        if opened is None and Path(source).is_dir():  # rows that somebody chose from it, such as a fold's
            data |= about_folder(source)
            data["preparation"] = read_preparation(source)
        elif opened is not None:
            data |= {key: opened.card[key] for key in ABOUT if key in opened.card}
            data["preparation"] = opened.preparation
    device, processes = trainer.args.device.type, trainer.args.world_size
    if device == "cuda":
        hardware = (f"{processes} x " if processes > 1 else "") + torch.cuda.get_device_name(0)
    elif device == "cpu":
        hardware = f"CPU, {torch.get_num_threads()} threads ({platform.machine()})"
    else:
        hardware = f"{'Apple GPU' if device == 'mps' else device} ({platform.machine()})"
    model = trainer.accelerator.unwrap_model(trainer.model)
    backbone = getattr(recipe, "backbone", None) or getattr(model, "name_or_path", None) or ""
    facts = {
        "data": data,
        "backbone": str(backbone),
        "backbone_is_local": bool(backbone) and Path(backbone).exists(),
        "hardware": hardware,
        "num_processes": processes,
        "versions": versions(),
    }
    return write_json(Path(str(trainer.args.output_dir)) / TRAINING_FACTS_NAME, facts)
