import numpy as np

from hf_emo_dist.data.label_map import map_distributions


def test_distributions_are_mapped_by_adding_mass():
    rows = [{"joy": 0.25, "sad": 0.5, "bored": 0.25}, {"joy": 0.0, "sad": 0.0, "bored": 1.0}]
    matrix, kept = map_distributions(rows, ["happy", "sad"], {"joy": "happy", "bored": "sad"})
    np.testing.assert_allclose(matrix, [[0.25, 0.75], [0, 1]])
    matrix, kept = map_distributions(rows, ["happy", "sad"], {"joy": "happy", "sad": None})
    np.testing.assert_allclose(matrix, [[1, 0], [0, 0]])
    assert kept.tolist() == [True, False]
