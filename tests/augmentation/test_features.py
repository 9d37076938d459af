import numpy as np
import pytest
from aug_data import unbalanced
from tiny_data import tone

from hf_emo_dist import DiMEAug
from hf_emo_dist.audio.clips import load_audio
from hf_emo_dist.augmentation.augment_splits import AugmentationArguments, check_augmentation
from hf_emo_dist.augmentation.features import (
    FEATURE_KINDS,
    PaperFeatures,
    TextFeatures,
    add_features,
    column_matrix,
    compute_features,
    lexical_counts,
)


def test_the_papers_features_mean_what_they_say():
    rng = np.random.default_rng(0)
    clips = [tone(300, 0.5), tone(3000, 0.5), np.float32(0.1) * rng.standard_normal(8000).astype("f4"), tone(300, 0.05)]
    clips += [np.zeros(8000, dtype=np.float32), 3 * tone(300, 0.5, amplitude=0.05)]
    texts = ["No!", None, "", "A b", "", "No!"]
    values = np.array(
        PaperFeatures()({"id": list("abcdef"), "audio": clips, "transcript": texts})["dime_features_paper"]
    )
    assert values.shape == (6, 82) and values.dtype == np.float32 and np.isfinite(values).all()
    # means are at 0-12 mfcc, 26-37 chroma, 50-56 contrast, 64 crossings, 66 roll-off, 68 centroid, 70 rms
    assert values[0, 64] == pytest.approx(2 * 300 / 16000, abs=0.01)
    assert values[0, 68] < values[2, 68] and values[0, 66] < values[1, 66]  # centroid, roll-off
    assert values[0, 70] == pytest.approx(0.3 / np.sqrt(2), rel=0.15) and values[4, 70] == 0
    assert lexical_counts("Oh no, no!").astype(int).tolist() == [10, 3, 3, 6, 1, 0, 1, 0, 1, 0]
    assert values[0, 72:].tolist() == lexical_counts("No!").tolist() and not values[1, 72:].any()


@pytest.mark.parametrize("kind", FEATURE_KINDS)
def test_features_are_the_same_bits_whatever_the_processes(kind, tiny_backbone):
    rows = unbalanced((4, 3, 2), seconds=0.1)
    one, two = (
        column_matrix(compute_features(rows, kind, tiny_backbone, n, batch_size=b), f"dime_features_{kind}")
        for n, b in ((1, 2), (2, 5))
    )
    assert np.array_equal(one, two) and len(one) == 9


OWN = """
import numpy as np
from hf_emo_dist.augmentation import FeatureExtractor

class Letters(FeatureExtractor):
    kind, size, reads = "letters", 2, ("transcript",)
    def features(self, row):
        return np.array([row["transcript"].count("o"), len(row["transcript"])])

class Loud:
    def __init__(self, lengths):
        self.lengths = lengths
    def __call__(self, first, second, ratio):
        return np.full(400, 0.5, dtype=np.float32)

def quiet(first, second, ratio):
    return np.full(400, 0.1, dtype=np.float32)
"""


