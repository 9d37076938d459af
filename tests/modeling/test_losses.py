import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import log_softmax as scipy_log_softmax

from hf_emo_dist.modeling import losses
from hf_emo_dist.scores.divergences import jensen_shannon_divergence

ROW_LOSSES = {
    "js": losses.js_loss,
    "kl": losses.kl_loss,
    "soft_cross_entropy": losses.soft_cross_entropy_loss,
    "dirichlet_multinomial": losses.dirichlet_multinomial_loss,
}


@st.composite
def logits_and_targets(draw, limit=30.0):
    rows, k = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    logits = rng.uniform(-limit, limit, (rows, k)) * draw(st.sampled_from([0.1, 1.0]))
    kind = draw(st.sampled_from(["dense", "zeros", "one_hot"]))
    target = rng.dirichlet(np.ones(k), rows)
    if kind == "zeros":
        target[:, 0] = 0.0
        target /= target.sum(1, keepdims=True)
    elif kind == "one_hot":
        target = np.eye(k)[rng.integers(0, k, rows)]
    return logits.astype(np.float32), target.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(logits_and_targets())
def test_js_is_the_scored_divergence_in_nats(case):
    logits, target = case
    p = np.exp(scipy_log_softmax(logits.astype(np.float64), axis=-1))
    q = target.astype(np.float64) / target.sum(1, keepdims=True, dtype=np.float64)
    reference = jensen_shannon_divergence(p, q, base=math.e)
    loss = losses.js_loss(torch.from_numpy(logits), torch.from_numpy(target)).numpy()
    np.testing.assert_allclose(loss, reference, atol=2e-6)
    assert (loss >= -1e-6).all() and (loss <= math.log(2) + 1e-6).all()


@settings(max_examples=60, deadline=None)
@given(logits_and_targets())
def test_kl_and_soft_cross_entropy_match_scipy(case):
    logits, target = case
    log_p = scipy_log_softmax(logits.astype(np.float64), axis=-1)
    cross = -(target * log_p).sum(1)
    logits, target_tensor = torch.from_numpy(logits), torch.from_numpy(target)
    np.testing.assert_allclose(
        losses.soft_cross_entropy_loss(logits, target_tensor).numpy(), cross, rtol=1e-5, atol=1e-5
    )
    entropy = np.array([stats.entropy(row) for row in target.astype(np.float64)])
    np.testing.assert_allclose(losses.kl_loss(logits, target_tensor).numpy(), cross - entropy, rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(logits_and_targets(limit=11.0), st.integers(1, 40))
def test_dirichlet_multinomial_matches_scipy_without_its_coefficient(case, votes):
    logits, target = case
    counts = np.stack(
        [np.random.default_rng(votes).multinomial(votes, row / row.sum()) for row in target.astype(float)]
    )
    alpha = np.exp(logits.astype(np.float64))
    log_pmf = np.array([stats.dirichlet_multinomial.logpmf(n, a, votes) for n, a in zip(counts, alpha, strict=True)])
    coefficient = [math.lgamma(votes + 1) - sum(math.lgamma(c + 1) for c in row) for row in counts.tolist()]
    loss = losses.dirichlet_multinomial_loss(torch.from_numpy(logits), torch.from_numpy(counts))
    np.testing.assert_allclose(loss.numpy(), -(log_pmf - coefficient) / votes, rtol=1e-5, atol=1e-5)


def test_dirichlet_multinomial_of_many_fractional_and_no_votes():
    logits = torch.tensor([[0.3, -0.2, 1.0]] * 3, requires_grad=True)
    loss = losses.dirichlet_multinomial_loss(logits, torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 0.0], [1e5, 0, 0]]))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()
    assert loss[1] == 0 and (logits.grad[1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ROW_LOSSES)
@pytest.mark.parametrize("entropy_weight", [0.0, 0.08])
def test_values_and_gradients_are_finite_at_the_edges(name, dtype, entropy_weight):
    extreme = 1e4
    rows = [
        [extreme, -extreme, 0.0],
        [-extreme, extreme, 0.0],
        [extreme, extreme, -extreme],
        [0.0, 0.0, 0.0],
        [-extreme, -extreme, -extreme],
    ]
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [1 / 3, 1 / 3, 1 / 3]])
    for target in targets:
        logits = torch.tensor(rows, dtype=dtype, requires_grad=True)
        batch = target.expand(len(rows), 3)
        loss = losses.distribution_loss(logits, batch, name, entropy_weight)
        loss.backward()
        assert loss.dtype == torch.float32 and torch.isfinite(loss)
        assert logits.grad.dtype == dtype and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["js", "kl", "soft_cross_entropy"])
