"""A small backbone of Qwen2-Audio's own classes, or a Whisper encoder alone, for CPUs, tests and the quickstart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from ..audio.clips import load_audio
from ..audio.qwen2_audio_tower import audio_kwargs_for, use_trimmed_audio_tower
from ..data.intact import read_json
from ..data.output import MODEL, claimed, output_folder, write_json
from ..emotions import KNOWN_EMOTIONS
from .bare_encoder import BARE_CONFIG_NAME, BARE_WEIGHTS_NAMES
from .whole_files import MEND, broken_files_named

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
# What the prompts say. The merges learned from it make a prompt some 30 tokens instead of 120, a third of the language
# model's work.
PROMPT_TEXT = (
    "user\nWhat do listeners hear: ",
    "assistant\nSpeaker: \nWords: ",
    *(f" {emotion}, {emotion}?" for emotion in KNOWN_EMOTIONS),
)
VOCABULARY_SIZE = 600


def byte_level_tokenizer(special_tokens: Sequence[str] = SPECIAL_TOKENS) -> PreTrainedTokenizerFast:
    """Make a byte-level tokenizer with merges for the prompt's own words.

    Args:
        special_tokens: Padding first; Qwen2-Audio's by default.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(PROMPT_TEXT, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_tokens])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special_tokens[0], eos_token=special_tokens[2], padding_side="right"
    )


def build_mini_backbone(
    output: str | Path,
    whisper: str | Path | None = None,
    *,
    hidden_size: int = 128,
    audio_layers: int | None = None,
    text_layers: int | None = None,
    num_mel_bins: int = 80,
    calibrate: bool = True,
    encoder_only: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Write a small Qwen2-Audio backbone (model, tokenizer, feature extractor) that trains on a CPU.

    The language model starts as a channel: the projector hands the audio over as it is, and the layers' outputs start
    small beside the residual stream, so that what the audio tower hears reaches the head before any training.

    Args:
        output: Folder to write; made if needed.
        whisper: Local folder or Hub id of a Whisper model or encoder whose weights become the audio tower; by default
            its weights are random. A folder may hold a whole model, or `encoder_config.json` and one safetensors file.
        hidden_size: Width of the language model, and of the tower where no Whisper gives it.
        audio_layers: Layers of the tower, with Whisper the first so many of its own. Default: 2, or with Whisper all
            but the last, since the last layers of a recogniser are about words, not about the voice; of an encoder
            alone all, whose head learns which to hear.
        text_layers: Layers of the language model. Default: 2.
        num_mel_bins: Mel bins where no Whisper gives them.
        calibrate: With Whisper: have the projector standardise the tower's outputs, over a few minutes of simulated
            speech. Without it the projector is an identity.
        encoder_only: The tower alone, as a Whisper encoder (`encoder_config.json` and one safetensors file), which is
            all that the configuration `encoder` needs.
        seed: Of the random weights.
        overwrite: Replace a backbone that is in the folder.

    Returns:
        The folder.

    Raises:
        FileExistsError: The folder is not empty and `overwrite` is false, or it holds what is not of a model.
        BlockingIOError: Another run is writing it.
        OSError: The Whisper model cannot be loaded.
        ValueError: `hidden_size` is not a multiple of 8, the Whisper weights do not fit, or an encoder alone is given
            layers of a language model.

    Example:
        >>> build_mini_backbone("mini")  # doctest: +SKIP
    """
    if encoder_only and text_layers is not None:
        raise ValueError(
            f"text_layers={text_layers} are those of a language model, which an encoder alone has not. "
            "Mend: leave out text_layers or encoder_only."
        )
    text_layers = 2 if text_layers is None else text_layers
    for name, number in (("hidden_size", hidden_size), ("text_layers", text_layers), ("num_mel_bins", num_mel_bins)):
        if number < 1:
            raise ValueError(f"{name}={number} is too small. Mend: at least 1.")
    if hidden_size % 8:
        raise ValueError(
            f"hidden_size={hidden_size} is no multiple of 8, the number of attention heads of the head. "
            f"Mend: give {max(8, hidden_size // 8 * 8)} or another."
        )
    with (
        claimed(output, overwrite, source=whisper or (), kind=MODEL) as folder,
        output_folder(folder, overwrite, MODEL) as part,
    ):
        _build(part, whisper, hidden_size, audio_layers, text_layers, num_mel_bins, calibrate, encoder_only, seed)
    return Path(output)


def _build(
    part: Path,
    whisper: str | Path | None,
    hidden_size: int,
    audio_layers: int | None,
    text_layers: int,
    num_mel_bins: int,
    calibrate: bool,
    encoder_only: bool,
    seed: int,
) -> None:
    """Make the backbone and save it into a folder."""
    if whisper is None:
        audio: dict[str, Any] = {
            "num_mel_bins": num_mel_bins,
            "encoder_layers": audio_layers or 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 2 * hidden_size,
            "d_model": hidden_size,
        }
        weights = None
    else:
        audio, weights = load_whisper_encoder(whisper)
        audio["encoder_layers"] = audio_layers or max(1, audio["encoder_layers"] - (not encoder_only))
        hidden_size = audio["d_model"]
    if encoder_only:
        _save_encoder(part, audio, weights, str(whisper), seed)
        return
    tokenizer = byte_level_tokenizer()
    config = Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **audio},
        text_config={
            "model_type": "qwen2",
            "hidden_size": hidden_size,
            "intermediate_size": 2 * hidden_size,
            "num_hidden_layers": text_layers,
            "num_attention_heads": max(2, hidden_size // 64),
            "num_key_value_heads": max(2, hidden_size // 64),
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 4096,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config)
        if weights is None:
            _scale_random_tower(model.model.audio_tower)
    if weights is not None:
        _copy_whisper(model.model.audio_tower, weights, str(whisper))
    feature_extractor = WhisperFeatureExtractor(feature_size=audio["num_mel_bins"])
    _open_channel(model.model)
    if whisper is not None and calibrate:
        _standardise(model.model, feature_extractor)
    model.save_pretrained(part)
    Qwen2AudioProcessor(feature_extractor, tokenizer).save_pretrained(part)


def _save_encoder(
    part: Path, audio: dict[str, Any], weights: dict[str, torch.Tensor] | None, source: str, seed: int
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = WhisperEncoder(WhisperConfig(**audio))
        if weights is None:
            _scale_random_tower(encoder)
    if weights is not None:
        _copy_whisper(encoder, weights, source)
    save_file({name: value.contiguous() for name, value in encoder.state_dict().items()}, part / BARE_WEIGHTS_NAMES[0])
    write_json(part / BARE_CONFIG_NAME, {"model_type": "whisper", **audio})


def load_whisper_encoder(source: str | Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Load a Whisper encoder's settings and float32 weights, under `WhisperEncoder`'s names."""
    from safetensors.torch import load_file

    folder = Path(source)
    encoder_config = folder / "encoder_config.json"
    if encoder_config.is_file():
        settings = read_json(encoder_config, MEND)
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise ValueError(
                f"{folder} has an encoder_config.json but no .safetensors file. Mend: put the encoder's weights beside "
                "it."
            )
        with broken_files_named(folder, {}):
            weights = {key: value for file in files for key, value in load_file(file).items()}
    else:
        from transformers import WhisperModel

        try:
            with broken_files_named(source, {}):
                model = WhisperModel.from_pretrained(str(source), dtype=torch.float32, use_safetensors=True)
        except OSError as error:
            raise OSError(
                f"No Whisper model could be loaded from '{source}'. Mend: name a local folder or a Hub id such as "
                "openai/whisper-tiny.en."
            ) from error
        settings, weights = model.config.to_dict(), model.encoder.state_dict()
    names = (
        "num_mel_bins",
        "encoder_layers",
        "encoder_attention_heads",
        "encoder_ffn_dim",
        "d_model",
        "max_source_positions",
    )
    return {name: settings[name] for name in names}, {key: value.float() for key, value in weights.items()}


def _copy_whisper(tower: torch.nn.Module, weights: dict[str, torch.Tensor], source: str) -> None:
    wanted = tower.state_dict()
    missing = sorted(set(wanted) - set(weights))
    if missing:
        raise ValueError(
            f"the Whisper weights of {source} lack {missing[:3]}. Mend: save them under a WhisperEncoder's names."
        )
    tower.load_state_dict({key: weights[key] for key in wanted})
    if len(tower.layers) < 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("layers.")):
        # The final norm was fitted to the last layer's outputs; after an earlier layer a plain one is right.
        torch.nn.init.ones_(tower.layer_norm.weight)
        torch.nn.init.zeros_(tower.layer_norm.bias)


