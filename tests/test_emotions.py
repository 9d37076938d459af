from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.emotions import (
    ALIASES,
    CORPUS_CODES,
    KNOWN_EMOTIONS,
    PAPER_EMOTIONS,
    UnknownEmotionError,
    canonical_emotion,
    is_known_emotion,
    validate_emotions,
)

# The same examples every time, and no deadline: imports and busy machines make first calls slow.
steady = settings(deadline=None, derandomize=True)


def test_paper_emotions_are_four_in_a_fixed_order() -> None:
    assert PAPER_EMOTIONS == ("angry", "happy", "neutral", "sad")
    assert set(PAPER_EMOTIONS) <= set(KNOWN_EMOTIONS)


def test_aliases_and_codes_lead_to_known_names_and_are_read_only() -> None:
    assert set(ALIASES.values()) <= set(KNOWN_EMOTIONS)
    assert not set(ALIASES) & set(KNOWN_EMOTIONS)
    for codes in CORPUS_CODES.values():
        assert set(codes.values()) <= set(KNOWN_EMOTIONS)
    with pytest.raises(TypeError):
        ALIASES["rage"] = "angry"  # type: ignore[index]
    with pytest.raises(TypeError):
        CORPUS_CODES["cremad"]["ANG"] = "sad"  # type: ignore[index]


def test_one_letter_codes_belong_to_a_corpus() -> None:
    assert CORPUS_CODES["msp_podcast"]["A"] == "angry"
    assert CORPUS_CODES["emodb"]["A"] == "fear"
    assert not is_known_emotion("A")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Anger", "angry"),
        ("  HAPPINESS ", "happy"),
        ("Neutral state", "neutral"),
        ("neutral_state", "neutral"),
        ("Dissapointed", "disappointed"),
        ("fearful", "fear"),
        ("exc", "excited"),
        ("awe", "awe"),
        ("Very  Tired", "very tired"),
    ],
)
def test_spellings(label: str, name: str) -> None:
    assert canonical_emotion(label) == name


@steady
@given(st.text(min_size=1).filter(lambda text: text.strip()))
def test_canonical_names_stay_as_they_are(label: str) -> None:
    name = canonical_emotion(label)
    assert canonical_emotion(name) == name


def test_unknown_label_names_itself_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownEmotionError, match=r"'nuetral'.*angry, neutral.*Did you mean 'neutral'"):
        canonical_emotion("nuetral", ["Anger", "neutral"])


@pytest.mark.parametrize("label", ["", "  ", None, 3, float("nan")])
def test_labels_that_are_none(label: object) -> None:
    with pytest.raises(UnknownEmotionError, match="non-empty string"):
        canonical_emotion(label)  # type: ignore[arg-type]
    assert not is_known_emotion(label)  # type: ignore[arg-type]


def test_validate_keeps_order_and_own_labels() -> None:
    assert validate_emotions(["Sadness", "awe", "ANGRY"]) == ("sad", "awe", "angry")


@pytest.mark.parametrize("emotions", ["angry", None, {"angry", "sad"}])
def test_validate_refuses_what_is_no_list(emotions: object) -> None:
    with pytest.raises(TypeError, match="list of labels"):
        validate_emotions(emotions)  # type: ignore[arg-type]


def test_validate_refuses_duplicates_and_single_labels() -> None:
    with pytest.raises(ValueError, match=r"'angry' more than once: \['angry', 'Anger'\]"):
        validate_emotions(["angry", "Anger", "sad"])
    with pytest.raises(ValueError, match="at least two"):
        validate_emotions(["angry"])
