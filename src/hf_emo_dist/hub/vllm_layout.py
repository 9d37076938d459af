"""`export_vllm`: a checkpoint with a head on the last token, in the layout that vLLM serves as a classifier."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.output import MODEL, claimed, output_folder, write_text

SCORE = "score.weight"
# one turn of a user, of whose parts the audio is written by its placeholder and the text is what was said
CHAT_TEMPLATE = (
    "{%- set words = namespace(text='') -%}"
    "{%- for message in messages -%}{%- if message['content'] is string -%}"
    "{%- set words.text = words.text + message['content'] -%}"
    "{%- else -%}{%- for part in message['content'] -%}{%- if part['type'] == 'text' -%}"
    "{%- set words.text = words.text + part['text'] -%}{%- endif -%}{%- endfor -%}{%- endif -%}{%- endfor -%}"
    "{{- BEFORE -}}{%- if words.text | trim -%}{{- 'Words: ' + words.text | trim + '\\n' -}}{%- endif -%}{{- AFTER -}}"
)


def export_vllm(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    backbone: str | os.PathLike[str] | None = None,
    dtype: str = "auto",
    revision: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a checkpoint of an audio-language model in the layout that vLLM serves as a classifier.

    The folder is its backbone's, under the names that transformers gives its weights, without a language-modelling head
    and with `score.weight`, the head's matrix; its `config.json` names the emotions in `id2label`. An adapter is
    merged.
    `vllm serve FOLDER --runner pooling --convert classify` answers `/classify` with the distribution.

    Args:
        checkpoint: Hub id or local folder, trained with `head="last_token"`.
        output: Folder to write; made if needed.
        backbone: Hub id or folder of the backbone, for families of which a part is not built here (the vision towers
            of Qwen2.5-Omni and Gemma 4): vLLM wants its weights, which are copied.
        dtype: Of the weights; `auto` keeps the checkpoint's. `score.weight` is float32.
        revision: Of the checkpoint.
        overwrite: Replace an export that is in the folder.

    Returns:
        The folder.

    Raises:
        ValueError: The checkpoint is no audio-language model, or has another head; or `backbone` is needed.
        OSError: Something cannot be loaded.
        FileExistsError: The folder is not empty and `overwrite` is false, or it holds what is not of a model.
        BlockingIOError: Another run is writing it.

    Example:
        >>> export_vllm("you/checkpoint", "served")  # doctest: +SKIP
    """
    sources = [checkpoint] if backbone is None else [checkpoint, backbone]
    with claimed(Path(output), overwrite, source=[str(source) for source in sources], kind=MODEL) as folder:
        _export(checkpoint, folder, backbone, dtype, revision, overwrite)
    return Path(output)


def _export(
    checkpoint: str | os.PathLike[str],
    folder: Path,
    backbone: str | os.PathLike[str] | None,
    dtype: str,
    revision: str | None,
    overwrite: bool,
) -> None:
    import torch

    from .._own_code import check_own_code
    from ..modeling.backbones.audio_language import AudioLanguageForEmotionDistribution
    from ..modeling.whole_files import broken_files_named
    from .load import load_emotion_model

    model, processor = load_emotion_model(
        checkpoint, merge=_is_adapter(checkpoint, revision), revision=revision, dtype=dtype
    )
    if not isinstance(model, AudioLanguageForEmotionDistribution):
        raise ValueError(
            f"'{checkpoint}' is a {model.family_name}, which vLLM does not serve with a head. Mend: name a checkpoint "
            "of an audio-language model."
        )
    if model.config.head != "last_token":
        raise ValueError(
            f"'{checkpoint}' has the head {model.config.head!r}, and vLLM puts one matrix on the last token. Mend: "
            "train with head=last_token."
        )
    if model.not_built and backbone is None:
        raise ValueError(
            f"vLLM wants the {model.not_built} of {model.family_name}, which is neither built nor trained here. Mend: "
            f"name the backbone, such as {model.family_example}."
        )
    own = {f"model.{name}": value for name, value in model.model.state_dict().items()}
    stock_config = model.stock_config()
    if backbone is None:
        with torch.device("meta"):
            stock: Any = model.stock_class(stock_config)
        weights = own
    else:
        check_own_code(backbone, {})
        with broken_files_named(backbone, {}):
            stock = model.stock_class.from_pretrained(
                backbone, config=stock_config, dtype=next(iter(own.values())).dtype, use_safetensors=True
            )
        weights = {**{name: value for name, value in stock.state_dict().items() if "lm_head" not in name}, **own}
    score = model.head.score.weight.detach().float()
    with output_folder(folder, overwrite, MODEL) as part:
        # transformers writes the names that the family's checkpoints have on the Hub
        stock.save_pretrained(part, state_dict={**weights, SCORE: score})
        if model.hub_prefix:
            _add_prefix(part, model.hub_prefix)
        _write_config(part, model, model.hub_config(stock_config))
        processor.feature_extractor.save_pretrained(part)
        _write_stock_type(part / "preprocessor_config.json", processor.feature_extractor)
        processor.tokenizer.chat_template = chat_template(processor)
        processor.tokenizer.save_pretrained(part)


