"""Granite Speech: a conformer, a Q-Former on windows of 15 of its frames, and a Granite language model."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoFeatureExtractor,
    FeatureExtractionMixin,
    GraniteSpeechForConditionalGeneration,
    SequenceFeatureExtractor,
)
from transformers.audio_utils import mel_filter_bank
from transformers.models.granite_speech.modeling_granite_speech import GraniteSpeechModel, GraniteSpeechPreTrainedModel

from ..._checkpoint_files import PEFT_CONFIG_NAME, PEFT_WEIGHTS_NAME, find_file
from ...audio.decoding import SAMPLING_RATE
from ...data.intact import read_json
from ..adapters import load_all
from ..configuration import AudioLanguageEmotionConfig
from ..lora_targets import ATTENTION, AUDIO_LANGUAGE_TARGETS, FEED_FORWARD
from ..whole_files import MEND
from .audio_language import AudioLanguageForEmotionDistribution
from .audio_language_processing import AudioLanguageProcessor

LAYER = re.compile(r"layers\.\d+\..*weight$")


class GraniteSpeechFeatures(SequenceFeatureExtractor):
    """The features of transformers' `GraniteSpeechFeatureExtractor` for one clip, without torchaudio.

    Args:
        n_fft, win_length, hop_length, n_mels: Of the log-mel spectrogram.
        projector_window_size, projector_downsample_rate: Of the projector, by which audio tokens are counted.
        sampling_rate: Of the clips; 16 kHz.
        padding_value: Not used.
        others: Of transformers' own file.
    """

    model_input_names: ClassVar[list[str]] = ["input_features"]
    #: transformers' own, which reads the same file
    stock_type: ClassVar[str] = "GraniteSpeechFeatureExtractor"

    def __init__(
        self,
        n_fft: int = 512,
        win_length: int = 400,
        hop_length: int = 160,
        n_mels: int = 80,
        projector_window_size: int = 15,
        projector_downsample_rate: int = 5,
        sampling_rate: int = SAMPLING_RATE,
        padding_value: float = 0.0,
        **others: Any,
    ) -> None:
        # as it is saved they lie together
        saved = others.pop("melspec_kwargs", None) or {}
        others.pop("feature_size", None)
        others.pop("mel_filters", None)
        self.n_fft = int(saved.get("n_fft", n_fft))
        self.win_length = int(saved.get("win_length", win_length))
        self.hop_length = int(saved.get("hop_length", hop_length))
        self.n_mels = int(saved.get("n_mels", n_mels))
        super().__init__(feature_size=self.n_mels, sampling_rate=sampling_rate, padding_value=padding_value, **others)
        self.projector_window_size = projector_window_size
        self.projector_downsample_rate = projector_downsample_rate

    def num_frames(self, num_samples: int) -> int:
        """Return the frames of a clip: pairs of mel frames."""
        return (num_samples // self.hop_length + 1) // 2

    def num_tokens(self, num_samples: int) -> int:
        """Return the audio tokens of a clip."""
        windows = -(-self.num_frames(num_samples) // self.projector_window_size)
        return windows * (self.projector_window_size // self.projector_downsample_rate)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Compute the features (frames, 2 · mel bins) of one clip (T,)."""
        spectrum = torch.stft(
            torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)),
            self.n_fft,
            hop_length=self.hop_length,
            win_length=self.win_length,
            window=torch.hann_window(self.win_length),
            pad_mode="reflect",
            return_complex=True,
        )
        filters = mel_filter_bank(
            num_frequency_bins=self.n_fft // 2 + 1,
            num_mel_filters=self.n_mels,
            min_frequency=0.0,
            max_frequency=self.sampling_rate / 2,
            sampling_rate=self.sampling_rate,
            norm=None,
            mel_scale="htk",
        )
        power = spectrum.abs().square().T @ torch.from_numpy(filters).float()
        logarithm = power.clamp_min(1e-10).log10()
        logarithm = torch.maximum(logarithm, logarithm.amax() - 8.0) / 4 + 1
        frames = len(logarithm) // 2
        features: np.ndarray = logarithm[: 2 * frames].reshape(frames, -1).numpy()
        return features


# transformers' pipelines look the class up by its name in a checkpoint's file
AutoFeatureExtractor.register(AudioLanguageEmotionConfig, GraniteSpeechFeatures, exist_ok=True)


