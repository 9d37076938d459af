"""A tiny random model of each family with its processor, and what it would say by a full forward pass a label."""

import copy
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from audio_language_models import CASES, MEL_BINS, VOCABULARY

from hf_emo_dist.annotation.readout.reader import LabelReader, ReadRequest
from hf_emo_dist.modeling.mini import byte_level_tokenizer

#: Chat templates in the manner of the families' own, for those whose processor has none of its own.
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'audio' %}AUDIO{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {
    "audioflamingo3": CHATML.replace("AUDIO", "<sound>"),
    "qwen2_5_omni": CHATML.replace("AUDIO", "<|audio_bos|><|AUDIO|><|audio_eos|>"),
    # no place for the system's words
    "voxtral": (
        "<s>{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}[INST]"
        "{% for c in m.content %}{% if c.type == 'audio' %}[BEGIN_AUDIO][AUDIO]{% else %}{{ c.text }}{% endif %}"
        "{% endfor %}[/INST]{% endfor %}"
    ),
    "granite_speech": (
        "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>\n"
        "{% endfor %}<|start_of_role|>assistant<|end_of_role|>"
    ),
    "gemma4": (
        "<bos>{% for m in messages %}<|turn>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'audio' %}<|audio|>"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}<turn|>\n{% endfor %}<|turn>model\n"
    ),
    "phi4_multimodal": "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>",
}


class GraniteFeatures:
    """What transformers' extractor gives, which needs torchaudio: this library's features, for clips of one length."""

    def __init__(self, extractor):
        self.extractor = extractor

    def __call__(self, clips):
        features = torch.from_numpy(np.stack([self.extractor(clip) for clip in clips]))
        size = self.extractor.num_tokens(len(clips[0]))
        return {"input_features": features, "input_features_mask": torch.ones(len(clips), size, dtype=torch.bool)}


