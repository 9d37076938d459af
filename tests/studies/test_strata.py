import numpy as np
import pytest
from vote_setup import EMOTIONS, draw, truth, vote_table

from hf_emo_dist.scores.divergences import jensen_shannon_distance, jensen_shannon_divergence
from hf_emo_dist.studies import Sources
from hf_emo_dist.studies.strata import MEAN, UNIFORM, constant_predictors, cut_strata, strata


def test_few_distinct_entropies_are_the_strata_themselves():
    three = np.array([[3, 0, 0], [2, 1, 0], [1, 1, 1], [0, 0, 3]]) / 3
    few = cut_strata(three)
    assert few.names == ("0.00 bits", "0.92 bits", "1.58 bits") and few.index.tolist() == [0, 1, 2, 0]
    rng = np.random.default_rng(0)
    thirds = cut_strata(rng.dirichlet(np.ones(4), 90))
    assert thirds.names == ("low", "medium", "high") and np.bincount(thirds.index).tolist() == [30, 30, 30]
    # the paper's normalisation: an even split over two labels is as ambiguous as one over three
    assert cut_strata(np.array([[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [1, 0, 0]]), normalized=True).index.tolist() == [
        1,
        1,
        0,
    ]


def test_no_predictor_has_seen_the_speaker():
    rng = np.random.default_rng(0)
    shares, speakers = rng.dirichlet(np.ones(3), 12), list("aaabbbcccddd")
    cells = ["x", "y"] * 6
    found = constant_predictors(shares, speakers, {"cell": cells})
    for row in range(12):
        others = [i for i in range(12) if speakers[i] != speakers[row]]
        alike = [i for i in others if cells[i] == cells[row]]
        assert found[MEAN][row] == pytest.approx(shares[others].mean(axis=0))
        assert found["cell"][row] == pytest.approx(shares[alike].mean(axis=0))
    alone = constant_predictors(shares, speakers, {"cell": ["z"] + ["y"] * 11})
    assert alone["cell"][0] == pytest.approx(alone[MEAN][0])  # nobody else is alike


def by_name(study, key):
    return {stratum["name"]: stratum[key] for stratum in study.results["strata"]}


def test_strata_from_other_votes_do_not_make_a_finding_of_noise():
    rng = np.random.default_rng(0)
    # every utterance is alike: there is no ambiguity to find
    table = vote_table(draw(np.tile([0.5, 0.2, 0.2, 0.1], (600, 1)), 10, rng))
    data = Sources({"drawn": table})
    apart = by_name(strata(data, halves="yes", num_resamples=50), "js_divergence")
    same = by_name(strata(data, halves="no", num_resamples=50), "js_divergence")
    spread = [
        max(f[MEAN]["value"] for f in found.values()) - min(f[MEAN]["value"] for f in found.values())
        for found in (apart, same)
    ]
    assert spread[0] < 0.02 < 0.05 < spread[1]


def test_skill_of_a_model_by_stratum_and_the_paper_s_table_beside_it():
    rng = np.random.default_rng(1)
    q = truth(400, rng)
    columns = {"gender": [("f", "m")[place % 2] for place in range(400)]}
    table = vote_table(draw(q, 9, rng), columns=columns, notes=["simulated data"])
    model, data = 0.8 * q + 0.2 / 4, Sources({"drawn": table})
    study = strata(data, predictions={"model": model}, paper=True, num_resamples=100)
    assert study.notes == ["simulated data"]
    assert study.results["main"] == "model" and study.results["halves"]
    for skill in by_name(study, "skill").values():
        assert skill[MEAN]["low"] > 0 and skill[UNIFORM]["value"] > 0
    for floor, js in zip(by_name(study, "floor").values(), by_name(study, "js_divergence").values(), strict=True):
        assert floor["value"] < js["model"]["value"] + 0.02
    paper = study.tables[-1]
    assert paper.title.startswith("PAPER PROTOCOL") and "not comparable" in paper.title
    counts = table.counts()
    target = counts / counts.sum(axis=1, keepdims=True)
    expected = jensen_shannon_distance(model, target, np.e)[cut_strata(target, normalized=True).index == 0].mean()
    assert study.results["paper_protocol"]["js_distance_nats"]["model"][0] == pytest.approx(expected)

    other = strata(data, predictions={"model": model}, stratify_by="gender", num_resamples=50)
    assert list(by_name(other, "rows")) == ["f", "m"] and not other.results["halves"]
    js = by_name(other, "js_divergence")["f"]
    assert js["model"]["value"] == pytest.approx(jensen_shannon_divergence(model[::2], target[::2]).mean())
    for wrong, words in (
        (lambda: strata(data, stratify_by="mood"), "no column 'mood'"),
        (lambda: strata(Sources({"drawn": table}, by="gender")), "--stratify_by"),
        (lambda: strata(data, train_split="train"), "have no splits"),
        (lambda: strata(data, num_halves=0), "num_halves=0"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


def test_the_mean_predictor_may_be_that_of_a_training_split():
    from datasets import Dataset, DatasetDict

    from hf_emo_dist.data.opened import open_dataset

    def rows(votes):
        return Dataset.from_list(
            [{"id": f"{i}", "human_votes": [EMOTIONS[v] for v in row]} for i, row in enumerate(votes)]
        )

    rng = np.random.default_rng(2)
    test, train = draw(truth(60, rng), 6, rng), np.array([[0, 0, 1], [2, 3, 3]])
    opened = open_dataset(DatasetDict(test=rows(test), train=rows(train)), emotions=EMOTIONS)
    study = strata(Sources({"drawn": opened}, split="test"), train_split="train", halves="no", num_resamples=10)
    shares = np.stack([(test == k).mean(axis=1) for k in range(4)], axis=1)
    mean = np.broadcast_to(np.array([2, 1, 1, 2]) / 6, shares.shape)
    found = by_name(study, "js_divergence"), by_name(study, "rows")
    total = sum(found[0][name][MEAN]["value"] * found[1][name] for name in found[1])
    assert total / 60 == pytest.approx(jensen_shannon_divergence(mean, shares).mean())


def test_real_votes(real_data, tmp_path):
    source = real_data / "cremad_votes" / "votes.csv"
    if not source.is_file():
        pytest.skip(f"no {source}")
    data = Sources([str(source)], where={"modality": "voice"})
    study = strata(data, known=["intended", "level"], paper=True, num_resamples=30)
    found = {stratum["name"]: stratum for stratum in study.results["strata"]}
    assert list(found) == ["low", "medium", "high"]
    known = "knowing intended and level"
    assert found["low"]["skill"][MEAN]["value"] > found["high"]["skill"][MEAN]["low"] > 0
    assert all(s["js_divergence"][known]["value"] < s["js_divergence"][MEAN]["value"] for s in found.values())
    assert "only modality=voice" in study.save(tmp_path).read_text() and EMOTIONS[0] in study.facts["emotions"]


def test_halves_whose_strata_have_other_names_are_put_together():
    from hf_emo_dist.studies.strata import ScoredRows, Strata, _joined

    def part(names, index):
        shares = np.full((len(index), 2), 0.5)
        return ScoredRows(Strata(np.array(index), names), shares, shares, {"uniform": shares})

    joined = _joined([part(("low", "high"), [0, 1]), part(("0.92 bits",), [0])]).strata
    assert [joined.names[place] for place in joined.index] == ["low", "high", "0.92 bits"]