class GraniteSpeechEmotionProcessor(AudioLanguageProcessor):
    """Granite Speech's `EmotionDistributionProcessor`; see `AudioLanguageProcessor`."""

    family = "granite_speech"
    audio_token = "<|audio|>"
    before = "<|start_of_role|>user<|end_of_role|>"
    after = "{question}<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"
    prompt_tokens: ClassVar[tuple[str, ...]] = ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>")

    @classmethod
    def load_feature_extractor(cls, name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> Any:
        """Read the settings of the feature extractor that lies there."""
        values, _ = FeatureExtractionMixin.get_feature_extractor_dict(name_or_path, **hub)
        return GraniteSpeechFeatures.from_dict(values)

    def num_tokens(self, num_samples: int) -> int:
        """Return the audio placeholders of a clip at 16 kHz."""
        tokens: int = self.feature_extractor.num_tokens(num_samples)
        return tokens

    def audio_features(self, clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Compute `input_features` (clips, frames, 2 · mel bins) and their mask (clips, frames), clip by clip."""
        features = [self.feature_extractor(clip) for clip in clips]
        frames = max(map(len, features))
        padded = np.zeros((len(clips), frames, features[0].shape[1]), dtype=np.float32)
        mask = np.zeros((len(clips), frames), dtype=np.int64)
        for i, values in enumerate(features):
            padded[i, : len(values)] = values
            mask[i, : len(values)] = 1
        return {"input_features": padded, "feature_attention_mask": mask}


class GraniteSpeechForEmotionDistribution(AudioLanguageForEmotionDistribution, GraniteSpeechPreTrainedModel):
    """Granite Speech that answers with the distribution of emotions that listeners perceive.

    The conformer has no mask, so clips of the same length go through it together and others one after the other: each
    gives what it gives alone. Its batch norms keep the statistics of pretraining, and it does not drop out.
    """

    family = "granite_speech"
    family_name = "Granite Speech"
    family_example = "ibm-granite/granite-speech-3.3-2b"
    backbone_class = GraniteSpeechModel
    stock_class = GraniteSpeechForConditionalGeneration
    processor_class = GraniteSpeechEmotionProcessor
    parts: ClassVar[dict[str, str]] = {
        "audio_tower": "encoder",
        "projector": "projector",
        "language_model": "language_model",
    }
    renamings: ClassVar[dict[str, str]] = {
        r"^language_model\.lm_head": "lm_head",
        r"^language_model\.model\.model\.": "model.language_model.",
        r"^language_model\.model\.": "model.language_model.",
        r"^encoder\.": "model.encoder.",
        r"^projector\.": "model.projector.",
    }
    lora_targets: ClassVar[dict[str, list[str] | str]] = {
        **AUDIO_LANGUAGE_TARGETS,
        "all": (
            rf".*language_model\..*\.({'|'.join((*ATTENTION, *FEED_FORWARD))})"
            r"|.*encoder\.layers\..*\.(to_q|to_kv|to_out|up_proj|down_proj)"
            r"|.*projector\.(linear|qformer\..*\.(query|key|value|dense))"
        ),
    }
    _no_split_modules: ClassVar[list[str]] = ["GraniteSpeechConformerBlock", "GraniteDecoderLayer"]

    @classmethod
    def config_from_backbone(cls, backbone: Any, emotions: Sequence[str], changes: dict[str, Any]) -> Any:
        """Make the model's configuration around the backbone's, for a new head."""
        config = super().config_from_backbone(backbone, emotions, changes)
        config.backbone_config.encoder_config.dropout = 0.0
        return config

    @classmethod
    def bare_weights(cls, name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> dict[str, Tensor] | None:
        """Return the weights of a backbone with an adapter for audio beside them, with the adapter merged."""
        adapter = find_file(name_or_path, PEFT_WEIGHTS_NAME, hub)
        settings = find_file(name_or_path, PEFT_CONFIG_NAME, hub)
        if adapter is None or settings is None or not find_file(name_or_path, "config.json", hub):
            return None
        weights = load_all(name_or_path, hub)
        values = read_json(settings, MEND)
        scale = values["lora_alpha"] / (values["r"] ** 0.5 if values.get("use_rslora") else values["r"])
        places = {
            found[0]: name for name in weights if "language_model" in name and (found := LAYER.search(name)) is not None
        }
        parts = load_file(adapter)
        for name, down in parts.items():
            if ".lora_A" in name:
                up = parts[name.replace(".lora_A", ".lora_B")]
                place = places[LAYER.search(name.replace(".lora_A.default", "").replace(".lora_A", ""))[0]]  # type: ignore[index]
                weight = weights[place]
                weights[place] = (weight.float() + scale * up.float() @ down.float()).to(weight.dtype)
        return weights

    def stock_config(self) -> Any:
        """Return the configuration of `stock_class`; what its adapter said is in the weights."""
        config = super().stock_config()
        config.has_lora_adapter = False
        return config

    def train(self, mode: bool = True) -> Any:
        """Set the mode; a tower without trained weights and all batch norms stay in evaluation mode."""
        super().train(mode)
        for module in self.part("audio_tower").modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

    def rows_of(self, frames: int) -> int:
        """Return the audio tokens of a clip of so many frames."""
        projector = self.part("projector")
        return -(-frames // projector.window_size) * int(projector.num_queries)

    def encode(self, input_features: Tensor, feature_attention_mask: Tensor) -> Tensor:
        """Return the tower's outputs, each clip's filled up to windows: (audio tokens, frames a token · d)."""
        tower, projector = self.part("audio_tower"), self.part("projector")
        window, together = projector.window_size, projector.downsample_rate
        lengths = feature_attention_mask.sum(-1).tolist()
        found: dict[int, Tensor] = {}
        features = input_features.to(tower.input_linear.weight.dtype)
        for length in sorted(set(lengths)):
            rows = [i for i, other in enumerate(lengths) if other == length]
            hidden = tower(features[rows, :length]).last_hidden_state
            hidden = nn.functional.pad(hidden, (0, 0, 0, -length % window))
            found.update(zip(rows, hidden.reshape(len(rows), -1, together * hidden.shape[-1]), strict=True))
        return torch.cat([found[i] for i in range(len(lengths))])

    def project(self, audio_embeddings: Tensor) -> Tensor:
        """Turn windows into embeddings of the language model, (audio tokens, d)."""
        projector = self.part("projector")
        # its Q-Former sees one window at a time, so that clip after clip is as good as clip by clip
        frames = audio_embeddings.reshape(1, -1, audio_embeddings.shape[-1] // projector.downsample_rate)
        projected: Tensor = projector(frames)[0]
        return projected
