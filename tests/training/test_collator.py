import torch
from tiny_data import tiny_rows

from hf_emo_dist.training.collator import EmotionDistributionCollator


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
