"""Labels read off an open audio-language model: exact probabilities, a panel for little more than one member."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...audio.decoding import MIN_SAMPLES, SAMPLING_RATE
from .families import FAMILIES, family_class
from .families.family import Family
from .labels import check_labels, label_tokens
from .packing import Batch, Member, Row, TokenTree, halve, make_row, plan
from .writing import generate

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LabelReader", "ReadOut", "ReadRequest"]

logger = logging.getLogger(__name__)

#: Tokens in one pass through the language model, padding included. Keys and values of 7B models take half a megabyte
#: a token in bf16: some 4 GiB.
TOKEN_BUDGET = 8192
#: Positions whose logits are computed at a time: a vocabulary is 150,000 numbers each.
_LOGITS_AT_ONCE = 256
QUANTIZATIONS = (None, "4bit")


@dataclass(frozen=True, eq=False)
class ReadRequest:
    """One clip asked by one member of a panel.

    Attributes:
        samples: (N,) float32, mono, 16 kHz.
        clip: Its hash: equal hashes are equal audio, which is encoded once.
        system: What the member is told before the recording.
        text: The question, behind the recording.
        labels: In the order in which the question shows them.
    """

    samples: np.ndarray
    clip: str
    system: str
    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ReadOut:
    """What was read off.

    Attributes:
        log_probabilities: (K,) Natural logarithms of P(the answer is exactly this label), in the order of `labels`.
        prompt_tokens: Of the prompt, the clip's included.
        audio_tokens: Of the clip.
        label_tokens: Of each label, the one that closes the answer included.
    """

    log_probabilities: np.ndarray
    prompt_tokens: int
    audio_tokens: int
    label_tokens: tuple[int, ...]


@dataclass(frozen=True)
class _Prompt:
    """A prompt: as text, as far as labels stand behind it, and its tokens before and behind the clip's."""

    written: str
    before: tuple[int, ...]
    behind: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.before) + len(self.behind)


