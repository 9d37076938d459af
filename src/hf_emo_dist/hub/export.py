"""`export_model`: a speech encoder's checkpoint as one program, for `torch.export` or ONNX, with what feeds it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from .._lazy import need
from ..data.output import MODEL, claimed, output_folder, write_text

FILES = {"torch": "model.pt2", "onnx": "model.onnx"}


def export_model(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    format: Literal["torch", "onnx"] = "torch",
    revision: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a speech encoder's checkpoint as one program, which runs without this library's model code.

    The folder holds the program (`model.pt2` of `torch.export`, or `model.onnx`), the processor's files, which make its
    inputs in Python, and a README with the names of the inputs. Weights are float32; an adapter is merged. What was
    written is compared with the checkpoint on batches of one to eight clips: a `torch` program always, an ONNX one
    where onnxruntime is installed.

    Args:
        checkpoint: Hub id or local folder.
        output: Folder to write; made if needed.
        format: `torch` or `onnx`, which needs the extra `onnx`.
        revision: Of the checkpoint.
        overwrite: Replace an export that is in the folder.

    Returns:
        The folder.

    Raises:
        ValueError: The checkpoint is no speech encoder, or the format is not known.
        OSError: It cannot be loaded.
        FileExistsError: The folder is not empty and `overwrite` is false, or it holds what is not of a model.
        BlockingIOError: Another run is writing it.
        ModuleNotFoundError: The extra `onnx` is not installed.
        RuntimeError: The program's logits are further than 1e-4 from the checkpoint's.

    Example:
        >>> export_model("you/checkpoint", "exported")  # doctest: +SKIP
    """
    if format not in FILES:
        raise ValueError(f"format={format!r} is not known. Mend: use one of {', '.join(FILES)}.")
    if format == "onnx":
        need("onnxscript", "export_model(format='onnx')")
    with claimed(Path(output), overwrite, source=str(checkpoint), kind=MODEL) as folder:
        _export(checkpoint, folder, format, revision, overwrite)
    return Path(output)


def _export(
    checkpoint: str | os.PathLike[str], folder: Path, format: str, revision: str | None, overwrite: bool
) -> None:
    import torch

    from .._checkpoint_files import is_adapter
    from ..modeling.backbones.speech_encoder import SpeechEncoderForEmotionDistribution
    from .exported import compare, exported_program, readme, write_onnx
    from .load import load_emotion_model

    merge = is_adapter(checkpoint, {"revision": revision} if revision else {})
    # torch's translation to ONNX decomposes fused attention into views that do not fit its own strides (wav2vec2-bert)
    options: dict[str, Any] = {"attn_implementation": "eager"} if format == "onnx" else {}
    model, processor = load_emotion_model(
        checkpoint, merge=merge, revision=revision, dtype="float32", device="cpu", **options
    )
    if not isinstance(model, SpeechEncoderForEmotionDistribution):
        raise ValueError(
            f"'{checkpoint}' is a {model.family_name}, and only speech encoders are exported. Mend: serve it with "
            "export-vllm, which takes audio-language models with head=last_token."
        )
    with output_folder(folder, overwrite, MODEL) as part:
        program = exported_program(model, processor)
        file = FILES[format]
        if format == "torch":
            torch.export.save(program, part / file)
            run = torch.export.load(part / file).module()
            compared = compare(lambda inputs: run(**inputs), model, processor, "torch's own run of the program")
        else:
            compared = write_onnx(program, part / file, model, processor)
        processor.save_pretrained(part)
        write_text(part / "README.md", readme(folder.name, format, model, processor, compared))
