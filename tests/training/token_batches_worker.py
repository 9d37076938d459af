"""Trains the tiny model by token batches in one of several processes, interrupted and resumed; keeps the rows it saw and the weights.

arguments: backbone, output folder, cache folder
"""

import copy
import json
import sys
from pathlib import Path

import torch
from test_trainer_exactness import Interrupt
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from trainer_setup import largest_difference, make_trainer, weights

from hf_emo_dist.modeling import EmotionDistributionProcessor, Qwen2AudioForEmotionDistribution


def main():
    torch.set_num_threads(1)
    backbone, folder, cache = sys.argv[1:]
    torch.manual_seed(0)
    model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=TINY_EMOTIONS)
    model.model.audio_tower.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # each process draws its own
    processor = EmotionDistributionProcessor.from_pretrained(backbone, emotions=TINY_EMOTIONS)
    rows = tiny_rows(13, seed=1)
    for i, row in enumerate(rows):
        row["id"] = str(i)
    seen = []

    def run(name, interrupt=None, resume=None, keep=None):
        trainer = make_trainer(
            copy.deepcopy(model),
            processor,
            Path(folder) / name,
            as_dataset(rows),
            as_dataset(tiny_rows(7, seed=2)),
            trainer_options={"callbacks": [Interrupt(interrupt)]} if interrupt else None,
            max_audio_tokens_per_batch=20,
            num_train_epochs=2,
            cache_audio_tower=True,
            tower_cache_dir=cache,
        )
        if keep is not None:
            collate = trainer.data_collator

            def recording(pairs):
                keep.extend(int(row["id"]) for _, row, *_ in pairs if row["id"].isdigit())
                return collate(pairs)

            trainer.data_collator = recording
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run("whole", keep=seen)
    steps = whole.state.global_step
    run("parts", interrupt=steps - 1)
    resumed = run("parts", resume=str(Path(folder) / "parts" / f"checkpoint-{steps - 1}"))
    result = {
        "rows": seen,
        "steps": steps,
        "resumed_steps": resumed.state.global_step,
        "difference": largest_difference(weights(resumed), weights(whole)),
        "js": whole.evaluate()["eval_js_divergence"],
    }
    Path(folder, f"rank{whole.args.process_index}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
