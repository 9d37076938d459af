"""Open audio-language models on this machine, through transformers: label probabilities are read, or words written."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np

from ...audio.check import check_usable
from ...audio.clips import audio_hash
from ...audio.decoding import SAMPLING_RATE, BadClip, decode
from ...distributions import check_choice
from ..capabilities import ModelCapabilities
from ..model_data import resolve_capabilities
from ..readout.families import family_class
from ..readout.gathering import Asked, Gathering
from ..readout.weights import Weights, weights_of
from ..shares import Share
from ..types import Answer, FatalError, PanelMember, PreparedAudio, Prompt, Usage, request_hash
from ._audio import AnnotatorAudio, heard_seconds

if TYPE_CHECKING:
    from ..readout.reader import ReadOut, ReadRequest

logger = logging.getLogger(__name__)

#: A clip as it goes to the model: little-endian float32 at 16 kHz.
_SAMPLES = "audio/x-float32"
#: Read-outs that are remembered: members that differ in temperature or number alone have one.
_REMEMBERED = 8192
#: Precisions, and what others call them.
_DTYPES = ("auto", "bfloat16", "float16", "float32", "float64")
_CALLED = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "f16": "float16", "fp32": "float32",
           "float": "float32", "f32": "float32", "double": "float64", "fp64": "float64"}  # fmt: skip
#: Tokens of a reply in words, at most: a JSON object over ten emotions.
_MAX_OUTPUT_TOKENS = 256


class Reader(Protocol):
    """What of a `readout.reader.LabelReader` is used here."""

    provenance: dict[str, Any]

    @property
    def longest_clip_s(self) -> float | None:
        """What the model hears of a clip."""

    def check(self, labels: Sequence[str], system: str, text: str) -> None:
        """Checks a prompt without a clip."""

    def read(self, requests: Sequence[ReadRequest]) -> list[ReadOut | Exception]:
        """Reads labels off."""

    def write(
        self,
        requests: Sequence[ReadRequest],
        *,
        temperature: float | None,
        seeds: Sequence[int],
        max_new_tokens: int,
    ) -> list[str | Exception]:
        """Generates answers in words."""


# Of this process, by what they were loaded from: annotators of one model share it.
_READERS: weakref.WeakValueDictionary[tuple[Any, ...], Any] = weakref.WeakValueDictionary()
_LOADING = threading.Lock()


class TransformersBackend:
    """An open audio-language model on this machine: nothing leaves it, and it stays what it is.

    In mode ``"readout"``, which a preset's panel has here, the probability of every label as the whole answer is read
    off the model, exactly and without sampling: the number of votes and the temperatures cost nothing. Clip and common
    prompt are computed once for all members of a panel. In the modes ``"label"`` and ``"distribution"`` the model
    writes its answer, as a service would.

    The model is loaded when it is first asked, once a process; with ``accelerate launch`` each process has its own GPU
    and its share of the clips. Replies are kept under the weights' own revision (the commit on the Hub, or a hash of
    the folder's files), precision and prompt, so that other weights are never taken for these.

    Args:
        model: Id on the Hub, or a folder that `save_pretrained` has written. No code of a repository is run.
        revision: Branch, tag or commit on the Hub.
        dtype: ``"auto"`` for the checkpoint's own, or such as ``"bfloat16"``, ``"float32"``.
        device_map: As transformers takes it; ``"auto"`` spreads a model over several GPUs. Default: the GPU of this
            process, or the CPU where there is none.
        quantization: ``"4bit"`` (needs bitsandbytes), or None.
        token_budget: Tokens in one pass through the language model. Default: the reader's. Where memory runs out, it is
            halved, and the run goes on.
        family: Of `readout.families.FAMILIES`, or ``module:Name`` of your own, where the model's configuration does not
            say it.
        clips: Clips that are given to the model together.
        max_output_tokens: Of an answer in words.
        capabilities: Replaces what the table says, as a whole or, given a mapping, in part.
        long_audio: What to do with a clip that is longer than the model hears: ``"error"``, it is not asked about; or
            ``"truncate"``, its first seconds are heard.
        reader: A `LabelReader` of the same model that is loaded already. It stays its owner's and is not pickled.

    Raises:
        ValueError: An argument does not fit.

    Example:
        >>> backend = TransformersBackend("Qwen/Qwen2-Audio-7B-Instruct", dtype="bfloat16")
        >>> backend.capabilities.modes[0], backend.capabilities.longest_clip_s, backend.destination
        ('readout', 30.0, None)
    """

    name = "transformers"
    endpoint = "local"
    destination: str | None = None
    terms = "those of the model's licence; nothing leaves this machine"
    row_columns: tuple[str, ...] = ()
    whole_panel = True

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        dtype: str = "auto",
        device_map: Any = None,
        quantization: str | None = None,
        token_budget: int | None = None,
        family: str | None = None,
        clips: int = 8,
        max_output_tokens: int = _MAX_OUTPUT_TOKENS,
        capabilities: ModelCapabilities | Mapping[str, Any] | None = None,
        long_audio: AnnotatorAudio = "error",
        reader: Reader | None = None,
    ) -> None:
        check_choice("long_audio", long_audio, get_args(AnnotatorAudio))
        if quantization not in (None, "4bit"):
            raise ValueError(f"`quantization` is {quantization!r}. Mend: '4bit', or leave it out.")
        precision = str(dtype).removeprefix("torch.")
        if precision not in _DTYPES:
            mend = f"dtype={_CALLED[precision]!r}" if precision in _CALLED else f"one of {', '.join(_DTYPES)}"
            raise ValueError(f"`dtype` is {precision!r} and no precision that is known here. Mend: {mend}.")
        for name, value in (("clips", clips), ("max_output_tokens", max_output_tokens), ("token_budget", token_budget)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"`{name}` is {value!r}. Mend: a whole number from 1.")
        folder = Path(model).expanduser()
        self._is_folder = folder.is_dir()
        self._path, self._asked_revision = str(folder) if self._is_folder else str(model), revision
        # Where it lies is nobody's business who reads the ledger or a card.
        self.model = folder.resolve().name if self._is_folder else str(model)
        self.dtype, self.device_map, self.quantization = precision, device_map, quantization
        self.token_budget, self.family = token_budget, family
        self.clips, self.max_output_tokens, self.long_audio = clips, max_output_tokens, long_audio
        self.capabilities = resolve_capabilities("transformers", self.model, capabilities)
        self._given = reader
        self._start()

    def _start(self) -> None:
        self._reader: Reader | None = self._given
        self._gatherings: dict[asyncio.AbstractEventLoop, Gathering] = {}
        self._known: OrderedDict[tuple[Any, ...], ReadOut | Exception] = OrderedDict()
        self._lock = threading.RLock()
        self._expected: tuple[Prompt, ...] = ()
        self._unchecked: tuple[Prompt, ...] = ()

    @property
    def gathers(self) -> int:
        """Clips that are to be with it at once: one batch is computed, the next one waits."""
        return 2 * self.clips

    def __repr__(self) -> str:
        return f"TransformersBackend(model={self.model!r})"

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_given", "_reader", "_gatherings", "_known", "_lock", "_has", "_expected", "_unchecked")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._given = None
        self._start()

    def secrets(self) -> tuple[str, ...]:
        """None: the Hub's token is read by the Hub's own client."""
        return ()

    # --- which model it is

    @cached_property
    def _weights(self) -> Weights:
        return weights_of(self._path, self._asked_revision)

    @property
    def _commit(self) -> str | None:
        return None if self._is_folder else self._weights.revision

    def weights(self) -> dict[str, Any]:
        """What the model's name does not tell: revision, precision, and that probabilities are read."""
        return {
            "revision": self._weights.revision,
            "dtype": self._dtype,
            "quantization": self.quantization,
        }

    @property
    def _dtype(self) -> str:
        """The precision, of ``"auto"`` that which the checkpoint names."""
        if self.dtype != "auto":
            return self.dtype
        config = self._weights.config
        for part in (config, config.get("text_config") or {}, config.get("thinker_config") or {}):
            if isinstance(part, Mapping) and (found := part.get("dtype") or part.get("torch_dtype")):
                return str(found)
        return "auto"

    def check_ready(self) -> None:
        """Raise a `FatalError` where there is no such model, or none that hears and is known here: none is loaded."""
        if self._given is not None:
            return
        from transformers import AutoConfig

        from ..._own_code import check_own_code, load_part
        from ..readout.reader import family_of

        try:
            check_own_code(self._path, {"revision": self._commit})
            config = load_part(AutoConfig, self._path, revision=self._commit)
            family_of(config, self.model, self.family)
            self._check_context(config)
        except (ValueError, OSError) as error:
            raise _setup(error) from error

    def expect(self, prompts: Sequence[Prompt]) -> None:
        """Take the prompts of a run as they are without a transcript: what is wrong with them is no clip's doing.

        They are checked by `check_ready` as far as no model is needed, and by the model before it hears anything.
        """
        if tuple(prompts) != self._expected:
            self._expected = self._unchecked = tuple(prompts)

    def _check_context(self, config: Any) -> None:
        """Raise a `ValueError` where a prompt alone has more tokens than the model takes."""
        context = getattr(config.get_text_config(), "max_position_embeddings", None)
        texts = [f"{prompt.system}\n{prompt.text}" for prompt in self._expected]
        # A token is a byte at the least, so that hardly any prompt has to be counted.
        longest = max(texts, key=lambda text: len(text.encode()), default="")
        if not isinstance(context, int) or len(longest.encode()) <= context:
            return
        from transformers import AutoTokenizer

        from ..._own_code import load_part

        try:
            tokenizer = load_part(AutoTokenizer, self._path, revision=self._commit)
            number = max(len(tokenizer(text)["input_ids"]) for text in texts)
        except Exception as error:  # noqa: BLE001 - of a tokenizer that the processor alone can load
            logger.debug("Prompts are counted once the model is loaded (%s)", type(error).__name__)
            return
        if number >= context:
            raise ValueError(
                f"A prompt of the panel has {number} tokens without any clip or transcript, and {self.model} takes "
                f"{context}. Mend: use a model with a longer context, or shorten the prompt."
            )

    # --- one request

    def render(self, prompt: Prompt, member: PanelMember, row: Mapping[str, Any]) -> dict[str, Any]:
        """The prompt, the labels in their order, and whatever of model and settings changes the answer."""
        request: dict[str, Any] = {
            "model": self.model,
            "weights": self.weights(),
            "mode": prompt.mode,
            "system": prompt.system,
            "text": prompt.text,
            "labels": list(prompt.emotions),
            "temperature": member.temperature,
        }
        if self.family is not None:
            request["family"] = self.family
        if prompt.mode != "readout":
            request |= {"max_tokens": self.max_output_tokens, "seed": member.replicate}
        return request

    def prepare(self, audio: Any, row_id: Any = None) -> PreparedAudio:
        """The clip as 16 kHz mono samples. Raises `AudioError`."""
        try:
            clip = decode(audio)
            check_usable(clip, long_audio="truncate")  # how much is heard is said below, by model
        except BadClip as bad:
            raise bad.error(row_id) from bad.__cause__
        heard = heard_seconds(clip.seconds, self._has, self.long_audio, row_id)
        wave = np.ascontiguousarray(clip.wave[: int(np.ceil(heard * SAMPLING_RATE))], dtype="<f4")
        digest = audio_hash(audio if clip.data is None else clip.data)
        return PreparedAudio(wave.tobytes(), _SAMPLES, len(wave) / SAMPLING_RATE, digest)

    @cached_property
    def _has(self) -> ModelCapabilities:
        """What the model takes, with what its family hears of a clip where nothing else says it."""
        if self.capabilities.longest_clip_s is not None:
            return self.capabilities
        if self._given is not None:
            return replace(self.capabilities, longest_clip_s=self._given.longest_clip_s)
        try:
            of_family = family_class(self.family or str(self._weights.config.get("model_type"))).longest_clip_s
        except ValueError:  # a model that is not known is told of where it is loaded
            of_family = None
        return replace(self.capabilities, longest_clip_s=of_family)

    async def ask(self, request: Mapping[str, Any], audio: PreparedAudio, timeout_s: float) -> Answer:
        """Answers one request, in a batch with those that are asked at the same time. It has no time-out."""
        loop = asyncio.get_running_loop()
        for gone in [other for other in self._gatherings if other.is_closed()]:  # nobody called `close()` in them
            self._gatherings.pop(gone).close()
        if loop not in self._gatherings:
            self._gatherings[loop] = Gathering(self._answer, self.clips)
        return await self._gatherings[loop].ask(Asked(audio.digest, request, audio))

    async def close(self) -> None:
        """Lets the model go, unless it was given; the next use loads it again."""
        gathering = self._gatherings.pop(asyncio.get_running_loop(), None)
        if gathering is not None:
            gathering.close()
        if not self._gatherings:
            self._reader = self._given
            self._known.clear()

    # --- a batch, in the thread of its gathering

    def _answer(self, batch: Sequence[Asked]) -> list[Answer | Exception]:
        with self._lock:
            reader = self._loaded()
            self._check_expected(reader)
            began = time.monotonic()
            found: dict[int, Answer | Exception] = {}
            groups: dict[tuple[bool, float | None], list[int]] = {}
            for place, asked in enumerate(batch):
                read = asked.request["mode"] == "readout"
                groups.setdefault((read, None if read else asked.request["temperature"]), []).append(place)
            for (read, temperature), places in groups.items():
                some = [batch[place] for place in places]
                answers: Sequence[Answer | Exception]
                try:
                    answers = self._read(reader, some) if read else self._write(reader, some, temperature)
                except ValueError as error:  # of labels or prompts, not of a clip: nothing was computed
                    answers = [_setup(error)] * len(some)
                except Exception as error:  # noqa: BLE001 - of one way of asking, and told to who asked so
                    answers = [error] * len(some)
                found.update(zip(places, answers, strict=True))
            # Of each answer its share of the machine's time: what an estimate multiplies.
            latency_s = (time.monotonic() - began) / max(1, len(batch))
            return [
                replace(answer, latency_s=latency_s) if isinstance(answer := found[place], Answer) else answer
                for place in range(len(batch))
            ]

    def _check_expected(self, reader: Reader) -> None:
        for prompt in self._unchecked:
            try:
                reader.check(prompt.emotions, prompt.system, prompt.text)
            except ValueError as error:
                raise _setup(error) from error
        self._unchecked = ()

    def _loaded(self) -> Reader:
        if self._reader is None:
            options: dict[str, Any] = {
                "revision": self._commit, "dtype": self.dtype, "device_map": self.device_map or _own_device(),
                "quantization": self.quantization, "family": self.family,
            }  # fmt: skip
            if self.token_budget is not None:
                options["token_budget"] = self.token_budget
            key = (os.getpid(), self._path, repr(sorted(options.items())))
            with _LOADING:
                self._reader = _READERS.get(key)
                if self._reader is None:
                    from ..readout.reader import LabelReader

                    logger.info("Loading %s", self.model)
                    try:
                        self._reader = LabelReader.from_pretrained(self._path, **options)
                    except Exception as error:  # each library has its own, and none is a clip's doing
                        raise self._not_loaded(error) from error
                    _READERS[key] = self._reader
        return self._reader

    def _not_loaded(self, error: Exception) -> FatalError:
        """What a model that cannot be loaded stops the run with."""
        if isinstance(error, FatalError):
            return error
        told = " ".join(str(error).split())
        if " Mend: " in told:
            return _setup(error)
        kind = type(error).__name__
        if "OutOfMemory" in kind or isinstance(error, MemoryError):
            mend = "load it with --backend_options '{quantization: 4bit}' or '{device_map: auto}', or on a larger GPU."
        else:
            mend = (
                "get the files of the model again, all of one save; see that it is one that this release of "
                "transformers has, and that --backend_options (dtype, device_map, quantization, family) fit it."
            )
        return FatalError("setup", f"{self.model} cannot be loaded ({kind}: {told[:400]}).", mend)

    def _read(self, reader: Reader, batch: Sequence[Asked]) -> list[Answer | Exception]:
        names = [(asked.clip, _question(asked.request)) for asked in batch]
        wanted: dict[tuple[Any, ...], Asked] = {}
        for name, asked in zip(names, batch, strict=True):
            if name not in self._known:
                wanted.setdefault(name, asked)
        fresh = dict(zip(wanted, reader.read([_asked(one) for one in wanted.values()]), strict=True)) if wanted else {}
        self._known.update({name: out for name, out in fresh.items() if not isinstance(out, Exception)})
        answers: list[Answer | Exception] = []
        for name, asked in zip(names, batch, strict=True):
            out = fresh.get(name) or self._known[name]
            if isinstance(out, Exception):
                answers.append(_rejected(out))
                continue
            self._known.move_to_end(name)
            probabilities = dict(zip(asked.request["labels"], out.log_probabilities.tolist(), strict=True))
            usage = Usage(out.prompt_tokens, out.audio_tokens, 0, 0)
            answers.append(self._told(reader, asked, Answer(None, log_probabilities=probabilities, usage=usage)))
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return answers

    def _write(self, reader: Reader, batch: Sequence[Asked], temperature: float | None) -> list[Answer | Exception]:
        found = reader.write(
            [_asked(one) for one in batch],
            temperature=temperature,
            seeds=[_seed(one) for one in batch],
            max_new_tokens=self.max_output_tokens,
        )
        return [
            _rejected(text)
            if isinstance(text, Exception)
            else self._told(reader, asked, Answer(text) if text.strip() else Answer(None, "empty", "it wrote nothing"))
            for asked, text in zip(batch, found, strict=True)
        ]

    def _told(self, reader: Reader, asked: Asked, answer: Answer) -> Answer:
        asked_of = {name: value for name, value in asked.request["weights"].items() if value != "auto"}
        found = {**reader.provenance, **asked_of}  # of quantised weights the model's own dtype is that of the rest
        settings = {name: value for name, value in found.items() if name != "model" and value is not None}
        settings["temperature"] = asked.request["temperature"]
        return replace(answer, model_version=self.model, settings=settings)


