"""Granite Speech: a conformer, a Q-Former on windows of its frames, and a Granite language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .family import FamilyOfTexts

if TYPE_CHECKING:
    from torch import Tensor


class GraniteSpeechFamily(FamilyOfTexts):
    """Granite Speech. Its conformer has no mask, so that clips of equal length alone go through it together."""

    title = "Granite Speech"
    example = "ibm-granite/granite-speech-3.3-2b"
    tested = True
    untested = "its own feature extractor, which needs torchaudio"

    def prepare(self) -> None:
        """Switch the adapter on that belongs to audio, and have logits scaled as the language model was trained."""
        if getattr(self.model, "_hf_peft_config_loaded", False):
            self.model.enable_adapters()
        scale = float(getattr(self.text_config, "logits_scaling", 1.0))
        head = self.model.lm_head
        if scale != 1.0 and not self._scales_itself() and not hasattr(head, "_scaled_for_readout"):
            # Granite's language model divides its logits, and the speech model around it forgets to
            # (transformers 5.23): what is most likely stays, but no probability would be right.
            head._scaled_for_readout = head.register_forward_hook(lambda module, inputs, output: output / scale)

    def _scales_itself(self) -> bool:
        """Say whether transformers' class divides the logits."""
        import torch

        with torch.inference_mode():
            ids = torch.zeros((1, 1), dtype=torch.long, device=self.model.device)
            states = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
            ours = self.model.lm_head(states)
            return not torch.allclose(self.model(input_ids=ids, use_cache=False).logits, ours, rtol=1e-2)

    def logits(self, hidden: Tensor) -> Tensor:
        """Turn states of the language model into logits."""
        logits = super().logits(hidden)
        scale = float(getattr(self.text_config, "logits_scaling", 1.0))
        return logits if scale == 1.0 or hasattr(self.model.lm_head, "_scaled_for_readout") else logits / scale

    def audio_tokens(self, num_samples: int) -> int:
        """Return how many tokens a clip at 16 kHz has."""
        config = self.model.config
        frames = (num_samples // 160 + 1) // 2
        windows = -(-frames // config.window_size)
        return int(windows * (config.window_size // config.downsample_rate))

    def inputs(self, clips: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return features of clips of equal length."""
        features = self.processor.audio_processor(list(clips))
        return {name: features[name] for name in ("input_features", "input_features_mask")}

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the projected outputs of the conformer."""
        heard = self.model.model.get_audio_features(inputs["input_features"], return_dict=True).pooler_output
        valid: Tensor = heard[inputs["input_features_mask"].bool()]
        return valid
