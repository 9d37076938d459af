"""Who answers: panels of annotators that differ in focus, temperature, wording and form of answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from .prompts import PAPER_FOCI, PromptSet
from .types import MODES, Backend, Mode, PanelMember

logger = logging.getLogger(__name__)

#: Bands of temperature of arXiv 2601.14620; annotator i draws from band i mod 5.
_PAPER_BANDS = ((0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 0.93))
_PAPER_JITTER = 0.05
#: Temperatures of the default panel, for models that honour them.
_LOWEST, _HIGHEST = 0.4, 1.0


def paper_panel(num_annotations: int = 10, seed: int = 42) -> tuple[PanelMember, ...]:
    """The panel of arXiv 2601.14620: annotator i has focus i mod 5 and a temperature from band i mod 5.

    Focus and temperature are fully confounded there, and so they are here. A temperature is drawn once for all
    utterances: uniformly from its band, moved by up to ±0.05, clipped to [0.1, 1.0]. The paper has 6 to 8 annotators
    for IEMOCAP, 10 for MSP-Podcast and 20 for its saturation study.

    >>> [member.focus for member in paper_panel(6)][4:]
    ['what_and_how', 'tone_and_content']
    """
    _check_number("num_annotations", num_annotations, 1)
    members = []
    for i in range(num_annotations):
        rng = np.random.default_rng([seed, i])
        low, high = _PAPER_BANDS[i % 5]
        temperature = np.clip(rng.uniform(low, high) + rng.uniform(-_PAPER_JITTER, _PAPER_JITTER), 0.1, 1.0)
        members.append(PanelMember(PAPER_FOCI[i % 5], round(float(temperature), 3), replicate=i // 5))
    return tuple(members)


def default_panel(
    num_annotations: int = 10,
    num_distributions: int = 0,
    honours_temperature: bool = True,
    num_wordings: int = 4,
    foci: Sequence[str] = PAPER_FOCI,
) -> tuple[PanelMember, ...]:
    """Foci crossed with temperatures, or with phrasings where the model does not honour temperature; labels first.

    The members are spread evenly: after the first len(foci) each focus was asked once, after the second twice at
    another level, so that the effect of a focus can be told from that of a level.

    >>> sorted({member.temperature for member in default_panel(10)})
    [0.4, 1.0]
    >>> sorted({member.wording for member in default_panel(10, honours_temperature=False)})
    [0, 1]
    """
    _check_number("num_annotations", num_annotations, 0)
    _check_number("num_distributions", num_distributions, 0)
    if num_annotations + num_distributions < 1:
        raise ValueError("A panel needs at least one member. Mend: raise num_annotations or num_distributions.")
    modes: tuple[tuple[Mode, int], ...] = (("label", num_annotations), ("distribution", num_distributions))
    members = []
    for mode, number in modes:
        rounds = -(-number // len(foci))
        levels = max(1, min(rounds, num_wordings))
        for i in range(number):
            level, replicate = (i // len(foci)) % levels, i // (len(foci) * levels)
            warmth = _LOWEST + (_HIGHEST - _LOWEST) * level / (levels - 1) if levels > 1 else _HIGHEST
            members.append(
                PanelMember(
                    foci[i % len(foci)],
                    round(warmth, 3) if honours_temperature else None,
                    mode,
                    replicate,
                    0 if honours_temperature else level,
                )
            )
    return tuple(members)


def panel_from(members: Sequence[PanelMember | Mapping[str, Any]]) -> tuple[PanelMember, ...]:
    """The user's own panel; members that are alike in everything get replicate numbers, so that each is asked once."""
    if isinstance(members, (str, Mapping)) or not isinstance(members, Sequence) or not members:
        raise ValueError(
            f"A panel is a list of annotators, each with at least a focus; got {members!r}. "
            "Mend: such as panel=[{'focus': 'voice'}, {'focus': 'words', 'temperature': 0.7}]."
        )
    known = {entry.name for entry in fields(PanelMember)}
    seen: set[PanelMember] = set()
    panel = []
    for position, given in enumerate(members):
        if isinstance(given, Mapping):
            if "model" in given:
                raise ValueError(
                    f"Annotator {position} names a model, and a panel is asked of one. Mend: give each model a run of "
                    "its own with the same ledger, the second on what the first wrote: earlier votes are kept."
                )
            if set(given) - known:
                raise ValueError(
                    f"Annotator {position} has unknown fields: {', '.join(sorted(set(given) - known))}. "
                    f"Mend: known are {', '.join(sorted(known))}."
                )
            if not given.get("focus"):
                raise ValueError(
                    f"Annotator {position}: it has no focus. Mend: one of {', '.join(PAPER_FOCI)}, or a sentence."
                )
            try:
                member = PanelMember(**given)
            except ValueError as error:
                raise ValueError(f"Annotator {position}: {error}") from error
        elif isinstance(given, PanelMember):
            member = given
        else:
            raise ValueError(f"Annotator {position} is {given!r}. Mend: give fields, such as {{focus: voice}}.")
        while member in seen:
            member = PanelMember(**{**asdict(member), "replicate": member.replicate + 1})
        seen.add(member)
        panel.append(member)
    return tuple(panel)


