from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_emo_dist.scores import jensen_shannon_divergence

FOLDER = Path(__file__).parents[2] / "metrics" / "js_divergence"


@pytest.fixture(scope="module")
def evaluate_offline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    evaluate = pytest.importorskip("evaluate")
    patch = pytest.MonkeyPatch()
    # Modules and results go to a cache of our own, and the network must not be needed.
    patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
    patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    yield evaluate
    patch.undo()


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(4), 20), rng.dirichlet(np.ones(4), 20)


def test_module_gives_the_mean_of_the_figure(evaluate_offline: Any, rows: Any, tmp_path: Path) -> None:
    predictions, references = rows
    metric = evaluate_offline.load(str(FOLDER), cache_dir=str(tmp_path))
    result = metric.compute(predictions=predictions, references=references)
    assert result == {"js_divergence": pytest.approx(jensen_shannon_divergence(predictions, references).mean())}
    # The example of the card.
    card = metric.compute(predictions=[[1.0, 0.0], [0.5, 0.5]], references=[[0.0, 1.0], [0.5, 0.5]])
    assert card == {"js_divergence": 0.5}
    nats = metric.compute(predictions=[[1.0, 0.0]], references=[[0.0, 1.0]], base=np.e)
    assert nats["js_divergence"] == pytest.approx(np.log(2))


def test_module_adds_up_batches_and_combines(evaluate_offline: Any, rows: Any, tmp_path: Path) -> None:
    predictions, references = rows
    metric = evaluate_offline.load(str(FOLDER / "js_divergence.py"), cache_dir=str(tmp_path))
    for at in range(0, 20, 5):
        metric.add_batch(predictions=predictions[at : at + 5], references=references[at : at + 5])
    expected = pytest.approx(jensen_shannon_divergence(predictions, references).mean())
    assert metric.compute() == {"js_divergence": expected}
    both = evaluate_offline.combine([metric, metric])
    result = both.compute(predictions=predictions.tolist(), references=references.tolist())
    assert len(result) == 2
    assert all(value == expected for value in result.values())


def test_what_is_no_distribution_is_refused(evaluate_offline: Any, tmp_path: Path) -> None:
    metric = evaluate_offline.load(str(FOLDER), cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match="Row 1 of `p`"):
        metric.compute(predictions=[[0.5, 0.5], [3.0, -2.0]], references=[[0.5, 0.5], [0.5, 0.5]])
