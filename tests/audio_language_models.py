"""A tiny random audio-language model of each family, in transformers' own class and with its own files."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from hf_emo_dist.modeling.mini import byte_level_tokenizer

MEL_BINS = 16
VOCABULARY = 640
TEXT = {
    "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 2048, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WHISPER = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "num_mel_bins": MEL_BINS,
}  # fmt: skip
OMNI_AUDIO = {
    "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "num_mel_bins": MEL_BINS,
    "output_dim": 32,
}  # fmt: skip
OMNI_VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def _whisper():
    return transformers.WhisperFeatureExtractor(feature_size=MEL_BINS)


def _granite():
    from hf_emo_dist.modeling.backbones.granite_speech import GraniteSpeechFeatures

    return GraniteSpeechFeatures(n_mels=MEL_BINS)


@dataclass(frozen=True)
class Case:
    """One audio-language model: its `model_type`, transformers' class, its configuration and special tokens."""

    family: str
    stock_class: str
    config: Callable[[Callable[[str], int]], Any]  # of a function that gives a token's id
    special_tokens: tuple[str, ...]
    feature_extractor: Callable[[], Any] = _whisper
    #: what transformers' class calls the mask of the features; None where it takes none
    mask_name: str | None = None
    #: whether transformers' class gives a clip in a batch what it gives it alone
    stock_batches: bool = True

    def tokenizer(self):
        return byte_level_tokenizer(self.special_tokens)

    def stock(self):
        """A random model, no weight of which is near zero."""
        tokenizer = self.tokenizer()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = self.config(tokenizer.convert_tokens_to_ids)
            # as the tokenizer has them: transformers' trainer writes these into the configuration
            config.get_text_config().pad_token_id = tokenizer.pad_token_id
            config.get_text_config().eos_token_id = tokenizer.eos_token_id
            model = getattr(transformers, self.stock_class)(config).eval()
            for name, parameter in model.named_parameters():
                if "norm" not in name and "layer_scalar" not in name:
                    torch.nn.init.normal_(parameter, std=0.15)
        return model

    def stock_inputs(self, inputs):
        """What transformers' class takes, of what our processor makes."""
        taken = {name: inputs[name] for name in ("input_ids", "attention_mask", "input_features")}
        features, mask = inputs["input_features"], inputs["feature_attention_mask"]
        if self.family in ("qwen2_audio", "audioflamingo3"):  # which insist on 30 s
            missing = 3000 - features.shape[-1]
            silence = (features.amax((1, 2), keepdim=True) - 2).clamp_min(-1.5)
            taken["input_features"] = torch.cat([features, silence.expand(*features.shape[:2], missing)], -1)
            mask = torch.nn.functional.pad(mask, (0, missing))
        if self.mask_name is not None:
            taken[self.mask_name] = mask.bool() if self.family == "gemma4" else mask
        return taken

    def backbone(self, folder):
        """The folder of a backbone, as transformers saves it."""
        self.stock().save_pretrained(folder)
        self.tokenizer().save_pretrained(folder)
        self.feature_extractor().save_pretrained(folder)
        return folder

    def with_own_adapter(self, folder):
        """Its folder as Granite Speech's are on the Hub, an adapter for audio beside the weights; gives the model."""
        from peft import LoraConfig, get_peft_model

        self.backbone(folder)
        lora = LoraConfig(
            r=2, lora_alpha=6, target_modules=r".*language_model\..*\.(q_proj|v_proj)", init_lora_weights=False
        )
        stock = get_peft_model(self.stock(), lora).eval()
        stock.save_pretrained(folder)
        return stock


def _qwen2_audio(token):
    return transformers.Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", "d_model": 16, "encoder_layers": 2,
                      "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "num_mel_bins": MEL_BINS},
        text_config={"model_type": "qwen2", **TEXT},
        audio_token_id=token("<|AUDIO|>"),
    )  # fmt: skip


