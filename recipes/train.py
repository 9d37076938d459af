"""Fine-tunes a Qwen2-Audio backbone to predict emotion distributions.

accelerate launch recipes/train.py --config recipes/configs/mini.yaml --backbone B --dataset D --output_dir O
"""

import sys

import transformers

from hf_emo_dist.reports.commands import KNOWN_ERRORS, set_up_logging
from hf_emo_dist.training.run import finish_training, parse_config, prepare_training

SHOWN = ("eval_js_divergence", "eval_bhattacharyya_coefficient", "eval_log_likelihood_per_vote")


def main() -> int:
    """Parses the command line, trains, and prints the scores on the validation data."""
    set_up_logging()
    transformers.logging.set_verbosity_warning()
    try:
        recipe, args = parse_config()
        trainer = prepare_training(recipe, args)
    except KNOWN_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    scores = finish_training(trainer, recipe)
    if trainer.is_world_process_zero():
        print(f"checkpoint: {args.output_dir}")
        for name in SHOWN:
            if name in scores:
                print(f"{name}: {scores[name]:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