def _question(request: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a request a read-out depends on; its temperature is applied afterwards."""
    return (request["system"], request["text"], tuple(request["labels"]))


def _asked(one: Asked) -> ReadRequest:
    from ..readout.reader import ReadRequest

    request, samples = one.request, np.frombuffer(one.audio.data, dtype="<f4").astype(np.float32, copy=False)
    return ReadRequest(samples, one.clip, request["system"], request["text"], tuple(request["labels"]))


def _seed(one: Asked) -> int:
    """Of sampling an answer: from the clip and the whole request, its member's number included."""
    digest = hashlib.sha256(f"{one.clip} {request_hash(one.request)}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _rejected(error: Exception) -> Answer:
    """What concerns one clip: too long for the context, no memory for it alone."""
    return Answer(None, "rejected", " ".join(str(error).split()) or type(error).__name__)


def _setup(error: Exception) -> FatalError:
    what, _, mend = " ".join(str(error).split()).partition(" Mend: ")
    return FatalError("setup", what, mend or "see the options of the backend, --backend_options.")


def _own_device() -> Any:
    """The GPU of this process among those that share a run; None where it is alone, and the reader chooses."""
    share = Share.own()
    if share.of == 1:
        return None
    # Not by accelerate's state: that would wait for all processes, and one that finds everything in the ledger loads
    # no model.
    import torch

    number = torch.cuda.device_count()
    return {"": share.local % number} if number else {"": "cpu"}
