"""Protocols of the field: whose rows are in which fold, and what labels they make."""

import numpy as np
import pytest

from hf_emo_dist.data.protocols import EMO_SUPERB, protocol_of
from hf_emo_dist.scores import multilabel_macro_f1


def test_every_actor_is_tested_once_and_chooses_once():
    actors = [str(number) for number in range(1001, 1092)]
    fold = EMO_SUPERB.fold_of(actors)
    assert np.bincount(fold).tolist() == [0, 18, 18, 18, 18, 19]
    # as in the released label files: their third one tests 1037 to 1054, and 1055 to 1072 choose
    assert [actors[place] for place in np.flatnonzero(fold == 3)[[0, -1]]] == ["1037", "1054"]
    chosen = [EMO_SUPERB.choosing_fold(number, [1, 2, 3, 4, 5]) for number in range(1, 6)]
    assert chosen == [2, 3, 4, 5, 1]
    sizes = [
        np.isin(fold, [n for n in range(1, 6) if n not in (number, chosen[number - 1])]).sum() for number in range(1, 6)
    ]
    assert sizes == [55, 55, 55, 54, 54]


@pytest.mark.parametrize("speaker", [1037, "1037", "cremad-1037", "1037_IWL_HAP_XX", np.int64(1037)])
def test_actors_are_known_however_they_are_written(speaker):
    assert EMO_SUPERB.fold(speaker) == 3


@pytest.mark.parametrize(
    ("speakers", "corpora", "message"),
    [
        (["1001", "1092"], None, r"Speaker '1092' is none of cremad's.*1001 to 1091.*Mend"),
        (["1001", "s1"], None, r"Speaker 's1'.*--num_folds"),
        (["1001", None], None, r"Speaker None"),
        (["1001", "11037"], None, r"Speaker '11037'"),
        (["1001", "1002"], None, r"All rows are of one fold of emo_superb.*Mend"),
        (["1001", "1037"], ["cremad", "ravdess"], r"protocol of cremad, and there are rows of ravdess.*Mend"),
    ],
)
def test_rows_of_others_are_refused_by_name(speakers, corpora, message):
    with pytest.raises(ValueError, match=message):
        EMO_SUPERB.fold_of(speakers, corpora)


def test_one_vote_of_six_is_over_one_in_k_in_its_labels():
    """By their six digits: 0.166667 is over 1/6, where the share itself is not."""
    shares = np.array([[1.0, 5.0, 0.0, 0.0, 0.0, 0.0]]) / 6
    predicted = np.array([[0.4, 0.6, 0.0, 0.0, 0.0, 0.0]])
    assert multilabel_macro_f1(predicted, EMO_SUPERB.labels(shares)) == 1.0
    assert multilabel_macro_f1(predicted, shares) == 0.5
    np.testing.assert_allclose(EMO_SUPERB.labels(shares).sum(), 1, atol=1e-5)


def test_names_are_looked_up_and_checked():
    assert protocol_of("emo_superb") is EMO_SUPERB
    with pytest.raises(ValueError, match=r"Unknown protocol 'emo'.*'emo_superb'"):
        protocol_of("emo")
    with pytest.raises(ValueError, match="is no Protocol"):
        protocol_of("hf_emo_dist.data.protocols:PROTOCOLS")
    assert EMO_SUPERB.differs(["happy", "sad"]) and not EMO_SUPERB.differs(sorted(EMO_SUPERB.emotions))
