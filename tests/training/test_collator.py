import pytest
import torch
from tiny_data import as_dataset, tiny_rows

from hf_emo_dist.training.collator import EmotionDistributionCollator
from hf_emo_dist.training.row_weights import RowWeights


def test_labels_follow_the_models_order_not_the_rows(tiny_processor):
    rows = tiny_rows(3)
    for row in rows:
        row["emotion_distribution"] = {"sad": 0.5, "happy": 0.2, "angry": 0.3}
    batch = EmotionDistributionCollator(tiny_processor)(rows)
    assert set(batch) == {*tiny_processor.model_input_names, "labels"}
    torch.testing.assert_close(batch["labels"], torch.tensor([[0.3, 0.2, 0.5]] * 3))


def test_votes_are_counted_with_weights_and_synthetic_ones_where_asked(tiny_processor):
    first, second, mixed = tiny_rows(3)
    first.update(human_votes=["sad", "sad", "happy"], synthetic_votes=["angry", "sad"])
    second.update(human_votes=["sad", "happy"], human_vote_weights=[0.5, 0.5], synthetic_votes=None)
    mixed.update(human_votes=None, emotion_distribution={"angry": 0.25, "happy": 0.75, "sad": 0.0})
    rows = [first, second, mixed]
    human = EmotionDistributionCollator(tiny_processor, with_votes=True)(rows)
    torch.testing.assert_close(human["vote_counts"], torch.tensor([[0, 1, 2], [0, 0.5, 0.5], [0.25, 0.75, 0]]))
    both = EmotionDistributionCollator(tiny_processor, with_votes=True, with_synthetic_votes=True)(rows)
    torch.testing.assert_close(both["vote_counts"][0], torch.tensor([1.0, 1, 3]))


def test_inputs_alone(tiny_processor):
    batch = EmotionDistributionCollator(tiny_processor, target_column=None)(tiny_rows(2))
    assert set(batch) == set(tiny_processor.model_input_names)


def weighted(*values):
    rows = tiny_rows(len(values))
    for row, value in zip(rows, values, strict=True):
        row["emotion_concentration"] = value
    return rows


def test_rows_weigh_by_what_their_targets_are_worth_and_the_mean_row_by_one(tiny_processor, caplog):
    rows = weighted(2.0, 6.0, None, 16.0)
    with caplog.at_level("INFO", "hf_emo_dist.training.row_weights"):
        weights = RowWeights.of(as_dataset(rows), 4.0)
    assert caplog.text.count("1 of 4 training rows do not say what their targets are worth") == 1
    found = EmotionDistributionCollator(tiny_processor, row_weights=weights)(rows)["loss_weight"]
    expected = torch.tensor([2 / 6, 6 / 10, 8 / 12, 16 / 20])  # a row without one: the mean, 8
    torch.testing.assert_close(found, expected / expected.mean())
    assert "loss_weight" not in EmotionDistributionCollator(tiny_processor)(rows)


@pytest.mark.parametrize(
    ("values", "change", "words"),
    [
        ((None, None), None, "No training row has a value"),
        ((1.0, 0.0), None, r"Row 'clip-0-01': emotion_concentration=0.0.*Mend"),
        ((1.0, float("nan")), None, r"Row 'clip-0-01': emotion_concentration=nan.*Mend"),
        ((1.0, 2.0), lambda rows: rows.remove_columns("emotion_concentration"), "needs a column.*Mend"),
        ((1.0, 2.0), lambda rows: rows.to_iterable_dataset(), r"is a stream. Mend"),
    ],
)
def test_data_that_does_not_say_what_its_targets_are_worth_is_refused(values, change, words):
    rows = as_dataset(weighted(*values))
    with pytest.raises(ValueError, match=words):
        RowWeights.of(rows if change is None else change(rows), 5.0)
