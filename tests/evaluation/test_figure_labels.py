"""Labels are drawn as they are written, in every plot that has any."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from hf_emo_dist.augmentation.plan_report import class_mass_plot
from hf_emo_dist.data.figures import literal_text, png_of, write_figure
from hf_emo_dist.evaluation.plots import group_plot, predicted_against_target_plot, reliability_plot
from hf_emo_dist.studies.study import Plot, Study, interval_plot, legend_below, panels, polished

#: Names that matplotlib would take for formulas, some of them for none that it can draw.
NAMES = ["$angry$", "us$ and ca$", "sad$", "$a_$", "100\\$ $_", "a_b^c"]
NOTES = ["$simulated_$ data$"]
SHARES = np.full((3, len(NAMES)), 1 / len(NAMES))
SCORE = {"value": 0.5, "low": 0.4, "high": 0.6}
GROUP = {"num_examples": 3, "scores": {"js_divergence": SCORE}, "too_small": None, "mean_predictor": 0.4}
EACH = [1.0] * len(NAMES)
REPORT = SimpleNamespace(
    emotions=NAMES, mass_before=EACH, mass_after=EACH, counts_before=EACH, counts_after=EACH, balance=EACH,
    rows_before=5, rows_added=5,
)  # fmt: skip


def study_figure():
    figure, ((axis,),) = panels(1, ["$one"], NOTES, "Votes of $a$ and $")
    interval_plot(axis, {name: [SCORE] * 2 for name in NAMES}, NAMES[:2], "$y$$")
    legend_below(figure, axis)
    return polished(figure)


PLOTS = {
    "reliability": lambda: reliability_plot(SHARES, SHARES, NAMES, split="$t$ $", notes=NOTES),
    "predicted against target": lambda: predicted_against_target_plot(SHARES, SHARES, NAMES, notes=NOTES),
    "groups": lambda: group_plot({"$g$ $_": {"groups": dict.fromkeys(NAMES, GROUP)}}, notes=NOTES),
    "class mass": lambda: class_mass_plot(REPORT, notes=NOTES),
    "a study's": study_figure,
}


@pytest.mark.parametrize("plot", PLOTS)
def test_labels_are_drawn_as_they_are_written(plot):
    drawn = io.BytesIO()
    PLOTS[plot]().savefig(drawn, format="png", dpi=20)  # as a user would, who has the figure
    assert drawn.getvalue()[:4] == b"\x89PNG"


def test_a_study_with_such_names_is_saved(tmp_path):
    Study("mine", "$t$ $", {}, NOTES, plots=[Plot("mine", study_figure(), "$c$ $")]).save(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".html", ".json", ".md", ".pdf", ".png"]


def test_numbers_on_an_axis_stay_formulas(tmp_path):
    figure = Figure()
    axes = figure.subplots()
    axes.set_yscale("log")
    axes.plot([1, 2], [1, 1000])
    axes.set_xticks([1, 2], ["$one", "$two$"])
    write_figure(figure, tmp_path / "a.png", format="png")
    assert all(text.get_parse_math() for text in axes.get_yticklabels())
    assert not any(text.get_parse_math() for text in axes.get_xticklabels())
    assert png_of(literal_text(figure))[:4] == b"\x89PNG"
