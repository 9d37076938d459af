"""Features from the encoder or audio tower of a checkpoint: the mean over time of its outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.clips import load_audio, windows
from ..emotions import PAPER_EMOTIONS
from .features import FeatureExtractor

# samples of the clip that shows how many numbers there are
_PROBE = 8000


class BackboneFeatures(FeatureExtractor):
    """What the frozen encoder or audio tower hears, averaged over the frames of the clip, and over layers."""

    # of a backbone or checkpoint (local folder or Hub id); or of `(model, processor)`, for adapters, and in one process

    kind = "backbone"

    def __init__(self, backbone: str | Path | tuple[Any, Any] | None = None) -> None:
        super().__init__(backbone)
        if backbone is None:
            raise ValueError(
                "features='backbone' needs a checkpoint. Mend: pass backbone=..., a local folder or a Hub id."
            )
        if isinstance(backbone, tuple):
            from ..audio.qwen2_audio_tower import add_weights

            model, processor = backbone
            network = model.get_base_model() if hasattr(model, "get_base_model") else model
            self._loaded: tuple[Any, Any] | None = (network, processor)
            self.source = "model"
            digest = hashlib.sha256(json.dumps(network.cache_settings(), sort_keys=True).encode())
            add_weights(digest, network.cached_part)
            self.fingerprint = (*self.fingerprint, digest.hexdigest())
            self.size = len(self._mean(np.zeros(_PROBE, np.float32)))
            return
        self._loaded = None
        self.source = str(backbone)
        folder = Path(self.source)
        from .._checkpoint_files import is_adapter

        if folder.is_dir() and is_adapter(folder, {}):
            raise ValueError(
                f"{folder} is an adapter. Mend: load it with load_emotion_model and pass backbone=(model, processor)."
            )
        self.size = self._size()
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

    def _size(self) -> int:
        from ..modeling.families import read_config

        config = read_config(self.source, {})
        if getattr(config, "backbone_type", config.model_type) == "qwen2_audio":  # billions of weights
            return int(config.audio_config.d_model)
        import torch

        self._loaded = self._load("cpu")  # a process that has used a GPU could not be forked
        size = len(self._mean(np.zeros(_PROBE, np.float32)))
        if torch.cuda.is_available():
            self._loaded = None
        return size

    def _load(self, device: str) -> tuple[Any, Any]:
        """The model, of which only what hears is kept, and its processor."""
        from ..modeling.families import read_config
        from ..modeling.model import EmotionDistributionModel
        from ..modeling.processing import EmotionDistributionProcessor

        own = hasattr(read_config(self.source, {}), "emotions")
        # the head is not used; a backbone has none and needs to be told of some emotions
        new: dict[str, Any] = {} if own else {"emotions": PAPER_EMOTIONS}
        model = EmotionDistributionModel.from_pretrained(self.source, dtype="auto", **new)
        heard = {id(value) for value in model.cached_part.parameters()}
        for value in model.parameters():
            if id(value) not in heard:  # a language model of billions of weights
                value.data = value.data.new_empty(0)
        model.cached_part.eval().to(device)
        return model, EmotionDistributionProcessor.from_pretrained(self.source, **new)

    def features(self, row: Mapping[str, Any]) -> NDArray[Any]:
        """The mean output (d,)."""
        import torch

        if self._loaded is None:
            self._loaded = self._load("cuda" if torch.cuda.is_available() else "cpu")
        # longer clips by windows, which are weighed by their duration at the end
        longest = self._loaded[0].max_seconds
        clips = windows(load_audio(row["audio"], row_id=row.get("id")), longest, long_audio="window")
        means = [self._mean(clip) for clip in clips]
        return np.average(means, axis=0, weights=[len(clip) for clip in clips])

    def _mean(self, clip: NDArray[Any]) -> NDArray[Any]:
        import torch

        assert self._loaded is not None
        model, processor = self._loaded
        tower = model.cached_part
        device = next(tower.parameters()).device
        threads, was_training = torch.get_num_threads(), tower.training
        tower.eval()
        # each clip by itself and on one thread: its features must not depend on what else is in a batch, nor on the
        # cores
        if device.type == "cpu":
            torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                inputs = processor.audio_features([clip])
                audio = {name: torch.from_numpy(inputs[name]).to(device) for name in model.audio_input_names}
                mean: NDArray[Any] = model.mean_states(audio)[0].cpu().numpy()
        finally:
            tower.train(was_training)
            torch.set_num_threads(threads)
        return mean