class LabelReader:
    """Reads the probabilities of labels off an audio-language model of transformers.

    P(label) is the probability that the model's answer is exactly this label: the product over its tokens, times the
    probability that the answer ends there. So a label of many tokens has no advantage or handicap but the model's own,
    `sad` and `sadness` are told apart, and what the labels leave of 1 went to other answers. These probabilities are
    at temperature 1.

    The clips of a call and the members that ask about each are gathered: a clip is encoded once, what the prompts have
    in common goes through the language model once, and the rest of a clip's prompts with all labels goes through in one
    pass (see `packing`).

    Args:
        model: With a language-modelling head, on its device. It is set to evaluation mode.
        processor: The checkpoint's own.
        family: A key of `families.FAMILIES`, or ``module:Name`` of the user's own; by default that of the model's
            configuration.
        token_budget: Tokens in one pass through the language model, padding included. Where memory runs out it is
            halved, a warning says so, and reading goes on.

    Raises:
        ValueError: No family takes the model, it hears nothing, or its attention takes no mask of its own.
    """

    def __init__(
        self, model: Any, processor: Any, *, family: str | None = None, token_budget: int = TOKEN_BUDGET
    ) -> None:
        name = model.config.name_or_path or type(model).__name__
        chosen = family_of(model.config, name, family)
        if token_budget < 1:
            raise ValueError(f"token_budget={token_budget} is too small. Mend: at least 1, such as {TOKEN_BUDGET}.")
        attention = model.config.get_text_config()._attn_implementation
        if attention not in ("eager", "sdpa"):
            raise ValueError(
                f"The model's attention is {attention!r}, which takes no mask of a panel's questions. "
                "Mend: load it with attn_implementation='sdpa'."
            )
        self.model = model.eval()
        self.processor = processor
        self.family: Family = chosen(model, processor)
        self.token_budget = token_budget
        self._additive_mask = attention == "eager"
        # Attention between members is computed for nothing: 2 d multiply-adds for each node of others, d the width,
        # beside some 16 d² that a token costs anyway. With d / 2 nodes in a pass that is a sixteenth.
        self._at_once: int | None = max(64, self.family.text_config.hidden_size // 2)
        self.closing = self.family.closing_tokens()
        if not self.closing:
            raise ValueError(
                f"Nothing says how an answer of {name} ends. Mend: set model.generation_config.eos_token_id."
            )
        self._prompt = functools.lru_cache(maxsize=4096)(self._new_prompt)
        self._labels = functools.lru_cache(maxsize=4096)(self._new_labels)
        self.provenance: dict[str, Any] = {
            "model": str(name),
            "revision": getattr(model.config, "_commit_hash", None),
            "dtype": str(model.dtype).removeprefix("torch."),
            "quantization": getattr(getattr(model, "hf_quantizer", None), "quantization_config", None)
            and _quantized(model.hf_quantizer.quantization_config),
            "device": str(model.device),
            "family": self.family.title,
        }

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        device_map: Any = None,
        quantization: str | None = None,
        token_budget: int = TOKEN_BUDGET,
        family: str | None = None,
    ) -> LabelReader:
        """Load a model and its processor. No code of a repository is run.

        Args:
            name_or_path: Local folder or Hub id.
            revision: Branch, tag or commit.
            dtype: ``"auto"`` (the checkpoint's own), ``"bfloat16"``, ``"float32"``, …
            device_map: As transformers takes it; ``"auto"`` spreads a model over several GPUs. Default: this process's
                own device as accelerate has it, so that ``accelerate launch`` gives each worker its GPU.
            quantization: None, or ``"4bit"`` (NF4, computed in bfloat16; needs bitsandbytes).
            token_budget: See the class.
            family: See the class.

        Raises:
            OSError: There is no such model.
            ValueError: No family takes the model, it hears nothing, or an option is unknown.
            ModuleNotFoundError: ``"4bit"`` without bitsandbytes.
            RuntimeError: The checkpoint's weights are not all there, or of other sizes.
        """
        import transformers

        from ..._lazy import need
        from ..._own_code import check_own_code, load_part

        if quantization not in QUANTIZATIONS:
            raise ValueError(f"quantization={quantization!r} is not known. Mend: None or '4bit'.")
        where = str(name_or_path)
        check_own_code(where, {"revision": revision})
        config = load_part(transformers.AutoConfig, where, revision=revision)
        chosen = family_of(config, where, family)
        if quantization is not None:
            import torch

            need("bitsandbytes", "annotation.readout")
            common_model = {
                "quantization_config": transformers.BitsAndBytesConfig(
                    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
                )
            }
        else:
            common_model = {}
        if device_map is None:
            device_map = {"": need("accelerate", "annotation.readout").PartialState().device}
        processor = load_part(transformers.AutoProcessor, where, revision=revision)
        model_class = getattr(transformers, chosen.model_class or "AutoModelForMultimodalLM")
        model, found = load_part(
            model_class,
            where,
            output_loading_info=True,
            revision=revision,
            dtype=dtype,
            device_map=device_map,
            attn_implementation="sdpa",
            **common_model,
        )
        _check_whole(model, found.get("missing_keys") or (), where)
        chosen.loaded(model, where, revision)
        reader = cls(model, processor, family=family, token_budget=token_budget)
        reader.provenance["model"] = where
        reader.provenance["revision"] = reader.provenance["revision"] or revision
        return reader

    @property
    def longest_clip_s(self) -> float | None:
        """What the model hears of a clip at most, in seconds; None where only its context ends it."""
        return self.family.longest_clip_s

    # --- what is checked before anything is computed

    def check(self, labels: Sequence[str], system: str, text: str) -> None:
        """Check what can be checked without a clip.

        Raises:
            ValueError: A label becomes no token, two labels are the same, the prompt has no place for the audio, or it
                is longer than the model's context.
        """
        prompt = self._prompt(system, text)
        tokens = self._labels(system, text, check_labels(labels))
        self._check_length(prompt, tokens, 1, "use a model with a longer context, or shorten the prompt.")

    def _new_prompt(self, system: str, text: str) -> _Prompt:
        ids = self.family.prompt_ids(system, text)
        audio = self.family.audio_token_id
        if ids.count(audio) != 1:
            raise ValueError(
                f"The chat template writes {ids.count(audio)} places for the audio, and 1 is needed. "
                f"Mend: give the processor of this {self.family.title} model."
            )
        place = ids.index(audio)
        start, end = self.family.around()
        return _Prompt(self.family.written(system, text), (*ids[:place], *start), (*end, *ids[place + 1 :]))

    def _new_labels(self, system: str, text: str, labels: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        written = self._prompt(system, text).written
        return label_tokens(self.family.tokenize, written, labels, self.family.special_tokens())

    def _check_length(
        self,
        prompt: _Prompt,
        labels: Sequence[Sequence[int]],
        audio_tokens: int,
        mend: str = "leave out or shorten the transcript, or cut the clip.",
    ) -> None:
        longest = max(map(len, labels), default=0) + 1
        needed = prompt.length + audio_tokens + longest
        if self.family.context is not None and needed > self.family.context:
            raise ValueError(
                f"The prompt has {prompt.length} tokens of text and {audio_tokens} of audio, with the longest answer "
                f"{needed} in all, and this model takes {self.family.context}. Mend: {mend}"
            )

    def _check_clip(self, samples: Any) -> int:
        """Return how many tokens a clip has."""
        if not isinstance(samples, np.ndarray) or samples.ndim != 1 or samples.dtype != np.float32:
            raise ValueError(
                f"A clip must be a float32 array (N,) at 16 kHz, got {type(samples).__name__} "
                f"{getattr(samples, 'dtype', '')} {getattr(samples, 'shape', '')}. Mend: use audio.load_audio."
            )
        seconds = len(samples) / SAMPLING_RATE
        if len(samples) < MIN_SAMPLES or (tokens := self.family.audio_tokens(len(samples))) < 1:
            raise ValueError(
                f"A clip of {seconds:.3f} s is too short for {self.family.title} to hear anything. Mend: leave it out."
            )
        longest = self.longest_clip_s
        if longest is not None and seconds > longest:
            raise ValueError(
                f"The clip has {seconds:.1f} s, and {self.family.title} hears {longest:g} s. Mend: cut it, or use "
                "windows of it."
            )
        if not np.isfinite(samples).all():
            raise ValueError("The clip has samples that are not finite. Mend: decode it with audio.load_audio.")
        return tokens

    def _check_same(self, clips: dict[str, np.ndarray], request: ReadRequest) -> None:
        """Keep a clip under its hash, if it is the one that is there."""
        there = clips.setdefault(request.clip, request.samples)
        if there is not request.samples and not np.array_equal(there, request.samples):
            raise ValueError(
                f"Two different clips have the hash {request.clip!r}. Mend: give each audio a hash of its own."
            )

    # --- reading

    def read(self, requests: Sequence[ReadRequest]) -> list[ReadOut | Exception]:
        """Read labels off, for any mix of clips and members.

        Args:
            requests: Members that ask about the same clip are best given together.

        Returns:
            One a request, in their order; what concerns one clip alone (too long, too short, no memory) stands as the
            exception in its place.

        Raises:
            ValueError: Labels or prompts are wrong, see `check`: nothing was computed.

        Example:
            >>> reader = LabelReader.from_pretrained("Qwen/Qwen2-Audio-7B-Instruct", dtype="bfloat16")  # doctest: +SKIP
            >>> asked = ReadRequest(wave, "hash", "You are a listener.", "Sad or happy?", ("sad", "happy"))
            ... # doctest: +SKIP
            >>> np.exp(reader.read([asked])[0].log_probabilities)  # doctest: +SKIP
            array([0.61, 0.33])
        """
        results: list[ReadOut | Exception | None] = [None] * len(requests)
        asked: dict[tuple[str, tuple[int, ...]], list[Member]] = {}
        clips: dict[str, np.ndarray] = {}
        for place, request in enumerate(requests):
            prompt = self._prompt(request.system, request.text)
            labels = self._labels(request.system, request.text, check_labels(request.labels))
            try:
                audio = self._check_clip(request.samples)
                self._check_length(prompt, labels, audio)
                self._check_same(clips, request)
            except ValueError as error:
                results[place] = error
                continue
            before = (*prompt.before, *([self.family.audio_token_id] * audio))
            asked.setdefault((request.clip, before), []).append(Member(place, prompt.behind, labels))
            results[place] = ReadOut(
                np.empty(0), prompt.length + audio, audio, tuple(len(tokens) + 1 for tokens in labels)
            )
        rows = [make_row(clip, before, members) for (clip, before), members in asked.items()]
        for place, value in self._read_rows(rows, clips).items():
            there = results[place]
            assert isinstance(there, ReadOut)
            results[place] = (
                value
                if isinstance(value, Exception)
                else ReadOut(value, there.prompt_tokens, there.audio_tokens, there.label_tokens)
            )
        return [result for result in results if result is not None]

    def _read_rows(self, rows: list[Row], clips: dict[str, np.ndarray]) -> dict[int, np.ndarray | Exception]:
        """Read all rows, in smaller batches where memory runs out."""
        found: dict[int, np.ndarray | Exception] = {}
        heard: dict[str, Tensor] = {}
        batches = plan(rows, self.token_budget, self._at_once)
        while batches:
            batch = batches.pop(0)
            try:
                values: dict[int, np.ndarray] | None = self._read_batch(batch, clips, heard)
            except Exception as error:
                if not _no_memory(error):
                    raise
                values = None  # and the error with all that it holds is let go before more is asked for
            if values is not None:
                found.update(values)
            elif (budget := halve(batch)) is None:
                _free_memory()
                found.update({member.place: _too_large(batch.tokens) for member in batch.rows[0].members})
            else:
                _free_memory()
                heard.clear()
                self._shrink(sum(len(row.members) for row in batch.rows), batch.tokens, budget)
                batches = plan([row for other in (batch, *batches) for row in other.rows], budget, self._at_once)
            wanted = {row.clip for other in batches for row in other.rows}
            for clip in [clip for clip in heard if clip not in wanted]:
                del heard[clip]
        return found

    def _read_batch(
        self, batch: Batch, clips: dict[str, np.ndarray], heard: dict[str, Tensor]
    ) -> dict[int, np.ndarray]:
        """Log-probabilities of the labels of a batch's members, by the places of their requests."""
        import torch
        from transformers import DynamicCache

        with torch.inference_mode():
            new = list(dict.fromkeys(row.clip for row in batch.rows if row.clip not in heard))
            for together in self._alike(new, [len(clips[clip]) for clip in new]):
                inputs = self._on_device(self.family.inputs([clips[clip] for clip in together]))
                sizes = [self.family.audio_tokens(len(clips[clip])) for clip in together]
                heard.update(zip(together, self.family.encode(inputs).split(sizes), strict=True))
            # without a configuration: every layer keeps all keys, also one that sees a window of them
            cache = DynamicCache()
            lengths = [len(row.prefix) for row in batch.rows]
            self._forward(
                [list(row.prefix) for row in batch.rows],
                cache,
                positions=np.arange(max(lengths))[None].repeat(len(lengths), 0),
                audio=torch.cat([heard[row.clip] for row in batch.rows]),
            )
            found: dict[int, np.ndarray] = {}
            for number, members_of in enumerate(batch.passes):
                if number:
                    cache.crop(max(lengths) - cache.get_seq_length())
                found.update(self._read_pass(members_of, lengths, cache))
            return found

    def _read_pass(
        self, members_of: Sequence[Sequence[Member]], lengths: Sequence[int], cache: Any
    ) -> dict[int, np.ndarray]:
        """One pass behind the prefixes: the members of each row."""
        trees = [TokenTree() for _ in members_of]
        planted = [
            [(member, *member.plant(tree)) for member in members]
            for members, tree in zip(members_of, trees, strict=True)
        ]
        nodes, prefix = max(map(len, trees)), max(lengths)
        positions = np.zeros((len(trees), nodes), dtype=np.int64)
        # what is filled up sees itself, so that nothing is divided by zero; nobody sees it
        mask = np.zeros((len(trees), nodes, prefix + nodes), dtype=bool)
        mask[:, np.arange(nodes), prefix + np.arange(nodes)] = True
        for row, (tree, length) in enumerate(zip(trees, lengths, strict=True)):
            mask[row, : len(tree), :length] = True
            mask[row, : len(tree), prefix : prefix + len(tree)] = tree.ancestors()
            positions[row, : len(tree)] = length + np.array(tree.depths)
        before = np.arange(prefix)[None].repeat(len(trees), 0)
        hidden = self._forward(
            [tree.tokens for tree in trees],
            cache,
            positions=positions,
            mask=mask,
            key_positions=np.concatenate([before, positions], axis=1),
        )
        # a label: the node behind which each of its tokens stands, and at the end the tokens that close an answer
        steps: dict[tuple[int, int, int], int] = {}
        ends: dict[tuple[int, int], int] = {}
        for row, entries in enumerate(planted):
            for member, last, label_nodes in entries:
                for tokens, way in zip(member.labels, label_nodes, strict=True):
                    for node, token in zip((last, *way), tokens, strict=False):
                        steps.setdefault((row, node, token), len(steps))
                    ends.setdefault((row, way[-1]), len(ends))
        states = list(dict.fromkeys([*((row, node) for row, node, _ in steps), *ends]))
        step_values, end_values = self._log_probabilities(hidden, states, list(steps), list(ends))
        found = {}
        for row, entries in enumerate(planted):
            for member, last, label_nodes in entries:
                values = np.empty(len(member.labels))
                for k, (tokens, way) in enumerate(zip(member.labels, label_nodes, strict=True)):
                    path = zip((last, *way), tokens, strict=False)
                    values[k] = end_values[ends[row, way[-1]]] + sum(
                        step_values[steps[row, node, token]] for node, token in path
                    )
                found[member.place] = values
        return found

    def _forward(
        self,
        tokens: Sequence[Sequence[int]],
        cache: Any,
        positions: np.ndarray,
        audio: Tensor | None = None,
        mask: np.ndarray | None = None,
        key_positions: np.ndarray | None = None,
    ) -> Tensor:
        """Tokens through the language model, filled up on the right; without a mask, in their order."""
        import torch

        family = self.family
        device = family.embedding.weight.device
        ids = np.full((len(tokens), max(map(len, tokens))), family.filler_id, dtype=np.int64)
        places = np.zeros(ids.shape, dtype=bool)
        for row, sequence in enumerate(tokens):
            ids[row, : len(sequence)] = sequence
            if audio is not None:
                places[row, : len(sequence)] = ids[row, : len(sequence)] == family.audio_token_id
        ids[places] = family.filler_id
        input_ids = torch.from_numpy(ids).to(device)
        embeddings = family.embedding(input_ids)
        if audio is not None:
            where = torch.from_numpy(places).to(device)
            embeddings = embeddings.masked_scatter(where[..., None], audio.to(device, embeddings.dtype))
        outputs = family.language_model(
            inputs_embeds=embeddings,
            attention_mask=None if mask is None else self._masks(mask, positions, key_positions, embeddings),
            position_ids=torch.from_numpy(positions).to(device),
            past_key_values=cache,
            use_cache=True,
            **family.language_inputs(input_ids),
        )
        hidden: Tensor = outputs.last_hidden_state
        return hidden

    def _masks(self, mask: np.ndarray, positions: np.ndarray, key_positions: Any, embeddings: Tensor) -> Any:
        """The mask as the language model takes it: one for all layers, or one a kind of layer."""
        config = self.family.text_config
        kinds = set(getattr(config, "layer_types", None) or ())
        window = getattr(config, "sliding_window", None)
        if window is None or kinds == {"full_attention"}:
            return self._mask(mask, embeddings)
        near = mask & (positions[:, :, None] - key_positions[:, None, :] < window)
        if not kinds:
            return self._mask(near, embeddings)
        masks = {"full_attention": mask, "sliding_attention": near}
        return {kind: self._mask(masks[kind], embeddings) for kind in kinds}

    def _mask(self, mask: np.ndarray, embeddings: Tensor) -> Tensor:
        import torch

        seen = torch.from_numpy(mask[:, None]).to(embeddings.device)
        if not self._additive_mask:
            return seen
        hidden = torch.zeros(seen.shape, dtype=embeddings.dtype, device=embeddings.device)
        return hidden.masked_fill(~seen, torch.finfo(embeddings.dtype).min)

    def _log_probabilities(
        self,
        hidden: Tensor,
        states: Sequence[tuple[int, int]],
        steps: Sequence[tuple[int, int, int]],
        ends: Sequence[tuple[int, int]],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities of next tokens, and of an answer's end, behind nodes: the logits of these nodes alone."""
        import torch

        order = {state: number for number, state in enumerate(states)}
        rows, nodes = np.array(states).T
        chosen = hidden[torch.from_numpy(rows).to(hidden.device), torch.from_numpy(nodes).to(hidden.device)]
        step_values, end_values = np.empty(len(steps)), np.empty(len(ends))
        step_states = np.array([order[row, node] for row, node, _ in steps])
        step_tokens = np.array([token for _, _, token in steps])
        end_states = np.array([order[end] for end in ends])
        for start in range(0, len(states), _LOGITS_AT_ONCE):
            logits = self.family.logits(chosen[start : start + _LOGITS_AT_ONCE]).float()
            whole = logits.logsumexp(-1)
            here = (step_states >= start) & (step_states < start + len(logits))
            state = torch.from_numpy(step_states[here] - start).to(logits.device)
            token = torch.from_numpy(step_tokens[here]).to(logits.device)
            step_values[here] = (logits[state, token] - whole[state]).double().cpu().numpy()
            here = (end_states >= start) & (end_states < start + len(logits))
            state = torch.from_numpy(end_states[here] - start).to(logits.device)
            closing = logits[state][:, list(self.closing)].logsumexp(-1)
            end_values[here] = (closing - whole[state]).double().cpu().numpy()
        return step_values, end_values

    # --- writing

    def write(
        self, requests: Sequence[ReadRequest], *, temperature: float | None, seeds: Sequence[int], max_new_tokens: int
    ) -> list[str | Exception]:
        """Have answers written by transformers' `generate`: sampled labels, and distributions stated in words.

        Args:
            requests: As for `read`; their labels are not looked at.
            temperature: Of sampling token by token; None for 1, and 0 takes the likeliest token.
            seeds: One a request: the same seed gives the same answer, whoever else is in the batch.
            max_new_tokens: Tokens of an answer at most.

        Returns:
            One text a request, in their order; what concerns one clip alone stands as the exception in its place.

        Raises:
            ValueError: A prompt is wrong, or there is not one seed a request.
        """
        if len(seeds) != len(requests):
            raise ValueError(f"There are {len(requests)} requests and {len(seeds)} seeds. Mend: one seed a request.")
        if temperature is not None and not (np.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"temperature={temperature!r} is wrong. Mend: a number from 0, or None for 1.")
        results: list[str | Exception | None] = [None] * len(requests)
        prompts: dict[int, tuple[int, ...]] = {}
        clips: dict[str, np.ndarray] = {}
        for place, request in enumerate(requests):
            prompt = self._prompt(request.system, request.text)
            try:
                audio = self._check_clip(request.samples)
                self._check_same(clips, request)
                self._check_length(prompt, [[0] * max_new_tokens], audio)
            except ValueError as error:
                results[place] = error
                continue
            prompts[place] = (*prompt.before, *([self.family.audio_token_id] * audio), *prompt.behind)
        alike = {place: self.family.alike(len(requests[place].samples)) for place in prompts}
        waiting = sorted(prompts, key=lambda place: (alike[place], len(prompts[place])))
        while waiting:
            # of those that go together, the last is the longest and decides the padding
            number = 1
            while (
                number < len(waiting)
                and alike[waiting[number]] == alike[waiting[0]]
                and (number + 1) * (len(prompts[waiting[number]]) + max_new_tokens) <= self.token_budget
            ):
                number += 1
            places = waiting[:number]
            try:
                texts: list[str] | None = generate(
                    self.family,
                    [prompts[place] for place in places],
                    self._on_device(self._inputs([requests[place] for place in places])),
                    temperature=temperature,
                    seeds=[seeds[place] for place in places],
                    max_new_tokens=max_new_tokens,
                    closing=self.closing,
                )
            except Exception as error:
                if not _no_memory(error):
                    raise
                texts = None  # and the error with all that it holds is let go before more is asked for
            tokens = number * (len(prompts[places[-1]]) + max_new_tokens)
            if texts is not None:
                for place, text in zip(places, texts, strict=True):
                    results[place] = text
                waiting = waiting[number:]
                continue
            _free_memory()
            if number == 1:
                results[places[0]] = _too_large(tokens)
                waiting = waiting[1:]
            else:
                self._shrink(number, tokens, tokens // 2)
        return [result for result in results if result is not None]

    def _inputs(self, requests: Sequence[ReadRequest]) -> dict[str, Tensor]:
        """What `generate` takes of the clips of requests; the features of a clip are computed once."""
        clips = {request.clip: request.samples for request in requests}
        made = self.family.inputs(list(clips.values()))
        if any(len(value) != len(clips) for value in made.values()):  # of several windows a clip
            return self.family.inputs([request.samples for request in requests])
        order = {clip: number for number, clip in enumerate(clips)}
        return {name: value[[order[request.clip] for request in requests]] for name, value in made.items()}

    def _shrink(self, prompts: int, tokens: int, budget: int) -> None:
        self.token_budget = budget
        logger.warning(
            "out of memory with %d prompts of %d tokens in all: going on with at most %d tokens in a batch "
            "(token_budget)",
            prompts,
            tokens,
            budget,
        )

    def _alike(self, names: Sequence[Any], lengths: Sequence[int]) -> list[list[Any]]:
        """Names of clips in the groups that may go through the tower together."""
        groups: dict[int, list[Any]] = {}
        for name, length in zip(names, lengths, strict=True):
            groups.setdefault(self.family.alike(length), []).append(name)
        return list(groups.values())

    def _on_device(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: value.to(self.model.device, self.model.dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }


def family_of(config: Any, where: str, family: str | None) -> Any:
    """The class of the family that takes a configuration.

    Args:
        config: Of transformers.
        where: Whose, for messages.
        family: As `LabelReader` takes it.

    Raises:
        ValueError: No family takes it, or it hears nothing.
    """
    if family is None and config.model_type not in FAMILIES:
        raise ValueError(
            f"{where} is a {config.model_type} model, which is no audio-language model that is known here. Mend: use "
            f"one of {', '.join(FAMILIES)}, or pass family='module:Name', a class of your own."
        )
    chosen = family_class(family or config.model_type)
    if (reason := chosen.why_deaf(config)) is not None:
        raise ValueError(
            f"{where} hears nothing: {reason}. Mend: use a model that does"
            f"{f', such as {chosen.example}' if chosen.example else ''}."
        )
    return chosen


def _check_whole(model: Any, missing: Iterable[str], where: str) -> None:
    """Refuse a model of which the checkpoint has a part only: transformers fills the rest with random numbers."""
    parameters = dict(model.named_parameters())
    lost = sorted(name for name in missing if name in parameters)
    if lost:
        raise RuntimeError(f"{where} has no weights for {len(lost)} parameters of the model, such as {lost[0]}")


def _quantized(config: Any) -> str:
    """What a model was quantised to, in a word."""
    if getattr(config, "load_in_4bit", False):
        return "4bit"
    return str(getattr(config, "quant_method", "unknown"))


def _no_memory(error: Exception) -> bool:
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


def _too_large(tokens: int) -> MemoryError:
    return MemoryError(
        f"There is no memory for one prompt of {tokens} tokens. Mend: cut the clip, load the model with "
        "quantization='4bit', or use a GPU with more memory."
    )


def _free_memory() -> None:
    import gc

    import torch

    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