def _voxtral(token):
    return transformers.VoxtralConfig(
        # on windows of 2 s instead of 30: its encoder hears the silence after a clip
        audio_config={**WHISPER, "max_source_positions": 100},
        text_config={"model_type": "llama", **TEXT, "head_dim": 8},
        audio_token_id=token("[AUDIO]"),
    )  # fmt: skip


def _audio_flamingo(token):
    return transformers.AudioFlamingo3Config(
        audio_config=WHISPER, text_config={"model_type": "qwen2", **TEXT}, audio_token_id=token("<sound>")
    )


def _thinker(token):
    return {
        "audio_config": OMNI_AUDIO,
        "vision_config": OMNI_VISION,
        "text_config": {**TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
        "audio_token_index": token("<|AUDIO|>"),
        "audio_start_token_id": token("<|audio_bos|>"),
        "audio_end_token_id": token("<|audio_eos|>"),
        "vision_start_token_id": VOCABULARY - 3,
    }


def _granite_config(token):
    return transformers.GraniteSpeechConfig(
        text_config={"model_type": "granite", **TEXT, "embedding_multiplier": 2.0},
        encoder_config={"input_dim": 2 * MEL_BINS, "num_layers": 2, "hidden_dim": 16, "num_heads": 2,
                        "context_size": 20, "max_pos_emb": 32, "output_dim": 8, "feedforward_mult": 2,
                        "conv_kernel_size": 5},
        projector_config={"model_type": "blip_2_qformer", "hidden_size": 16, "encoder_hidden_size": 16,
                          "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
                          "cross_attention_frequency": 1},
        audio_token_index=token("<|audio|>"), has_lora_adapter=False,
    )  # fmt: skip


def _gemma(token):
    return transformers.Gemma4Config(
        text_config={**TEXT, "num_hidden_layers": 4, "head_dim": 8, "global_head_dim": 16, "sliding_window": 8,
                     "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 4,
                     "num_kv_shared_layers": 2,
                     "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]},
        audio_config={"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                      "subsampling_conv_channels": [16, 4], "output_proj_dims": 24},
        vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "num_key_value_heads": 2, "head_dim": 8, "position_embedding_size": 16},
        audio_token_id=token("<|audio|>"), boa_token_id=token("<|audio>"), eoa_token_index=token("<audio|>"),
        image_token_id=VOCABULARY - 1, video_token_id=VOCABULARY - 2,
    )  # fmt: skip


CASES = {
    "qwen2_audio": Case(
        "qwen2_audio", "Qwen2AudioForConditionalGeneration", _qwen2_audio,
        (*CHAT, "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"), mask_name="feature_attention_mask",
    ),
    "voxtral": Case(
        "voxtral", "VoxtralForConditionalGeneration", _voxtral,
        ("<pad>", "<s>", "</s>", "[INST]", "[/INST]", "[BEGIN_AUDIO]", "[AUDIO]"),
        feature_extractor=lambda: transformers.WhisperFeatureExtractor(feature_size=MEL_BINS, chunk_length=2),
    ),
    "audioflamingo3": Case(
        "audioflamingo3", "AudioFlamingo3ForConditionalGeneration", _audio_flamingo, (*CHAT, "<sound>"),
        mask_name="input_features_mask",
    ),
    "qwen2_5_omni": Case(
        "qwen2_5_omni_thinker", "Qwen2_5OmniThinkerForConditionalGeneration",
        lambda token: transformers.Qwen2_5OmniThinkerConfig(**_thinker(token)),
        (*CHAT, "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"), mask_name="feature_attention_mask",
    ),
    "granite_speech": Case(
        "granite_speech", "GraniteSpeechForConditionalGeneration", _granite_config,
        ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|audio|>"), feature_extractor=_granite,
        stock_batches=False,
    ),
    "gemma4": Case(
        "gemma4", "Gemma4ForConditionalGeneration", _gemma,
        ("<pad>", "<bos>", "<eos>", "<|turn>", "<turn|>", "<|audio|>", "<|audio>", "<audio|>"),
        feature_extractor=lambda: transformers.Gemma4AudioFeatureExtractor(feature_size=MEL_BINS),
        mask_name="input_features_mask",
    ),
}  # fmt: skip
