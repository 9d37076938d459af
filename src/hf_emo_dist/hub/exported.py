"""A speech encoder as one program: traced, translated, compared, and told of in a README."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..audio.decoding import SAMPLING_RATE

logger = logging.getLogger(__name__)

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


def compare(run: Any, model: Any, processor: Any, by: str) -> str:
    """Compare a program's logits with a model's on batches of noise; returns what was found, in words."""
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


def write_onnx(program: Any, file: Path, model: Any, processor: Any) -> str:
    """Translate a program to ONNX and compare it; returns what was found, in words."""
    torch.onnx.export(program, f=str(file), dynamo=True, output_names=["logits"])
    try:
        import onnxruntime
    except ModuleNotFoundError:
        logger.warning("%s was not run: onnxruntime is not installed (pip install onnxruntime)", file.name)
        run = program.module()
        told = compare(lambda inputs: run(**inputs), model, processor, "torch's own run of what was translated")
        return f"{told}; the ONNX file itself was not run"
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run_onnx(inputs: dict[str, Tensor]) -> Any:
        return session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0]

    return compare(run_onnx, model, processor, "onnxruntime")


def readme(name: str, format: str, model: Any, processor: Any, compared: str) -> str:
    """Write what a program takes and gives."""
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
