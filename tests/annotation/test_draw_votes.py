"""Read-outs in figures: mass, temperature in closed form, draws that converge to them, and what counts as evidence."""

import math

import numpy as np
import pytest
from datasets import Dataset

import hf_emo_dist
from hf_emo_dist import VoteCombiner, combine_votes, draw_votes
from hf_emo_dist.annotation.parsing import read_probabilities
from hf_emo_dist.annotation.readout.probabilities import Masses, distribution_at, draw_labels, mass_of, panel_mean

EMOTIONS = ["angry", "happy", "sad"]
LOGS = np.log([0.4, 0.1, 0.3])


@pytest.mark.parametrize(
    "temperature, expected",
    [
        (None, [0.5, 0.125, 0.375]),
        (1, [0.5, 0.125, 0.375]),
        (0.5, [16 / 26, 1 / 26, 9 / 26]),
        (2, [2 / (3 + 3**0.5), 1 / (3 + 3**0.5), 3**0.5 / (3 + 3**0.5)]),
        (0, [1, 0, 0]),
        (1e-300, [1, 0, 0]),
        (1e300, [1 / 3] * 3),
    ],
)
def test_temperature_is_closed_form(temperature, expected):
    np.testing.assert_allclose(distribution_at(LOGS, temperature), expected, atol=1e-12)
    # in any common scale, and for rows at once
    np.testing.assert_allclose(distribution_at([LOGS - 900, LOGS], temperature), [expected] * 2, atol=1e-12)


def test_what_cannot_be_has_no_share_and_ties_share():
    np.testing.assert_allclose(distribution_at([-math.inf, 0, 0], 0), [0, 0.5, 0.5])
    np.testing.assert_allclose(distribution_at([-math.inf, -1, -1], 2), [0, 0.5, 0.5])
    np.testing.assert_allclose(panel_mean([[[1, 0], [0, 1]], [[0, 1], [0, 1]]]), [[0.5, 0.5], [0, 1]])


WRONG = {
    "nan": (lambda: distribution_at([math.nan, 0]), "NaN"),
    "nothing": (lambda: distribution_at([-math.inf] * 2), "No label has any"),
    "a negative temperature": (lambda: distribution_at(LOGS, -1), "Mend: a number from 0"),
    "an endless temperature": (lambda: distribution_at(LOGS, math.inf), "Mend: a number from 0"),
    "bits": (lambda: mass_of([0, 0]), "sum to 2"),
    "a mass of nan": (lambda: mass_of([math.nan]), "NaN"),
    "no members": (lambda: panel_mean([]), "one row a member"),
    "half a distribution": (lambda: draw_labels([[0.5, 0.2]], 3, 0, "a"), "sum to 1"),
    "votes below none": (lambda: draw_labels([[0.5, 0.5]], -1, 0, "a"), "whole number from 0"),
}


@pytest.mark.parametrize("call, message", WRONG.values(), ids=WRONG)
def test_wrong_figures_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_masses_are_counted_and_told():
    assert mass_of(LOGS) == pytest.approx(0.8) and mass_of([math.log(1.005)]) == 1
    found, other = Masses(), Masses()
    for mass in (0.9, 0.2):
        found.add(mass)
    other.update([found, Masses()])
    assert other == found and found.mean == pytest.approx(0.55) and "under 0.5 in 1" in found.told()


READINGS = {  # log-probabilities, outcome
    "all": ({"angry": -1, "happy": -1, "sad": -2}, "ok"),
    "one was not seen": ({"angry": -1, "sad": -2}, "ok"),
    "none was seen": ({}, "outside"),
    "all impossible": (dict.fromkeys(EMOTIONS, -math.inf), "outside"),
    "nothing came": (None, "unreadable"),
    "another label": ({"angry": -1, "bored": -2}, "outside"),
    "no logarithms": (dict.fromkeys(EMOTIONS, 0.3), "unreadable"),
    "nan": (dict.fromkeys(EMOTIONS, math.nan), "unreadable"),
}


@pytest.mark.parametrize("found, outcome", READINGS.values(), ids=READINGS)
def test_probabilities_are_read(found, outcome):
    reading = read_probabilities(found, EMOTIONS, 0.5)
    assert reading.outcome == outcome and (reading.distribution is not None) == (outcome == "ok")
    if outcome == "ok":
        assert list(reading.distribution) == EMOTIONS and sum(reading.distribution.values()) == pytest.approx(1)
        assert reading.distribution["angry"] / reading.distribution["sad"] == pytest.approx(math.exp(1 / 0.5))


# --- draws
def entry(shares, **more):
    told = dict(zip(EMOTIONS, shares, strict=True))
    return {
        "label": None, "distribution": told, "model": "m", "focus": "voice", "temperature": None, "mode": "readout",
        "replicate": 0, "key": "k", **more,
    }  # fmt: skip


def row(name, *entries):
    return {"id": name, "human_votes": ["sad", "angry"], "synthetic_annotations": list(entries)}


