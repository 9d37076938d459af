"""Who answers: panels of annotators that differ in focus, temperature, wording and form of answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._files import is_ordinary
from .._yaml import in_one_line, read_yaml_file
from .backends import BackendChoice, checked
from .prompts import PAPER_FOCI, PromptSet
from .types import MODES, Backend, Mode, PanelMember

logger = logging.getLogger(__name__)

#: Bands of temperature of arXiv 2601.14620; annotator i draws from band i mod 5.
_PAPER_BANDS = ((0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 0.93))
_PAPER_JITTER = 0.05
#: Temperatures of the default panel, for models that honour them.
_LOWEST, _HIGHEST = 0.4, 1.0


def paper_panel(num_annotations: int = 10, seed: int = 42, mode: Mode = "label") -> tuple[PanelMember, ...]:
    """The panel of arXiv 2601.14620: annotator i has focus i mod 5 and a temperature from band i mod 5.

    Focus and temperature are fully confounded there, and so they are here. A temperature is drawn once for all
    utterances: uniformly from its band, moved by up to ±0.05, clipped to [0.1, 1.0]. The paper has 6 to 8 annotators
    for IEMOCAP, 10 for MSP-Podcast and 20 for its saturation study. In mode ``"readout"`` there are five questions, and
    the temperatures are applied to their answers in closed form.

    >>> [member.focus for member in paper_panel(6)][4:]
    ['what_and_how', 'tone_and_content']
    """
    _check_number("num_annotations", num_annotations, 1)
    members = []
    for i in range(num_annotations):
        rng = np.random.default_rng([seed, i])
        low, high = _PAPER_BANDS[i % 5]
        temperature = np.clip(rng.uniform(low, high) + rng.uniform(-_PAPER_JITTER, _PAPER_JITTER), 0.1, 1.0)
        members.append(PanelMember(PAPER_FOCI[i % 5], round(float(temperature), 3), mode, replicate=i // 5))
    return tuple(members)


def default_panel(
    num_annotations: int = 10,
    num_distributions: int = 0,
    honours_temperature: bool = True,
    num_wordings: int = 4,
    foci: Sequence[str] = PAPER_FOCI,
    mode: Mode = "label",
) -> tuple[PanelMember, ...]:
    """Foci crossed with temperatures, or with phrasings where the model does not honour temperature; labels first.

    The `num_annotations` answer in `mode`; where that is ``"readout"``, they differ in phrasing too: another
    temperature of a read-out says nothing new.

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
    parts: tuple[tuple[Mode, int], ...] = ((mode, num_annotations), ("distribution", num_distributions))
    members = []
    for form, number in parts:
        by_temperature = honours_temperature and form != "readout"
        rounds = -(-number // len(foci))
        levels = max(1, min(rounds, num_wordings))
        for i in range(number):
            level, replicate = (i // len(foci)) % levels, i // (len(foci) * levels)
            warmth = _LOWEST + (_HIGHEST - _LOWEST) * level / (levels - 1) if levels > 1 else _HIGHEST
            members.append(
                PanelMember(
                    foci[i % len(foci)],
                    round(warmth, 3) if by_temperature else None,
                    form,
                    replicate,
                    0 if by_temperature else level,
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
    seen: set[PanelMember] = set()
    panel = []
    for position, given in enumerate(members):
        member = _member(position, given)
        while member in seen:
            member = PanelMember(**{**asdict(member), "replicate": member.replicate + 1})
        seen.add(member)
        panel.append(member)
    return tuple(panel)


def _member(position: int, given: Any) -> PanelMember:
    known = {entry.name for entry in fields(PanelMember)}
    if isinstance(given, PanelMember):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"Annotator {position} is {given!r}. Mend: give fields, such as {{focus: voice}}.")
    if set(given) & set(MODEL_FIELDS):
        raise ValueError(
            f"Annotator {position} names a model of its own. Mend: give such a panel to Annotator(panel=…), or to "
            "hf-emo-dist annotate --panel FILE."
        )
    if set(given) - known:
        raise ValueError(
            f"Annotator {position} has unknown fields: {', '.join(sorted(set(given) - known))}. "
            f"Mend: known are {', '.join(sorted(known))}; to ask another model, {', '.join(MODEL_FIELDS)}."
        )
    if not given.get("focus"):
        raise ValueError(f"Annotator {position}: it has no focus. Mend: one of {', '.join(PAPER_FOCI)}, or a sentence.")
    try:
        return PanelMember(**given)
    except ValueError as error:
        raise ValueError(f"Annotator {position}: {error}") from error


def load_panel(path: str | Path) -> tuple[PanelMember, ...]:
    """Read a panel of one model from a YAML file: a list of members, with the fields of `PanelMember` that each needs.

    Such as::

        - focus: voice
        - {focus: words, temperature: 0.7}
        - {focus: Mind the pauses., mode: distribution, wording: 1, persona: a nurse}

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a list, or a member names a model; the message names member and field.
    """
    return _told_of(path, panel_from, read_panel_file(path))


def _told_of(path: Any, function: Any, *arguments: Any) -> Any:
    """The same, with the file's name in the message."""
    try:
        return function(*arguments)
    except ValueError as error:
        if not isinstance(path, (str, Path)):
            raise
        raise ValueError(f"The panel file {path}: {error}") from error


def read_panel_file(path: str | Path) -> Any:
    """What a YAML file of a panel holds, still to be checked."""
    import yaml

    file = Path(path).expanduser()
    if not is_ordinary(file):
        raise FileNotFoundError(f"No panel file at {path}. Mend: check the path.")
    try:
        return read_yaml_file(file)
    except yaml.YAMLError as error:
        raise ValueError(
            f"The panel file {path} is not YAML in UTF-8 ({in_one_line(error)}). Mend: see load_panel."
        ) from error


# --- several models in one panel

#: Fields by which a member names its own model.
MODEL_FIELDS = ("backend", "model", "backend_options", "capabilities", "prices", "answers_as")


@dataclass(frozen=True)
class ModelPanel:
    """Those members of a panel who are asked of one model.

    Attributes:
        backend: Whom they ask.
        members: As the user gave them, without the fields that name the model; None for the preset's panel.
        named: Whether the members name it themselves, and not `backend` and `model` of the annotator.
    """

    backend: Backend
    members: Sequence[PanelMember | Mapping[str, Any]] | None
    named: bool = False


def by_model(
    main: BackendChoice | Backend,
    panel: str | Path | Sequence[PanelMember | Mapping[str, Any]] | None,
    preset: str,
) -> list[ModelPanel]:
    """Take a panel apart by the models that its members ask, in the order in which these are first named.

    A member asks `main` unless it has fields of `MODEL_FIELDS`. With ``model`` alone it asks `main`'s service for that
    model; with ``backend`` that one, by its own ``backend_options``. What `main` was told of its own model
    (capabilities, prices, names by which it answers) holds for that model alone.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A member does not fit; the message names it.
    """
    content: Any = read_panel_file(panel) if isinstance(panel, (str, Path)) else panel
    if not isinstance(content, (list, tuple)) or not any(map(_names_model, content)):
        if isinstance(panel, (str, Path)):
            content = _told_of(panel, panel_from, content)
        return [ModelPanel(_made(main, preset), content)]
    return _told_of(panel, _apart, main, content, preset)  # type: ignore[no-any-return]


def _names_model(given: Any) -> bool:
    return isinstance(given, Mapping) and any(name in given for name in MODEL_FIELDS)


def _made(choice: BackendChoice | Backend, preset: str) -> Backend:
    return choice.make(preset) if isinstance(choice, BackendChoice) else checked(choice)


def _apart(
    main: BackendChoice | Backend, panel: Sequence[PanelMember | Mapping[str, Any]], preset: str
) -> list[ModelPanel]:
    backends: dict[str, Backend] = {}  # by what they are made of
    groups: dict[tuple[str, str, str], tuple[str, list[PanelMember], bool]] = {}
    for position, given in enumerate(panel):
        fields_of = {name: given[name] for name in MODEL_FIELDS if name in given} if isinstance(given, Mapping) else {}
        try:
            choice = _choice(main, fields_of, preset)
            made_of = "main" if choice is main else repr(choice)
            if made_of not in backends:
                backends[made_of] = _made(choice, preset)
        except ValueError as error:
            raise ValueError(f"Annotator {position}: {error}") from error
        backend = backends[made_of]
        who = (backend.name, backend.endpoint, backend.model)
        others, members, _ = groups.setdefault(who, (made_of, [], choice is not main))
        if others != made_of:
            raise ValueError(
                f"Annotator {position} asks {backend.model} in another way than an annotator before it does. Mend: say "
                "the same of one model each time (a YAML anchor does), or make two runs on one ledger."
            )
        rest = {k: v for k, v in given.items() if k not in MODEL_FIELDS} if isinstance(given, Mapping) else given
        members.append(_member(position, rest))
    return [ModelPanel(backends[made_of], members, named) for made_of, members, named in groups.values()]


def _choice(main: BackendChoice | Backend, named: Mapping[str, Any], preset: str) -> BackendChoice | Backend:
    """Whom a member asks."""
    if not named:
        return main
    backend, model = named.get("backend"), named.get("model")
    if backend is not None and not isinstance(backend, str):
        return checked(backend)
    if backend is None and not isinstance(main, BackendChoice):
        if model == main.model and set(named) == {"model"}:
            return main
        raise ValueError(
            "it names a model and no backend. Mend: name that too, such as {backend: gemini, model: "
            f"{model or 'gemini-3.8-flash'}}}."
        )
    same = isinstance(main, BackendChoice) and backend in (None, main.name)
    if isinstance(main, BackendChoice) and same:
        choice = main.asking(main.model if model is None else model)
    else:
        choice = BackendChoice(str(backend), model)
    options = {**choice.options, **_mapping(named, "backend_options")}
    facts = {**_mapping(options, "capabilities"), **_mapping(named, "capabilities")}
    if named.get("prices") is not None:
        facts["prices"] = named["prices"]
    if facts:
        options["capabilities"] = facts
    if named.get("answers_as") is not None:
        options["answers_as"] = named["answers_as"]
    choice = replace(choice, options=options)
    # It may be the one that all are asked of, said once more.
    if same and set(named) <= {"backend", "model"} and model in (None, _model_of(main, preset)):
        return main
    return choice


def _model_of(main: BackendChoice | Backend, preset: str) -> str | None:
    """The model that is asked where a member names none; None where there must be one and none is given."""
    if main.model is not None:
        return main.model
    try:
        return _made(main, preset).model
    except ValueError:
        return None


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"`{name}` is {found!r}. Mend: names and values, such as {{base_url: http://host:8000/v1}}.")
    return found


def without_temperature(panel: Sequence[PanelMember], prompts: PromptSet) -> tuple[PanelMember, ...]:
    """The same panel; members that differed in temperature alone get another wording or, beyond these, replicate."""
    seen: set[PanelMember] = set()
    changed = []
    for member in panel:
        if member.mode == "readout":  # whose temperature is ours to apply
            seen.add(member)
            changed.append(member)
            continue
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
    panel: Sequence[PanelMember | Mapping[str, Any]] | None,
    num_annotations: int,
    num_distributions: int,
    seed: int,
    mode: Mode | None = None,
) -> tuple[PanelMember, ...]:
    """The panel for a model: what it does not honour is left out, and is said.

    `mode` is that of a preset's annotators, ``"label"`` or ``"readout"``; None for what the model does best.
    """
    honours, modes = backend.capabilities.temperature, backend.capabilities.modes
    if mode is None:
        mode = "readout" if modes[0] == "readout" else "label"
    elif panel is not None or mode not in ("label", "readout"):
        raise ValueError(
            f"`mode` is {mode!r}{' and there is a panel' * (panel is not None)}. Mend: 'label' or 'readout' for a "
            "preset's annotators; those of a panel say it each, such as {focus: voice, mode: readout}."
        )
    if panel is None and preset == "default":
        wordings = min(prompts.wordings(form) for form in MODES if prompts.wordings(form))
        members = default_panel(num_annotations, num_distributions, honours, wordings, mode=mode)
        if not honours and mode == "label":
            logger.info(
                "%s does not honour temperature: annotators differ in focus and wording (%s)",
                backend.model,
                describe_panel(members),
            )
    else:
        if panel is None:
            members = paper_panel(num_annotations, seed, mode)
        else:
            members = panel_from(panel)
        if not honours and any(one.temperature is not None and one.mode != "readout" for one in members):
            members = without_temperature(members, prompts)
            logger.warning(
                "%s does not honour temperature, so none is sent, and annotators differ in focus and wording alone%s",
                backend.model,
                ": this is not the paper's panel" if panel is None else "",
            )
    _check_read_outs(members)
    for member in members:
        if member.mode == "readout" and "readout" not in modes:
            raise ValueError(
                f"{backend.model} gives no log-probabilities that label probabilities could be read from, and the "
                "panel has annotators in readout mode. Mend: ask it in label mode; or ask an open model: --backend "
                "transformers on this machine, or a server that returns log-probabilities, such as vLLM's, by "
                "--backend openai with capabilities={'logprobs': True, 'modes': ['readout', 'label', 'distribution']}."
            )
        if member.mode not in modes:
            raise ValueError(
                f"{backend.model} cannot be asked in {member.mode} mode, and the panel has such annotators. "
                f"Mend: ask in {' or '.join(modes)} mode, or give the backend "
                "capabilities={'modes': [...]}."
            )
        if not prompts.wordings(member.mode):
            asked = "distribution" if member.mode == "distribution" else "label"
            raise ValueError(
                f"The prompts ask no question in {member.mode} mode, and the panel has such annotators. "
                f"Mend: give '{asked}' in the prompt file, or change the panel."
            )
    return members


def _check_read_outs(panel: Sequence[PanelMember]) -> None:
    """Raise a ValueError where members would read the same off: they would be counted as several that agree."""
    seen: dict[PanelMember, int] = {}
    for position, member in enumerate(panel):
        alike = replace(member, replicate=0)
        if member.mode == "readout" and alike in seen:
            raise ValueError(
                f"Annotator {position} would read the same off as annotator {seen[alike]}: nothing is drawn in readout "
                "mode. Mend: give it another focus, wording or persona, or leave it out (num_annotations up to foci "
                "times phrasings); as many votes as are wanted are drawn afterwards, with draw_votes."
            )
        seen[alike] = position


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