def phi4_multimodal():
    """A tiny Phi-4-multimodal."""
    tokenizer = byte_level_tokenizer(("<pad>", "<|audio|>", "<|end|>", "<|user|>", "<|system|>", "<|assistant|>"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.Phi4MultimodalConfig(
            hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=VOCABULARY, max_position_embeddings=2048, original_max_position_embeddings=2048,
            pad_token_id=tokenizer.pad_token_id, bos_token_id=1, eos_token_id=tokenizer.eos_token_id, sliding_window=64,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
            audio_config={
                "hidden_size": 16, "intermediate_size": 24, "num_blocks": 2, "num_attention_heads": 2,
                "input_size": MEL_BINS, "ext_pw_out_channel": 16, "nemo_conv_channels": 16,
                "depthwise_separable_out_channel": 16,
                "audio_token_id": tokenizer.convert_tokens_to_ids("<|audio|>"), "time_reduction": 8,
            },
            vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                           "image_size": 28, "patch_size": 14, "crop_size": 28, "image_token_id": VOCABULARY - 1},
        )  # fmt: skip
        model = transformers.Phi4MultimodalForCausalLM(config).eval()
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                torch.nn.init.normal_(parameter, std=0.15)
    extractor = transformers.Phi4MultimodalFeatureExtractor(feature_size=MEL_BINS)
    return model, SimpleNamespace(tokenizer=tokenizer, audio_processor=extractor)


def model_and_processor(family):
    """A tiny random model and its processor; transformers' own class where it can be made without the network."""
    if family == "phi4_multimodal":
        model, processor = phi4_multimodal()
    else:
        case = CASES[family]
        model, tokenizer = case.stock(), case.tokenizer()
        if family == "qwen2_audio":
            return model, transformers.Qwen2AudioProcessor(case.feature_extractor(), tokenizer)
        if family == "audioflamingo3":
            return model, transformers.AudioFlamingo3Processor(
                case.feature_extractor(), tokenizer, chat_template=TEMPLATES[family]
            )
        processor = SimpleNamespace(tokenizer=tokenizer, feature_extractor=case.feature_extractor())
        if family == "granite_speech":
            processor.audio_processor = GraniteFeatures(processor.feature_extractor)
        if family == "gemma4":
            processor.boa_token, processor.eoa_token = "<|audio>", "<audio|>"
            processor.tokenizer.add_special_tokens({"bos_token": "<bos>"})
    processor.tokenizer.chat_template = TEMPLATES[family]
    return model, processor


def _remember(tower):
    """Have a stock tower, which runs on 30 s, do so once for the same tensor."""
    forward, known = tower.forward, {}

    def remembered(features, **options):
        if features.data_ptr() not in known:
            known[features.data_ptr()] = features, forward(features, **options)  # so that nobody gets its address
        return copy.copy(known[features.data_ptr()][1])

    tower.forward = remembered


@dataclass
class Tiny:
    """A reader, and transformers' own model beside it, which the reader has not touched."""

    family: str
    reader: LabelReader
    stock: Any
    _known: dict = field(default_factory=dict)

    @classmethod
    def make(cls, family, **options):
        model, processor = model_and_processor(family)
        stock = copy.deepcopy(model)
        if family in ("qwen2_audio", "audioflamingo3"):
            _remember(stock.model.audio_tower)
        return cls(family, LabelReader(model, processor, **options), stock)

    def stock_inputs(self, clip):
        """What transformers' class takes of one clip, on 30 s where it insists on them."""
        if len(clip) not in self._known:
            self._known[len(clip)] = self._stock_inputs(clip)
        return dict(self._known[len(clip)])

    def _stock_inputs(self, clip):
        family = self.reader.family
        if self.family in ("qwen2_audio", "audioflamingo3"):
            made = family.processor.feature_extractor(
                clip, sampling_rate=16000, return_attention_mask=True, padding="max_length", return_tensors="pt"
            )
            mask = "feature_attention_mask" if self.family == "qwen2_audio" else "input_features_mask"
            return {"input_features": made["input_features"], mask: made["attention_mask"]}
        return family.inputs([clip])

    def prompt(self, request):
        """The prompt as text with every audio token in it, as the family's processor would write it."""
        family = self.reader.family
        token = family.tokenizer.convert_ids_to_tokens(family.audio_token_id)
        placeholders = token * family.audio_tokens(len(request.samples))
        if self.family == "gemma4":
            placeholders = f"<|audio>{placeholders}<audio|>"
        return family.render(request.system, request.text).replace(token, placeholders)

    def ids(self, text):
        return torch.tensor([self.reader.family.tokenizer(text, add_special_tokens=False)["input_ids"]])

    def full_pass(self, request):
        """Log-probability of each label: one full forward pass of transformers' own class a label, nothing shared."""
        prompt = self.prompt(request)
        start = self.ids(prompt).shape[1]
        inputs = self.stock_inputs(request.samples)
        found = []
        for label in request.labels:
            ids = self.ids(prompt + label)
            with torch.inference_mode():
                logits = self.stock(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs).logits[0]
            steps = logits.double().log_softmax(-1)
            value = sum(steps[i - 1, ids[0, i]] for i in range(start, ids.shape[1]))
            found.append(float(value + steps[-1, list(self.reader.closing)].logsumexp(-1)))
        return np.array(found)


def clip(seconds, seed=0):
    """A clip of a made voice with some noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16000)) / 16000
    wave = 0.2 * np.sin(2 * np.pi * (110 + 60 * seed) * time) + 0.05 * rng.standard_normal(len(time))
    return wave.astype(np.float32)


SYSTEM = "You are a listener."
FOCI = (
    "Go by the sound of the voice.",
    "Go by the words that were chosen, and by how the sentence is put.",
    "Weigh both.",
)


def panel(wave, labels, foci=FOCI, name="clip", system=SYSTEM):
    """One request a focus about one clip."""
    return [
        ReadRequest(wave, name, system, f"{focus} What do you hear? One of {', '.join(labels)}.", tuple(labels))
        for focus in foci
    ]
