"""Gemini as an annotator, through google-genai: the Gemini API, or Vertex AI by the client's own settings."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from ..._lazy import need
from ...audio.decoding import clip_error
from ...distributions import check_choice
from ..capabilities import DEFAULT_GEMINI_MODEL, PAPER_GEMINI_MODEL, ModelCapabilities
from ..model_data import resolve_capabilities
from ..types import Answer, FatalError, PanelMember, PreparedAudio, Prompt, TransientError, canonical_json
from ._audio import AnnotatorAudio, prepare_audio
from ._google_batches import GoogleBatches
from ._google_genai import Uploads, base_url, environment_identity, guarded, identity, judge, read, session
from ._http import Redirected, TooLong, found_in
from ._remote import (
    RemoteBackend,
    lost_connection,
    parsed,
    scrub,
    send_in_turn,
    transport_errors,
    unreadable,
    url_secrets,
)

_MEND_KEY = "set GEMINI_API_KEY in the environment, or pass client=genai.Client(api_key=...) and num_proc=1."
_HARM = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")
_THRESHOLDS = {"none": "BLOCK_NONE", "high": "BLOCK_ONLY_HIGH", "default": None}
# Room for a short answer and for what models think at their least; a runaway reply is cut off here, and is a typed
# failure.
_MAX_OUTPUT_TOKENS = 4096
_UPLOAD_TIMEOUT_S = 600.0
# What json, pydantic and the client raise for a reply that is cut off or of another shape.
_BROKEN_REPLY = (
    "JSONDecodeError",
    "ValidationError",
    "UnknownApiResponseError",
    "UnicodeDecodeError",
    "BrokenReply",
    "RecursionError",
)


@dataclass
class _Connection:
    client: Any
    types: Any
    failures: tuple[type[BaseException], ...]
    turn: asyncio.Lock
    uploads: Uploads
    configs: dict[str, Any] = field(default_factory=dict)


class GeminiBackend(RemoteBackend):
    """Asks a Gemini model about one clip at a time.

    The key comes from ``GEMINI_API_KEY`` (or ``GOOGLE_API_KEY``), another server from ``GOOGLE_GEMINI_BASE_URL``, and
    Vertex AI from ``GOOGLE_GENAI_USE_VERTEXAI``, ``GOOGLE_CLOUD_PROJECT`` and ``GOOGLE_CLOUD_LOCATION``, all as
    google-genai reads them. It is read when the first request is sent, so that a full ledger needs none.

    Audio goes inside the request up to the model's limit, and through the Files API beyond it, uploaded once for all
    panel members and deleted by :meth:`close`.

    Args:
        model: Its name.
        client: A ``google.genai.Client`` to use instead of the environment's. It stays its owner's: :meth:`close`
            leaves it open. It is not pickled; worker processes (``num_proc`` over 1) use the environment.
        capabilities: Replaces what the table says, as a whole or, given a mapping, in part.
        thinking: How much the model reasons. Default: the least it can, because hidden reasoning costs more than the
            audio and makes annotators alike. Else a number of tokens, or a level, whichever the model takes, or
            ``"default"`` to leave it to the model.
        max_output_tokens: Thinking and reply together. Default: 4096.
        safety: Which replies Google's filter withholds: ``"none"`` (as far as that can be chosen; angry speech is what
            is asked about), ``"high"``, or ``"default"``, Google's own choice.
        answers_as: Names under which the model answers beside its own: of an Azure deployment, or behind a gateway. Any
            other name is another model, whose replies are no votes.
        long_audio: What to do with a clip that is longer than the model hears, where its data says so: ``"error"``, it
            is not sent; ``"truncate"``, its first seconds are.
        service_tier: ``"standard"``, or ``"flex"``: half the price, answers in 1 to 15 minutes, and none when the
            service has no room. It changes no answer, and no key of one.

    Raises:
        ValueError: An argument does not fit the model.
        FatalError: Vertex AI is asked for without a project.

    Example:
        >>> GeminiBackend("gemini-3.8-flash").capabilities.temperature
        False
    """

    name = "gemini"
    preset_models: ClassVar[Mapping[str, str]] = {"paper": PAPER_GEMINI_MODEL}

    def __init__(
        self,
        model: str = DEFAULT_GEMINI_MODEL,
        client: Any = None,
        capabilities: ModelCapabilities | Mapping[str, Any] | None = None,
        thinking: int | str | None = None,
        max_output_tokens: int | None = None,
        safety: Literal["none", "high", "default"] = "none",
        answers_as: str | Sequence[str] = (),
        long_audio: AnnotatorAudio = "error",
        service_tier: Literal["standard", "flex"] = "standard",
    ) -> None:
        if safety not in _THRESHOLDS:
            raise ValueError(f"`safety` is {safety!r}. Mend: one of {', '.join(map(repr, _THRESHOLDS))}.")
        self.model = model
        super().__init__(client, answers_as, long_audio)
        self.endpoint, self.vertex = identity(client) if client is not None else environment_identity()
        self.capabilities = resolve_capabilities("vertex" if self.vertex else "gemini", model, capabilities)
        check_choice("service_tier", service_tier, ("standard", "flex"))
        if service_tier == "flex" and self.capabilities.flex_price is None:
            where = "on Vertex AI" if self.vertex else "here"
            raise ValueError(
                f"It is not known that {model!r} can be asked at the flex tier {where}, nor what that costs. Mend: "
                "leave service_tier out, or give capabilities={'flex_price': 0.5}, the share of the list price; on the "
                "command line --capabilities '{flex_price: 0.5}'."
            )
        self.service_tier: str = service_tier
        self.max_output_tokens = max_output_tokens or _MAX_OUTPUT_TOKENS
        self.safety = safety
        self._thinking = _thinking_config(self.capabilities, thinking)

    @property
    def _service(self) -> str | None:
        if not (urlsplit(self.endpoint).hostname or "").endswith(".googleapis.com"):
            return None
        return "vertex" if self.vertex else "gemini"

    def secrets(self) -> tuple[str, ...]:
        """The keys of the environment and of the given client, and what is secret in addresses."""
        found = [os.environ.get(name) for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY")]
        found += url_secrets(os.environ.get("GOOGLE_GEMINI_BASE_URL"))
        inner = getattr(self._client, "_api_client", None)
        if inner is not None:
            found += [getattr(inner, "api_key", None), getattr(getattr(inner, "_credentials", None), "token", None)]
            found += url_secrets(base_url(self._client))
        return tuple(dict.fromkeys(value.strip() for value in found if isinstance(value, str) and value.strip()))

    def check_ready(self) -> None:
        """Raise a `FatalError` where there is no key; Vertex AI's credentials are looked for when it is asked."""
        if self._client is None and not self.vertex and not self.secrets():
            raise FatalError("authentication", "There is no key for Gemini.", _MEND_KEY)

    def render(self, prompt: Prompt, member: PanelMember, row: Mapping[str, Any]) -> dict[str, Any]:
        """The request without audio, as it is sent; settings that the model does not honour are not in it."""
        has = self.capabilities
        config: dict[str, Any] = {"max_output_tokens": self.max_output_tokens}
        if has.temperature and member.temperature is not None:
            config["temperature"] = member.temperature
        if has.seed:
            config["seed"] = member.replicate
        if self._thinking is not None:
            config["thinking_config"] = dict(self._thinking)
        if prompt.mode == "label" and has.structured == "enum":
            config["response_mime_type"] = "text/x.enum"
            config["response_schema"] = {"type": "STRING", "enum": list(prompt.emotions)}
        elif has.structured != "none":
            config["response_mime_type"] = "application/json"
            config["response_schema"] = _json_schema(prompt)
        threshold = _THRESHOLDS[self.safety]
        if threshold is not None:
            config["safety_settings"] = [
                {"category": f"HARM_CATEGORY_{harm}", "threshold": threshold} for harm in _HARM
            ]
        return {"model": self.model, "system": prompt.system, "text": prompt.text, "config": config}

    def prepare(self, audio: Any, row_id: Any = None) -> PreparedAudio:
        """The clip as 16 kHz mono FLAC, or as it is where that is smaller. Raises `AudioError`."""
        prepared = prepare_audio(audio, row_id, self.capabilities, "flac", self.long_audio)
        if self.vertex and not self._fits_inline(prepared):
            raise clip_error("too_long", "too large for one request, and Vertex AI has no Files API", row_id)
        return prepared

    def _fits_inline(self, audio: PreparedAudio) -> bool:
        # In base64, and with room for the words.
        return 4 * (len(audio.data) + 2) // 3 + 100_000 <= self.capabilities.max_inline_bytes

    async def ask(
        self, request: Mapping[str, Any], audio: PreparedAudio, timeout_s: float, tier: str | None = None
    ) -> Answer:
        """Sends one request, once; at another tier than its own where one is named."""
        connection: _Connection = self._connect()
        config = self._config(connection, request, tier or self.service_tier, timeout_s)
        sent_file = False
        outcome: Answer | TransientError | FatalError
        try:
            async with AsyncExitStack() as stack:
                if self._fits_inline(audio):
                    part = {"inline_data": {"data": audio.data, "mime_type": audio.mime}}
                else:
                    async with asyncio.timeout(max(timeout_s, _UPLOAD_TIMEOUT_S)):
                        file = await stack.enter_async_context(connection.uploads.use(audio))
                    sent_file = True
                    part = {"file_data": {"file_uri": file.uri, "mime_type": audio.mime}}
                types = connection.types
                contents = [types.Content(role="user", parts=[types.Part(**part), types.Part(text=request["text"])])]
                response, latency_s = await send_in_turn(
                    connection.turn,
                    lambda: connection.client.aio.models.generate_content(
                        model=request["model"], contents=contents, config=config
                    ),
                    timeout_s,
                )
            settings = self._settings(request)
            raw, secrets = response.sdk_http_response, self.secrets()
            found = parsed(raw.body, secrets)
            if isinstance(found, Answer):
                return found
            outcome = read(found, raw.headers, settings, secrets, self.model, latency_s)
        except connection.failures as error:
            outcome = self._judge(error, sent_file)
        if isinstance(outcome, TransientError) and sent_file and outcome.kind == "server":
            connection.uploads.forget(audio.digest)
        if isinstance(outcome, Answer):
            return outcome
        # Outside of the except block, so that the client's own error, whose text may hold secrets, is not chained to
        # it.
        raise outcome

    def _settings(self, request: Mapping[str, Any]) -> dict[str, Any]:
        # Without what is long and the same in a hundred thousand rows; the request's hash covers it.
        long = ("response_schema", "safety_settings")
        settings = {name: value for name, value in request["config"].items() if name not in long}
        return {**settings, "safety": self.safety}

    @property
    def batches(self) -> GoogleBatches | None:
        """Its batch jobs, through the Files API; None for Vertex AI, which has none, and reads jobs from a bucket."""
        return None if self.vertex else GoogleBatches(self)

    def _config(self, connection: _Connection, request: Mapping[str, Any], tier: str, timeout_s: float) -> Any:
        # A panel has few of them, and building one takes a tenth of the request's time.
        key = canonical_json([request["config"], request["system"], tier, timeout_s])
        if key not in connection.configs:
            types = connection.types
            extra: dict[str, Any] = {}
            options: dict[str, Any] = {}
            if self._client is not None:  # the environment's has it among its own options
                options["retry_options"] = types.HttpRetryOptions(attempts=1)
            if tier != "standard":  # the server hears how long it may take, too
                extra["service_tier"], options["timeout"] = tier, int(1000 * timeout_s)
            if options:
                extra["http_options"] = types.HttpOptions(**options)
            if "automatic_continuation" in types.GenerateContentConfig.model_fields:
                # Newer clients would follow up a reply that breaks off with requests of their own.
                extra["automatic_continuation"] = False
            connection.configs[key] = types.GenerateContentConfig(
                **request["config"],
                system_instruction=request["system"] or None,
                # The raw body: what is odd in it is for us to read, and no exception of a client's own model of it.
                should_return_http_response=True,
                automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
                **extra,
            )
        return connection.configs[key]

    def _judge(self, error: BaseException, sent_file: bool) -> Answer | TransientError | FatalError:
        secrets = self.secrets()
        guard = found_in(error)
        if isinstance(guard, Redirected):
            return guard.outcome(self.endpoint)
        if guard is not None:
            return unreadable(str(guard), secrets)
        if hasattr(error, "code") and hasattr(error, "details"):
            outcome = judge(error, self.model, sent_file, secrets)
            if isinstance(outcome, FatalError) and outcome.reason == "not_found":
                return self._not_found(outcome)
            return outcome
        text = scrub(f"{type(error).__name__}: {error}", secrets)
        if type(error).__module__.startswith("google.auth") and "Transport" not in type(error).__name__:
            return FatalError(
                "authentication",
                f"There are no Google Cloud credentials that work: {text}",
                "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS.",
            )
        if isinstance(error, (ValueError, RecursionError)):
            if type(error).__name__ in _BROKEN_REPLY:
                return unreadable(text, secrets)
            return FatalError("setup", f"The request cannot be sent: {text}", "correct the backend's arguments.")
        return lost_connection(error, text)

    def _not_found(self, error: FatalError) -> FatalError:
        """A 404 told with what is known of the model's end, where something is."""
        has = self.capabilities
        if has.retired_on is None:
            return error
        said = str(error).removesuffix(f" Mend: {error.mend}")
        found = f"{said} It is listed as ending on {has.retired_on}"
        found += " on Vertex AI, where a retired name answers 404." if self.vertex else "."
        successor = f", such as its successor {has.replaced_by}" if has.replaced_by else ""
        mend = f"pass model= with a current name{successor}; hf-emo-dist models lists them."
        return FatalError("not_found", found, mend)

    def _open(self) -> _Connection:
        errors, types = need("google.genai.errors", "GeminiBackend"), need("google.genai.types", "GeminiBackend")
        auth = need("google.auth.exceptions", "GeminiBackend")
        odd = (ValueError, RecursionError, TooLong, Redirected)
        failures = (errors.APIError, auth.GoogleAuthError, *odd, *transport_errors())
        client = self._environment_client() if self._client is None else guarded(self._client)
        return _Connection(client, types, failures, asyncio.Lock(), Uploads(client, failures))

    def _environment_client(self) -> Any:
        from google import genai

        options: dict[str, Any] = {"retry_options": {"attempts": 1}}  # who calls `ask` retries
        error: FatalError
        try:
            client = genai.Client(http_options=genai.types.HttpOptions(**options))
            if identity(client)[0] == self.endpoint:
                if self.vertex:  # Vertex AI's sessions carry credentials
                    return client
                return genai.Client(http_options=genai.types.HttpOptions(**options, aiohttp_client=session()))
            found = f"Requests were planned for {self.endpoint}, and the environment names {identity(client)[0]}."
            error = FatalError("setup", found, "set the environment as it was when the backend was made.")
        except ValueError as problem:
            found = scrub(f"There is no key for Gemini ({str(problem).partition('.')[0]}).", self.secrets())
            if self._given:
                found += " The client that was given does not go to worker processes."
            error = FatalError("authentication", found, _MEND_KEY)
        raise error

    async def close(self) -> None:
        """Deletes uploaded files and closes the connections of the running event loop; a given client stays open."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is None:
            return
        await connection.uploads.close()
        if connection.client is self._client:
            return
        given = connection.client._api_client._http_options.aiohttp_client
        if self._client is None:
            await connection.client.aio.aclose()
            connection.client.close()
        if given is not None:  # ours: the client leaves what it was given open
            await given.close()


def _thinking_config(has: ModelCapabilities, thinking: int | str | None) -> dict[str, Any] | None:
    kind = has.thinking.kind
    if thinking == "default" or (thinking is None and has.thinking.least is None):
        return None
    value = has.thinking.least if thinking is None else thinking
    if isinstance(value, str) and kind != "budget" and (not has.thinking.levels or value in has.thinking.levels):
        return {"thinking_level": value.upper()}
    if isinstance(value, int) and not isinstance(value, bool) and kind != "level":
        if isinstance(has.thinking.least, int) and -1 != value < has.thinking.least:
            raise ValueError(f"`thinking` of {has.model} is {value}. Mend: at least {has.thinking.least} tokens.")
        return {"thinking_budget": value}
    wanted = "a number of tokens" if kind == "budget" else " or ".join(map(repr, has.thinking.levels))
    raise ValueError(f"`thinking` of {has.model} is {value!r}. Mend: {wanted} or 'default'.")


def _json_schema(prompt: Prompt) -> dict[str, Any]:
    names = list(prompt.emotions)
    if prompt.mode == "label":
        return {"type": "STRING", "enum": names}
    return {
        "type": "OBJECT",
        "properties": {name: {"type": "NUMBER", "minimum": 0, "maximum": 1} for name in names},
        "required": names,
        "property_ordering": names,
    }
