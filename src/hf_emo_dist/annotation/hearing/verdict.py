"""What a hearing test found, in figures and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["hears", "does not hear", "undecided", "skipped"]

_MEND = (
    "Mend: see that the server is sent the audio under the name that it reads, and that it serves a model that hears "
    "(a chat template without audio drops it without a word); where you know better, go on with --no_hearing_test, in "
    "Python hearing_test=False."
)
_CONDITIONS = {"own": "its own audio", "other": "another row's", "silence": "silence"}


@dataclass(frozen=True)
class HearingTest:
    """Whether the answers of a model follow the audio. Print its ``summary()``.

    Attributes:
        verdict: ``"hears"``; ``"does not hear"``, and no run should be paid for; ``"undecided"``; or ``"skipped"``.
        model: Who was asked.
        reason: Why it was skipped, or what kept it from a verdict; "" otherwise.
        p_value: Of the hypothesis that the audio does not matter, at the last look.
        effect: By how much more answers agree with others to the clip where both heard it, from -1 to 1.
        of_clip: By how much more they agree there than with those about other clips: what the words do is in it.
        at_most: Upper bound of the effect, at the level at which "does not hear" is said; None with few clips.
        agreement: How far answers agree with others that heard the clip, 0 to 1: answers to the clip's ``"own"``
            audio, with the same words to an ``"other"`` row's audio, to ``"silence"``, and about ``"other clips"``.
        answers: How many answers of each kind these are.
        clips: Clips that could be compared.
        members: Members of the panel that were asked with other audio, too.
        requests: Replies that only the test needed: those to other audio and to silence.
        cost_usd: Of these, by list price; None where a price is not known.
    """

    verdict: Verdict
    model: str
    reason: str = ""
    p_value: float | None = None
    effect: float | None = None
    of_clip: float | None = None
    at_most: float | None = None
    agreement: Mapping[str, float] = field(default_factory=dict)
    answers: Mapping[str, int] = field(default_factory=dict)
    clips: int = 0
    members: int = 0
    requests: int = 0
    cost_usd: float | None = 0.0

    @property
    def stops(self) -> bool:
        """Whether a run should not go on."""
        return self.verdict == "does not hear"

    def stop_reason(self) -> tuple[str, str]:
        """Why a run stops after it, and the mend."""
        return f"{self.model} does not hear. {self._figures()} {self._cost()}", _MEND

    def summary(self) -> str:
        """The finding in one line."""
        if self.verdict == "skipped":
            return f"Hearing test: skipped ({self.reason})."
        told = {"hears": "hears", "does not hear": "DOES NOT HEAR"}.get(self.verdict, "undecided whether it hears")
        p_value = "" if self.p_value is None else f", p = {self.p_value:.2g}"
        parts = [f"Hearing test: {told} ({self.model}{p_value}).", self._figures(), self.reason, self._cost()]
        return " ".join(filter(None, parts))

    def _cost(self) -> str:
        cost = "cost unknown" if self.cost_usd is None else f"${self.cost_usd:,.4f}"
        return f"The test took {self.requests} requests of its own, {cost}."

    def _figures(self) -> str:
        if not self.agreement:
            return "Nothing could be compared."
        parts = [
            f"{100 * self.agreement[name]:.0f} % with {words} ({self.answers.get(name, 0)} answers)"
            for name, words in _CONDITIONS.items()
            if name in self.agreement
        ]
        elsewhere = ""
        if "other clips" in self.agreement:
            elsewhere = f"; with those about other clips, {100 * self.agreement['other clips']:.0f} %"
        return f"Its answers agree with others about the same of {self.clips} clips: {', '.join(parts)}{elsewhere}."

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON has it."""
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in vars(self).items()}