def chat_template(processor: Any) -> str:
    """Return the chat template that writes a processor's prompt, with one placeholder for the audio."""
    before, after = processor.served_frame()
    question = processor.question()
    start, _, end = after.partition("{question}")
    return CHAT_TEMPLATE.replace("BEFORE", json.dumps(before + processor.audio_token + start)).replace(
        "AFTER", json.dumps(question + end)
    )


def _is_adapter(checkpoint: str | os.PathLike[str], revision: str | None) -> bool:
    from .._checkpoint_files import is_adapter

    return is_adapter(checkpoint, {"revision": revision} if revision else {})


def _write_config(folder: Path, model: Any, config: Any) -> None:
    values = json.loads(config.to_json_string(use_diff=False))
    for key in ("_name_or_path", "name_or_path", "quantization_config"):
        values.pop(key, None)
    emotions: Sequence[str] = model.config.emotions
    labels = {
        "id2label": {str(i): name for i, name in enumerate(emotions)},
        "label2id": {name: i for i, name in enumerate(emotions)},
        "num_labels": len(emotions),
    }
    # vLLM asks the language model's configuration for the number of labels, and the whole one for their names
    for part in (values, *_text_configs(values)):
        part.update(labels)
    values["architectures"] = [model.hub_architecture()]
    write_text(folder / "config.json", json.dumps(values, indent=2, sort_keys=True) + "\n")


def _write_stock_type(file: Path, feature_extractor: Any) -> None:
    kind = getattr(feature_extractor, "stock_type", None)
    if kind is not None:
        values = json.loads(file.read_text(encoding="utf-8"))
        write_text(file, json.dumps({**values, "feature_extractor_type": kind}, indent=2, sort_keys=True) + "\n")


def _text_configs(values: dict[str, Any]) -> list[dict[str, Any]]:
    found = [values["text_config"]] if isinstance(values.get("text_config"), dict) else []
    inner = values.get("thinker_config")
    return found + ([inner, *_text_configs(inner)] if isinstance(inner, dict) else [])


def _add_prefix(part: Path, prefix: str) -> None:
    # the checkpoints on the Hub have it, and what transformers saves of the part alone does not
    from safetensors.torch import load_file, save_file

    names: dict[str, str] = {}
    for file in part.glob("*.safetensors"):
        renamed = {name if name == SCORE else f"{prefix}{name}": value for name, value in load_file(file).items()}
        save_file(renamed, part / file.name, metadata={"format": "pt"})
        names.update(dict.fromkeys(renamed, file.name))
    index = part / "model.safetensors.index.json"
    if index.is_file():
        values = json.loads(index.read_text(encoding="utf-8"))
        write_text(index, json.dumps({**values, "weight_map": names}, indent=2, sort_keys=True) + "\n")
