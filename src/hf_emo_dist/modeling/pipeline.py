"""`pipeline("speech-emotion-distribution", model=id)`: from a recording to the distribution of perceived emotions."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from transformers.pipelines import PIPELINE_REGISTRY, AudioClassificationPipeline, Pipeline

from .._checkpoint_files import ADAPTER_CONFIG_NAME, find_file
from ..audio.decoding import SAMPLING_RATE
from ..audio.inputs import Clip, check_window, is_file, name_of, open_clip, rate_and_array
from ..data.intact import BrokenFileError
from ..scores.temperature import at_temperature
from .calibration import check_sure, temperature_of
from .configuration import SURE_LOSSES
from .families import HUB_ARGUMENTS
from .losses import concentration
from .model import EmotionDistributionModel
from .prediction import ANSWERS_NAN
from .processing import EmotionDistributionProcessor
from .text_lengths import check_lengths

logger = logging.getLogger(__name__)

TASK = "speech-emotion-distribution"
ON_ERROR = ("raise", "return")


class SpeechEmotionDistributionPipeline(Pipeline):
    """Predicts the distribution of perceived emotions for recordings of any length.

    A recording over 30 s is cut into equal windows; its distribution is the windows' mean, weighted by duration. Of
    several inputs, one that cannot be read does not stop the others: its result is ``{"error": message}``, and it is
    named in a warning. A single one raises. Of a silent one, nothing that the model answers is heard in it: its result
    says ``"silent": True`` in every entry, and a warning names it.

    Args:
        model: An `EmotionDistributionModel`, or a `PeftModel` around one.
        processor: Its `EmotionDistributionProcessor`; by default the one beside the checkpoint that the model was
            loaded from.
        kwargs: Those of `transformers.Pipeline` (`device`, `batch_size`, …) and defaults for those of a call.

    Example:
        >>> import hf_emo_dist
        >>> from transformers import pipeline
        >>> pipe = pipeline("speech-emotion-distribution", model="you/checkpoint")  # doctest: +SKIP
        >>> pipe("clip.wav")  # doctest: +SKIP
        [{'label': 'neutral', 'score': 0.61}, {'label': 'sad', 'score': 0.27}, ...]
    """

    # The processor is loaded here: for an adapter, transformers would load its backbone's.
    _load_processor = False
    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = False

    def __init__(self, model: Any, processor: Any = None, **kwargs: Any) -> None:
        network = model.get_base_model() if hasattr(model, "get_base_model") else model
        if not isinstance(network, EmotionDistributionModel):
            _raise_what_was_refused(network)
            raise ValueError(
                f"the {TASK} pipeline needs an EmotionDistributionModel, and what was loaded is a "
                f"{type(network).__name__}. Mend: name a checkpoint of this library; where it is one, "
                "hf_emo_dist.load_emotion_model(name) says what is wrong with it."
            )
        if processor is None:
            if network.loaded_from is None:
                raise ValueError(
                    "this model was not loaded from a checkpoint. Mend: pass processor=..., its "
                    "EmotionDistributionProcessor."
                )
            name, hub = network.loaded_from
            processor = EmotionDistributionProcessor.from_pretrained(name, **hub)
        if tuple(processor.emotions) != network.config.emotions:
            raise ValueError(
                f"the model answers with {list(network.config.emotions)} and its processor asks for "
                f"{processor.emotions}: one of the two files was changed. Mend: restore them from the original "
                "checkpoint."
            )
        for name in ("tokenizer", "feature_extractor", "image_processor"):
            kwargs.pop(name, None)  # they are in the processor
        super().__init__(model=model, processor=processor, **kwargs)
        self.model.eval()

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        known = {
            "transcript": 0, "speaker": 0, "sampling_rate": 0, "window_seconds": 0, "on_error": 0,
            "allow_private_addresses": 0,
            "top_k": 2, "return_track": 2, "apply_temperature": 2, "return_concentration": 2,
        }  # fmt: skip
        parts: tuple[dict[str, Any], dict[str, Any], dict[str, Any]] = ({}, {}, {})
        for name, value in parameters.items():
            if name not in known:
                raise TypeError(f"{name!r} is no argument of the {TASK} pipeline. Mend: use one of {', '.join(known)}.")
            parts[known[name]][name] = value
        if "window_seconds" in parameters:
            check_window(parameters["window_seconds"])
        if parameters.get("top_k") is not None and parameters["top_k"] < 1:
            raise ValueError(f"top_k={parameters['top_k']} is below 1. Mend: give 1 or more, or None for all emotions.")
        if parameters.get("on_error", "raise") not in ON_ERROR:
            raise ValueError(
                f"on_error={parameters['on_error']!r} is not known. Mend: use one of {', '.join(ON_ERROR)}."
            )
        if parameters.get("apply_temperature"):
            temperature_of(self.model)
        if parameters.get("return_concentration"):
            check_sure(self.model)
        return parts

    def __call__(
        self, inputs: Any, *, batch_size: int | None = None, num_workers: int | None = None, **kwargs: Any
    ) -> Any:
        """Predict the distributions of one recording or of many.

        Args:
            inputs: A path; an http(s) URL; the bytes of a file, or an open file; an array or tensor (T,) or (C, T) at
                `sampling_rate`; ``(rate, array)``; ``{"array", "sampling_rate"}``; ``{"bytes", "path"}``; a torchcodec
                decoder; a data set row with `audio` and, where known, `transcript`, `speaker` and `id`; or a list, a
                `Dataset` or a generator of these.
            batch_size: Windows a forward pass (default: 1, or what the pipeline was made with).
            num_workers: Accepted for transformers' sake, and not used.
            transcript: The words, for a model that reads them; for a list of inputs one each, None where unknown.
            speaker: Who speaks, likewise.
            sampling_rate: Of bare arrays, in Hz (default: 16,000).
            window_seconds: Longest window (default: 30). With shorter ones the track is finer, and the distribution is
                the mean of what is heard in each of them alone.
            top_k: Only the k most probable emotions; None (the default) is the whole distribution.
            return_track: Also how the distribution changes over time.
            apply_temperature: Give distributions at the temperature that was fitted on validation votes and is kept
                with the checkpoint (default: not). It acts on the distribution of the whole recording, and on each
                window's of a track by itself.
            return_concentration: Also how sure the model is, in votes, for one trained with `dirichlet_multinomial`.
            allow_private_addresses: Whether an http(s) URL may be of this machine or its network (default: not).
            on_error: ``"return"`` an unreadable input's message in its place (the default for many), or ``"raise"``
                (for one).

        Returns:
            For each input a list of ``{"label", "score"}``, most probable first; without `top_k` the scores sum to 1.
            With `return_track`, ``{"distribution": that list, "track": [{"start", "end", "distribution"}, …]}``, times
            in seconds; with `return_concentration`, ``{"distribution": that list, "concentration": …}``, and one for
            each window of a track. Where a recording, or a window of the track, is silent, it says ``"silent": True``.
            A list for a list, an iterator for a `Dataset` or a generator.

        Raises:
            AudioError: The recording cannot be used; the message names it.
            TypeError: An argument is not known.
            ValueError: An argument is out of range, there are not as many transcripts as inputs, the checkpoint has no
                temperature or no concentration, or the model answers NaN.
        """
        before, _, after = self._sanitize_parameters(**kwargs)
        before, after = {**self._preprocess_params, **before}, {**self._postprocess_params, **after}
        size = batch_size or self._batch_size or 1
        numbers = isinstance(inputs, list | tuple) and inputs and isinstance(inputs[0], int | float | np.number)
        if isinstance(inputs, list | tuple) and not numbers and rate_and_array(inputs) is None:
            return list(self._answers(inputs, size, before, after))
        if _is_many(inputs):
            return self._answers(inputs, size, before, after)
        return next(self._answers([inputs], size, {"on_error": "raise", **before}, after, single=True))

    def _answers(
        self,
        inputs: Iterable[Any],
        batch_size: int,
        before: dict[str, Any],
        after: dict[str, Any],
        single: bool = False,
    ) -> Iterator[Any]:
        options = dict(before)
        on_error = options.pop("on_error", "return")
        words = {name: _one_each(options.pop(name, None), inputs, name, single) for name in ("transcript", "speaker")}
        clips: deque[Clip] = deque()
        waiting: deque[tuple[Clip, int]] = deque()
        failed: list[str] = []

        def predict(windows: Sequence[tuple[Clip, int]]) -> None:
            for clip in self._predict(windows):
                if on_error == "raise":
                    raise clip.error  # type: ignore[misc]
                failed.append(clip.name)
                logger.warning("%s", clip.error)

        for number, value in enumerate(inputs):
            name = name_of(value, number)
            try:
                clip = open_clip(value, name, **{key: given(number) for key, given in words.items()}, **options)
                check_lengths(self.processor, [name], [clip.transcript], [clip.speaker], batch_size)
            except (ValueError, OSError) as error:  # an AudioError is a ValueError
                if on_error == "raise":
                    raise
                failed.append(name)
                logger.warning("%s", error)
                clip = Clip(name, error=error)
            if clip.silent and all(clip.silent):
                logger.warning("%s is silent: what the model answers says nothing about it", name)
            clips.append(clip)
            waiting.extend((clip, i) for i in range(len(clip.windows)))
            while len(waiting) >= batch_size:
                predict([waiting.popleft() for _ in range(batch_size)])
            while clips and clips[0].done:
                yield self.postprocess(clips.popleft(), **after)
        while waiting:
            predict([waiting.popleft() for _ in range(min(batch_size, len(waiting)))])
        while clips:
            yield self.postprocess(clips.popleft(), **after)
        if failed:
            shown = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
            logger.warning("%d inputs could not be read: %s", len(failed), shown)

    def _predict(self, windows: Sequence[tuple[Clip, int]]) -> list[Clip]:
        """Predict windows, and return the recordings whose answers are no numbers, with that as their error."""
        inputs = self.processor(
            audio=[clip.windows[i] for clip, i in windows],
            transcript=[clip.transcript for clip, _ in windows],
            speaker=[clip.speaker for clip, _ in windows],
            row_ids=[clip.name for clip, _ in windows],
        )
        logits = self.forward(dict(inputs))
        sure = self.model.config.loss_type in SURE_LOSSES
        levels = concentration(logits).log().tolist() if sure else [0.0] * len(windows)
        for (clip, i), distribution, level in zip(windows, logits.double().softmax(-1).numpy(), levels, strict=True):
            clip.distributions[i], clip.log_concentrations[i] = distribution, level
        bad = {id(clip): clip for clip, i in windows if not np.isfinite(clip.distributions[i]).all()}  # type: ignore[arg-type]
        for clip in bad.values():
            clip.error = ValueError(f"{clip.name}: {ANSWERS_NAN}")
        return list(bad.values())

    def preprocess(self, input_: Any, **parameters: Any) -> Clip:
        """Read one input; a step of transformers' pipelines, see `__call__` for what it takes."""
        parameters.pop("on_error", None)
        return open_clip(input_, name_of(input_, 0), **parameters)

    def _forward(self, input_tensors: dict[str, Any], **parameters: Any) -> torch.Tensor:
        return self.model(**input_tensors).logits

    def get_inference_context(self) -> Any:
        """Keep nothing for a backward pass."""
        return torch.inference_mode

    def postprocess(
        self,
        model_outputs: Clip,
        top_k: int | None = None,
        return_track: bool = False,
        apply_temperature: bool = False,
        return_concentration: bool = False,
    ) -> Any:
        """Make what a user gets for one recording."""
        clip = model_outputs
        if clip.error is not None:
            return {"error": str(clip.error)}
        seconds = np.array([len(window) for window in clip.windows]) / SAMPLING_RATE
        matrix = np.stack([value for value in clip.distributions if value is not None])
        levels = np.array([clip.log_concentrations[i] for i in range(len(matrix))])
        temperature = temperature_of(self.model) if apply_temperature else 1.0

        def answer(distribution: np.ndarray, level: float, silent: bool) -> dict[str, Any]:
            tempered = distribution if temperature == 1.0 else at_temperature(distribution, temperature)
            found: dict[str, Any] = {"distribution": self._scores(tempered, top_k)}
            if return_concentration:
                found["concentration"] = float(np.exp(level))
            return {**found, "silent": True} if silent else found

        shares, silent = seconds / seconds.sum(), all(clip.silent)
        # of several windows as in the model's forward: the mean of the distributions, and of the log concentrations
        whole = answer((seconds[:, None] * matrix).sum(0) / seconds.sum(), float((shares * levels).sum()), silent)
        if not return_track:
            if return_concentration:
                return whole
            return [{**entry, "silent": True} if silent else entry for entry in whole["distribution"]]
        ends = seconds.cumsum()
        track = [
            {"start": float(end - length), "end": float(end), **answer(row, level, unheard)}
            for end, length, row, level, unheard in zip(ends, seconds, matrix, levels, clip.silent, strict=True)
        ]
        return {**whole, "track": track}

    def _scores(self, distribution: np.ndarray, top_k: int | None) -> list[dict[str, Any]]:
        order = np.argsort(-distribution, kind="stable")[:top_k]
        labels = self.model.config.id2label
        return [{"label": labels[int(i)], "score": float(distribution[i])} for i in order]

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save the model and its processor, and no code: `import hf_emo_dist` registers the pipeline."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)


