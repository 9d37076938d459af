"""A panel's labels read off a small audio-language model, against what it must cost and against `generate`, in one run.

Prints: ten foci against one, beside the tokens that they have on the language model, (P + 10 S) / (P + S) with P tokens
that all foci share and S of each; a hundred votes against ten; and ten foci against ten calls of `generate`, the stock
model on 30 s and the trimmed one. The models are two of Qwen2-Audio's classes with Whisper tiny's encoder as the tower:
one with a language model of two layers of the tower's width, as the mini backbone has, and one whose language model has
the part of the work that the 7B model's has. Times are CPU seconds, the median of turns. Weights are random, or Whisper
tiny's in the tower if they are there: what is read means nothing, what it costs does.
"""

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from common import medians, speech, tower_weights, verdict
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from hf_emo_dist.annotation.panel import default_panel
from hf_emo_dist.annotation.prompts import FOCI, default_prompts
from hf_emo_dist.annotation.readout.packing import Member, make_row
from hf_emo_dist.annotation.readout.probabilities import distribution_at, draw_labels
from hf_emo_dist.annotation.readout.reader import LabelReader, ReadRequest
from hf_emo_dist.annotation.types import PanelMember
from hf_emo_dist.audio.qwen2_audio_tower import audio_kwargs_for, use_trimmed_audio_tower

EMOTIONS = ("angry", "calm", "disgust", "fear", "happy", "neutral", "sad", "surprise")
WORDS = "Kids are talking by the door."
#: The language model's width and layers beside a tower of 4 layers of 384.
MODELS = {"two layers of the tower's width": (384, 2), "the 7B model's share of the work": (768, 8)}
TEN = 10


def tokenizer_for(texts: Sequence[str]) -> Any:
    """A byte-level tokenizer that knows these texts' words, so that a word is about a token, as in a real one."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from hf_emo_dist.modeling.mini import SPECIAL_TOKENS

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator([*texts, *EMOTIONS], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL_TOKENS[0], eos_token=SPECIAL_TOKENS[2])


def panel(number: int) -> list[tuple[str, str, tuple[str, ...]]]:
    """System, question and labels of so many annotators: the default panel's read-outs."""
    return _rendered(default_panel(number, mode="readout"))


def label_mode(number: int) -> list[tuple[str, str, tuple[str, ...]]]:
    """The same asked with the prompts of mode ``"label"``, whose focus stands first: little is shared."""
    return _rendered([PanelMember(focus, wording=wording) for wording in range(3) for focus in FOCI][:number])


def _rendered(members: Sequence[PanelMember]) -> list[tuple[str, str, tuple[str, ...]]]:
    rendered = [default_prompts().render(member, EMOTIONS, WORDS) for member in members]
    return [(prompt.system, prompt.text, prompt.emotions) for prompt in rendered]


PROMPTS = {"the default read-outs": panel, "prompts of label mode": label_mode}


def requests_of(clips: Sequence[np.ndarray], members: Sequence[tuple[str, str, tuple[str, ...]]]) -> list[ReadRequest]:
    """Every member asked about every clip."""
    return [ReadRequest(wave, str(i), *member) for i, wave in enumerate(clips) for member in members]


