"""What a try counts as: what the service states, where that can be; else what its request could cost at most."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from ..capabilities import ModelCapabilities, cost_usd
from ..types import Usage

# Services count a little otherwise than we do; what is further off than this is no count of that request.
_SLACK, _SLACK_TOKENS = 1.1, 64


@dataclass(frozen=True)
class Charge:
    """What one try counts as.

    Attributes:
        usage: Tokens that the service stated and that can be; what it did not state is None.
        cost_usd: All that is counted; None where no price is known.
        assumed_usd: What of that the service did not state.
        assumed_tokens: Tokens that are counted beside those of `usage`.
        refused: Why the service's own count is not believed; "" where it is.
    """

    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = 0.0
    assumed_usd: float = 0.0
    assumed_tokens: int = 0
    refused: str = ""


def charge(
    stated: Usage,
    at_most: Usage,
    capabilities: ModelCapabilities,
    seconds: float = 0.0,
    text: str | None = None,
    tier: str = "standard",
) -> Charge:
    """Charge a try by what its service stated.

    Args:
        stated: The service's count.
        at_most: The bound of the request, which was reserved.
        capabilities: Of the model.
        seconds: Duration of the clip, of which a count of the prompt must have heard half at least.
        text: The reply.
        tier: At which it was served; see `ModelCapabilities.price_share`.
    """
    refused = _absurd(stated, at_most, capabilities, seconds, text)
    if refused:
        stated = Usage()
    whole = stated
    if stated.prompt_tokens is None:
        whole = replace(whole, prompt_tokens=at_most.prompt_tokens, audio_tokens=at_most.audio_tokens)
    if stated.output_tokens is None:
        whole = replace(whole, output_tokens=max(0, (at_most.output_tokens or 0) - (stated.thinking_tokens or 0)))
    day = _day_with_prices(capabilities)
    cost = cost_usd(whole, capabilities, day)
    known = cost_usd(replace(stated, prompt_tokens=stated.prompt_tokens or 0), capabilities, day) or 0.0
    assumed = 0.0 if cost is None or whole == stated else max(0.0, cost - known)
    share = capabilities.price_share(tier)
    cost = None if cost is None else share * cost
    return Charge(stated, cost, share * assumed, whole.total - stated.total, refused)


def _absurd(stated: Usage, at_most: Usage, capabilities: ModelCapabilities, seconds: float, text: str | None) -> str:
    prompt, output = stated.prompt_tokens, stated.output_tokens
    values = (prompt, stated.audio_tokens, stated.thinking_tokens, output)
    if any(value is not None and (not isinstance(value, int) or value < 0) for value in values):
        return "a negative number of tokens"
    if prompt is not None:
        heard = 0.5 * seconds * (capabilities.audio_tokens_per_second or 0.0)
        if prompt > _SLACK * (at_most.prompt_tokens or 0) + _SLACK_TOKENS:
            return f"{prompt:,} prompt tokens of a request that has {at_most.prompt_tokens:,} at most"
        if prompt < max(1.0, heard):
            return f"{prompt:,} prompt tokens of a request with {seconds:.1f} s of audio"
    written = (output or 0) + (stated.thinking_tokens or 0)
    if written > _SLACK * (at_most.output_tokens or 0) + _SLACK_TOKENS:
        return f"{written:,} output tokens of a request that allows {at_most.output_tokens:,}"
    if output == 0 and (text or "").strip():
        return "no output tokens for a reply that has text"
    return ""


def _day_with_prices(capabilities: ModelCapabilities) -> date:
    """Today; or, where the known prices have ended, their last day: a cap must not end with them."""
    today = datetime.now(UTC).date()
    if capabilities.prices_on(today) is None and capabilities.prices:
        return capabilities.prices[-1].until or today
    return today
