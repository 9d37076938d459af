"""Read-outs, votes drawn from them and what was stated, beside people: against what draws come to, and known truths."""

import itertools
import math

import numpy as np
import pytest
from vote_setup import EMOTIONS, draw, truth, vote_table

from hf_emo_dist.scores.divergences import jensen_shannon_divergence
from hf_emo_dist.studies import Sources
from hf_emo_dist.studies.readout.expected import expected_divergences, in_turn
from hf_emo_dist.studies.readout.readout import readout
from hf_emo_dist.studies.vote_table import Annotations

ROWS = 120


def annotations(parts):
    """(mode, focus, (N, K) distributions) of one model, each about all rows."""
    row, shares, names, foci = [], [], [], []
    for mode, focus, given in parts:
        row += range(len(given))
        shares += list(given)
        names += [f"tiny, {focus}, {mode}"] * len(given)
        foci += [focus] * len(given)
    return Annotations(np.array(row), np.array(shares), np.array(names), np.array(foci))


@pytest.fixture(scope="module")
def told():
    """People and a panel of three who know the truth, a little off; labels drawn from them; and one that states it."""
    rng = np.random.default_rng(0)
    q = truth(ROWS, rng)
    members = [0.9 * q + 0.1 * rng.dirichlet(np.ones(len(EMOTIONS)), ROWS) for _ in range(3)]
    parts = [("readout", f"focus {i}", own) for i, own in enumerate(members)]
    parts += [("label", f"focus {i % 3}", np.eye(len(EMOTIONS))[draw(members[i % 3], 1, rng)[:, 0]]) for i in range(6)]
    parts.append(("distribution", "voice, and what is said", np.roll(q, 1, axis=1)))
    return vote_table(draw(q, 20, rng), annotations=annotations(parts)), q, members


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_the_closed_form_is_the_mean_over_all_draws(number):
    rng = np.random.default_rng(number)
    members, target = rng.dirichlet(np.ones(3), 2), rng.dirichlet(np.ones(3))
    target[0] = 0.0
    target /= target.sum()
    turns = in_turn([members], number)
    total = 0.0
    for labels in itertools.product(range(3), repeat=number):
        chance = math.prod(members[vote % 2][label] for vote, label in enumerate(labels))
        total += chance * jensen_shannon_divergence(np.bincount(labels, minlength=3) / number, target).item()
    *_, last = expected_divergences(turns, target[None])
    assert last.item() == pytest.approx(total, abs=1e-12)


def test_it_tells_what_is_near_to_what(told, tmp_path):
    table, q, members = told
    study = readout(Sources({"drawn": table}), num_resamples=30)
    (found,) = study.results["panels"].values()
    assert (found["model"], found["rows"], found["members"]) == ("tiny", ROWS, [3, 3])
    mean, people = np.mean(members, axis=0), table.counts() / 20
    assert found["to_people"]["readout"]["value"] == pytest.approx(jensen_shannon_divergence(mean, people).mean())
    stated = jensen_shannon_divergence(np.roll(q, 1, axis=1), people).mean()
    assert found["to_people"]["stated"]["value"] == pytest.approx(stated)
    apart = found["minus_readout"]
    assert apart["stated"]["low"] > 0 and apart["other"]["low"] > 0 and apart["labels"]["low"] > 0
    # the labels are draws from the read-outs, and are as far off as such
    drawn, labels = found["between"]["readout and as many drawn votes"], found["between"]["readout and labels"]
    assert labels["low"] < drawn["value"] < labels["high"] and found["labels_a_row"] == 6
    numbers = list(found["drawn"])
    assert numbers == list(range(1, 21))
    for key in ("to_people", "to_readout"):
        values = [entry[key]["value"] for entry in found["drawn"].values()]
        assert values == sorted(values, reverse=True)
        # three standard deviations of a mean over so many rows, and more
        assert all(abs(entry[f"once_{key}"] - entry[key]["value"]) < 0.05 for entry in found["drawn"].values())
    exact = found["to_people"]["readout"]
    match = found["votes_to_match"]
    assert match is None or found["drawn"][match]["to_people"]["value"] <= exact["high"]
    assert not any("say nothing of their clips" in line for line in study.findings)
    page = study.save(tmp_path).read_text()
    assert "Votes drawn from the read-outs" in page and (tmp_path / "readout.png").exists()


def test_a_model_with_random_weights_is_told_and_shows(told):
    table, _, _ = told
    rng = np.random.default_rng(1)
    random = rng.dirichlet(np.full(len(EMOTIONS), 20.0), ROWS)
    one = vote_table(table.votes, annotations=annotations([("readout", "voice", random)]), notes=["borrowed votes"])
    study = readout(Sources({"drawn": one}), random_weights=["tiny"], num_resamples=30, max_votes=3)
    assert study.notes == ["borrowed votes", "tiny has random weights: its figures show how the study works alone"]
    assert any("say nothing of their clips" in line for line in study.findings)
    (found,) = study.results["panels"].values()
    assert set(found["to_people"]) == {"readout", "member", "other"} and found["between"] == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_votes": 0}, "draws nothing"), ({"random_weights": ["huge"]}, "no read-outs of huge.*tiny")],
)
def test_what_does_not_fit_is_said(told, options, message):
    with pytest.raises(ValueError, match=message):
        readout(Sources({"drawn": told[0]}), num_resamples=5, **options)


def test_without_read_outs_it_says_how_to_get_some(told):
    for parts in ([("label", "voice", np.tile([1.0, 0, 0, 0], (ROWS, 1)))], []):
        given = annotations(parts) if parts else None
        with pytest.raises(ValueError, match="--mode readout"):
            readout(Sources({"drawn": vote_table(told[0].votes, annotations=given)}), num_resamples=5)
