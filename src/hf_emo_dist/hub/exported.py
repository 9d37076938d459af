"""`export_model`: a speech encoder's checkpoint as one program, for `torch.export` or ONNX, with what feeds it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from .._lazy import need
from ..audio.decoding import SAMPLING_RATE
from ..data.output import write_text

logger = logging.getLogger(__name__)

FILES = {"torch": "model.pt2", "onnx": "model.onnx"}
#: how far logits may be from the checkpoint's
TOLERANCE = 1e-4
# seconds of the clips of a batch: those that the program is made with, and those that it is compared on
EXAMPLE = (0.6, 0.9)
COMPARED = ((0.7,), (2.0,), (0.5, 1.3, 0.8), (0.4, 1.0, 0.6, 1.5, 0.3, 0.9, 2.1, 1.2))

README = """# {name}

{what}, for {family}: a batch of clips → the logits of {emotions}, in this order; softmax makes them
distributions. Written by `hf-emo-dist export --format {format}`; {compared}.

| input | type | shape |
|---|---|---|
{inputs}

Output: `logits` (clips, {number}), float32. The number of clips and the lengths are free{limit}.

Waveform, resampling to 16 kHz and features are no part of the program; the processor's files are beside it:

```python
{code}
```

A clip is at most 30 s: cut longer ones, and take the mean of their distributions weighted by duration.
"""
CODE = {
    "torch": """import torch
from hf_emo_dist import EmotionDistributionProcessor, load_audio

processor = EmotionDistributionProcessor.from_pretrained("FOLDER")
program = torch.export.load("FOLDER/model.pt2").module()
inputs = processor(audio=[load_audio("clip.wav")])
distribution = program(**inputs).softmax(-1)""",
    "onnx": """import numpy as np
import onnxruntime
from hf_emo_dist import EmotionDistributionProcessor, load_audio

processor = EmotionDistributionProcessor.from_pretrained("FOLDER")
session = onnxruntime.InferenceSession("FOLDER/model.onnx")
inputs = processor(audio=[load_audio("clip.wav")], return_tensors="np")
logits = session.run(["logits"], dict(inputs))[0]
distribution = np.exp(logits - logits.max(-1, keepdims=True))
distribution /= distribution.sum(-1, keepdims=True)""",
}


class _OfWaveforms(nn.Module):
    """A model that answers with its logits alone; the parameters' names are the program's inputs."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor,
        text_input_ids: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
    ) -> Tensor:
        return self.model(  # type: ignore[no-any-return]
            input_values=input_values,
            attention_mask=attention_mask,
            text_input_ids=text_input_ids,
            text_attention_mask=text_attention_mask,
        ).logits


class _OfFeatures(_OfWaveforms):
    def forward(  # type: ignore[override]
        self,
        input_features: Tensor,
        attention_mask: Tensor,
        text_input_ids: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
    ) -> Tensor:
        return self.model(  # type: ignore[no-any-return]
            input_features=input_features,
            attention_mask=attention_mask,
            text_input_ids=text_input_ids,
            text_attention_mask=text_attention_mask,
        ).logits


