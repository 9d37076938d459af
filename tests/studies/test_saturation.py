from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vote_setup import EMOTIONS, draw, truth, vote_table

from hf_emo_dist.distributions import entropy
from hf_emo_dist.scores.divergences import jensen_shannon_divergence
from hf_emo_dist.studies import Sources
from hf_emo_dist.studies.saturation.curves import (
    CurveSettings,
    fit_exponential,
    fit_hyperbola,
    saturation_curves,
)
from hf_emo_dist.studies.saturation.saturation import saturation

QUICK = {"num_resamples": 60, "num_subsets": 8}


# --- fits


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.floats(-1, 1), st.floats(0.05, 2), st.floats(0.03, 3), st.booleans(), st.integers(8, 30))
def test_an_exact_exponential_is_recovered(a, size, c, falls, most):
    n = np.arange(1, most + 1)
    b = size if falls else -size
    fit = fit_exponential(n, a + b * np.exp(-c * n))
    np.testing.assert_allclose(fit.at(n)[0], a + b * np.exp(-c * n), atol=1e-4 * size)
    if np.exp(-c) > 0.1 and c * most > 1:  # enough of the bend is seen
        assert fit.c[0] == pytest.approx(c, rel=0.01)
        assert fit.relative_point()[0] == pytest.approx(1 + np.log(10) / c, rel=0.01)


def test_fits_agree_with_scipy_and_many_curves_at_once_are_as_one():
    from scipy.optimize import curve_fit

    rng = np.random.default_rng(0)
    n = np.arange(1, 21)
    curves = 0.36 + 0.09 * np.exp(-0.35 * n) + 0.002 * rng.standard_normal((5, 20))
    together = fit_exponential(n, curves)
    for place, curve in enumerate(curves):
        (a, b, c), _ = curve_fit(lambda x, a, b, c: a + b * np.exp(-c * x), n, curve, p0=(0.36, 0.09, 0.3))
        assert (together.a[place], together.b[place], together.c[place]) == pytest.approx((a, b, c), rel=1e-3)
        assert fit_exponential(n, curve).c[0] == together.c[place]
        slope, level = np.polyfit(1 / n, curve, 1)
        line = fit_hyperbola(n, curve)
        assert (line.a[0], line.b[0]) == pytest.approx((level, slope))


def test_points():
    n = np.arange(1, 21)
    hyperbola = fit_hyperbola(n, 0.1 + 0.4 / n)
    # ten votes whatever the data: such a curve has no saturation point of its own
    assert hyperbola.relative_point()[0] == 10
    assert hyperbola.absolute_point(0.01)[0] == pytest.approx(40)


# --- curves


def test_curves_are_what_one_row_at_a_time_gives():
    rng = np.random.default_rng(0)
    labels, human = draw(truth(26, rng, 2.0), 7, rng), draw(truth(26, rng, 2.0), 4, rng)
    ids = list("abcdefghijklmnopqrstuvwxyz")
    curves = saturation_curves(labels, 4, CurveSettings(5, "human", "given", num_resamples=2), ids, human)
    for n in range(1, 6):
        first = np.array([np.bincount(row[:n], minlength=4) / n for row in labels])
        target = np.array([np.bincount(row, minlength=4) / 4 for row in human])
        assert curves.js[n - 1] == pytest.approx(jensen_shannon_divergence(first, target).mean())
        if n > 1:
            expected = np.corrcoef(entropy(first), entropy(target))[0, 1]
            assert curves.correlation[n - 1] == pytest.approx(expected)
    assert np.isnan(curves.correlation[0])  # the entropy of one vote is 0 everywhere


def test_subsets_depend_on_seed_and_id_alone():
    rng = np.random.default_rng(0)
    labels = draw(truth(30, rng), 9, rng)
    ids = [f"row-{place}" for place in range(30)]
    chosen = CurveSettings(5, "held_out", num_subsets=3, num_resamples=2)
    whole = saturation_curves(labels, 4, chosen, ids)
    order = rng.permutation(30)
    assert np.allclose(saturation_curves(labels[order], 4, chosen, [ids[i] for i in order]).js, whole.js)
    # each row's own curve does not depend on the other rows
    parts = [
        saturation_curves(labels[rows], 4, chosen, [ids[i] for i in rows]).js for rows in (range(10), range(10, 30))
    ]
    assert np.allclose((10 * parts[0] + 20 * parts[1]) / 30, whole.js)
    assert not np.allclose(saturation_curves(labels, 4, replace(chosen, seed=1), ids).js, whole.js)


