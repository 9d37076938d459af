"""Trains and scores the tiny model; run by one process or by several, which must come to the same.

arguments: backbone, output folder, JSON: name → [rows, global batch, accumulation steps, further training arguments],
cpu or fsdp
"""

import json
import os
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors.torch import save_file
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from trainer_setup import make_trainer, without_dropout, worth
from transformers import TrainerCallback

from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.training.lora import emotion_lora_config


class Gradients(TrainerCallback):
    """Keeps what the optimizer is given, every step."""

    def __init__(self):
        self.found = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                gradient = parameter.grad.detach()
                gradient = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient.clone()
                self.found[f"{state.global_step}/{name.removeprefix('module.')}"] = gradient.double()


def pretend_that_the_cpu_is_an_accelerator():
    """accelerate takes FSDP only where it finds an accelerator; torch's own shards on the CPU just as well."""
    from accelerate.utils import DistributedType

    PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"


def train(backbone, folder, rows, batch, steps, changes, fsdp):
    processes = PartialState().num_processes
    torch.manual_seed(0)
    model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=TINY_EMOTIONS).double()
    processor = EmotionDistributionProcessor.from_pretrained(backbone, emotions=TINY_EMOTIONS)
    train = as_dataset(tiny_rows(rows, seed=1, seconds=(0.15, 1.5)))
    held_out = as_dataset(tiny_rows(rows, seed=2, seconds=(0.15, 1.5)))
    gradients = Gradients()
    options = {"callbacks": [gradients]}
    if changes.pop("lora", False):
        options["peft_config"] = emotion_lora_config("all", lora_dropout=0.0)
    if "concentration_weight" in changes:
        train = worth(train)
    if changes.pop("stream", False):
        train = train.to_iterable_dataset()
    trainer = make_trainer(
        without_dropout(model),
        processor,
        folder,
        train,
        held_out,
        trainer_options=options,
        per_device_train_batch_size=batch // processes // steps,
        gradient_accumulation_steps=steps,
        per_device_eval_batch_size=4,
        optim="sgd",
        learning_rate=0.1,
        max_grad_norm=1e9,
        use_cpu=not fsdp,
        **changes,
    )
    assert trainer.args.world_size == processes and trainer.is_fsdp_enabled == fsdp
    trainer.train()
    assert hasattr(trainer.model_wrapped, "unshard") == fsdp
    trainer.save_model()
    scores = trainer.evaluate()
    predictions = trainer.predict(held_out)
    if trainer.is_world_process_zero():
        save_file(gradients.found, folder / "gradients.safetensors")
        found = {
            "processes": processes,
            "steps": trainer.state.global_step,
            "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
            "scores": scores,
            "predictions": predictions.predictions.tolist(),
            "labels": predictions.label_ids[0].tolist(),
            "expected_labels": [[row["human_distribution"][name] for name in TINY_EMOTIONS] for row in held_out],
        }
        (folder / "found.json").write_text(json.dumps(found))
    return trainer


def main():
    torch.set_num_threads(1)
    backbone, folder, cases, kind = sys.argv[1:]
    if kind == "fsdp":
        pretend_that_the_cpu_is_an_accelerator()
    PartialState(cpu=kind == "cpu")
    for name, case in json.loads(cases).items():
        trainer = train(backbone, Path(folder) / name, *case, fsdp=kind == "fsdp")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
