"""What `handler.py` of an Inference Endpoint calls: a recording in, the distribution out."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from typing import Any

#: beside a checkpoint on the Hub: huggingface-inference-toolkit looks for this file, and installs what the other names
HANDLER = '''"""Inference Endpoints: a recording in, the distribution of perceived emotions out."""

from hf_emo_dist.hub.endpoint import EndpointHandler  # noqa: F401  (the class that the toolkit looks for)
'''
REQUIREMENTS = "hf-emo-dist[train]>=0.2\n"
FILES = {"handler.py": HANDLER, "requirements.txt": REQUIREMENTS}


class EndpointHandler:
    """Answers requests to a checkpoint that is served by Inference Endpoints.

    Made by huggingface-inference-toolkit, which hands over the body of a request: of ``Content-Type: audio/*`` as
    ``{"inputs": bytes}``, of JSON as it is.

    Args:
        path: Folder of the checkpoint, full or adapter.

    Example:
        >>> handler = EndpointHandler("my_model")  # doctest: +SKIP
        >>> handler({"inputs": "https://host/clip.wav", "parameters": {"top_k": 2}})  # doctest: +SKIP
        [{'label': 'neutral', 'score': 0.61}, {'label': 'sad', 'score': 0.27}]
    """

    def __init__(self, path: str | os.PathLike[str] = "") -> None:
        import torch

        from ..modeling.pipeline import SpeechEmotionDistributionPipeline
        from .load import load_emotion_model

        model, processor = load_emotion_model(path, device="cuda" if torch.cuda.is_available() else "cpu")
        self.pipeline = SpeechEmotionDistributionPipeline(model=model, processor=processor)

    def __call__(self, data: Mapping[str, Any] | bytes) -> Any:
        """Predict the distribution of one recording or of many.

        Args:
            data: The bytes of a file; or ``{"inputs": …, "parameters": {…}}``, whose inputs are bytes, base64 text, a
                ``data:`` or http(s) URL (fetched, bounded in size and time), or a list of these; parameters are the
                pipeline's, such as `transcript`, `top_k`, `return_track`, `apply_temperature`. Paths are not read.

        Returns:
            What the pipeline gives: a list of ``{"label", "score"}``, most probable first; a list of these for a list.

        Raises:
            AudioError: The recording cannot be used.
            TypeError: A parameter is not known.
            ValueError: There are no inputs, or they are neither bytes nor base64 nor a URL.
        """
        if not isinstance(data, Mapping):
            data = {"inputs": data}
        if "inputs" not in data:
            raise ValueError(f"the request has no inputs, only {sorted(data)}. Mend: send {{'inputs': base64 or URL}}.")
        inputs = data["inputs"]
        many = isinstance(inputs, list)
        read = [_recording(value) for value in inputs] if many else _recording(inputs)
        parameters = dict(data.get("parameters") or {})
        if "allow_private_addresses" in parameters:  # whoever asks is outside; the server's network is not theirs
            raise ValueError("allow_private_addresses is not for a request to say. Mend: leave it out.")
        return self.pipeline(read, **parameters)


def _recording(value: Any) -> str | bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        if value.startswith(("http://", "https://")):
            return value
        # a string that the pipeline took for a path would read the server's files
        text = value.partition(",")[2] if value.startswith("data:") else value
        try:
            found = base64.b64decode("".join(text.split()), validate=True)
        except binascii.Error:
            found = b""
        if found:
            return found
    shown = repr(value[:40]) if isinstance(value, str) else type(value).__name__
    raise ValueError(
        f"inputs={shown} is neither the bytes of a recording, nor base64, nor an http(s) URL. Mend: send one of these."
    )