# --- the study


def test_a_known_saturation_point_is_recovered_within_its_interval():
    most = 16
    population = np.random.default_rng(99)
    q = truth(20000, population)
    known = saturation_curves(
        draw(q, most, population),
        4,
        CurveSettings(most, "human", "given", num_resamples=1),
        [str(i) for i in range(len(q))],
        draw(q, 5, population),
    )
    point = np.ceil(fit_exponential(known.n, known.js).relative_point()[0])
    hits = 0
    for trial in range(3):
        rng = np.random.default_rng(trial)
        q = truth(500, rng)
        table = vote_table(draw(q, 5, rng), draw(q, most, rng))
        study = saturation(Sources({"drawn": table}), votes="synthetic", seed=trial, **QUICK)
        found = study.results["corpora"]["drawn"]["js"]["exponential"]["n_relative"]
        assert found["high"] - found["low"] <= 4
        hits += found["low"] <= point <= found["high"]
        correlation = study.results["corpora"]["drawn"]["correlation"]["exponential"]["n_relative"]
        assert correlation["value"] > found["value"]  # the two saturate at different numbers
    assert hits >= 2


@pytest.mark.parametrize("reference", ["held_out", "full", "human"])
def test_independent_draws_are_not_mistaken_for_a_finding(reference):
    for trial in range(3):
        rng = np.random.default_rng([trial, 7])
        q = truth(600, rng)
        synthetic = draw(q, 12, rng) if reference == "human" else None
        table = vote_table(draw(q, 9, rng), synthetic)
        votes = "synthetic" if synthetic is not None else "human"
        study = saturation(Sources({"drawn": table}), votes=votes, reference=reference, seed=trial, **QUICK)
        found = study.results["corpora"]["drawn"]
        assert not found["js"]["differs"]
        assert not found["correlation"]["differs"]
        assert all("no evidence" in line for line in study.findings)


def test_annotators_who_repeat_themselves_are_found():
    rng = np.random.default_rng(0)
    q = truth(600, rng)
    first = draw(q, 4, rng)
    table = vote_table(draw(q, 5, rng), np.tile(first, (1, 4)))  # from the fifth vote on nothing is new
    study = saturation(Sources({"copies": table}), votes="synthetic", order="given", **QUICK)
    found = study.results["corpora"]["copies"]["js"]
    assert found["differs"] and found["p_value"] < 0.05
    assert "differs from that of independent draws" in " ".join(study.findings)


def test_what_cannot_be_studied_is_refused():
    rng = np.random.default_rng(0)
    table = vote_table(draw(truth(10, rng), 5, rng))
    for options, words in (
        ({"votes": "synthetic"}, "no synthetic votes"),
        ({"reference": "human"}, "reference"),
        ({"max_votes": 20}, "20 votes"),
        ({"max_votes": 0}, "max_votes=0"),
        ({"num_subsets": 0}, "num_subsets=0"),
        ({}, "Mend: lower max_votes"),
    ):
        with pytest.raises(ValueError, match=words):
            saturation(Sources({"few": table}), **{**QUICK, **options})
    counts = replace(vote_table(draw(truth(10, rng), 9, rng)), in_order=False)
    with pytest.raises(ValueError, match="no order"):
        saturation(Sources({"counts": counts}), order="given", **QUICK)


def test_real_votes(real_data, tmp_path):
    source = real_data / "cremad_votes" / "votes.csv"
    if not source.is_file():
        pytest.skip(f"no {source}")
    study = saturation(Sources([f"cremad={source}"], by="modality"), num_resamples=10, num_subsets=2)
    assert study.notes == ["human votes, subsampled: this is not about synthetic annotation"]
    found = study.results["corpora"]
    assert set(found) == {"cremad, voice", "cremad, face", "cremad, audiovisual"}
    voice, both = (found[f"cremad, {name}"]["js"]["observed"] for name in ("voice", "audiovisual"))
    assert all(a > b for a, b in zip(voice, both, strict=False))  # listeners who see the face too agree more
    assert all(np.diff(voice) < 0)
    study.save(tmp_path)
    for name in ("saturation.html", "saturation.md", "saturation.png", "saturation.pdf"):
        assert (tmp_path / name).stat().st_size > 1000
    assert EMOTIONS[0] in study.facts["emotions"] and "1 to 6" in (tmp_path / "saturation.md").read_text()