def test_a_class_of_ones_own_in_place_of_a_name(tmp_path, monkeypatch):
    (tmp_path / "their_code.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    rows = unbalanced((4, 3, 2), seconds=0.1)
    settings = AugmentationArguments(
        augment="default",
        augment_features=["their_code:Letters", "x"],
        augment_mixing="their_code:Loud",
        augment_target=4,
    )
    check_augmentation(settings, rows)
    plan = settings.dime(None).plan(rows)
    assert plan.mixer.lengths == "align" and [load_audio(row["audio"]).max() for row in plan.map()] == [0.5] * 4
    kept = add_features(rows, "their_code:Letters")
    assert kept["dime_features_letters"][0] == [3.0, 17.0]
    assert settings.dime(None).plan(kept).rows[:] == plan.rows[:]
    assert load_audio(DiMEAug(target=1, features="x", mixing="their_code:quiet").augment(rows)[9]["audio"]).max() < 0.11
    for wrong, message in (("their_code:Loud", "subclass of"), ("their_code:Nothing", "has no 'Nothing'")):
        with pytest.raises(ValueError, match=message):
            DiMEAug(features=wrong).plan(rows)
    with pytest.raises(ValueError, match="has no 'Nothing'"):
        DiMEAug(mixing="their_code:Nothing")


def test_a_clip_that_cannot_be_read_has_nan_and_is_left_out(caplog):
    rows = unbalanced((4, 3, 2), seconds=0.1)
    broken = rows.map(
        lambda row: {"raw": b"junk" if row["id"] == "row-003" else row["audio"]["bytes"]}, remove_columns=["audio"]
    )
    from datasets import Audio

    broken = broken.map(lambda row: {"audio": {"bytes": row["raw"], "path": None}}, remove_columns=["raw"])
    broken = broken.cast_column("audio", Audio(sampling_rate=16000, decode=False))
    plan = DiMEAug(target=5, neighbours="any").plan(broken)
    assert plan.report.left_out == {"features that are not finite": ["row-003"]}
    assert "row-003" in caplog.text and len(plan.map()) == 5


def test_computed_once_and_kept_as_a_column(monkeypatch):
    rows = add_features(unbalanced((4, 3, 2), seconds=0.1), "lexical")
    assert rows.column_names[-1] == "dime_features_lexical"
    assert add_features(rows, "lexical") is rows
    with_column = DiMEAug(features="lexical", target=4).plan(rows)
    monkeypatch.setattr("hf_emo_dist.augmentation.features.compute_features", None)  # not called any more
    assert DiMEAug(features="lexical", target=4).plan(rows).rows[:] == with_column.rows[:]
    assert "dime_features_lexical" in with_column.map().column_names


def test_several_kinds_weigh_alike():
    rows = unbalanced((6, 4, 3), seconds=0.1)
    matrix = DiMEAug(features=["x", "text"])._matrix(rows, np.arange(13))
    assert matrix.shape == (13, 260)
    blocks = [float((part**2).sum()) for part in (matrix[:, :4], matrix[:, 4:])]
    constant = (matrix[:, 4:].std(0) == 0).mean()  # n-grams that nobody has
    assert blocks[0] == pytest.approx(13, rel=1e-4) and blocks[1] == pytest.approx(13 * (1 - constant), rel=1e-4)


def test_like_words_have_like_features():
    near, far, none = TextFeatures()({"transcript": ["close the door", "twelve sheep", None]})["dime_features_text"]
    (query,) = TextFeatures()({"transcript": ["shut the door"]})["dime_features_text"]
    assert query @ near > query @ far and not none.any() and np.linalg.norm(query) == pytest.approx(1, rel=1e-5)


def test_the_towers_mean_output(tiny_backbone, tiny_model, tiny_processor):
    import torch

    rows = unbalanced((3, 2, 2), seconds=0.2)
    by_folder = column_matrix(compute_features(rows, "backbone", str(tiny_backbone)), "dime_features_backbone")
    by_model = column_matrix(compute_features(rows, "backbone", (tiny_model, tiny_processor)), "dime_features_backbone")
    assert np.array_equal(by_folder, by_model) and by_folder.shape == (7, 16)
    with torch.no_grad():
        inputs = tiny_processor.from_rows([rows[3]])
        outputs = tiny_model.model.audio_tower.encode(inputs["input_features"], inputs["feature_attention_mask"])
    np.testing.assert_allclose(by_folder[3], outputs.mean(0).numpy(), rtol=1e-4, atol=1e-6)
    plan = DiMEAug(backbone=str(tiny_backbone), target=4).plan(rows)
    assert plan.report.settings["features"] == ["backbone"] and len(plan) == 4
    from_checkpoint = DiMEAug(backbone=(tiny_model, tiny_processor), target=4).plan(rows)
    assert from_checkpoint.rows[:] == plan.rows[:]


def test_a_checkpoint_of_the_model_serves_too(tmp_path, tiny_backbone, tiny_model, tiny_processor):
    tiny_model.save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    rows = unbalanced((2, 1, 1), seconds=0.2)
    a, b = (
        column_matrix(compute_features(rows, "backbone", str(f)), "dime_features_backbone")
        for f in (tiny_backbone, tmp_path)
    )
    assert np.array_equal(a, b)


def test_columns_of_ones_own():
    from datasets import Dataset

    assert np.isnan(column_matrix(Dataset.from_dict({"x": [[1.0, 2.0], None]}), "x")[1]).all()
    assert column_matrix(Dataset.from_dict({"x": [[1, 2], [3, 4]]}), "x").tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match="row number 1: 1 numbers, where others have 2"):
        column_matrix(Dataset.from_dict({"x": [[1.0, 2.0], [3.0]]}), "x")
