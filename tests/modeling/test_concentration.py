"""How sure a model trained by the Dirichlet-multinomial is, in votes."""

import numpy as np
import pytest
import torch
from tiny_data import tiny_rows, tone
from transformers import pipeline

from hf_emo_dist import predict_distributions
from hf_emo_dist.modeling.head import average_windows
from hf_emo_dist.modeling.losses import concentration, distribution_loss

MEAN = np.array([0.5, 0.3, 0.2])


def simulated_votes(rng, sure, rows, most=9):
    """Votes whose distributions behind them vary about `MEAN` as a Dirichlet of this concentration does: SIMULATED."""
    true = rng.dirichlet(sure * MEAN, rows)
    return np.stack([rng.multinomial(n, p) for n, p in zip(rng.integers(2, most, rows), true, strict=True)])


def minimised(parameters, loss):
    optimizer = torch.optim.LBFGS(parameters, lr=0.5, max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)


def test_the_loss_determines_it_for_each_kind_of_clip():
    rng = np.random.default_rng(0)
    known = [2.0, 20.0]
    counts = np.concatenate([simulated_votes(rng, sure, 6000) for sure in known])
    kind = torch.arange(2).repeat_interleave(6000)
    logits = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    minimised([logits], lambda: distribution_loss(logits[kind], torch.from_numpy(counts), "dirichlet_multinomial"))
    np.testing.assert_allclose(concentration(logits.detach()).numpy(), known, rtol=0.12)
    np.testing.assert_allclose(logits.detach().softmax(-1).numpy(), np.tile(MEAN, (2, 1)), atol=0.01)


def test_single_votes_do_not_determine_it():
    logits = torch.tensor([[0.3, -0.2, 1.0]], dtype=torch.float64)
    votes = torch.tensor([[0.0, 1.0, 0.0]])
    low, high = (distribution_loss(logits + level, votes, "dirichlet_multinomial").item() for level in (-2.0, 3.0))
    assert low == pytest.approx(high, abs=1e-6)


@pytest.fixture
def sure_model(tiny_model):
    tiny_model.config.loss_type = "dirichlet_multinomial"
    return tiny_model


def test_it_is_recovered_through_the_model(sure_model, tiny_processor):
    """The head's last bias, trained on simulated votes: forward, loss, prediction and pipeline mean the same."""
    rng = np.random.default_rng(1)
    rows = tiny_rows(8)
    inputs = tiny_processor.from_rows(rows)
    draws = torch.from_numpy(np.stack([simulated_votes(rng, 6.0, len(rows)) for _ in range(600)])).float()
    last = sure_model.head.classifier
    with torch.no_grad():
        last.weight.zero_()

    def loss():
        logits = sure_model(**inputs).logits
        every = logits.repeat(len(draws), 1)
        return distribution_loss(every, draws.flatten(0, 1), sure_model.config.loss_type)

    with torch.no_grad():
        again = sure_model(**inputs, vote_counts=draws[0]).loss
        mean = distribution_loss(sure_model(**inputs).logits, draws[0], "dirichlet_multinomial")
    assert again.item() == pytest.approx(mean.item())
    minimised([last.bias], loss)
    shares, sure = predict_distributions(sure_model, tiny_processor, rows, progress=False, return_concentration=True)
    np.testing.assert_allclose(sure, np.full(8, 6.0), rtol=0.1)
    np.testing.assert_allclose(shares, np.tile(MEAN, (8, 1)), atol=0.015)
    pipe = pipeline("speech-emotion-distribution", model=sure_model, processor=tiny_processor)
    answers = pipe(rows, return_concentration=True)
    np.testing.assert_allclose([answer["concentration"] for answer in answers], sure, rtol=1e-5)
    assert sum(entry["score"] for entry in answers[0]["distribution"]) == pytest.approx(1)


def test_a_row_of_windows_is_as_sure_as_its_windows(sure_model, tiny_processor):
    with torch.no_grad():
        sure_model.head.classifier.weight.mul_(40)
        sure_model.head.classifier.bias.add_(2.0)
    wave = np.concatenate([tone(200, 16), tone(900, 19, seed=1)])
    pipe = pipeline("speech-emotion-distribution", model=sure_model, processor=tiny_processor)
    found = pipe(wave, return_concentration=True, return_track=True)
    first, second = (part["concentration"] for part in found["track"])
    seconds = [part["end"] - part["start"] for part in found["track"]]
    assert found["concentration"] == pytest.approx(np.exp(np.average(np.log([first, second]), weights=seconds)))
    assert abs(first - second) > 1e-3 * first and found["concentration"] > 5
    tiny_processor.long_audio = "window"
    row = {"id": "a", "audio": {"array": wave, "sampling_rate": 16000}}
    _, sure = predict_distributions(sure_model, tiny_processor, [row], progress=False, return_concentration=True)
    assert sure[0] == pytest.approx(found["concentration"], rel=1e-4)


def test_windows_keep_their_level_only_for_it():
    logits = torch.tensor([[1.0, 2.0, -1.0], [3.0, 0.5, 0.0], [0.2, 0.1, 4.0]])
    rows, seconds = torch.tensor([0, 0, 1]), torch.tensor([1.0, 3.0, 2.0])
    plain = average_windows(logits, rows, seconds)
    kept = average_windows(logits, rows, seconds, keep_level=True)
    torch.testing.assert_close(kept.softmax(-1), plain.softmax(-1))
    torch.testing.assert_close(plain.logsumexp(-1), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(kept[1], logits[2])  # a row of one window is the window
    level = logits.logsumexp(-1)
    torch.testing.assert_close(kept.logsumexp(-1), torch.stack([(level[0] + 3 * level[1]) / 4, level[2]]))


def test_another_loss_says_nothing_of_it(tiny_model, tiny_processor):
    pipe = pipeline("speech-emotion-distribution", model=tiny_model, processor=tiny_processor)
    for ask in (
        lambda: predict_distributions(tiny_model, tiny_processor, tiny_rows(1), return_concentration=True),
        lambda: pipe(tone(300, 0.3), return_concentration=True),
    ):
        with pytest.raises(ValueError, match=r"loss_type='js'.*Mend.*dirichlet_multinomial"):
            ask()
