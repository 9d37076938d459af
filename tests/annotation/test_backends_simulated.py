import asyncio
import json
import pickle
import time

import numpy as np
import pytest
from backend_setup import EMOTIONS, member, prompt
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.annotation.backends.simulated import SimulatedBackend, confusion_matrix, draw_reply, rater_distribution
from hf_emo_dist.annotation.capabilities import cost_usd
from hf_emo_dist.annotation.types import PreparedAudio, TransientError, canonical_json

TRUTH = {"angry": 0.6, "happy": 0.3, "neutral": 0.1, "sad": 0.0}
PLAIN = {"sharpness": 1.0, "confusion": 0.0, "clip_noise": 0.0, "statement_noise": 0.0}


def request(backend, truth=TRUTH, mode="label", **member_settings):
    return backend.render(prompt(mode), member(mode, **member_settings), {"id": "a", "true_distribution": truth})


def labels(backend, count, truth=TRUTH, clips=None, **member_settings):
    """Shares of the labels, over members or over clips."""
    drawn = []
    for i in range(count):
        digest = "clip" if clips is None else f"clip-{i}"
        drawn.append(
            draw_reply(request(backend, truth, replicate=i if clips is None else 0, **member_settings), digest)
        )
    return np.array([drawn.count(name) / count for name in EMOTIONS])


def test_it_draws_from_the_rows_distribution():
    truth = np.array(list(TRUTH.values()))
    found = labels(SimulatedBackend(**PLAIN), 4000)
    np.testing.assert_allclose(found, truth, atol=4 * np.sqrt(0.25 / 4000))
    np.testing.assert_allclose(rater_distribution(request(SimulatedBackend(**PLAIN)), "clip"), truth)


def test_the_formulas_are_those_of_the_docstring():
    truth = np.array([0.6, 0.3, 0.1, 0.0])
    sharp = truth**2.5 / (truth**2.5).sum()
    confused = sharp @ confusion_matrix(0.2, list(EMOTIONS))
    hot = confused ** (1 / 0.5) / (confused ** (1 / 0.5)).sum()
    backend = SimulatedBackend(**{**PLAIN, "sharpness": 2.5, "confusion": 0.2})
    np.testing.assert_allclose(rater_distribution(request(backend), "c"), confused)
    np.testing.assert_allclose(rater_distribution(request(backend, temperature=0.5), "c"), hot)
    np.testing.assert_allclose(rater_distribution(request(backend, temperature=0.0), "c"), [1, 0, 0, 0])
    own = {name: {name: 1.0} for name in EMOTIONS} | {"angry": {"happy": 1.0}}
    backend = SimulatedBackend(**{**PLAIN, "confusion": own})
    np.testing.assert_allclose(rater_distribution(request(backend), "c"), [0, 0.9, 0.1, 0])


def test_the_clip_is_shared_and_has_the_stated_variance():
    backend = SimulatedBackend(**{**PLAIN, "clip_noise": 0.2})
    same = [rater_distribution(request(backend, replicate=i), "clip") for i in range(3)]
    np.testing.assert_array_equal(same[0], same[2])
    truth = np.array(list(TRUTH.values()))
    many = np.array([rater_distribution(request(backend), f"clip-{i}") for i in range(3000)])
    np.testing.assert_allclose(many.mean(0), truth, atol=0.02)
    np.testing.assert_allclose(many.var(0), 0.2 * truth * (1 - truth), rtol=0.12, atol=1e-9)


def test_a_focus_is_shared_by_its_annotators():
    backend = SimulatedBackend(**{**PLAIN, "focus_noise": 0.2})
    shares = {
        (focus, i): rater_distribution(
            {**request(backend, replicate=i), "focus": focus}, "clip"
        ).tolist()
        for focus in ("tone", "words")
        for i in range(2)
    }  # fmt: skip
    assert shares["tone", 0] == shares["tone", 1] != shares["words", 0] == shares["words", 1]


def test_stated_distributions_sum_to_one():
    backend = SimulatedBackend(statement_noise=0.1)
    stated = [json.loads(draw_reply(request(backend, mode="distribution", replicate=i), "clip")) for i in range(200)]
    assert all(list(entry) == list(EMOTIONS) for entry in stated)
    assert all(abs(sum(entry.values()) - 1) < 1e-9 and min(entry.values()) >= 0 for entry in stated)
    mean = np.mean([list(entry.values()) for entry in stated], axis=0)
    np.testing.assert_allclose(mean, rater_distribution(request(backend), "clip"), atol=0.06)


@settings(max_examples=60, deadline=None)
@given(
    raw=st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 1.0)), min_size=4, max_size=4).filter(any),
    noise=st.sampled_from([0.0, 0.001, 0.3, 0.99]),
    sharpness=st.sampled_from([0.05, 1.0, 40.0]),
    confusion=st.sampled_from([0.0, 0.3, 1.0]),
    temperature=st.sampled_from([None, 0.0, 0.05, 2.0]),
    seed=st.integers(0, 2**40),
)
def test_every_setting_gives_a_distribution(raw, noise, sharpness, confusion, temperature, seed):
    truth = dict(zip(EMOTIONS, (np.array(raw) / sum(raw)).tolist(), strict=True))
    backend = SimulatedBackend(
        sharpness=sharpness, confusion=confusion, clip_noise=noise, focus_noise=noise, statement_noise=noise, seed=seed
    )
    shares = rater_distribution(request(backend, truth, temperature=temperature), "clip")
    assert shares.min() >= 0 and shares.sum() == pytest.approx(1)
    assert draw_reply(request(backend, truth, temperature=temperature), "clip") in EMOTIONS
    stated = json.loads(draw_reply(request(backend, truth, "distribution", temperature=temperature), "clip"))
    assert sum(stated.values()) == pytest.approx(1) and min(stated.values()) >= 0


