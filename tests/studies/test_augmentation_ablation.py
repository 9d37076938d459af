"""The ablation of augmentation, from data to table, on the tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest

from hf_emo_dist.studies import augmentation_ablation as room
from hf_emo_dist.studies.augmentation_ablation import ARMS, AblationArguments, make_unbalanced, run_ablation, summarise


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, tiny_backbone):
    return {
        "backbone": str(tiny_backbone),
        "output_dir": str(tmp_path_factory.mktemp("ablation")),
        "num_utterances": 60,
        "num_speakers": 6,
        "rare": "angry,sad",
        "keep": 0.3,
        "seeds": 2,
        "steps": 3,
        "batch_size": 4,
    }


def test_every_arm_is_trained_scored_and_resumed(arguments, monkeypatch):
    report = run_ablation(AblationArguments(**arguments))
    assert list(report["arms"]) == list(ARMS) and report["notes"] == ["simulated data"]
    assert report["scored_on"] == "true_distribution"
    rows = {arm: cells["rows"] for arm, cells in report["arms"].items()}
    assert rows["none"] < rows["default"] == rows["embedding"] == rows["oversampling"] and rows["paper"] >= rows["none"]
    for arm, cells in report["arms"].items():
        assert 0 < cells["all"]["js"] < 1 and len(cells["rare"]["by_seed"]) == 2
        if arm != "none":
            assert cells["all_difference"]["js"] == pytest.approx(
                cells["all"]["js"] - report["arms"]["none"]["all"]["js"]
            )
    mass = {arm: np.array(cells["mass"]) for arm, cells in report["arms"].items()}
    assert np.abs(mass["oversampling"] - mass["default"]).max() < 3
    folder = Path(arguments["output_dir"])
    text = (folder / "ablation.md").read_text()
    assert "simulated data" in text and "no augmentation" in text and "Default minus" in text

    def never(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(room, "train_head", never)
    assert run_ablation(AblationArguments(**arguments)) == report
    with pytest.raises(ValueError, match="other settings \\(steps\\)"):
        run_ablation(AblationArguments(**{**arguments, "steps": 4}))
    assert json.loads((folder / "ablation.json").read_text())["arms"].keys() == ARMS.keys()


def test_heads_are_those_of_the_model(tiny_model, tiny_processor, tiny_train):
    import torch

    from hf_emo_dist.studies.head_training import frozen_states, train_head

    states = frozen_states(tiny_model, tiny_processor, tiny_train, batch_size=5, progress=False)
    assert len(states) == 16 and tiny_model.head(states[3][None].float(), torch.ones(1, len(states[3]))).shape == (1, 3)
    with torch.no_grad():
        whole = tiny_model(**tiny_processor.from_rows([tiny_train[3]])).logits
        alone = tiny_model.head(states[3][None].float(), torch.ones(1, len(states[3])))
    torch.testing.assert_close(alone, whole, atol=2e-3, rtol=1e-2)  # kept in half precision
    goal = np.array([[row["emotion_distribution"][name] for name in ("angry", "happy", "sad")] for row in tiny_train])
    options = {"steps": 60, "learning_rate": 1e-2, "batch_size": 8}
    learnt, again = (train_head(tiny_model, states, goal, states, **options) for _ in range(2))
    assert np.array_equal(learnt, again) and np.abs(learnt - goal).mean() < np.abs(goal.mean(0) - goal).mean()


def test_paired_differences_by_hand():
    truth = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    good, bad = truth * 0.8 + 0.1, np.full((3, 2), 0.5)
    runs = [
        (s, arm, np.arange(3), p, {"rows": 3, "mass": [1, 2]})
        for s in (0, 1)
        for arm, p in (("none", bad), ("default", good))
    ]
    report = summarise(runs, ["none", "default"], truth, ["a", "a", "b"], [1], ["angry", "sad"])
    cells = report["arms"]["default"]
    assert cells["all_difference"]["js"] < 0 and cells["rare_difference"]["by_seed"] == pytest.approx(
        [cells["rare_difference"]["js"]] * 2
    )


def test_rare_classes_are_thinned_out():
    classes = np.repeat([0, 1, 2], 100)
    kept = make_unbalanced(classes, [0, 2], 0.1, seed=1)
    assert np.bincount(classes[kept]).tolist() == [10, 100, 10]
    assert not np.array_equal(kept, make_unbalanced(classes, [0, 2], 0.1, seed=2))


@pytest.mark.parametrize("wrong", [{"arms": "none,papper"}, {"keep": 0.0}, {"seeds": 0}])
def test_settings_that_do_not_exist(wrong):
    with pytest.raises(ValueError):
        AblationArguments(**{"backbone": "b", "output_dir": "o", **wrong})