def test_draws_follow_the_read_outs_and_begin_alike():
    shares = np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    many = draw_labels(shares, 20_000, 7, "clip")
    for member in range(2):  # members take turns
        seen = np.bincount(many[member::2], minlength=3)
        expected = 10_000 * shares[member]
        assert ((seen - expected) ** 2 / expected).sum() < 13.8  # chi-square with 2 degrees of freedom, p = 0.001
    assert (draw_labels(shares, 11, 7, "clip") == many[:11]).all()
    assert (draw_labels(shares, 50, 8, "clip") != many[:50]).any()
    assert (draw_labels(shares, 50, 7, "klip") != many[:50]).any()
    assert not (draw_labels([[0.0, 1.0, 0.0]], 1000, 0, "clip") - 1).any()


def test_draw_votes_maps_rows_and_batches_alike_at_any_temperature():
    read, cooler = entry([0.6, 0.1, 0.3]), entry(distribution_at(np.log([0.6, 0.1, 0.3]), 0.5), temperature=0.5)
    data = Dataset.from_list([row(f"u{i}", read, cooler) for i in range(5)] + [row("bare")])
    one, many = data.map(draw_votes), data.map(draw_votes, batched=True, batch_size=2)
    assert one["synthetic_votes"][:] == many["synthetic_votes"][:]
    assert list(map(len, one["synthetic_votes"])) == [10] * 5 + [0]
    longer = data.map(draw_votes, fn_kwargs={"num_votes": 25})
    assert [votes[:10] for votes in longer["synthetic_votes"]] == one["synthetic_votes"][:]
    # at one temperature for all, the two members are one
    hot = draw_votes(row("u", read, cooler), 200, temperature=1.5)
    assert hot == draw_votes(row("u", read, read), 200, temperature=1.5) != draw_votes(row("u", read, read), 200)
    assert set(draw_votes(row("u", read), 20, temperature=0)["synthetic_votes"]) == {"angry"}


def cold(heat=0.002):
    """A read-out near temperature 0, as the column has it: shares that are far below each other underflow."""
    return entry(distribution_at(np.log([0.6, 0.01, 0.3]), heat), temperature=float(np.float32(heat)))


def test_zeros_that_hide_nothing_and_the_own_temperature_are_drawn():
    assert cold()["distribution"]["happy"] == 0 < cold()["distribution"]["sad"]
    for temperature in (0.002, 0, None):  # its own, colder
        assert set(draw_votes(row("a", cold()), 9, temperature)["synthetic_votes"]) == {"angry"}
    # a label that was not seen at all, and what is below the least number at 1
    for heat in (0.5, 2):
        assert len(draw_votes(row("a", entry([0.6, 0.0, 0.4])), 9, heat)["synthetic_votes"]) == 9
    assert draw_votes(row("a", entry(distribution_at(LOGS, 0.02), temperature=0.02)), 50, 1) == draw_votes(
        row("a", entry(distribution_at(LOGS))), 50
    )


DRAWS = {
    "no annotations": ({"id": "a"}, {}, "No column 'synthetic_annotations'"),
    "no id": ({"synthetic_annotations": [entry([1, 0, 0])]}, {}, "No column 'id'"),
    "no read-out": (row("a", entry([1, 0, 0], mode="distribution")), {}, "no read-out among them"),
    "too few": (row("a"), {"num_votes": -1}, "whole number from 0"),
    "too cold": (row("a"), {"temperature": -0.1}, "a number from 0"),
    "from temperature 0": (row("a", entry([1, 0, 0], temperature=0.0)), {"temperature": 1.0}, "annotate again without"),
    "from one near 0": (row("a", cold()), {"temperature": 1.0}, "too small for a number.* annotate again without"),
    "from one near 0 to the next": (row("a", cold()), {"temperature": 0.1}, "too small for a number"),
}


@pytest.mark.parametrize("example, options, message", DRAWS.values(), ids=DRAWS)
def test_what_cannot_be_drawn_is_said(example, options, message):
    with pytest.raises(Exception, match=message) as caught:
        draw_votes(example, **options)
    assert "Mend: " in str(caught.value)


def test_drawn_votes_are_no_evidence_beside_their_read_outs():
    said = {**entry([0, 0, 0]), "label": "happy", "distribution": None, "mode": "label", "model": "n"}
    plain = row("a", entry([0.5, 0.0, 0.5]), said)
    drawn = {**plain, **draw_votes(plain, 3)}
    assert drawn["synthetic_votes"][0] == "happy" and len(drawn["synthetic_votes"]) == 4
    pooled = combine_votes(plain, EMOTIONS)["emotion_distribution"]
    assert list(pooled.values()) == pytest.approx([1.5 / 4, 1 / 4, 1.5 / 4])
    counted = [drawn["human_votes"].count(name) + drawn["synthetic_votes"].count(name) for name in EMOTIONS]
    pooled = combine_votes(drawn, EMOTIONS)["emotion_distribution"]
    assert list(pooled.values()) == pytest.approx([count / 6 for count in counted])
    combiner = VoteCombiner(EMOTIONS)
    evidence = [combiner.evidence(Dataset.from_list([one])) for one in (plain, drawn)]
    assert [sorted(one.annotators) for one in evidence] == [["m (read-out)", "n"]] * 2
    for name in evidence[0].annotators:
        assert (evidence[0].annotators[name].mean == evidence[1].annotators[name].mean).all()
    assert hf_emo_dist.annotation.draw_votes is draw_votes