@pytest.mark.parametrize("target", [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.4, 0.6]])
def test_gradients_are_the_documented_ones(name, target):
    logits = torch.tensor([[0.7, -1.1, 0.4]], requires_grad=True)
    q = torch.tensor([target])
    ROW_LOSSES[name](logits, q).sum().backward()
    p = logits.detach().double().softmax(-1)
    if name == "js":
        g = 0.5 * (p / (0.5 * (p + q))).log()
        expected = p * (g - (p * g).sum(-1, keepdim=True))
    else:
        expected = p - q
    torch.testing.assert_close(logits.grad.double(), expected.double(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ROW_LOSSES)
def test_gradients_agree_with_finite_differences(name):
    # float32 inside, so the central difference is taken with a step that its rounding allows
    logits = torch.tensor([[0.7, -1.1, 0.4], [2.0, 0.1, -0.3]])
    target = torch.tensor([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    leaf = logits.clone().requires_grad_()
    losses.distribution_loss(leaf, target, name, 0.08).backward()
    step = 1e-2
    for i in range(2):
        for k in range(3):
            change = torch.zeros_like(logits)
            change[i, k] = step
            up, down = (losses.distribution_loss(logits + s * change, target, name, 0.08) for s in (1, -1))
            assert leaf.grad[i, k].item() == pytest.approx((up - down).item() / (2 * step), abs=2e-4)


def test_float64_gradcheck_of_the_dirichlet_multinomial():
    logits = torch.tensor([[0.7, -1.1, 0.4]], dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([[3.0, 0.0, 2.0]], dtype=torch.float64)
    loss = losses.dirichlet_multinomial_loss(logits, counts)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    alpha, n = logits.detach().exp(), counts
    expected = alpha * (
        torch.digamma(alpha.sum() + n.sum())
        - torch.digamma(alpha.sum())
        - torch.digamma(alpha + n)
        + torch.digamma(alpha)
    )
    torch.testing.assert_close(gradient, expected / n.sum(), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("name", ROW_LOSSES)
def test_gradient_vanishes_at_the_target(name):
    q = torch.tensor([[0.2, 0.3, 0.5]])
    logits = q.log().requires_grad_()
    if name == "dirichlet_multinomial":  # its optimum for proportional counts is in the mean's direction
        loss = losses.dirichlet_multinomial_loss(logits + 9.0, q * 10)
    else:
        loss = ROW_LOSSES[name](logits, q)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.abs().max() < 1e-3


def test_losses_reward_the_target_and_entropy_term_sharpens():
    q = torch.tensor([[0.1, 0.2, 0.7]])
    for name in ("js", "kl"):
        assert ROW_LOSSES[name](q.log(), q).item() == pytest.approx(0.0, abs=1e-6)
        assert ROW_LOSSES[name](torch.zeros(1, 3), q).item() > 0.01
    plain = losses.distribution_loss(torch.zeros(1, 3), q, "js")
    termed = losses.distribution_loss(torch.zeros(1, 3), q, "js", 0.08)
    assert (termed - plain).item() == pytest.approx(0.08 * math.log(3), rel=1e-5)


@pytest.mark.parametrize("name", ROW_LOSSES)
@pytest.mark.parametrize("entropy_weight", [0.0, 0.08])
def test_row_weights_multiply_rows_and_parts_add_up_to_the_whole(name, entropy_weight):
    rng = np.random.default_rng(0)
    logits, q = torch.from_numpy(rng.normal(size=(5, 3))), torch.from_numpy(rng.dirichlet(np.ones(3), 5))
    weight = torch.tensor([0.5, 2.0, 0.0, 1.0, 1.5])

    def loss(rows, row_weight):
        return losses.distribution_loss(logits[rows], q[rows], name, entropy_weight, row_weight)

    whole = loss(slice(None), weight)
    rows = [(weight[i] * loss(slice(i, i + 1), None)).item() for i in range(5)]
    assert whole.item() == pytest.approx(np.mean(rows), rel=1e-5)
    parts = (2 * loss(slice(2), weight[:2]) + 3 * loss(slice(2, 5), weight[2:])) / 5
    assert parts.item() == pytest.approx(whole.item(), rel=1e-6)
    assert loss(slice(None), torch.ones(5)).item() == pytest.approx(loss(slice(None), None).item(), rel=1e-6)


def test_invalid_inputs_are_named():
    with pytest.raises(ValueError, match="pass one a row"):
        losses.distribution_loss(torch.zeros(2, 2), torch.ones(2, 2), row_weight=torch.ones(3))
    with pytest.raises(ValueError, match="js, kl, soft_cross_entropy, dirichlet_multinomial"):
        losses.distribution_loss(torch.zeros(1, 2), torch.ones(1, 2), "jsd")
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(1, 3\)"):
        losses.distribution_loss(torch.zeros(1, 2), torch.ones(1, 3))
