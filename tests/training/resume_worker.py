"""Trains the tiny model in one of several processes, interrupted and resumed; keeps the rows it saw and the weights.

arguments: backbone, output folder, JSON: name → training arguments
"""

import copy
import json
import sys
from pathlib import Path

import torch
from test_trainer_exactness import Interrupt
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from trainer_setup import largest_difference, make_trainer, weights, without_dropout

from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor


def run(setup, folder, changes, interrupt=None, resume=None, seen=None):
    model, processor, train, evaluation = setup
    trainer = make_trainer(
        copy.deepcopy(model),
        processor,
        folder,
        train,
        evaluation,
        trainer_options={"callbacks": [Interrupt(interrupt)]} if interrupt else None,
        num_train_epochs=2,
        **changes,
    )
    if seen is not None:
        collate = trainer.data_collator

        def recording(rows):
            seen.extend(int(row["id"]) for _, row, *_ in rows if row["id"].isdigit())
            return collate(rows)

        trainer.data_collator = recording
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def main():
    torch.set_num_threads(1)
    backbone, folder, variants = sys.argv[1:]
    torch.manual_seed(0)
    model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=TINY_EMOTIONS)
    model.model.audio_tower.requires_grad_(False)
    without_dropout(model)  # each process draws its own
    processor = EmotionDistributionProcessor.from_pretrained(backbone, emotions=TINY_EMOTIONS)
    rows = [{**row, "id": str(i)} for i, row in enumerate(tiny_rows(13, seed=1))]
    setup = (model, processor, as_dataset(rows), as_dataset(tiny_rows(7, seed=2)))
    result = {}
    for name, changes in json.loads(variants).items():
        seen, parts = [], Path(folder) / name
        whole = run(setup, Path(folder) / f"{name}-whole", changes, seen=seen)
        last = whole.state.global_step - 1
        run(setup, parts, changes, interrupt=last)
        resumed = run(setup, parts, changes, resume=str(parts / f"checkpoint-{last}"))
        result[name] = {
            "rows": seen,
            "steps": whole.state.global_step,
            "resumed_steps": resumed.state.global_step,
            "difference": largest_difference(weights(resumed), weights(whole)),
            "js": whole.evaluate()["eval_js_divergence"],
        }
    Path(folder, f"rank{whole.args.process_index}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