def test_draws_follow_from_seed_clip_and_annotator_alone():
    backend = SimulatedBackend(seed=3)
    replies = [draw_reply(request(backend, replicate=i), f"clip-{i % 7}") for i in range(50)]
    again = pickle.loads(pickle.dumps(backend))
    assert [draw_reply(request(again, replicate=i), f"clip-{i % 7}") for i in reversed(range(50))] == replies[::-1]
    for other in (
        [draw_reply(request(SimulatedBackend(seed=4), replicate=i), f"clip-{i % 7}") for i in range(50)],
        [draw_reply(request(backend, replicate=i), f"other-{i % 7}") for i in range(50)],
        [draw_reply(request(backend, replicate=i, wording=1), f"clip-{i % 7}") for i in range(50)],
    ):
        assert other != replies


def test_what_changes_the_answer_changes_the_request():
    base = canonical_json(request(SimulatedBackend()))
    changed = [
        request(SimulatedBackend(seed=1)),
        request(SimulatedBackend(sharpness=2)),
        request(SimulatedBackend(), {**TRUTH, "neutral": 0.0, "sad": 0.1}),
        request(SimulatedBackend(), replicate=1),
        request(SimulatedBackend(), temperature=0.5),
        request(SimulatedBackend(), mode="distribution"),
    ]
    assert len({base, *map(canonical_json, changed)}) == 7
    assert canonical_json(request(SimulatedBackend(latency_s=1.0))) == base


def test_refusals():
    backend = SimulatedBackend(refusal_rate=0.25)
    replies = [draw_reply(request(backend, replicate=i), "clip") for i in range(2000)]
    assert replies.count(None) / 2000 == pytest.approx(0.25, abs=0.04)


def reply(backend, timeout_s=5.0, **settings):
    return asyncio.run(
        backend.ask(request(backend, **settings), PreparedAudio(b"", "audio/flac", 1.0, "clip"), timeout_s)
    )


def test_answers_are_marked_as_simulated_and_cost_nothing():
    backend = SimulatedBackend()
    found = reply(backend)
    assert found.text in EMOTIONS and found.model_version == backend.model == "simulated-rater-v1"
    assert backend.name == "simulated" and backend.destination is None and backend.secrets() == ()
    assert found.settings["sharpness"] == 1.5
    from datetime import date

    assert cost_usd(found.usage, backend.capabilities, date(2030, 1, 1)) == 0.0
    refused = reply(SimulatedBackend(refusal_rate=1.0))
    assert (refused.text, refused.failure) == (None, "refused")


def test_latency_and_time_out():
    start = time.perf_counter()
    reply(SimulatedBackend(latency_s=0.1))
    assert time.perf_counter() - start >= 0.1
    with pytest.raises(TransientError) as caught:
        reply(SimulatedBackend(latency_s=0.1), timeout_s=0.01)
    assert caught.value.kind == "timeout"


ROWS = {
    "no column": ({"id": "r1"}, "'r1' has no 'true_distribution'"),
    "none": ({"id": "r1", "true_distribution": None}, "'r1' has no 'true_distribution'"),
    "no id": ({}, "A row has no"),
    "other labels": ({"id": "r1", "true_distribution": {"fear": 1.0}}, "labels fear"),
    "no struct": ({"id": "r1", "true_distribution": [0.5, 0.5]}, "list"),
    "no sum": ({"id": "r1", "true_distribution": {**TRUTH, "sad": 0.5}}, "no distribution"),
    "negative": ({"id": "r1", "true_distribution": {**TRUTH, "sad": -0.1, "neutral": 0.2}}, "no distribution"),
    "words": ({"id": "r1", "true_distribution": dict.fromkeys(TRUTH, "x")}, "no distribution"),
    "structs": ({"id": "r1", "true_distribution": {name: {"a": 1} for name in TRUTH}}, "no distribution"),
    "null share": ({"id": "r1", "true_distribution": {**TRUTH, "sad": None}}, "no distribution"),
}


@pytest.mark.parametrize("case", ROWS)
def test_rows_without_a_distribution_are_named(case):
    row, message = ROWS[case]
    with pytest.raises(ValueError, match=f"{message}.*Mend"):
        SimulatedBackend().render(prompt(), member(), row)


@pytest.mark.parametrize(
    "arguments",
    [
        {"sharpness": 0},
        {"clip_noise": 1.0},
        {"focus_noise": -0.1},
        {"refusal_rate": 2},
        {"confusion": 1.5},
        {"confusion": {"angry": {"happy": 0.5}}},
    ],
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        SimulatedBackend(**arguments)


def test_a_confusion_over_other_labels_is_refused():
    backend = SimulatedBackend(confusion={"angry": {"angry": 1.0}})
    with pytest.raises(ValueError, match="Mend: describe each of angry, happy"):
        draw_reply(request(backend), "clip")
