"""A local server that speaks the part of Gemini's protocol that annotation uses: generateContent and the Files API."""

import base64
import hashlib
import json
import re

from http_server import EMOTIONS, Reply, Server, label_for, main, shares_for

_FILE = re.compile(r"/v1\w*/(files/[\w-]+)$")


def error(code, status, message, details=()):
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def camel(value):
    """Keys as the protocol documents them. The service takes ``mime_type``, too, and google-genai mixes both."""
    if isinstance(value, list):
        return [camel(entry) for entry in value]
    if isinstance(value, dict):
        names = {key: re.sub(r"_([a-z])", lambda found: found[1].upper(), key) for key in value}
        return {names[key]: entry if key == "properties" else camel(entry) for key, entry in value.items()}
    return value


class GeminiServer(Server):
    """Answers follow from the audio and the prompt alone, so that two runs agree."""

    def __init__(self, latency=0.0, key=None, log=None, keep=True, port=0, processing=1):
        super().__init__(latency, key, log, keep, port)
        self.files, self.deleted, self.processing = {}, [], processing

    def understand(self, request):
        if "generateContent" not in request.path:
            return
        self.read_request(request, camel(json.loads(request.body)))
        request.model = request.path.rpartition("/")[2].partition(":")[0]

    def read_request(self, request, body):
        request.config = body.get("generationConfig", {})
        request.safety = body.get("safetySettings")
        request.tier = body.get("serviceTier", "standard")
        request.system = "".join(part["text"] for part in body.get("systemInstruction", {}).get("parts", ()))
        for part in body["contents"][0]["parts"]:
            if "text" in part:
                request.text = part["text"]
            elif "inlineData" in part:
                data = base64.b64decode(part["inlineData"]["data"].replace("-", "+").replace("_", "/"))
                request.audio, request.mime = hashlib.sha256(data).hexdigest(), part["inlineData"]["mimeType"]
                request.where = "inline"
            else:
                found = _FILE.search(part["fileData"]["fileUri"])
                file = found and self.files.get(found[1])
                request.audio, request.mime = file and file["audio"], part["fileData"]["mimeType"]
                request.where = "file" if file and file["state"] == "ACTIVE" else "no file"

    def respond(self, request):
        # The address for an upload's bytes is its own permission: clients send no key to it.
        if not request.key_ok and request.headers.get("x-goog-upload-command", "start") == "start":
            return self.fault_invalid_key(request)
        if "/upload/" in request.path:
            return self._upload(request)
        found = _FILE.search(request.path)
        if found:
            return self._file(request, found[1])
        if request.where == "no file":
            return Reply(
                403,
                error(403, "PERMISSION_DENIED", "You do not have permission to access the File or it may not exist."),
            )
        return self.generated(request)

    def generated(self, request, text=None, model=None, reason="STOP", thinking=40, parts=None):
        if text is None:
            text = self.answer(request)
        seconds = 3
        return Reply(
            body={
                "candidates": [
                    {
                        "content": {"role": "model", "parts": [{"text": text}] if parts is None else parts},
                        "finishReason": reason,
                        "index": 0,
                    }
                ],
                "usageMetadata": {
                    "promptTokenCount": 32 * seconds + 100,
                    "candidatesTokenCount": 3,
                    "thoughtsTokenCount": thinking,
                    "totalTokenCount": 32 * seconds + 103 + thinking,
                    "promptTokensDetails": [
                        {"modality": "TEXT", "tokenCount": 100},
                        {"modality": "AUDIO", "tokenCount": 32 * seconds},
                    ],
                },
                "modelVersion": model or request.model,
                "responseId": str(request.number),
            }
        )

    def answer(self, request):
        schema = request.config.get("responseSchema", {})
        if schema.get("type") == "OBJECT":
            return json.dumps(shares_for(request.audio, request.text, tuple(schema["required"])))
        return label_for(request.audio, request.text, tuple(schema.get("enum", EMOTIONS)))

    # -- Files API ---------------------------------------------------------------------------------------------------

    def _upload(self, request):
        command = request.headers.get("x-goog-upload-command", "")
        if command == "start":
            name = f"files/f{len(self.files) + 1}"
            mime = request.headers["x-goog-upload-header-content-type"]
            self.files[name] = {"mime": mime, "state": "NEW", "looks": 0, "audio": None}
            return Reply(
                body={},
                headers={"x-goog-upload-status": "active", "x-goog-upload-url": f"{self.url}/upload/v1beta/{name}"},
            )
        name = request.path.partition("/upload/v1beta/")[2]
        file = self.files[name]
        file["data"] = file.get("data", b"") + request.body
        if "finalize" not in command:
            return Reply(body={}, headers={"x-goog-upload-status": "active"})
        file["audio"], file["size"] = hashlib.sha256(file["data"]).hexdigest(), len(file["data"])
        if not file["mime"].startswith("jsonl"):
            del file["data"]
        file["state"] = "PROCESSING" if self.processing else "ACTIVE"
        return Reply(body={"file": self._described(name)}, headers={"x-goog-upload-status": "final"})

    def _described(self, name):
        file = self.files[name]
        return {"name": name, "uri": f"{self.url}/v1beta/{name}", "mimeType": file["mime"], "state": file["state"]}

    def _file(self, request, name):
        if name not in self.files:
            return Reply(404, error(404, "NOT_FOUND", f"File {name} not found."))
        if request.method == "DELETE":
            self.deleted.append(name)
            del self.files[name]
            return Reply(body={})
        file = self.files[name]
        file["looks"] += 1
        if file["looks"] >= self.processing:
            file["state"] = "ACTIVE"
        return Reply(body=self._described(name))

    # -- faults ------------------------------------------------------------------------------------------------------

    def fault_rate_limit(self, request, retry_delay=None, retry_after=None, per_day=False):
        details = []
        if retry_delay is not None:
            details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_delay}s"})
        quota = "GenerateRequestsPerDayPerProjectPerModel" if per_day else "GenerateRequestsPerMinutePerProjectPerModel"
        details.append({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]})
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        return Reply(429, error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", details), headers)

    def fault_invalid_key(self, request):
        details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
        return Reply(400, error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", details))

    def fault_echo_key(self, request, key):
        return Reply(403, error(403, "PERMISSION_DENIED", f"The key {key} was reported as leaked."))

    def fault_bad_request(self, request):
        return Reply(400, error(400, "INVALID_ARGUMENT", "Unable to process the audio."))

    def fault_unauthorized(self, request):
        return Reply(401, error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."))

    def fault_forbidden(self, request):
        return Reply(403, error(403, "PERMISSION_DENIED", "The caller does not have permission."))

    def fault_not_found(self, request):
        return Reply(404, error(404, "NOT_FOUND", f"models/{request.model} is not found for API version v1beta."))

    def fault_no_candidates(self, request):
        return Reply(body={"usageMetadata": {"promptTokenCount": 196}, "modelVersion": request.model})

    def fault_blocked_prompt(self, request):
        return Reply(body={"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": request.model})

    def fault_safety(self, request, reason="SAFETY"):
        return self.generated(request, reason=reason, parts=[])

    def fault_max_tokens(self, request):
        return self.generated(request, reason="MAX_TOKENS", parts=[], thinking=4096)

    def fault_no_text(self, request):
        return self.generated(request, parts=[])

    def fault_other_model(self, request, model="gemini-3.8-flash"):
        return self.generated(request, model=model)

    def fault_shed(self, request):
        return Reply(503, error(503, "UNAVAILABLE", "The model is overloaded. Please try again later."))

    def fault_served(self, request, header=None, **usage):
        """Says at which tier it was served: by a header, or by a field of the usage."""
        reply = self.generated(request)
        body = json.loads(reply.body)
        body["usageMetadata"].update(usage)
        return Reply(body=body, headers={} if header is None else {"x-gemini-service-tier": header})

    def fault_text(self, request, text):
        return self.generated(request, text=text)


if __name__ == "__main__":
    main(GeminiServer)
