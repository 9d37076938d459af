"""Trains and scores the tiny model; run by one process or by several, which must come to the same.

arguments: backbone, output folder, rows, global batch, accumulation steps, JSON of further training arguments
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from trainer_setup import make_trainer, without_dropout
from transformers import TrainerCallback

from hf_emo_dist.modeling import EmotionDistributionProcessor, Qwen2AudioForEmotionDistribution


class Gradients(TrainerCallback):
    """Keeps what the optimizer is given, every step."""

    def __init__(self):
        self.found = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                name = name.removeprefix("module.")
                self.found[f"{state.global_step}/{name}"] = parameter.grad.detach().clone().double()


def main():
    torch.set_num_threads(1)
    backbone, folder, rows, batch, steps, changes = sys.argv[1:]
    rows, batch, steps, changes = int(rows), int(batch), int(steps), json.loads(changes)
    torch.manual_seed(0)
    model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=TINY_EMOTIONS).double()
    long_audio = changes.pop("long_audio", "error")
    processor = EmotionDistributionProcessor.from_pretrained(backbone, emotions=TINY_EMOTIONS, long_audio=long_audio)
    train = as_dataset(tiny_rows(rows, seed=1, seconds=(0.15, 1.5)))
    held_out = as_dataset(tiny_rows(rows, seed=2, seconds=(0.15, 1.5)))
    gradients = Gradients()
    if changes.pop("stream", False):
        train = train.to_iterable_dataset()
    from accelerate import PartialState

    processes = PartialState(cpu=True).num_processes
    trainer = make_trainer(
        without_dropout(model),
        processor,
        Path(folder) / "run",
        train,
        held_out,
        trainer_options={"callbacks": [gradients]},
        per_device_train_batch_size=batch // processes // steps,
        gradient_accumulation_steps=steps,
        per_device_eval_batch_size=4,
        optim="sgd",
        learning_rate=0.1,
        max_grad_norm=1e9,
        ddp_find_unused_parameters=False,
        **changes,
    )
    assert trainer.args.world_size == processes
    trainer.train()
    scores = trainer.evaluate()
    predictions = trainer.predict(held_out)
    if trainer.is_world_process_zero():
        save_file(gradients.found, Path(folder) / "gradients.safetensors")
        found = {
            "processes": processes,
            "steps": trainer.state.global_step,
            "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
            "scores": scores,
            "predictions": predictions.predictions.tolist(),
            "labels": predictions.label_ids[0].tolist(),
            "expected_labels": [[row["human_distribution"][name] for name in TINY_EMOTIONS] for row in held_out],
        }
        (Path(folder) / "found.json").write_text(json.dumps(found))
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
