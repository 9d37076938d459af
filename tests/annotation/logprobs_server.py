"""A local server that speaks vLLM's chat completions with log-probabilities, over a tiny model that is known whole."""

import functools
import json
import math
import re

import numpy as np
from http_server import Reply, fingerprint
from openai_server import OpenAIServer, error

END = "<|im_end|>"
#: One token and many a label, labels that begin alike, one that begins another, ways to write one otherwise, a letter
#: of two bytes, and what begins no label.
VOCABULARY = (
    "angry", "hap", "py", "happiness", "neut", "ral", "sad", "ness", "calm", "fé", "e", " Sad", "Happy", "ANGRY", "The",
    " speaker", "\n", ".", "ly", END,
)  # fmt: skip
_BEGUN = ("hap", "neut")


class TinyModel:
    """Next-token probabilities that follow from the question and from what is written so far, and from nothing else.

    Args:
        liking: Added to the logits of first tokens.
        spells: The same of tokens after ``hap`` and ``neut``, which begin words.
        to_end: The same of the end of the turn, after whatever else was written.
    """

    def __init__(self, vocabulary=VOCABULARY, sharpness=1.5, liking=(), spells=6.0, to_end=6.0):
        self.vocabulary, self.sharpness, self.liking = vocabulary, sharpness, dict(liking)
        self.spells, self.to_end = spells, to_end

    def next(self, question, written):
        """Token to probability, after an answer that begins with the text `written`."""
        return _next(self, question, written)

    def probability(self, question, answer):
        """P(the answer is exactly this text), over all ways to spell it."""
        return self._spelled(question, "", answer)

    def _spelled(self, question, written, answer):
        shares, rest = self.next(question, written), answer[len(written) :]
        if not rest:
            return shares[END]
        return sum(
            share * self._spelled(question, written + token, answer)
            for token, share in shares.items()
            if token != END and rest.startswith(token)
        )


@functools.cache
def _next(model, question, written):
    rng = np.random.default_rng(fingerprint(question, written))
    logits = model.sharpness * rng.standard_normal(len(model.vocabulary))
    for place, token in enumerate(model.vocabulary):
        logits[place] += model.liking.get(token, 0.0) if not written else 0.0
        if token == END:
            logits[place] += model.to_end if written and written not in _BEGUN else -4.0
        elif (written, token) in (("hap", "py"), ("neut", "ral")):
            logits[place] += model.spells
    shares = np.exp(logits - logits.max())
    return dict(zip(model.vocabulary, (shares / shares.sum()).tolist(), strict=True))


class LogprobsServer(OpenAIServer):
    """Answers follow from the audio and the prompt alone.

    Attributes:
        model: What answers.
        most_shown: ``--max-logprobs``.
        shows_end: Whether the end of the turn is among the tokens.
        continues: Whether ``continue_final_message`` is honoured: True, False (the field is dropped in silence), or
            ``"refused"``.
        refuses: Fields that it does not know.
        prompts: What was in front of each answer, in order: ``(kind, content)`` of each part.
        shared: For each request how many parts of its prompt an earlier one had in front, too: its prefix cache.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.model, self.most_shown, self.shows_end, self.continues = TinyModel(), 20, True, True
        self.refuses, self.alter = (), None
        self.prompts, self.shared = [], []

    def understand(self, request):
        body = json.loads(request.body)
        request.beginning = ""
        messages = body["messages"]
        if messages[-1]["role"] == "assistant":
            request.beginning = messages.pop()["content"]
            request.body = json.dumps(body).encode()
        super().understand(request)
        if not self._taken_silently(request):
            self._account(messages)

    def _taken_silently(self, request):
        return not request.config.get("logprobs")

    def _account(self, messages):
        parts = []
        for message in messages:
            content = message["content"]
            if isinstance(content, str):
                content = [{"type": message["role"], "text": content}]
            for part in content:
                if part["type"] == "input_audio":
                    parts.append(("audio", part["input_audio"]["data"]))
                else:  # a cache shares blocks of tokens; here a block is a word
                    parts += [(part["type"], word) for word in re.findall(r"\S+", part["text"])]
        self.shared.append(max((_common(parts, earlier) for earlier in self.prompts), default=0))
        self.prompts.append(parts)

    def question(self, request):
        """What the model's answer follows from."""
        return f"{request.audio}|{request.system or ''}|{request.text}"

    def truth(self, request, labels):
        """P(the answer is exactly this label) for each."""
        return {label: self.model.probability(self.question(request), label) for label in labels}

    def generated(self, request, **options):
        asked = request.config.get("top_logprobs", 0)
        if not request.config.get("logprobs"):
            return super().generated(request, **options)
        for name in self.refuses:
            if name in request.config:
                return Reply(
                    400, error(f"[{{'type': 'extra_forbidden', 'loc': ('body', '{name}')}}]", "BadRequestError")
                )
        if asked > self.most_shown:
            message = f"Requested sample logprobs of {asked}, which is greater than max allowed: {self.most_shown}"
            return Reply(400, error(message, "BadRequestError", 400))
        beginning = request.beginning
        if beginning and not request.config.get("continue_final_message"):
            raise AssertionError("a beginning of the answer without continue_final_message")
        if beginning and self.continues == "refused":
            return Reply(400, error("continue_final_message is not supported.", "BadRequestError"))
        question = self.question(request)
        if beginning and not self.continues:  # it stands in a turn of its own, and another one begins
            question, beginning = f"{question}|{beginning}{END}", ""
        return self._completion(request, question, beginning, asked)

    def _completion(self, request, question, beginning, asked):
        rng = np.random.default_rng(fingerprint(question, beginning, request.config.get("seed")))
        content, text, reason = [], "", "length"
        while len(content) < request.config["max_tokens"]:
            shares = self.model.next(question, beginning + text)
            drawn = list(shares)[rng.choice(len(shares), p=list(shares.values()))]
            if drawn != END or self.shows_end:
                content.append(self._entry(shares, drawn, asked))
            if drawn == END:
                reason = "stop"
                break
            text += drawn
        reply = json.loads(super().generated(request, text=text, reason=reason).body)
        reply["usage"]["prompt_tokens_details"]["cached_tokens"] = self.shared[-1]
        reply["choices"][0]["message"]["content"] = text
        reply["choices"][0]["logprobs"] = {"content": content}
        if self.alter:
            self.alter(reply["choices"][0])
        return Reply(body=reply)

    def _entry(self, shares, drawn, asked):
        ranked = sorted((token for token in shares if token != END or self.shows_end), key=lambda t: -shares[t])
        # as vLLM: the token that was drawn, then the likeliest, cut after so many
        listed = list(dict.fromkeys([drawn, *ranked[:asked]]))[:asked]
        return {**_shown(drawn, shares), "top_logprobs": [_shown(token, shares) for token in listed]}


def _shown(token, shares):
    return {"token": token, "logprob": math.log(shares[token]), "bytes": list(token.encode())}


def _common(one, two):
    number = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        number += 1
    return number
