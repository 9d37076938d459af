import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.augmentation import neighbours as room
from hf_emo_dist.augmentation.neighbours import find_neighbours, scale_features


def by_hand(x, k, groups, allowed):
    """All distances, copies taken out, sorted: slow and plain."""
    keys = [tuple(np.round(row, 4) + 0.0) for row in x]
    answer = []
    for i in range(len(x)):
        seen, found = {keys[i]}, []
        for j in sorted(range(len(x)), key=lambda j: (round(float(np.linalg.norm(x[i] - x[j])), 5), j)):
            first = next(n for n in range(len(x)) if keys[n] == keys[j] and groups[n] == groups[j])
            if j == i or groups[i] != groups[j] or first != j or keys[j] in seen or not allowed(i, j):
                continue
            seen.add(keys[j])
            found.append(j)
        answer.append((found + [-1] * k)[:k])
    return np.array(answer)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_neighbours_are_those_found_by_hand(seed, size, k, number_of_groups, restricted):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((size, 3)).astype(np.float32)
    x[rng.integers(size, size=size // 4)] = x[0]  # copies
    groups, speakers = rng.integers(number_of_groups, size=size), rng.integers(3, size=size)
    allowed = (lambda rows, candidates: speakers[rows][:, None] != speakers[candidates]) if restricted else None
    found = find_neighbours(x, k, groups=groups, allowed=allowed)
    expected = by_hand(x, k, groups, lambda i, j: not restricted or speakers[i] != speakers[j])
    np.testing.assert_array_equal(found.indices, expected)
    filled = found.indices >= 0
    real = np.linalg.norm(x[:, None] - x[found.indices], axis=2)
    np.testing.assert_allclose(found.distances[filled], real[filled], rtol=1e-5)
    assert np.isinf(found.distances[~filled]).all() and found.recall is None


def test_a_row_looks_beyond_what_it_may_not_have():
    x = np.arange(400, dtype=np.float32)[:, None]
    odd_one_out = np.zeros(400, dtype=bool)
    odd_one_out[-1] = True
    found = find_neighbours(
        x, 2, queries=np.array([0]), allowed=lambda rows, candidates: odd_one_out[candidates] | (candidates == 200)
    )
    assert found.indices.tolist() == [[200, 399]]


def test_features_without_clusters_cost_no_more_for_a_row_where_there_are_more_of_them(monkeypatch, caplog):
    monkeypatch.setattr(room, "_MOST_COMPARED", 600)
    compared = []
    faiss = room.need("faiss", "a test")
    real = faiss.IndexIVFScalarQuantizer

    def watched(*arguments):
        index = real(*arguments)
        compared.append(index)
        return index

    monkeypatch.setattr(faiss, "IndexIVFScalarQuantizer", watched)
    for size in (3000, 6000):
        x = np.random.default_rng(size).standard_normal((size, 32)).astype("f4")
        found = find_neighbours(x, 5, index="ivf")
        index = compared[-1]
        assert index.nprobe * size / index.nlist <= 800
        assert found.recall < 0.9 and "have hardly any clusters" in caplog.text
        np.testing.assert_array_equal(found.indices, find_neighbours(x, 5, index="ivf").indices)
        # the next best are hardly further away
        assert found.distances.mean() < 1.1 * find_neighbours(x, 5, index="exact").distances.mean()


def test_an_approximate_index_says_how_much_it_found():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((20, 8))[rng.integers(20, size=3000)] + 0.3 * rng.standard_normal((3000, 8))).astype("f4")
    exact, found = find_neighbours(x, 5), find_neighbours(x, 5, index="ivf")
    share = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(exact.indices, found.indices, strict=True)])
    assert found.index == "ivf" and share >= 0.9 and abs(found.recall - share) < 0.05
    again = find_neighbours(x, 5, index="ivf")
    np.testing.assert_array_equal(found.indices, again.indices)


def test_auto_is_exact_up_to_a_size(monkeypatch):
    x = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
    assert find_neighbours(x, 2).index == "exact"
    monkeypatch.setattr(room, "EXACT_ROWS", 150)
    assert find_neighbours(x, 2).index == "ivf"
    groups = np.repeat([0, 1], [160, 40])
    assert find_neighbours(x, 2, groups=groups).index == "ivf, exact"


def test_features_are_scaled():
    x = np.array([[1.0, 7.0, np.nan], [3.0, 7.0, 1.0], [5.0, 7.0, 2.0]])
    scaled = scale_features(x)
    assert np.isnan(scaled[0, 2]) and scaled[1:, 1].tolist() == [0.0, 0.0]  # a constant has no say
    np.testing.assert_allclose(scaled[1:, 0], [-1, 1])
    np.testing.assert_allclose(np.linalg.norm(scale_features([[3.0, 4.0], [0.0, 0.0]], "cosine"), axis=1), [1, 0])
