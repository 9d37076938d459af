"""Mixing behind the audio tower: the model, the collator and the trainer."""

import copy

import pytest
import torch
from tiny_data import tiny_rows, tone
from trainer_setup import largest_difference, make_trainer, weights, without_dropout

from hf_emo_dist import DiMEAug
from hf_emo_dist.audio.decoding import AudioError
from hf_emo_dist.modeling.embedding_mixing import mix_embeddings
from hf_emo_dist.training.cached_tower import complete_inputs
from hf_emo_dist.training.collator import EmotionDistributionCollator
from hf_emo_dist.training.tower_cache import TowerCache


def pair(ratio=0.3, seconds=(0.3, 0.5)):
    row, other = tiny_rows(2)
    row = {**row, "audio": tone(200, seconds[0]), "mix_audio": tone(800, seconds[1]), "mix_ratio": ratio}
    return {**row, "mixed_from": ["a", "b"]}, other


def test_the_mean_of_a_mixture_is_the_mixture_of_the_means():
    a, b = torch.randn(6, 4), torch.randn(12, 4)
    mixed = mix_embeddings(torch.cat([a, b]), torch.tensor([6, 12]), torch.tensor([1]), torch.tensor([0.3]))
    torch.testing.assert_close(mixed.mean(0), 0.3 * a.mean(0) + 0.7 * b.mean(0))
    swapped = mix_embeddings(torch.cat([b, a]), torch.tensor([12, 6]), torch.tensor([1]), torch.tensor([0.7]))
    assert mixed.shape == (6, 4) and swapped.shape == (12, 4)


def test_mixing_before_or_after_the_projector_is_the_same(tiny_model):
    project = tiny_model.model.multi_modal_projector.double()
    outputs = torch.randn(17, 16, dtype=torch.float64)
    how = torch.tensor([5, 4, 8]), torch.tensor([2, -1]), torch.tensor([0.4, 1.0])
    torch.testing.assert_close(project(mix_embeddings(outputs, *how)), mix_embeddings(project(outputs), *how))


@pytest.mark.parametrize(("ratio", "clip"), [(1.0, "audio"), (0.0, "mix_audio")])
def test_the_ends_are_the_sources(tiny_model, tiny_processor, ratio, clip):
    row, other = pair(ratio, (0.3, 0.3))
    collate = EmotionDistributionCollator(tiny_processor, mix_embeddings=True)
    with torch.no_grad():
        mixed = tiny_model(**collate([other, row])).logits
        alone = tiny_model(
            **collate([other, {**row, "audio": row[clip], "mix_audio": None, "mixed_from": None}])
        ).logits
    torch.testing.assert_close(mixed, alone, atol=1e-5, rtol=1e-5)


def test_both_clips_are_heard_and_rows_beside_are_not_touched(tiny_model, tiny_processor):
    collate = EmotionDistributionCollator(tiny_processor, mix_embeddings=True)
    row, other = pair()
    with torch.no_grad():
        batch = collate([row, other, {**row, "mix_audio": tone(2000, 0.5)}])
        logits = tiny_model(**batch).logits
        alone = tiny_model(**collate([other])).logits
    assert logits.shape == (3, 3) and batch["labels"].shape == (3, 3)
    torch.testing.assert_close(logits[1:2], alone, atol=1e-5, rtol=1e-5)
    assert (logits[0] - logits[2]).abs().max() > 1e-5


def test_the_cache_gives_the_same(tiny_model, tiny_processor, tmp_path):
    cache = TowerCache(tmp_path, "t" * 64)
    rows = [pair()[0], *tiny_rows(3, seed=4)]
    plain = EmotionDistributionCollator(tiny_processor, mix_embeddings=True)(rows)
    collate = EmotionDistributionCollator(tiny_processor, mix_embeddings=True, tower_cache=cache)
    with torch.no_grad():
        expected = tiny_model(**plain).logits
        for filled in (0, 1):
            batch = collate(rows)
            assert ("input_features" in batch) == (not filled)
            found = tiny_model(**complete_inputs(batch, tiny_model, cache)).logits
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        half = [pair(seconds=(0.3, 0.4))[0], *rows[1:]]  # one clip is new
        found = tiny_model(**complete_inputs(collate(half), tiny_model, cache)).logits
        again = EmotionDistributionCollator(tiny_processor, mix_embeddings=True)(half)
        torch.testing.assert_close(found, tiny_model(**again).logits, atol=1e-5, rtol=1e-5)


