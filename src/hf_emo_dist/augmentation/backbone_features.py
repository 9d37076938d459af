"""Features from the audio tower of a checkpoint: the mean over time of its outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.clips import load_audio, windows
from ..audio.decoding import SAMPLING_RATE
from ..emotions import PAPER_EMOTIONS
from .features import FeatureExtractor


class BackboneFeatures(FeatureExtractor):
    """The audio tower's outputs, averaged over the frames of the clip."""

    # of a backbone or checkpoint (local folder or Hub id); or of `(model, processor)`, for adapters, and in one process

    kind = "backbone"

    def __init__(self, backbone: str | Path | tuple[Any, Any] | None = None) -> None:
        super().__init__(backbone)
        if backbone is None:
            raise ValueError(
                "features='backbone' needs a checkpoint. Mend: pass backbone=..., a local folder or a Hub id."
            )
        if isinstance(backbone, tuple):
            from ..modeling.backbones.qwen2_audio_tower import add_weights

            model, processor = backbone
            network = model.get_base_model() if hasattr(model, "get_base_model") else model
            self._loaded: tuple[Any, Any] | None = (network.model.audio_tower, processor.feature_extractor)
            self.source = "model"
            digest = hashlib.sha256()
            add_weights(digest, self._loaded[0])
            self.fingerprint = (*self.fingerprint, digest.hexdigest())
            self.size = self._loaded[0].config.d_model
            return
        from transformers import AutoConfig

        self._loaded = None
        self.source = str(backbone)
        folder = Path(self.source)
        if folder.is_dir() and (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
            raise ValueError(
                f"{folder} is an adapter. Mend: load it with load_emotion_model and pass backbone=(model, processor)."
            )
        self.size = AutoConfig.from_pretrained(self.source).audio_config.d_model
        files: list[Path] = []
        if folder.is_dir():  # names, sizes and times change when a checkpoint is written anew
            files = sorted(path for path in folder.iterdir() if path.is_file())
        about = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        self.fingerprint = (*self.fingerprint, about or self.source)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self.source != "model":
            state["_loaded"] = None  # each process loads its own
        return state

    def _tower(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoConfig, AutoFeatureExtractor

            from ..modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution

            own = hasattr(AutoConfig.from_pretrained(self.source), "emotions")
            # the head is not used; a backbone has none and needs to be told of some emotions
            model = Qwen2AudioForEmotionDistribution.from_pretrained(
                self.source, emotions=None if own else PAPER_EMOTIONS, dtype="auto"
            )
            device = "cuda" if torch.cuda.is_available() else "cpu"
            tower = model.model.audio_tower.eval().to(device)
            self._loaded = (tower, AutoFeatureExtractor.from_pretrained(self.source))
        return self._loaded

    def features(self, row: Mapping[str, Any]) -> NDArray[Any]:
        """The mean output (d_model,)."""
        import torch

        from ..modeling.backbones.qwen2_audio_tower import audio_kwargs_for, encode_audio

        tower, extractor = self._tower()
        # clips longer than 30 s by windows, which are weighed by their duration at the end
        clips = windows(load_audio(row["audio"], row_id=row.get("id")), long_audio="window")
        device = next(tower.parameters()).device
        threads, was_training = torch.get_num_threads(), tower.training
        tower.eval()
        # each clip by itself and on one thread: its features must not depend on what else is in a batch, nor on the
        # cores
        if device.type == "cpu":
            torch.set_num_threads(1)
        try:
            means = []
            with torch.inference_mode():
                for clip in clips:
                    inputs = extractor(
                        clip,
                        sampling_rate=SAMPLING_RATE,
                        padding="max_length",
                        return_attention_mask=True,
                        return_tensors="pt",
                        **audio_kwargs_for([clip]),
                    )
                    outputs = encode_audio(
                        tower, inputs["input_features"].to(device), inputs["attention_mask"].to(device)
                    )
                    means.append(outputs.double().mean(0).cpu().numpy())
        finally:
            tower.train(was_training)
            torch.set_num_threads(threads)
        return np.average(means, axis=0, weights=[len(clip) for clip in clips])