class _AudioClassification(AudioClassificationPipeline):
    """transformers' own audio-classification pipeline; for our models, which need a prompt beside the audio, ours."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        model: Any = kwargs.get("model", args[0] if args else None)
        network = model.get_base_model() if hasattr(model, "get_base_model") else model
        if not isinstance(network, EmotionDistributionModel):
            _raise_what_was_refused(network)
            return AudioClassificationPipeline(*args, **kwargs)
        kwargs.setdefault("top_k", 5)  # as there
        kwargs.pop("function_to_apply", None)
        return SpeechEmotionDistributionPipeline(*args, **kwargs)


def _is_many(inputs: Any) -> bool:
    # a `Dataset`, a generator or the like: anything that gives inputs one by one and is none itself; an open file gives
    # lines
    if is_file(inputs) or isinstance(
        inputs, str | bytes | bytearray | memoryview | os.PathLike | Mapping | np.ndarray | torch.Tensor | list | tuple
    ):
        return False
    return isinstance(inputs, Iterable) or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))


def _one_each(value: Any, inputs: Any, name: str, single: bool) -> Any:
    if value is None or isinstance(value, str):
        if value is not None and not single:
            raise ValueError(
                f"{name} is one string for several inputs. Mend: give a list with one each, None where unknown."
            )
        return lambda number: value
    values = list(value)
    if hasattr(inputs, "__len__") and len(inputs) != len(values):
        raise ValueError(
            f"{len(inputs)} inputs but {len(values)} values of `{name}`. Mend: give one each, None where unknown."
        )
    return lambda number: values[number]


# Why the last adapter was not loaded. pipeline() goes on to transformers' own class, which takes the adapter without a
# word of it.
_REFUSED: ContextVar[Exception | None] = ContextVar("refused", default=None)


class BrokenModelError(Exception):
    """A file of a model is damaged, see `data.intact.BrokenFileError`.

    No ValueError, after which pipeline() would go on to transformers' own classes, and end with an error of theirs.
    """


class _Ours:
    """Loads a model of this library, and keeps why an adapter could not be."""

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        _REFUSED.set(None)
        try:
            return EmotionDistributionModel.from_pretrained(name_or_path, **kwargs)
        except BrokenFileError as error:
            raise BrokenModelError(str(error)) from error
        except (OSError, ValueError, RuntimeError) as error:
            _REFUSED.set(error)
            raise


def _raise_what_was_refused(network: Any) -> None:
    error = _REFUSED.get()
    if error is not None and getattr(network, "_hf_peft_config_loaded", False):
        _REFUSED.set(None)
        raise error


class _OurAdapters(_Ours):
    """Loads an adapter of this library, which transformers would put onto its backbone's own classifier."""

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        hub = {key: kwargs[key] for key in HUB_ARGUMENTS if kwargs.get(key) is not None}
        # of an adapter, pipeline() hands over the commit of the backbone's repository
        asked = {**hub, "revision": getattr(hub.get("revision"), "initial", hub.get("revision"))}
        if find_file(name_or_path, ADAPTER_CONFIG_NAME, asked) is None:
            raise ValueError(f"'{name_or_path}' is no adapter of hf_emo_dist.")
        return super().from_pretrained(name_or_path, **kwargs)


PIPELINE_REGISTRY.register_pipeline(TASK, SpeechEmotionDistributionPipeline, pt_model=_Ours, type="audio")
# it would make save_pretrained copy this module beside the model and ask for trust_remote_code when that is loaded
del SpeechEmotionDistributionPipeline._registered_impl

_stock = PIPELINE_REGISTRY.supported_tasks["audio-classification"]
PIPELINE_REGISTRY.supported_tasks["audio-classification"] = {
    **_stock,
    "impl": _AudioClassification,
    "pt": (_OurAdapters, *_stock["pt"]),
}
