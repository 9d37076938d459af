"""A tiny random encoder of each family, in transformers' own class and with its own files."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers

CONV = {
    "conv_dim": (8, 8, 8), "conv_kernel": (10, 8, 6), "conv_stride": (8, 5, 4), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
LAYERS = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "classifier_proj_size": 12, "layerdrop": 0.1, "vocab_size": 32,
}  # fmt: skip
WHISPER = {
    "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "num_mel_bins": 16,
    "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24, "vocab_size": 32, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "classifier_proj_size": 12,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One encoder; `name` is transformers' prefix of its classes."""

    family: str
    name: str
    settings: dict[str, Any]
    stock_head: str = "ForSequenceClassification"

    def config(self, **changes):
        kind = {"Data2VecAudio": "Data2VecAudioConfig"}.get(self.name, f"{self.name}Config")
        return getattr(transformers, kind)(**{**self.settings, **changes})

    def stock(self, head="Model", **changes):
        """A random model, no weight of which is near zero."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = getattr(transformers, self.name + head)(self.config(**changes)).eval()
            for name, parameter in model.named_parameters():
                norm = name.endswith("norm.weight") or name.endswith("original0")
                torch.nn.init.normal_(parameter, mean=1.0 if norm else 0.0, std=0.3)
        return model

    def feature_extractor(self):
        if self.name == "Whisper":
            return transformers.WhisperFeatureExtractor(feature_size=16)
        if self.name == "Wav2Vec2Bert":
            return transformers.SeamlessM4TFeatureExtractor(feature_size=8, num_mel_bins=8)
        # as wav2vec2-base has it: clips normalised, and no mask
        return transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)

    def backbone(self, folder, head="Model"):
        """The folder of a backbone, as transformers saves it."""
        self.stock(head).save_pretrained(folder)
        self.feature_extractor().save_pretrained(folder)
        return folder


GROUP = {**LAYERS, **CONV, "feat_extract_norm": "group"}
LAYER = {**LAYERS, **CONV, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CASES = {
    "wav2vec2": Case("wav2vec2", "Wav2Vec2", GROUP),
    "wav2vec2 large": Case("wav2vec2", "Wav2Vec2", LAYER),
    "hubert": Case("hubert", "Hubert", GROUP),
    "wavlm": Case("wavlm", "WavLM", {**GROUP, "num_buckets": 8, "max_bucket_distance": 16}),
    "wavlm large": Case("wavlm", "WavLM", {**LAYER, "num_buckets": 8, "max_bucket_distance": 16}),
    "unispeech-sat": Case("unispeech-sat", "UniSpeechSat", {**GROUP, "num_codevectors_per_group": 4}),
    "data2vec-audio": Case("data2vec-audio", "Data2VecAudio", {**LAYERS, **CONV, "conv_pos_kernel_size": 5}),
    "wav2vec2-bert": Case(
        "wav2vec2-bert",
        "Wav2Vec2Bert",
        {**LAYERS, "feature_projection_input_dim": 16, "conv_depthwise_kernel_size": 5,
         "left_max_position_embeddings": 8, "right_max_position_embeddings": 4},
    ),
    "whisper": Case("whisper", "Whisper", WHISPER, "ForAudioClassification"),
}  # fmt: skip
#: one of each family
FAMILIES = {case.family: case for case in CASES.values()}