@torch.no_grad()
def _scale_random_tower(tower: torch.nn.Module) -> None:
    # convolutions with unit gain, and Whisper's sinusoids for positions, so that a random tower keeps what the mel bins
    # say
    for conv in (tower.conv1, tower.conv2):
        torch.nn.init.normal_(conv.weight, std=(2.0 / (conv.in_channels * conv.kernel_size[0])) ** 0.5)
        torch.nn.init.zeros_(conv.bias)
    length, channels = tower.embed_positions.weight.shape
    rates = torch.exp(-torch.log(torch.tensor(10000.0)) / (channels // 2 - 1) * torch.arange(channels // 2))
    angles = torch.arange(length)[:, None] * rates[None, :]
    tower.embed_positions.weight.copy_(torch.cat([angles.sin(), angles.cos()], dim=1) * 0.1)


@torch.no_grad()
def _open_channel(model: torch.nn.Module) -> None:
    projector = model.multi_modal_projector.linear
    if projector.in_features == projector.out_features:
        torch.nn.init.eye_(projector.weight)
        torch.nn.init.zeros_(projector.bias)
    for layer in model.language_model.layers:
        layer.self_attn.o_proj.weight.mul_(0.1)
        layer.mlp.down_proj.weight.mul_(0.1)


@torch.no_grad()
def _standardise(model: torch.nn.Module, feature_extractor: Any) -> None:
    from ..corpora.simulated import simulate_corpus

    # The scales of Whisper's dimensions differ by a factor of ten; as they are the large ones would drown the others in
    # the language model's norm. So each gets mean 0 and deviation 1, for which any speech will do.
    splits = simulate_corpus(num_utterances=120, num_speakers=12, seed=1)
    tower = use_trimmed_audio_tower(model).audio_tower.eval()
    outputs = []
    for waveform in (load_audio(row["audio"]) for split in splits.values() for row in split):
        features = feature_extractor(
            waveform,
            sampling_rate=feature_extractor.sampling_rate,
            padding="max_length",
            **audio_kwargs_for([waveform]),
            return_attention_mask=True,
            return_tensors="pt",
        )
        outputs.append(tower.encode(features["input_features"], features["attention_mask"]))
    values = torch.cat(outputs)
    mean, deviation = values.mean(0), values.std(0).clamp_min(1e-3)
    projector = model.multi_modal_projector.linear
    projector.bias.sub_(projector.weight @ (mean / deviation))
    projector.weight.div_(deviation)
