"""A local server that speaks OpenAI's chat completions with audio, as far as annotation uses them."""

import base64
import hashlib
import json

from http_server import EMOTIONS, Reply, Server, label_for, main, shares_for


def error(message, kind, code=None):
    return {"error": {"message": message, "type": kind, "code": code, "param": None}}


class OpenAIServer(Server):
    """Answers follow from the audio and the prompt alone, so that two runs agree."""

    def understand(self, request):
        body = json.loads(request.body)
        request.model = body["model"]
        request.config = {name: value for name, value in body.items() if name not in ("model", "messages")}
        for message in body["messages"]:
            if message["role"] == "system":
                request.system = message["content"]
                continue
            for part in message["content"]:
                if part["type"] == "text":
                    request.text = part["text"]
                else:
                    data = base64.b64decode(part["input_audio"]["data"])
                    request.audio = hashlib.sha256(data).hexdigest()
                    request.mime = f"audio/{part['input_audio']['format']}"

    def respond(self, request):
        if not request.key_ok:
            return self.fault_invalid_key(request)
        return self.generated(request)

    def generated(self, request, text=None, model=None, reason="stop", refusal=None, thinking=0):
        if text is None:
            text = self.answer(request)
        return Reply(
            body={
                "id": f"chatcmpl-{request.number}",
                "object": "chat.completion",
                "created": 0,
                "model": model or request.model,
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": text or None, "refusal": refusal},
                        "finish_reason": reason,
                    }
                ],
                "usage": {
                    "prompt_tokens": 196,
                    "completion_tokens": 3 + thinking,
                    "total_tokens": 199 + thinking,
                    "prompt_tokens_details": {"audio_tokens": 96, "cached_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": thinking},
                },
            }
        )

    def answer(self, request):
        schema = request.config.get("response_format", {}).get("json_schema", {}).get("schema")
        if schema is None:
            return label_for(request.audio, request.text, EMOTIONS)
        if "emotion" in schema["properties"]:
            names = tuple(schema["properties"]["emotion"]["enum"])
            return json.dumps({"emotion": label_for(request.audio, request.text, names)})
        return json.dumps(shares_for(request.audio, request.text, tuple(schema["required"])))

    # -- faults ------------------------------------------------------------------------------------------------------

    def fault_rate_limit(self, request, retry_after=None, retry_after_ms=None, per_day=False):
        headers = {}
        if retry_after is not None:
            headers["retry-after"] = str(retry_after)
        if retry_after_ms is not None:
            headers["retry-after-ms"] = str(retry_after_ms)
        code = "insufficient_quota" if per_day else "rate_limit_exceeded"
        return Reply(429, error("Slow down.", code if per_day else "requests", code), headers)

    def fault_invalid_key(self, request):
        return Reply(401, error("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"))

    fault_unauthorized = fault_invalid_key

    def fault_echo_key(self, request, key):
        return Reply(403, error(f"The key {key} was reported as leaked.", "invalid_request_error"))

    def fault_bad_request(self, request):
        return Reply(400, error("Unable to process the audio.", "invalid_request_error", "invalid_audio"))

    def fault_forbidden(self, request):
        return Reply(403, error("The caller does not have permission.", "insufficient_permissions"))

    def fault_not_found(self, request):
        return Reply(
            404, error(f"The model {request.model} does not exist.", "invalid_request_error", "model_not_found")
        )

    def fault_no_candidates(self, request):
        reply = json.loads(self.generated(request).body)
        return Reply(body={**reply, "choices": []})

    def fault_safety(self, request):
        return self.generated(request, text="", reason="content_filter")

    def fault_refusal(self, request):
        return self.generated(request, text="", refusal="I cannot judge how a person feels.")

    def fault_max_tokens(self, request):
        return self.generated(request, text="", reason="length", thinking=4093)

    def fault_no_text(self, request):
        return self.generated(request, text="")

    def fault_other_model(self, request, model="gpt-other"):
        return self.generated(request, model=model)

    def fault_text(self, request, text):
        return self.generated(request, text=text)


if __name__ == "__main__":
    main(OpenAIServer)
