"""What is wrong with the data is said before the first step."""

import pytest
from trainer_setup import changed, make_args, make_trainer

from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.training.fine_tuning import parse_config

BROKEN = {
    "missing target": (lambda d: d.remove_columns("emotion_distribution"), "no `emotion_distribution` column"),
    "missing audio": (lambda d: d.remove_columns("audio"), "no `audio` column"),
    "other labels": (
        lambda d: changed(d, emotion_distribution={"angry": 0.5, "happy": 0.25, "fear": 0.25}),
        "fear",
    ),
    "fewer labels": (lambda d: changed(d, emotion_distribution={"angry": 0.5, "happy": 0.5}), "sad"),
    "more labels": (
        lambda d: changed(d, emotion_distribution={"angry": 0.5, "happy": 0.5, "sad": 0.0, "fear": 0.0}),
        "fear",
    ),
    "NaN": (
        lambda d: changed(d, emotion_distribution=lambda r: {"angry": float("nan"), "happy": 0.5, "sad": 0.5}),
        "clip-1-00",
    ),
    "null": (
        lambda d: changed(
            d, emotion_distribution=lambda r: None if r["id"] == "clip-1-02" else r["human_distribution"]
        ),
        "clip-1-02",
    ),
    "not normalised": (
        lambda d: changed(
            d,
            emotion_distribution=lambda r: (
                {"angry": 2.0, "happy": 1.0, "sad": 0.0} if r["id"] == "clip-1-03" else r["human_distribution"]
            ),
        ),
        "clip-1-03",
    ),
    "negative": (
        lambda d: changed(d, emotion_distribution={"angry": 1.5, "happy": -0.5, "sad": 0.0}),
        "clip-1-00",
    ),
    "empty": (lambda d: d.select([]), "has no rows"),
    "corrupt clip": (
        lambda d: changed(
            d, audio=lambda r: {"bytes": b"noise", "path": None} if r["id"] == "clip-1-05" else r["audio"]
        ),
        "clip-1-05",
    ),
}


@pytest.mark.parametrize(("break_it", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_training_data_is_found_before_training(
    tmp_path, tiny_model, tiny_processor, tiny_train, break_it, message
):
    with pytest.raises(ValueError, match=message):
        make_trainer(tiny_model, tiny_processor, tmp_path, break_it(tiny_train))


@pytest.mark.parametrize("case", ["other labels", "NaN", "null", "not normalised", "missing target"])
def test_broken_evaluation_data_is_found_before_training(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, case
):
    break_it, message = BROKEN[case]
    broken = break_it(tiny_train.select(range(6)))
    if case == "missing target":
        broken, message = tiny_train.remove_columns("human_distribution"), "no `human_distribution` column"
    else:
        broken = changed(broken, human_distribution=lambda row: row["emotion_distribution"])
    with pytest.raises(ValueError, match=message):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, broken)
    with pytest.raises(ValueError, match=message):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, {"a": tiny_validation, "b": broken})
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, tiny_validation)
    for use in (trainer.evaluate, trainer.predict):
        with pytest.raises(ValueError, match=message):
            use(broken)


def test_mixed_rows_train_but_are_refused_in_evaluation(tmp_path, tiny_model, tiny_processor, tiny_train):
    mixed = changed(
        tiny_train, mixed_from=lambda r: ["a", "b"] if r["id"] == "clip-1-03" else None, mix_ratio=0.5, human_votes=None
    )
    make_trainer(tiny_model, tiny_processor, tmp_path, mixed).train()
    with pytest.raises(ValueError, match=r"made by mixing two others.*clip-1-03"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, mixed)
    plain = changed(tiny_train, mixed_from=None)
    assert make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, plain).evaluate()


def test_a_processor_for_other_emotions_is_refused(tmp_path, tiny_model, tiny_backbone, tiny_train):
    processor = EmotionDistributionProcessor.from_pretrained(tiny_backbone, emotions=["sad", "happy", "angry"])
    with pytest.raises(ValueError, match="same emotions in the same order"):
        make_trainer(tiny_model, processor, tmp_path, tiny_train)


@pytest.mark.parametrize("kappa", [0, -1.0, float("nan"), float("inf")])
def test_a_weight_of_rows_that_is_no_number_of_votes_is_refused(tmp_path, kappa):
    with pytest.raises(ValueError, match=r"concentration_weight=.*Mend: a number above 0"):
        make_args(tmp_path, concentration_weight=kappa)


def test_row_weights_need_what_the_targets_are_worth(tmp_path, tiny_model, tiny_processor, tiny_train):
    with pytest.raises(ValueError, match=r"column 'emotion_concentration'.*Mend"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, concentration_weight=5.0)


def test_a_likelihood_of_votes_needs_votes(tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation):
    bare = tiny_train.remove_columns("human_votes")
    with pytest.raises(ValueError, match="`human_votes`"):
        make_trainer(tiny_model, tiny_processor, tmp_path, bare, loss_type="dirichlet_multinomial")
    with pytest.raises(ValueError, match="`human_votes`"):
        make_trainer(
            tiny_model,
            tiny_processor,
            tmp_path,
            tiny_train,
            tiny_validation.remove_columns("human_votes"),
            loss_type="dirichlet_multinomial",
        )


def test_a_broken_row_of_a_stream_is_named_when_it_comes(tmp_path, tiny_model, tiny_processor, tiny_train):
    bad = changed(
        tiny_train,
        emotion_distribution=lambda r: (
            {"angry": float("nan"), "happy": 0.5, "sad": 0.5} if r["id"] == "clip-1-01" else r["human_distribution"]
        ),
    )
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, bad.to_iterable_dataset(), max_steps=4)
    with pytest.raises(ValueError, match="clip-1-01"):
        trainer.train()
    with pytest.raises(ValueError, match="no `emotion_distribution` column"):
        stream = tiny_train.remove_columns("emotion_distribution").to_iterable_dataset()
        make_trainer(tiny_model, tiny_processor, tmp_path, stream, max_steps=4)


def test_rows_with_two_clips_are_refused(tmp_path, tiny_model, tiny_processor, tiny_train):
    """They were to be mixed in the embedding space, and one clip alone does not fit their target."""
    rows = tiny_train.add_column("mix_audio", [b""] * len(tiny_train))
    for data in (rows, rows.to_iterable_dataset()):
        with pytest.raises(ValueError, match=r"`mix_audio`.*Mend: make it again"):
            make_trainer(tiny_model, tiny_processor, tmp_path, data, max_steps=1)


def test_a_removed_option_names_what_replaced_it(tmp_path):
    file = tmp_path / "old.yaml"
    file.write_text("mix_embeddings: false\n")
    words = ["--output_dir", str(tmp_path), "--use_cpu", "true"]
    for act in (
        lambda: make_args(tmp_path, mix_embeddings=True),
        lambda: parse_config([*words, "--mix_embeddings", "true"]),
        lambda: parse_config([*words, "--mix_embeddings=true"]),
        lambda: parse_config([*words, "--config", str(file)]),
    ):
        with pytest.raises(ValueError, match=r"mix_embeddings was removed.*augment"):
            act()
