"""Epochs with the frozen tower's outputs read back, against epochs that compute them: same weights, same clips, one run.

Baseline: the trimmed tower without the cache. Measured are whole epochs of the Trainer, reading, features, forward, backward and optimizer
step, on random weights in Whisper-tiny's shape and speech-like simulated clips, or RAVDESS where HF_EMO_DIST_TEST_DATA has it. The
floor is an epoch's time less that of reading clips, features and tower, measured on batches of the same clips: no cache is faster.
"""

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from datasets import Audio, Dataset
from transformers import TrainerCallback

from hf_emo_dist.audio import encode_flac, load_audio
from hf_emo_dist.modeling import (
    EmotionDistributionProcessor,
    Qwen2AudioForEmotionDistribution,
    build_mini_backbone,
)
from hf_emo_dist.training import EmotionDistributionTrainer, EmotionDistributionTrainingArguments, emotion_lora_config

EMOTIONS = ["angry", "happy", "neutral", "sad"]
WORDS = "Kids are talking by the door. "


class Epochs(TrainerCallback):
    """Times every epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.start = 0.0

    def on_epoch_begin(self, *args: object, **kwargs: object) -> None:
        """Starts the clock."""
        self.start = time.perf_counter()

    def on_epoch_end(self, *args: object, **kwargs: object) -> None:
        """Stops the clock."""
        self.seconds.append(time.perf_counter() - self.start)


def clips(count: int) -> list[tuple[str, bytes]]:
    """Name and bytes of RAVDESS clips, or of noise of 2 to 6 s."""
    folder = os.environ.get("HF_EMO_DIST_TEST_DATA") or Path(__file__).parents[1].parent / "shared" / "data"
    files = sorted(path for path in Path(folder, "ravdess").rglob("*") if path.suffix in (".wav", ".flac"))
    if files:
        chosen = [files[i * len(files) // count] for i in range(min(count, len(files)))]
        return [(path.stem, path.read_bytes()) for path in dict.fromkeys(chosen)]
    rng = np.random.default_rng(0)
    return [(f"{i}", encode_flac(0.1 * rng.standard_normal(int(rng.uniform(2, 6) * 16000)))) for i in range(count)]


def rows(count: int, prompt: int) -> Dataset:
    """Rows with random targets and transcripts of `prompt` words."""
    rng = np.random.default_rng(1)
    made = []
    for name, data in clips(count):
        target = dict(zip(EMOTIONS, rng.dirichlet(np.ones(4)).tolist(), strict=True))
        words = " ".join((WORDS * (1 + prompt // 6)).split()[:prompt])
        made.append({"id": name, "audio": {"bytes": data, "path": None}, "transcript": words,
                     "emotion_distribution": target, "human_distribution": target})  # fmt: skip
    return Dataset.from_list(made).cast_column("audio", Audio(sampling_rate=16000, decode=False))


def run(folder: str, backbone: Path, data: Dataset, cache: bool, what: str, options: argparse.Namespace) -> tuple:
    """Epoch times in seconds, and the logits of the trained model."""
    torch.manual_seed(0)
    model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=EMOTIONS)
    processor = EmotionDistributionProcessor.from_pretrained(backbone, emotions=EMOTIONS)
    model.model.requires_grad_(what == "language model")
    model.model.audio_tower.requires_grad_(False)
    epochs = Epochs()
    args = EmotionDistributionTrainingArguments(
        os.path.join(folder, "out"), num_train_epochs=options.epochs, per_device_train_batch_size=options.batch,
        per_device_eval_batch_size=options.batch, use_cpu=True, disable_tqdm=True, report_to="none", logging_strategy="no",
        save_strategy="no", eval_strategy="no", load_best_model_at_end=False, learning_rate=1e-4, seed=0, cache_audio_tower=cache, tower_cache_dir=os.path.join(folder, what),
    )  # fmt: skip
    trainer = EmotionDistributionTrainer(
        model=model, args=args, processing_class=processor, train_dataset=data, callbacks=[epochs],
        peft_config=emotion_lora_config("language_model") if what == "LoRA" else None,
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return epochs.seconds, trainer.predict(data).predictions


def audio_seconds(backbone: Path, data: Dataset, batch: int) -> float:
    """Time that the clips take in an epoch before the language model: decoding, features and tower."""
    model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=EMOTIONS).eval()
    processor = EmotionDistributionProcessor.from_pretrained(backbone, emotions=EMOTIONS)
    ordered = sorted(data, key=lambda row: len(row["audio"]["bytes"]))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        for i in range(0, len(ordered), batch):
            pieces = [processor.cut(load_audio(row["audio"])) for row in ordered[i : i + batch]]
            features = processor.audio_features([clip for piece in pieces for clip in piece])
            with torch.no_grad():
                model.model.audio_tower.encode(*(torch.from_numpy(value) for value in features.values()))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--words", type=int, default=6, help="words of each transcript")
    parser.add_argument("--whisper", help="folder or Hub id of Whisper weights for the tower; default random ones")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    logging.getLogger("hf_emo_dist").setLevel(logging.WARNING)
    data = rows(options.clips, options.words)
    with tempfile.TemporaryDirectory() as folder:
        backbone = build_mini_backbone(
            os.path.join(folder, "b"), options.whisper, hidden_size=384, audio_layers=None if options.whisper else 4
        )
        print(f"{len(data)} clips, batches of {options.batch}, {torch.get_num_threads()} thread(s)")
        audio = audio_seconds(backbone, data, options.batch)
        print(f"decoding, features and tower of an epoch: {audio:.2f} s")
        for what in ("head", "LoRA", "language model"):
            plain, plain_logits = run(folder, backbone, data, False, what, options)
            cached, logits = run(folder, backbone, data, True, what, options)
            p, q = (torch.tensor(x).softmax(-1) for x in (plain_logits, logits))
            base, later = statistics.median(plain[1:]), statistics.median(cached[1:])
            print(
                f"{what + ' trained:':24} uncached {base:6.2f} s an epoch, cached {later:6.2f} s: {base / later:4.1f} x (at most {base / max(base - audio, 1e-9):4.1f} x); first cached "
                f"epoch {cached[0]:6.2f} s ({cached[0] / plain[0]:4.2f} of the uncached one); "
                f"largest difference in a probability {(p - q).abs().max():.1e}"
            )


if __name__ == "__main__":
    main()