def export_model(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    format: Literal["torch", "onnx"] = "torch",
    revision: str | None = None,
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

    Returns:
        The folder.

    Raises:
        ValueError: The checkpoint is no speech encoder, or the format is not known.
        OSError: It cannot be loaded.
        ModuleNotFoundError: The extra `onnx` is not installed.
        RuntimeError: The program's logits are further than 1e-4 from the checkpoint's.

    Example:
        >>> export_model("you/checkpoint", "exported")  # doctest: +SKIP
    """
    from ..modeling.adapters import is_adapter
    from ..modeling.backbones.speech_encoder import SpeechEncoderForEmotionDistribution
    from .load import load_emotion_model

    if format not in FILES:
        raise ValueError(f"format={format!r} is not known. Mend: use one of {', '.join(FILES)}.")
    if format == "onnx":
        need("onnxscript", "export_model(format='onnx')")
    merge = is_adapter(checkpoint, {"revision": revision} if revision else {})
    model, processor = load_emotion_model(checkpoint, merge=merge, revision=revision, dtype="float32", device="cpu")
    if not isinstance(model, SpeechEncoderForEmotionDistribution):
        raise ValueError(
            f"'{checkpoint}' is a {model.family_name}, and only speech encoders are exported. Mend: serve it with "
            "export-vllm, which takes audio-language models with head=last_token."
        )
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    program = exported_program(model, processor)
    file = folder / FILES[format]
    if format == "torch":
        torch.export.save(program, file)
        run = torch.export.load(file).module()
        compared = _compare(lambda inputs: run(**inputs), model, processor, "torch's own run of the program")
    else:
        compared = _write_onnx(program, file, model, processor)
    processor.save_pretrained(folder)
    write_text(folder / "README.md", _readme(folder.name, format, model, processor, compared))
    return folder


def exported_program(model: Any, processor: Any) -> Any:
    """Trace a speech encoder with free numbers of clips and lengths, by `torch.export`.

    Args:
        model: A `SpeechEncoderForEmotionDistribution`.
        processor: Its processor.

    Returns:
        The `torch.export.ExportedProgram`, whose inputs have the names of the processor's.
    """
    inputs = _batch(processor, EXAMPLE, seed=0)
    free = torch.export.Dim.DYNAMIC
    shapes = {name: {0: free, _time_axis(name, inputs): free} for name in inputs}
    wrapped = _OfWaveforms(model) if model.main_input_name == "input_values" else _OfFeatures(model)
    was_training = model.training
    try:
        with torch.no_grad():
            program = torch.export.export(wrapped.eval(), args=(), kwargs=inputs, dynamic_shapes=shapes, strict=False)
    finally:
        model.train(was_training)
    # Tracing two clips, torch notes that a batch of one would have taken another way through its own reshapes (of
    # WavLM's position bias), with the same result, and would refuse it. That it is the same is compared on each export.
    program._guards_code = []
    return program


def _time_axis(name: str, inputs: dict[str, Tensor]) -> int:
    # Whisper's features are (clips, mel bins, frames), others' (clips, frames, …): the axis that the mask has
    return 1 if name.startswith("text_") else inputs[name].shape.index(inputs["attention_mask"].shape[1], 1)


def _batch(processor: Any, seconds: Sequence[float], seed: int) -> dict[str, Tensor]:
    # noise and words that are nobody's; every second clip has no words
    random = np.random.default_rng(seed)
    clips = [random.normal(0, 0.1, int(length * SAMPLING_RATE)).astype(np.float32) for length in seconds]
    words = ["Well, well." if i % 2 == 0 else None for i in range(len(clips))]
    return dict(processor(audio=clips, transcript=words))


def _compare(run: Any, model: Any, processor: Any, by: str) -> str:
    worst = 0.0
    for inputs, expected in _expected(model, processor):
        with torch.no_grad():
            worst = max(worst, float((torch.as_tensor(run(inputs)) - expected).abs().max()))
    if not worst <= TOLERANCE:
        raise RuntimeError(
            f"the program's logits are up to {worst:.2g} from the checkpoint's, on noise, by {by}; at most {TOLERANCE} "
            "is meant. Mend: report it, with the checkpoint's family and the versions of hf-emo-dist env."
        )
    sizes = ", ".join(str(len(seconds)) for seconds in COMPARED)
    return f"on batches of {sizes} clips its logits are the checkpoint's to {max(worst, 1e-7):.0e} ({by})"


def _expected(model: Any, processor: Any) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    for seed, seconds in enumerate(COMPARED):
        inputs = _batch(processor, seconds, seed=seed + 1)
        with torch.no_grad():
            yield inputs, model(**inputs).logits


def _write_onnx(program: Any, file: Path, model: Any, processor: Any) -> str:
    torch.onnx.export(program, f=str(file), dynamo=True, output_names=["logits"])
    try:
        import onnxruntime
    except ModuleNotFoundError:
        logger.warning("%s was not run: onnxruntime is not installed (pip install onnxruntime)", file.name)
        run = program.module()
        told = _compare(lambda inputs: run(**inputs), model, processor, "torch's own run of what was translated")
        return f"{told}; the ONNX file itself was not run"
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run_onnx(inputs: dict[str, Tensor]) -> Any:
        return session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0]

    return _compare(run_onnx, model, processor, "onnxruntime")


def _readme(name: str, format: str, model: Any, processor: Any, compared: str) -> str:
    rows = []
    inputs = _batch(processor, EXAMPLE, seed=0)
    steps = "samples" if model.main_input_name == "input_values" else "steps"
    for key, value in inputs.items():
        sizes = ["clips", *(str(size) for size in value.shape[1:])]
        sizes[_time_axis(key, inputs)] = "words" if key.startswith("text_") else steps
        rows.append(f"| `{key}` | {str(value.dtype).removeprefix('torch.')} | ({', '.join(sizes)}) |")
    longest = getattr(model.config.encoder_config, "max_source_positions", None)
    return README.format(
        name=name,
        what="A program of `torch.export`" if format == "torch" else "An ONNX model",
        family=f"a checkpoint of {model.family_name}",
        emotions=", ".join(model.config.emotions),
        number=len(model.config.emotions),
        format=format,
        compared=compared,
        inputs="\n".join(rows),
        limit="" if longest is None else f"; steps are even, and at most {2 * longest}",
        code=CODE[format].replace("FOLDER", name),
    )
