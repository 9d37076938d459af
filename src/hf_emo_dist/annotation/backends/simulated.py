"""Simulated annotators: draws from a known distribution through a stated rater model. Nothing is heard or sent."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..capabilities import ModelCapabilities, Prices
from ..types import Answer, PanelMember, PreparedAudio, Prompt, TransientError, Usage, canonical_json
from ._audio import MIME, prepare_audio

#: Changes with the rater model, so that replies of another one are not taken for these.
SIMULATED_MODEL = "simulated-rater-v1"

FloatArray = NDArray[np.float64]
_NOTHING = Prices(0.0, 0.0, 0.0, date(2026, 11, 25), "simulated")


class SimulatedBackend:
    """Annotators that are made up by a program, for tests, tutorials and studies in which the truth is known.

    A clip has a distribution p over K emotions, in the row's `column`. With ν for a noise and Dir for the Dirichlet
    distribution, Dir_ν(p) = Dir((1/ν − 1)·p) has the mean p and the variance ν·p·(1 − p); Dir_0(p) is p. Then

    1. the clip: q ~ Dir_ν(p), ν = `clip_noise`, the same for all annotators: what the clip sounds like to machines;
    2. the focus: q' ~ Dir_ν(q), ν = `focus_noise`, the same for annotators of one focus;
    3. sharpening: s_k = q'_k^γ / Σ_j q'_j^γ, γ = `sharpness`; over 1, annotators are surer than listeners;
    4. confusion: r = s·C, with C_kj the probability that k is heard as j;
    5. temperature T: r_k^(1/T) / Σ_j r_j^(1/T); T = 1 where the annotator has none, the largest share wins at T = 0.

    With probability `refusal_rate` the annotator declines. Otherwise it answers with a label drawn from r, or states a
    distribution drawn from Dir_ν(r), ν = `statement_noise`, with three decimals. Every draw follows from the seed, the
    clip's hash and the annotator alone, in any order and any process.

    Replies have the form of a real model's: a label, or JSON. Every record of them has the backend ``"simulated"``.

    Args:
        column: A distribution: a struct with one share an emotion.
        sharpness: γ, over 0.
        confusion: A rate ε, which leaves 1 − ε and spreads ε evenly over the other emotions; or C itself as
            ``{emotion: {heard as: probability}}`` with every emotion, zeros left out.
        clip_noise: From 0 to under 1.
        focus_noise: From 0 to under 1.
        statement_noise: From 0 to under 1.
        refusal_rate: From 0 to 1.
        seed: Of everything.
        latency_s: Seconds that a reply takes.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> backend = SimulatedBackend(seed=1)
        >>> backend.model, backend.endpoint, backend.destination
        ('simulated-rater-v1', 'local', None)
    """

    name = "simulated"
    model = SIMULATED_MODEL
    endpoint = "local"
    destination: str | None = None
    terms = "none: nothing leaves this machine"
    hears = False
    capabilities = ModelCapabilities(
        model=SIMULATED_MODEL,
        known=True,
        audio=True,
        temperature=True,
        seed=True,
        structured="enum",
        audio_tokens_per_second=0.0,
        audio_formats=tuple(MIME),
        prices=(_NOTHING,),
    )

    def __init__(
        self,
        column: str = "true_distribution",
        sharpness: float = 1.5,
        confusion: float | Mapping[str, Mapping[str, float]] = 0.1,
        clip_noise: float = 0.1,
        focus_noise: float = 0.0,
        statement_noise: float = 0.02,
        refusal_rate: float = 0.0,
        seed: int = 0,
        latency_s: float = 0.0,
    ) -> None:
        if not (sharpness > 0 and math.isfinite(sharpness)):
            raise ValueError(f"`sharpness` is {sharpness}. Mend: a number over 0.")
        noises = {"clip_noise": clip_noise, "focus_noise": focus_noise, "statement_noise": statement_noise}
        for name, value in noises.items():
            if not 0 <= value < 1:
                raise ValueError(f"`{name}` is {value}. Mend: from 0 to under 1.")
        if not 0 <= refusal_rate <= 1:
            raise ValueError(f"`refusal_rate` is {refusal_rate}. Mend: from 0 to 1.")
        if isinstance(confusion, Mapping):
            confusion = {name: dict(row) for name, row in confusion.items()}
            for name, row in confusion.items():
                if min(row.values(), default=-1) < 0 or abs(sum(row.values()) - 1) > 1e-6:
                    raise ValueError(f"`confusion` of {name!r} is {row}. Mend: probabilities that sum to 1.")
        elif not 0 <= confusion <= 1:
            raise ValueError(f"`confusion` is {confusion}. Mend: from 0 to 1.")
        self.column = column
        self.row_columns: tuple[str, ...] = (column,)
        self.latency_s = latency_s
        self.settings: dict[str, Any] = {
            "sharpness": sharpness,
            "confusion": confusion,
            **noises,
            "refusal_rate": refusal_rate,
            "seed": seed,
        }

    def __repr__(self) -> str:
        return f"SimulatedBackend(column={self.column!r}, seed={self.settings['seed']})"

    def secrets(self) -> tuple[str, ...]:
        """None."""
        return ()

    def render(self, prompt: Prompt, member: PanelMember, row: Mapping[str, Any]) -> dict[str, Any]:
        """The clip's distribution, the annotator and the rater model; not the prompt's words, which change nothing."""
        return {
            "model": self.model,
            "mode": prompt.mode,
            "emotions": list(prompt.emotions),
            "distribution": self._distribution(prompt.emotions, row),
            "focus": member.focus,
            "wording": member.wording,
            "persona": member.persona,
            "replicate": member.replicate,
            "temperature": member.temperature,
            "settings": self.settings,
        }

    def _distribution(self, emotions: tuple[str, ...], row: Mapping[str, Any]) -> list[float]:
        where = f"Row {row['id']!r}" if "id" in row else "A row"
        mend = f"Mend: pass SimulatedBackend(column=...) with a distribution over {', '.join(emotions)}."
        found = row.get(self.column)
        if found is None:
            raise ValueError(f"{where} has no {self.column!r} to draw simulated votes from. {mend}")
        if not isinstance(found, Mapping) or set(found) != set(emotions):
            kind = f"the labels {', '.join(found)}" if isinstance(found, Mapping) else type(found).__name__
            raise ValueError(f"{where}: {self.column!r} has {kind}. {mend}")
        shares = [float(value) if isinstance(value := found[name], int | float) else math.nan for name in emotions]
        if not (min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-3):  # NaN fails too
            raise ValueError(f"{where}: {self.column!r} is no distribution: {dict(found)}. {mend}")
        return shares

    def prepare(self, audio: Any, row_id: Any = None) -> PreparedAudio:
        """The clip, checked as for a real service. Raises `AudioError`."""
        return prepare_audio(audio, row_id, self.capabilities, None)

    async def ask(self, request: Mapping[str, Any], audio: PreparedAudio, timeout_s: float) -> Answer:
        """Draws one reply."""
        if self.latency_s > 0:
            await asyncio.sleep(min(self.latency_s, timeout_s))
            if self.latency_s > timeout_s:
                raise TransientError("timeout", f"no simulated reply within {timeout_s:g} s")
        text = draw_reply(request, audio.digest)
        facts: dict[str, Any] = {
            "model_version": self.model,
            "usage": Usage(0, 0, 0, 0),
            "settings": {**request["settings"], "temperature": request["temperature"]},
        }
        if text is None:
            return Answer(None, "refused", "the simulated annotator declined", **facts)
        return Answer(text, **facts)

    async def close(self) -> None:
        """Does nothing."""


def _rng(*parts: Any) -> np.random.Generator:
    """A generator that depends on `parts` alone."""
    digest = hashlib.sha256(canonical_json(list(parts)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4").tolist())


def _dirichlet(rng: np.random.Generator, mean: FloatArray, noise: float) -> FloatArray:
    if noise == 0 or np.count_nonzero(mean) < 2:
        return mean
    drawn = np.zeros_like(mean)
    support = mean > 0
    drawn[support] = rng.dirichlet(np.maximum((1.0 / noise - 1.0) * mean[support], 1e-6))
    return drawn


def _power(shares: FloatArray, exponent: float) -> FloatArray:
    if math.isinf(exponent):
        raised = (shares == shares.max()).astype(np.float64)
    else:
        raised = (shares / shares.max()) ** exponent
    return np.asarray(raised / raised.sum())


def confusion_matrix(confusion: float | Mapping[str, Mapping[str, float]], emotions: list[str]) -> FloatArray:
    """C of :class:`SimulatedBackend`, (K, K), rows sum to 1."""
    size = len(emotions)
    if isinstance(confusion, Mapping):
        known = set(confusion).union(*(row for row in confusion.values()))
        if known != set(emotions):
            raise ValueError(
                f"`confusion` is about {', '.join(sorted(known))}. Mend: describe each of {', '.join(emotions)}."
            )
        return np.array([[confusion[true].get(heard, 0.0) for heard in emotions] for true in emotions])
    if size == 1:
        return np.ones((1, 1))
    matrix = np.full((size, size), confusion / (size - 1))
    np.fill_diagonal(matrix, 1.0 - confusion)
    return matrix


def rater_distribution(request: Mapping[str, Any], digest: str) -> FloatArray:
    """What one simulated annotator makes of one clip, steps 1 to 5 of :class:`SimulatedBackend`; (K,), sums to 1."""
    settings, seed = request["settings"], request["settings"]["seed"]
    shares = np.asarray(request["distribution"], dtype=np.float64)
    shares = shares / shares.sum()
    shares = _dirichlet(_rng("clip", seed, digest), shares, settings["clip_noise"])
    shares = _dirichlet(_rng("focus", seed, digest, request["focus"]), shares, settings["focus_noise"])
    shares = _power(shares, settings["sharpness"]) @ confusion_matrix(settings["confusion"], request["emotions"])
    temperature = request["temperature"]
    if temperature is not None:
        shares = _power(shares, 1.0 / temperature if temperature > 0 else math.inf)
    return np.asarray(shares / shares.sum())


def draw_reply(request: Mapping[str, Any], digest: str) -> str | None:
    """The reply to a rendered request about the clip with that hash; None for a refusal."""
    settings, emotions = request["settings"], request["emotions"]
    names = ("focus", "wording", "persona", "mode", "replicate", "temperature")
    rng = _rng("reply", settings["seed"], digest, *(request[name] for name in names))
    if rng.random() < settings["refusal_rate"]:
        return None
    shares = rater_distribution(request, digest)
    if request["mode"] == "label":
        return str(emotions[int(rng.choice(len(emotions), p=shares))])
    stated = _dirichlet(rng, shares, settings["statement_noise"])
    thousandths = np.floor(1000 * stated + 0.5).astype(int)
    thousandths[np.argmax(thousandths)] += 1000 - thousandths.sum()
    return json.dumps({name: int(part) / 1000 for name, part in zip(emotions, thousandths, strict=True)})
