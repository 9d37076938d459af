"""Any server with OpenAI's chat-completions protocol and ``input_audio`` as an annotator, through the openai client."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from ..._lazy import need
from ..capabilities import ModelCapabilities
from ..model_data import resolve_capabilities
from ..types import Answer, FatalError, PanelMember, PreparedAudio, Prompt, TransientError, Usage
from ._audio import MIME, AnnotatorAudio, prepare_audio
from ._http import PLAIN, Redirected, TooLong, bounded_httpx, found_in
from ._openai_readout import MOST_TOKENS, NEUTRAL, Came, Learnt, ServerReadOut
from ._remote import (
    RemoteBackend,
    endpoint_of,
    inner_status,
    lost_connection,
    parsed,
    part_of,
    retry_after,
    scrub,
    send_in_turn,
    transient_status,
    transport_errors,
    unreadable,
    url_secrets,
    whole_number,
    with_total,
)

_URL = "https://api.openai.com/v1"
_MEND_KEY = "set OPENAI_API_KEY in the environment, or pass client=openai.AsyncOpenAI(api_key=...) and num_proc=1."
_MAX_OUTPUT_TOKENS = 512
_TOP_LOGPROBS = 20
_FORMATS = {mime: name for name, mime in MIME.items()}


@dataclass
class _Connection:
    client: Any
    failures: tuple[type[BaseException], ...]
    turn: asyncio.Lock
    learnt: Learnt = field(default_factory=Learnt)


@dataclass
class _Completion:
    """A reply that is a chat completion, and its first choice; that is empty where it has none."""

    found: Mapping[str, Any]
    choice: Mapping[str, Any]
    latency_s: float


class OpenAIBackend(RemoteBackend):
    """Asks a model behind OpenAI's protocol about one clip at a time: OpenAI's own, or one that vLLM or another serves.

    The key comes from ``OPENAI_API_KEY`` and the server from `base_url` or ``OPENAI_BASE_URL``. A server other than
    OpenAI's may need no key; then none has to be set. With vLLM::

        vllm serve Qwen/Qwen2-Audio-7B-Instruct
        OpenAIBackend("Qwen/Qwen2-Audio-7B-Instruct", base_url="http://localhost:8000/v1",
                      capabilities={"structured": "json_schema"})

    A server that returns log-probabilities, as vLLM does, can be asked in mode ``"readout"``: the probability of each
    label is read off, and not sampled. Such requests have the audio in front, and behind it whatever differs between
    the members of a panel, so that the server's prefix cache serves all of them.

    A server on this machine counts as no upload. If it hands the audio on to somewhere else, say so to whom it
    concerns.

    Args:
        model: Its name, as the server has it.
        client: An ``openai.AsyncOpenAI`` to use instead. It stays its owner's and is not pickled. With an `http_client`
            of its own it works in one event loop.
        base_url: Of the server, without password or query.
        capabilities: Replaces what the table says, as a whole or, given a mapping, in part. A server that can hold
            replies to a JSON schema has ``{"structured": "json_schema"}``.
        max_output_tokens: Reasoning and reply together. Default: 512; a model that reasons needs more.
        answers_as: Names under which the model answers beside its own: of an Azure deployment, or behind a gateway. Any
            other name is another model, whose replies are no votes.
        long_audio: What to do with a clip that is longer than the model hears, where its data says so: ``"error"``, it
            is not sent; ``"truncate"``, its first seconds are.
        top_logprobs: Tokens that a read-out asks to see at each place of the answer. Default: 20, the most that vLLM
            shows unless it is started with ``--max-logprobs``. A server that shows fewer is asked for these.
        extra_body: Further fields of each request, such as vLLM's ``{"chat_template_kwargs": {"enable_thinking":
            False}}``.

    Raises:
        ValueError: `base_url` has a secret in it, or an argument does not fit.

    Example:
        >>> OpenAIBackend("my-model", base_url="http://localhost:8000/v1").endpoint
        'http://localhost:8000/v1'
    """

    name = "openai"

    def __init__(
        self,
        model: str,
        client: Any = None,
        base_url: str | None = None,
        capabilities: ModelCapabilities | Mapping[str, Any] | None = None,
        max_output_tokens: int | None = None,
        answers_as: str | Sequence[str] = (),
        long_audio: AnnotatorAudio = "error",
        top_logprobs: int = _TOP_LOGPROBS,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        if client is not None and base_url is not None:
            raise ValueError("There are `client` and `base_url`. Mend: one of them; a client has its own server.")
        if url_secrets(base_url):
            raise ValueError("`base_url` has a password or query in it. Mend: set OPENAI_BASE_URL instead.")
        self.model = model
        self._base_url = base_url
        super().__init__(client, answers_as, long_audio)
        self.endpoint = endpoint_of(str(client.base_url)) if client is not None else self._planned_endpoint()
        self._own = (urlsplit(self.endpoint).hostname or "").endswith(".openai.com")
        found = resolve_capabilities("openai" if self._own else "openai-compatible", model, capabilities)
        # A server of one's own is asked whether it shows log-probabilities, by its first reply; OpenAI's data says so.
        if (found.logprobs or (found.logprobs is None and not self._own)) and "readout" not in found.modes:
            if not isinstance(capabilities, ModelCapabilities) and "modes" not in (capabilities or {}):
                found = replace(found, modes=(*found.modes, "readout"))
        self.capabilities = found
        self.max_output_tokens = max_output_tokens or _MAX_OUTPUT_TOKENS
        if not isinstance(top_logprobs, int) or isinstance(top_logprobs, bool) or top_logprobs < 1:
            raise ValueError(f"`top_logprobs` is {top_logprobs!r}. Mend: a whole number from 1, such as 20.")
        self.top_logprobs = top_logprobs
        if not isinstance(extra_body or {}, Mapping):
            raise ValueError(f"`extra_body` is {extra_body!r}. Mend: names and values of the request's fields.")
        self.extra_body = dict(extra_body or {})

    def _planned_endpoint(self) -> str:
        return endpoint_of(self._base_url or os.environ.get("OPENAI_BASE_URL") or _URL)

    @property
    def _service(self) -> str | None:
        return "openai" if self._own else None

    def secrets(self) -> tuple[str, ...]:
        """The keys of the environment and of the given client, and what is secret in addresses."""
        found = [os.environ.get("OPENAI_API_KEY"), *url_secrets(os.environ.get("OPENAI_BASE_URL"))]
        if self._client is not None:
            found += [getattr(self._client, "api_key", None), *url_secrets(str(self._client.base_url))]
        # "EMPTY" is what servers without keys are given; it is no secret.
        return tuple(dict.fromkeys(key for key in found if isinstance(key, str) and key and key != "EMPTY"))

    def check_ready(self) -> None:
        """Raise a `FatalError` where there is no key, and the server is OpenAI's."""
        if self._client is None and self._own and not os.environ.get("OPENAI_API_KEY"):
            raise FatalError("authentication", "There is no key for OpenAI.", _MEND_KEY)

    def render(self, prompt: Prompt, member: PanelMember, row: Mapping[str, Any]) -> dict[str, Any]:
        """The request without audio, as it is sent; settings that the model does not honour are not in it."""
        has = self.capabilities
        if member.mode == "readout":
            return self._render_readout(prompt, member)
        config = self._limited(self.max_output_tokens)
        if has.temperature and member.temperature is not None:
            config["temperature"] = member.temperature
        if has.seed:
            config["seed"] = member.replicate
        if has.structured != "none":
            config["response_format"] = _response_format(prompt)
        if self.extra_body:
            config["extra_body"] = self.extra_body
        return {"model": self.model, "system": prompt.system, "text": prompt.text, "config": config}

    def _limited(self, tokens: int) -> dict[str, Any]:
        # OpenAI has renamed the limit; other servers know the old name.
        return {"max_tokens": tokens} if not self._own else {"max_completion_tokens": tokens, "modalities": ["text"]}

    def _render_readout(self, prompt: Prompt, member: PanelMember) -> dict[str, Any]:
        """Of label probabilities. What may differ between members stands behind the audio, the system prompt too."""
        has = self.capabilities
        config = {**self._limited(MOST_TOKENS), "logprobs": True, "top_logprobs": self.top_logprobs}
        # Where a server shows probabilities after sampling's own changes, these leave them as they are.
        config |= {"temperature": 1.0, "top_p": 1.0} if has.temperature else {}
        config |= {"seed": 0} if has.seed else {}
        extra = {**({} if self._own else NEUTRAL), **self.extra_body}
        if extra:
            config["extra_body"] = extra
        return {
            "model": self.model,
            "system": "",
            "text": "\n".join(filter(None, (prompt.system, prompt.text))),
            "labels": list(prompt.emotions),
            # Members that differ in their temperature alone are told apart in the ledger.
            "read_at": 1.0 if member.temperature is None else member.temperature,
            "most_requests": 2 * len(prompt.emotions) + 2,
            "config": config,
        }

    def prepare(self, audio: Any, row_id: Any = None) -> PreparedAudio:
        """The clip as 16 kHz mono WAV, or as it is where that is smaller. Raises `AudioError`."""
        # The protocol has no name for other formats.
        formats = tuple(name for name in self.capabilities.audio_formats if name in ("wav", "mp3"))
        return prepare_audio(audio, row_id, replace(self.capabilities, audio_formats=formats), "wav", self.long_audio)

    async def ask(self, request: Mapping[str, Any], audio: PreparedAudio, timeout_s: float) -> Answer:
        """Sends one request, once; for a read-out as many as it takes, each once."""
        connection: _Connection = self._connect()
        if "labels" in request:

            async def send(more: Sequence[Any], config: Mapping[str, Any], left_s: float) -> Any:
                came = await self._completion(connection, [*_messages(request, audio), *more], config, left_s)
                if not isinstance(came, _Completion):
                    return came
                text = _text(part_of(came.choice, "message").get("content"))
                return Came(came.found, came.choice, text, _usage(part_of(came.found, "usage")))

            reading = ServerReadOut(send, connection.learnt, request, self._own, timeout_s)
            outcome = await reading.outcome(audio.digest, timeout_s)
        else:
            config = request["config"]
            came = await self._completion(connection, _messages(request, audio), config, timeout_s)
            # Without the schema, which is long and the same in every row; the request's hash covers it.
            settings = {name: value for name, value in config.items() if name != "response_format"}
            settings["structured"] = self.capabilities.structured
            outcome = came if not isinstance(came, _Completion) else _answer(came, settings, self.secrets())
        if isinstance(outcome, Answer):
            return outcome
        # Outside of the except block, so that the client's own error, whose text may hold secrets, is not chained to
        # it.
        raise outcome

    async def _completion(
        self, connection: _Connection, messages: Sequence[Any], config: Mapping[str, Any], timeout_s: float
    ) -> _Completion | Answer | TransientError | FatalError:
        """Send one request, once."""
        try:
            # The raw body: what is odd in it is for us to read, and no exception of a client's own model of it.
            response, latency_s = await send_in_turn(
                connection.turn,
                lambda: connection.client.chat.completions.with_raw_response.create(
                    model=self.model, messages=messages, **config
                ),
                timeout_s,
            )
            return self._read(response.http_response, latency_s)
        except connection.failures as error:
            return self._judge(error)

    def _open(self) -> _Connection:
        openai = need("openai", "OpenAIBackend")
        client = self._client
        if client is None:
            client = self._environment_client(openai, _guarded(openai))
        elif hasattr(client, "copy"):
            # Without retries: who calls `ask` retries. The client's own connections would be tied to the first event
            # loop, so there are new ones for each; those that the user made are left as they are.
            own = type(getattr(client, "_client", None)).__name__ == "AsyncHttpxClientWrapper"
            client = client.copy(max_retries=0, **({"http_client": _guarded(openai)} if own else {}))
        failures = (openai.OpenAIError, TooLong, Redirected, *transport_errors())
        return _Connection(client, failures, asyncio.Lock())

    def _environment_client(self, openai: Any, http_client: Any) -> Any:
        if self._planned_endpoint() != self.endpoint:
            where = "The client that was given does not go to worker processes" if self._given else "It has changed"
            raise FatalError(
                "setup",
                f"Requests were planned for {self.endpoint}, and the environment names {self._planned_endpoint()}. "
                f"{where}.",
                "num_proc=1, or pass base_url= instead of client=.",
            )
        key = os.environ.get("OPENAI_API_KEY") or (None if self._own else "EMPTY")
        if not key:
            raise FatalError("authentication", "There is no key for OpenAI.", _MEND_KEY)
        url = self._base_url or os.environ.get("OPENAI_BASE_URL") or _URL
        return openai.AsyncOpenAI(api_key=key, base_url=url, max_retries=0, http_client=http_client)

    def _judge(self, error: Any) -> Answer | TransientError | FatalError:
        secrets = self.secrets()
        guard = found_in(error)
        if isinstance(guard, Redirected):
            return guard.outcome(self.endpoint)
        if guard is not None:
            return unreadable(str(guard), secrets)
        status = getattr(error, "status_code", None)
        names = {cls.__name__ for cls in type(error).__mro__}
        if status is None:
            # The client wraps what the connection raised; its own message says only that it failed.
            inner = error.__cause__ or error
            text = scrub(f"{type(inner).__name__}: {inner}", secrets)
            if "APIConnectionError" in names or not names & {"OpenAIError"}:
                return lost_connection(error, text)
            return FatalError("setup", f"The client cannot send: {text}", "correct the backend's arguments.")
        code, kind = (str(getattr(error, name, None) or "") for name in ("code", "type"))
        return self._judge_status(
            int(status), code, kind, str(getattr(error, "message", error)), error.response.headers
        )

    def _judge_status(
        self, status: int, code: str, kind: str, message: str, headers: Mapping[str, str]
    ) -> Answer | TransientError | FatalError:
        text = scrub(f"{status} {code or kind}: {message}", self.secrets())
        where = "OpenAI" if self._own else "The server"
        if status == 401:
            return FatalError("authentication", f"{where} refused the key: {text}", _MEND_KEY)
        if status == 402:
            return FatalError("payment", f"{where} wants to be paid: {text}", "add credit, and run again.")
        if status == 403:
            return FatalError(
                "permission", f"{where} refused the request: {text}", "use a key whose project may use this model."
            )
        if status == 404:
            return FatalError(
                "not_found",
                f"There is no model {self.model!r} at {self.endpoint}: {text}",
                "correct model= or base_url=.",
            )
        if "insufficient_quota" in (code, kind):
            return FatalError("quota", f"The quota is used up: {text}", "add credit; the ledger keeps what there is.")
        return transient_status(status, text, retry_after(headers, message)) or Answer(None, "rejected", text)

    def _read(self, response: Any, latency_s: float) -> _Completion | Answer | TransientError | FatalError:
        """The chat completion in a reply, however odd that is."""
        secrets = self.secrets()
        found = parsed(response.content, secrets)
        if isinstance(found, Answer):
            return found
        choices = found.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        for error in (found.get("error"), choice.get("error")):
            if error:  # gateways say so with status 200
                inner = error if isinstance(error, dict) else {"message": error}
                outcome = self._judge_status(
                    inner_status(inner), str(inner.get("code") or ""), str(inner.get("type") or ""),
                    str(inner.get("message") or inner), response.headers,
                )  # fmt: skip
                if isinstance(outcome, TransientError) and outcome.kind == "server":
                    outcome.billed = True  # it had begun to answer
                return outcome
        if not str(found.get("object", "")).startswith("chat.completion"):
            return unreadable(f"no chat completion: {str(found)[:100]}", secrets)
        if choice.get("finish_reason") == "error":
            return TransientError("server", "the reply ended with finish reason error", billed=True)
        return _Completion(found, choice, latency_s)

    async def close(self) -> None:
        """Closes the connections of the running event loop; a given client stays open."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is None:
            return
        shared = getattr(self._client, "_client", None)
        if self._client is None or (shared is not None and connection.client._client is not shared):
            await connection.client.close()


def _messages(request: Mapping[str, Any], audio: PreparedAudio) -> list[dict[str, Any]]:
    clip = {"data": base64.b64encode(audio.data).decode(), "format": _FORMATS[audio.mime]}
    content = [{"type": "input_audio", "input_audio": clip}, {"type": "text", "text": request["text"]}]
    system = [{"role": "system", "content": request["system"]}] if request["system"] else []
    return [*system, {"role": "user", "content": content}]


def _response_format(prompt: Prompt) -> dict[str, Any]:
    """A JSON schema. Strict ones are objects, so a label comes as ``{"emotion": "sad"}``."""
    names = list(prompt.emotions)
    if prompt.mode == "label":
        properties: dict[str, Any] = {"emotion": {"type": "string", "enum": names}}
    else:
        properties = {name: {"type": "number"} for name in names}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "annotation", "strict": True, "schema": schema}}


def _guarded(openai: Any) -> Any:
    """An HTTP client that reads no endless bodies and follows no redirects."""
    return openai.DefaultAsyncHttpxClient(
        follow_redirects=False, headers=PLAIN, event_hooks={"response": [bounded_httpx]}
    )


def _answer(came: _Completion, settings: Mapping[str, Any], secrets: Iterable[str]) -> Answer:
    """The answer in a chat completion."""
    found, choice = came.found, came.choice
    model = found.get("model")
    facts: dict[str, Any] = {
        "model_version": model if isinstance(model, str) else None,
        "usage": _usage(part_of(found, "usage")),
        "settings": settings,
        "latency_s": came.latency_s,
    }
    if not choice:
        return Answer(None, "empty", "the reply has no choices", **facts)
    message = part_of(choice, "message")
    text = scrub(_text(message.get("content")), secrets, longest=None)
    refusal, reason = message.get("refusal"), choice.get("finish_reason")
    if refusal:
        return Answer(None, "refused", scrub(str(refusal), secrets), **facts)
    if reason == "content_filter":
        return Answer(text or None, "blocked", "finish reason content_filter", **facts)
    if reason == "length":
        thought = facts["usage"].thinking_tokens
        spent = f", {thought} tokens of reasoning" if thought else ""
        return Answer(text or None, "truncated", f"finish reason length{spent}", **facts)
    if not text.strip():
        return Answer(None, "empty", "the reply has no text", **facts)
    return Answer(text, **facts)


def _text(content: Any) -> str:
    """The words of a message, whose content may be a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part if isinstance(part, str) else part.get("text") for part in parts if isinstance(part, (str, dict))]
    return "".join(text for text in texts if isinstance(text, str))


def _usage(found: Mapping[str, Any]) -> Usage:
    thinking = whole_number(part_of(found, "completion_tokens_details").get("reasoning_tokens"))
    output = whole_number(found.get("completion_tokens"))
    usage = Usage(
        prompt_tokens=whole_number(found.get("prompt_tokens")),
        audio_tokens=whole_number(part_of(found, "prompt_tokens_details").get("audio_tokens")),
        thinking_tokens=thinking,
        output_tokens=None if output is None else output - (thinking or 0),
    )
    return with_total(usage, whole_number(found.get("total_tokens")))