def build(width: int, layers: int) -> tuple[Any, Any, str]:
    """The model, its processor, and what the tower's weights are."""
    tower, weights, what = tower_weights()
    processor = Qwen2AudioProcessor(
        WhisperFeatureExtractor(feature_size=tower["num_mel_bins"]),
        tokenizer_for([part for system, text, _ in panel(TEN) + label_mode(TEN) for part in (system, text)]),
    )
    tokenizer = processor.tokenizer
    config = Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **tower},
        text_config={
            "model_type": "qwen2", "hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 4 * width,
            "num_attention_heads": width // 64, "num_key_value_heads": width // 64, "vocab_size": 2048,
            "max_position_embeddings": 4096, "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        audio_token_id=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2AudioForConditionalGeneration(config).eval()
    if weights is not None:
        stock = model.model.audio_tower.state_dict()
        model.model.audio_tower.load_state_dict({name: weights[name] for name in stock})
    return model, processor, what


def generate(model: Any, processor: Any, asked: Sequence[ReadRequest], new_tokens: int, trimmed: bool) -> None:
    """One call of transformers' `generate` a request, as somebody has it who asks ten times."""
    for request in asked:
        chat = [
            {"role": "system", "content": [{"type": "text", "text": request.system}]},
            {"role": "user", "content": [{"type": "audio", "audio": ""}, {"type": "text", "text": request.text}]},
        ]
        text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        options = {"audio_kwargs": audio_kwargs_for([request.samples], model)} if trimmed else {}
        inputs = processor(text=[text], audio=[request.samples], sampling_rate=16000, return_tensors="pt", **options)
        with torch.inference_mode():
            # as many tokens as a label has, no fewer
            model.generate(**inputs, do_sample=False, min_new_tokens=new_tokens, max_new_tokens=new_tokens)


def tokens_of(reader: LabelReader, asked: Sequence[ReadRequest]) -> tuple[int, float]:
    """P and S of one clip's panel: tokens that all share, and of each member behind them, its labels' among them."""
    members, before = [], ()
    for place, request in enumerate(asked):
        prompt = reader._prompt(request.system, request.text)
        audio = reader.family.audio_tokens(len(request.samples))
        before = (*prompt.before, *([reader.family.audio_token_id] * audio))
        labels = reader._labels(request.system, request.text, request.labels)
        members.append(Member(place, prompt.behind, labels))
    row = make_row(asked[0].clip, before, members)
    return len(row.prefix), sum(row.sizes) / len(row.sizes)


class Clock:
    """Seconds in the audio: features, tower and projector."""

    def __init__(self, reader: LabelReader) -> None:
        self.seconds = 0.0
        for name in ("inputs", "encode"):
            setattr(reader.family, name, self._timed(getattr(reader.family, name)))

    def _timed(self, function: Any) -> Any:
        def timed(*args: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args)
            finally:
                self.seconds += time.process_time() - start

        return timed


def upto(ratio: float, target: float) -> str:
    """A ratio beside its ceiling."""
    return f"{ratio:.2f} x (target {target:g} x at most: {'met' if ratio <= target else 'MISSED'})"


def floors(reader: LabelReader, clips: Sequence[np.ndarray], repeats: int) -> None:
    """Prints ten foci against one."""
    clock = Clock(reader)
    for name, members in PROMPTS.items():
        ten = requests_of(clips, members(TEN))
        one = requests_of(clips, members(TEN)[:1])
        times: dict[str, list[tuple[float, float]]] = {"one": [], "ten": []}
        for turn in range(repeats + 1):
            for kind, asked in (("one", one), ("ten", ten)):
                clock.seconds, start = 0.0, time.process_time()
                reader.read(asked)
                if turn:
                    times[kind].append((time.process_time() - start, clock.seconds))
        whole = {kind: float(np.median([a for a, _ in values])) for kind, values in times.items()}
        text = {kind: float(np.median([a - b for a, b in values])) for kind, values in times.items()}
        counts = [tokens_of(reader, ten[i * TEN : (i + 1) * TEN]) for i in range(len(clips))]
        shared, each = (float(np.mean(values)) for values in zip(*counts, strict=True))
        must = (shared + TEN * each) / (shared + each)
        print(f"  {name}: P = {shared:.0f} tokens, S = {each:.0f}; ten foci have {must:.2f} x the tokens of one")
        print(
            f"    one focus {whole['one'] * 1e3:.0f} ms, ten {whole['ten'] * 1e3:.0f} ms; without the audio's "
            f"{(whole['ten'] - text['ten']) * 1e3:.0f} ms, which is heard once: {text['ten'] / text['one']:.2f} x, "
            f"over what its tokens must cost {upto(text['ten'] / text['one'] / must, 1.2)}"
        )
    for name in ("inputs", "encode"):
        delattr(reader.family, name)


def against_generate(
    reader: LabelReader, models: dict[str, Any], asked: list[ReadRequest], repeats: int, prompts: str
) -> None:
    """Prints ten foci about one clip against ten calls of `generate`, and a hundred votes against ten."""

    def read(votes: int) -> list[Any]:
        found: list[Any] = reader.read(asked)
        draw_labels([distribution_at(out.log_probabilities) for out in found], votes, 0, "clip")
        return found

    new_tokens = max(max(out.label_tokens) for out in read(TEN))
    functions: dict[str, Callable[[], Any]] = {"read": lambda: read(TEN), "hundred": lambda: read(100)}
    for kind, model in models.items():
        functions[kind] = functools.partial(
            generate, model, reader.processor, asked, new_tokens, trimmed=kind == "trimmed"
        )
    took = medians(functions, repeats, time.process_time)
    print(f"  {prompts}: 100 votes against 10: {took['hundred'] / took['read']:.2f} x the time")
    seconds = len(asked[0].samples) / 16000
    print(f"    ten calls of generate, {new_tokens} tokens each, about one clip of {seconds:.1f} s:")
    print(f"    stock {took['stock']:.2f} s, read {took['read']:.3f} s: {verdict(took['stock'] / took['read'], 15)}")
    print(f"    trimmed {took['trimmed']:.2f} s: {verdict(took['trimmed'] / took['read'], 5)}")


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2, help="read in one call; generate is called for one of them")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    clips, kind = speech(args.clips)
    for name, (width, layers) in MODELS.items():
        model, processor, what = build(width, layers)
        sizes = [
            sum(parameter.numel() for parameter in part.parameters()) / 1e6
            for part in (model.model.audio_tower, model.model.language_model)
        ]
        print(
            f"{name}: tower of {sizes[0]:.1f} million parameters ({what}), language model of {layers} layers of "
            f"{width}, {sizes[1]:.1f} million; {args.clips} {kind}, {torch.get_num_threads()} thread(s)"
        )
        models = {"stock": build(width, layers)[0], "trimmed": use_trimmed_audio_tower(build(width, layers)[0])}
        reader = LabelReader(model, processor)
        floors(reader, clips, args.repeats)
        for prompts, members in PROMPTS.items():
            against_generate(reader, models, requests_of(clips[:1], members(TEN)), args.repeats, prompts)


if __name__ == "__main__":
    main()
