"""Panels: evenly spread, without two members that are alike."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_emo_dist.annotation.panel import default_panel, load_panel, panel_from, paper_panel, without_temperature
from hf_emo_dist.annotation.prompts import PAPER_FOCI, default_prompts, paper_prompts
from hf_emo_dist.annotation.types import PanelMember


@given(st.integers(1, 60), st.integers(0, 12), st.booleans(), st.integers(1, 4))
def test_default_panels_are_of_the_wanted_size_even_and_without_repetition(labels, distributions, honours, wordings):
    panel = default_panel(labels, distributions, honours, wordings)
    assert len(panel) == len(set(panel)) == labels + distributions
    for mode, number in (("label", labels), ("distribution", distributions)):
        foci = Counter(member.focus for member in panel if member.mode == mode)
        assert sum(foci.values()) == number
        assert not number or max(foci.values()) - min(foci[focus] for focus in PAPER_FOCI) <= 1
    assert all((member.temperature is not None) == honours for member in panel)
    assert all(member.wording < wordings for member in panel)


def test_focus_and_temperature_are_crossed_by_default_and_confounded_in_the_paper_s():
    pairs = {(member.focus, member.temperature) for member in default_panel(10)}
    assert len(pairs) == 10 and len({temperature for _, temperature in pairs}) == 2
    paper = paper_panel(20)
    bands = {
        "tone_and_content": (0.1, 0.35),
        "voice": (0.25, 0.55),
        "words": (0.45, 0.75),
        "subtle_cues": (0.65, 0.95),
        "what_and_how": (0.85, 0.98),
    }
    for i, member in enumerate(paper):
        low, high = bands[member.focus]
        assert member.focus == PAPER_FOCI[i % 5] and low <= member.temperature <= high and member.mode == "label"


def test_paper_temperatures_are_fixed_by_the_seed_and_the_place():
    assert paper_panel(20)[:6] == paper_panel(6)
    assert paper_panel(6, seed=1) != paper_panel(6, seed=2)


@pytest.mark.parametrize("prompts", [default_prompts(), paper_prompts()])
def test_without_temperature_members_stay_apart(prompts):
    panel = without_temperature(paper_panel(20), prompts)
    assert len(set(panel)) == 20 and all(member.temperature is None for member in panel)
    assert Counter(member.focus for member in panel) == Counter(member.focus for member in paper_panel(20))
    told = {(prompts.render(m, ["a", "b"]).system, prompts.render(m, ["a", "b"]).text) for m in panel}
    assert len(told) == 20


def test_a_user_s_panel_is_taken_as_it_is():
    panel = panel_from(
        [
            {"focus": "voice", "temperature": 0.5},
            PanelMember("words", mode="distribution"),
            {"focus": "voice", "temperature": 0.5},
        ]
    )
    assert [member.replicate for member in panel] == [0, 0, 1]


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([], "A panel is a list"),
        ("voice", "A panel is a list"),
        ([{"focus": "voice", "mood": 1}], "Annotator 0 has unknown fields: mood"),
        ([{"focus": "voice"}, {"focus": "voice", "mode": "vote"}], "Annotator 1: `mode`"),
        ([{"focus": "voice", "temperature": 3}], "Annotator 0: `temperature`"),
        ([{"temperature": 1.0}], "Annotator 0: .*focus"),
    ],
)
def test_a_wrong_panel_is_explained(members, problem):
    with pytest.raises(ValueError, match=problem):
        panel_from(members)


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_a_wrong_number_of_annotators_is_refused(number):
    with pytest.raises(ValueError, match="num_annotations"):
        paper_panel(number)
    if number != 0:
        with pytest.raises(ValueError, match="num_annotations"):
            default_panel(number)
    else:
        with pytest.raises(ValueError, match="at least one member"):
            default_panel(0, 0)


def test_a_panel_from_a_file_is_the_same_panel(tmp_path):
    path = tmp_path / "panel.yaml"
    path.write_text(
        "- focus: voice\n- {focus: words, temperature: 0.7, mode: distribution, persona: a nurse}\n- focus: voice\n"
    )
    members = [{"focus": "voice"}, {"focus": "words", "temperature": 0.7, "mode": "distribution", "persona": "a nurse"}]
    assert load_panel(path) == load_panel(str(path)) == panel_from([*members, {"focus": "voice"}])


FILES = {
    "no list": ("focus: voice", "A panel is a list"),
    "nothing": ("", "A panel is a list"),
    "no YAML": ("- [", "not YAML"),
    "no focus": ("- {temperature: 1}", "Annotator 0: it has no focus"),
    "a word": ("- voice", "Annotator 0 is 'voice'"),
    "an unknown field": (
        "- focus: voice\n- {focus: voice, temprature: 1}",
        "Annotator 1 has unknown fields: temprature",
    ),
    "a wrong value": ("- {focus: voice, mode: song}", "'song'"),
    "a wrong type": ("- {focus: voice, temperature: warm}", "Annotator 0"),
    "a model": ("- {focus: voice, model: gpt-audio}", "Annotator 0 names a model of its own"),
}


@pytest.mark.parametrize("text, problem", FILES.values(), ids=FILES)
def test_a_wrong_file_is_named_with_its_member(tmp_path, text, problem):
    path = tmp_path / "panel.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)panel\.yaml.*{problem}") as raised:
        load_panel(path)
    assert "Mend" in str(raised.value)
    with pytest.raises(FileNotFoundError, match="Mend"):
        load_panel(tmp_path / "none.yaml")
