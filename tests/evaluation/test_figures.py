import numpy as np
import pytest

from hf_emo_dist.evaluation.plots import predicted_against_target_plot, reliability_curve, reliability_plot

EMOTIONS = ("angry", "happy", "neutral", "sad")


@pytest.fixture
def matrices():
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(4), 50), rng.dirichlet(np.ones(4), 50)


def test_curve_counts_every_value_and_averages_shares():
    mean, share, count = reliability_curve(np.array([0.0, 0.04, 0.5, 1.0]), np.array([0.2, 0.4, 1.0, 0.0]))
    assert count.tolist() == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert share[0] == pytest.approx(0.3)
    assert mean[0] == pytest.approx(0.02)
    assert np.isnan(share[1])
    assert (share[5], share[9]) == (1.0, 0.0)


def test_a_perfect_prediction_lies_on_the_diagonal(matrices):
    p, _ = matrices
    figure = reliability_plot(p, p, EMOTIONS)
    line = figure.axes[0].lines[1]
    assert np.allclose(line.get_xdata(), line.get_ydata())


@pytest.mark.parametrize("plot", [reliability_plot, predicted_against_target_plot])
def test_plots_are_written_and_say_what_they_show(matrices, plot, tmp_path):
    path = tmp_path / "new" / "plot.png"
    figure = plot(*matrices, EMOTIONS, path, split="test", notes=["simulated data"])
    assert path.read_bytes().startswith(b"\x89PNG")
    title = figure.get_suptitle()
    assert "50 utterances" in title and "'test'" in title and "simulated data" in title
    shown = " ".join(axis.get_title() for axis in figure.axes)
    assert all(emotion in shown for emotion in EMOTIONS)


def test_plots_touch_no_global_state(matrices):
    import sys

    sys.modules.pop("matplotlib.pyplot", None)
    reliability_plot(*matrices, EMOTIONS)
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize("plot", [reliability_plot, predicted_against_target_plot])
def test_what_cannot_be_plotted_is_refused(matrices, plot):
    p, q = matrices
    with pytest.raises(ValueError, match="shape"):
        plot(p, q[:-1], EMOTIONS)
    with pytest.raises(ValueError, match="finite"):
        plot(p, np.full_like(q, np.nan), EMOTIONS)
