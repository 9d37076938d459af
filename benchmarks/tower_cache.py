"""Epochs with the frozen tower's outputs read back, against epochs that compute them: same weights and clips, one run.

Baseline: the trimmed tower without the cache. Measured are whole epochs of the Trainer, reading, features, forward,
backward and optimizer step, with Whisper tiny's weights and RAVDESS clips where HF_EMO_DIST_TEST_DATA has them, else
with random weights of that shape and artificial clips. The floor is an uncached epoch's time less what it spent on
reading clips, features and tower: no cache is faster.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from common import DATA, speech, verdict
from datasets import Audio, Dataset
from transformers import TrainerCallback

from hf_emo_dist.audio.clips import encode_flac
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.mini import build_mini_backbone
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.training.arguments import EmotionDistributionTrainingArguments
from hf_emo_dist.training.lora import emotion_lora_config
from hf_emo_dist.training.trainer import EmotionDistributionTrainer

EMOTIONS = ["angry", "happy", "neutral", "sad"]
TRAINED = ("head", "LoRA", "language model")
WORDS = "Kids are talking by the door. "


class Epochs(TrainerCallback):
    """Times every epoch, in CPU seconds: the runs do not take turns, and other work would hit one of them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.start = 0.0

    def on_epoch_begin(self, *args: object, **kwargs: object) -> None:
        """Starts the clock."""
        self.start = time.process_time()

    def on_epoch_end(self, *args: object, **kwargs: object) -> None:
        """Stops the clock."""
        self.seconds.append(time.process_time() - self.start)


class Clock:
    """Adds up the CPU seconds that functions take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start

        return timed


def rows(count: int, words: int, seconds: float) -> tuple[Dataset, str]:
    """Rows with random targets and transcripts of so many words; clips as they are, or joined to so many seconds."""
    rng = np.random.default_rng(1)
    waves, kind = speech(count)
    if seconds:
        size = int(seconds * 16000)
        waves = [np.resize(np.concatenate(waves[i:] + waves[:i]), size) for i in range(len(waves))]
        kind += f", joined to {seconds:g} s"
    made = []
    for i, wave in enumerate(waves):
        target = dict(zip(EMOTIONS, rng.dirichlet(np.ones(4)).tolist(), strict=True))
        text = " ".join((WORDS * (1 + words // 6)).split()[:words])
        made.append({"id": str(i), "audio": {"bytes": encode_flac(wave), "path": None}, "transcript": text,
                     "emotion_distribution": target, "human_distribution": target})  # fmt: skip
    return Dataset.from_list(made).cast_column("audio", Audio(sampling_rate=16000, decode=False)), kind


def run(folder: str, backbone: Path, data: Dataset, cache: bool, what: str, options: argparse.Namespace) -> tuple:
    """Epoch times in seconds, the logits of the trained model, and the seconds an epoch that went into audio."""
    torch.manual_seed(0)
    model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=EMOTIONS)
    processor = EmotionDistributionProcessor.from_pretrained(backbone, emotions=EMOTIONS)
    model.model.requires_grad_(what == "language model")
    model.model.audio_tower.requires_grad_(False)
    epochs = Epochs()
    args = EmotionDistributionTrainingArguments(
        os.path.join(folder, "out"), num_train_epochs=options.epochs, per_device_train_batch_size=options.batch,
        per_device_eval_batch_size=options.batch, use_cpu=True, disable_tqdm=True, report_to="none",
        logging_strategy="no", save_strategy="no", eval_strategy="no", load_best_model_at_end=False,
        learning_rate=1e-4, seed=0, cache_audio_tower=cache, tower_cache_dir=os.path.join(folder, what),
    )  # fmt: skip
    trainer = EmotionDistributionTrainer(
        model=model, args=args, processing_class=processor, train_dataset=data, callbacks=[epochs],
        peft_config=emotion_lora_config("language_model") if what == "LoRA" else None,
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    clock, tower = Clock(), model.model.audio_tower
    processor.text_inputs = clock("text", processor.text_inputs)
    trainer.data_collator = clock("batches", trainer.data_collator)
    tower.forward = clock("tower", tower.forward)
    trainer.train()
    audio = clock.seconds["batches"] - clock.seconds["text"] + clock.seconds.get("tower", 0.0)
    return epochs.seconds, trainer.predict(data).predictions, audio / options.epochs


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--words", type=int, default=6, help="words of each transcript")
    parser.add_argument("--seconds", type=float, default=0, help="join clips to this duration; default: as they are")
    parser.add_argument("--trained", choices=TRAINED, nargs="+", default=list(TRAINED))
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    logging.getLogger("hf_emo_dist").setLevel(logging.WARNING)
    data, kind = rows(options.clips, options.words, options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        whisper = DATA / "whisper_tiny_en_encoder"
        known = whisper.is_dir()
        backbone = build_mini_backbone(
            os.path.join(folder, "b"),
            whisper=whisper if known else None,
            hidden_size=384,
            audio_layers=None if known else 4,
            calibrate=False,
        )
        print(f"{len(data)} {kind}, batches of {options.batch}, {torch.get_num_threads()} thread(s)")
        for what in options.trained:
            plain, plain_logits, audio = run(folder, backbone, data, False, what, options)
            cached, logits, _ = run(folder, backbone, data, True, what, options)
            p, q = (torch.tensor(x).softmax(-1) for x in (plain_logits, logits))
            base, later = statistics.median(plain[1:]), statistics.median(cached[1:])
            print(
                f"{what} trained: an epoch {base:.2f} CPU seconds uncached ({audio:.2f} s of it for reading, features "
                f"and tower), {later:.2f} s cached: {verdict(base / later, 2)}; at most {base / (base - audio):.1f} x; "
                f"first cached epoch {cached[0] / plain[0]:.2f} of the uncached one; largest difference in a "
                f"probability {(p - q).abs().max():.1e}"
            )


if __name__ == "__main__":
    main()