def load_panel(path: str | Path) -> tuple[PanelMember, ...]:
    """Read a panel from a YAML file: a list of members, each with the fields of `PanelMember` that it needs.

    Such as::

        - focus: voice
        - {focus: words, temperature: 0.7}
        - {focus: Mind the pauses., mode: distribution, wording: 1, persona: a nurse}

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a list; the message names member and field.
    """
    import yaml

    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"No panel file at {path}. Mend: check the path.")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"The panel file {path} is not YAML in UTF-8 ({error}). Mend: see load_panel.") from error
    try:
        return panel_from(content)
    except ValueError as error:
        raise ValueError(f"The panel file {path}: {error}") from error


def without_temperature(panel: Sequence[PanelMember], prompts: PromptSet) -> tuple[PanelMember, ...]:
    """The same panel; members that differed in temperature alone get another wording or, beyond these, replicate."""
    seen: set[PanelMember] = set()
    changed = []
    for member in panel:
        values = {**asdict(member), "temperature": None}
        count = prompts.wordings(member.mode)
        candidates = (
            PanelMember(
                **{**values, "wording": (member.wording + i) % count, "replicate": member.replicate + i // count}
            )
            for i in range(len(panel) * count)
        )
        fresh = next(candidate for candidate in candidates if candidate not in seen)
        seen.add(fresh)
        changed.append(fresh)
    return tuple(changed)


def choose_panel(
    backend: Backend,
    prompts: PromptSet,
    preset: str,
    panel: str | Path | Sequence[PanelMember | Mapping[str, Any]] | None,
    num_annotations: int,
    num_distributions: int,
    seed: int,
) -> tuple[PanelMember, ...]:
    """The panel for a model: what it does not honour is left out, and is said."""
    honours = backend.capabilities.temperature
    if panel is None and preset == "default":
        wordings = min(prompts.wordings(mode) for mode in MODES if prompts.wordings(mode))
        members = default_panel(num_annotations, num_distributions, honours, wordings)
        if not honours:
            logger.info(
                "%s does not honour temperature: annotators differ in focus and wording (%s)",
                backend.model,
                describe_panel(members),
            )
    else:
        if panel is None:
            members = paper_panel(num_annotations, seed)
        else:
            members = load_panel(panel) if isinstance(panel, (str, Path)) else panel_from(panel)
        if not honours and any(member.temperature is not None for member in members):
            members = without_temperature(members, prompts)
            logger.warning(
                "%s does not honour temperature, so none is sent, and annotators differ in focus and wording alone%s",
                backend.model,
                ": this is not the paper's panel" if panel is None else "",
            )
    for member in members:
        if member.mode not in backend.capabilities.modes:
            raise ValueError(
                f"{backend.model} cannot be asked in {member.mode} mode, and the panel has such annotators. "
                f"Mend: ask in {' or '.join(backend.capabilities.modes)} mode, or give the backend "
                "capabilities={'modes': [...]}."
            )
        if not prompts.wordings(member.mode):
            raise ValueError(
                f"The prompts ask no question in {member.mode} mode, and the panel has such annotators. "
                f"Mend: give '{member.mode}' in the prompt file, or change the panel."
            )
    return members


def describe_panel(panel: Sequence[PanelMember]) -> str:
    """One line on who answers, such as "10 label annotators: 5 foci, temperatures 0.4, 1"."""
    parts = []
    for mode in MODES:
        members = [member for member in panel if member.mode == mode]
        if members:
            temperatures = sorted({m.temperature for m in members if m.temperature is not None})
            wordings = len({m.wording for m in members})
            how = [f"{len({m.focus for m in members})} foci"]
            if temperatures:
                how.append("temperatures " + ", ".join(f"{value:g}" for value in temperatures))
            if wordings > 1:
                how.append(f"{wordings} wordings")
            parts.append(f"{len(members)} {mode} annotators: {', '.join(how)}")
    return "; ".join(parts)


def _check_number(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"`{name}` is {value!r}. Mend: a whole number from {least}.")