def test_long_rows_beside_mixed_ones_are_cut_and_mixed_ones_are_not(tiny_model, tiny_processor):
    tiny_processor.long_audio = "window"
    collate = EmotionDistributionCollator(tiny_processor, mix_embeddings=True)
    row, other = pair()
    long = {**other, "audio": tone(300, 31.0)}
    with torch.no_grad():
        batch = collate([long, row])
        assert batch["row_index"].tolist() == [0, 0, 1] and batch["mix_partner"].tolist() == [-1, -1, 3]
        assert tiny_model(**batch).logits.shape == (2, 3)
    with pytest.raises(AudioError, match=r"second clip.*over 30 s"):
        collate([{**row, "mix_audio": tone(300, 31.0)}])


def test_rows_and_flag_must_fit(tmp_path, tiny_model, tiny_processor, tiny_train):
    row, _ = pair()
    with pytest.raises(ValueError, match="set mix_embeddings=True"):
        EmotionDistributionCollator(tiny_processor)([row])
    with pytest.raises(ValueError, match="needs both clips"):
        EmotionDistributionCollator(tiny_processor, mix_embeddings=True)([{**row, "mix_audio": None}])
    with pytest.raises(ValueError, match="no `mix_ratio`"):
        EmotionDistributionCollator(tiny_processor, mix_embeddings=True)([{**row, "mix_ratio": None}])
    data = DiMEAug(features="lexical", target=4, neighbours="any")
    for rows, flag, message in (
        (data.augment(tiny_train, space="embedding"), False, "only mix_embeddings=True mixes"),
        (data.augment(tiny_train), True, "needs rows with two clips"),
    ):
        with pytest.raises(ValueError, match=message):
            make_trainer(tiny_model, tiny_processor, tmp_path, rows, mix_embeddings=flag)


def test_training_with_the_plan_written_lazy_and_cached_is_the_same(tmp_path, tiny_model, tiny_processor, tiny_train):
    model = without_dropout(tiny_model)
    model.model.audio_tower.requires_grad_(False)
    plan = DiMEAug(features="lexical", target=8, neighbours="any").plan(tiny_train)
    rows = {
        "written": DiMEAug(features="lexical", target=8, neighbours="any").augment(tiny_train, space="embedding"),
        "lazy": plan.lazy(space="embedding").dataset(),
    }
    assert len(rows["written"]) == len(rows["lazy"]) == 24
    found = {}
    for name, cached in (("written", False), ("lazy", False), ("written", True)):
        options = {"cache_audio_tower": True, "tower_cache_dir": str(tmp_path / "cache")} if cached else {}
        trainer = make_trainer(
            copy.deepcopy(model), tiny_processor, tmp_path / name, rows[name], mix_embeddings=True, **options
        )
        trainer.train()
        found[name, cached] = weights(trainer)
    assert largest_difference(found["written", False], found["lazy", False]) == 0
    assert largest_difference(found["written", False], found["written", True]) < 1e-4
    assert largest_difference(found["written", False], model.state_dict()) > 1e-4


def test_the_tower_gets_gradients_from_both_clips(tiny_model, tiny_processor):
    batch = EmotionDistributionCollator(tiny_processor, mix_embeddings=True)([pair()[0]])
    features = batch["input_features"].requires_grad_(True)
    tiny_model(**{**batch, "input_features": features}).loss.backward()
    assert all(features.grad[i].abs().sum() > 0 for i in (0, 1))
