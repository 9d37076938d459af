"""Each part at its own rate, with the weight decay that transformers would give it."""

import copy
import json

import pytest
import torch
from test_trainer_exactness import Interrupt
from trainer_setup import largest_difference, make_trainer, weights

from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.mini import build_mini_backbone
from hf_emo_dist.training.lora import emotion_lora_config


def groups(trainer):
    """Name of each trained weight → its rate and weight decay."""
    trainer.create_optimizer()
    names = {id(value): name for name, value in trainer.model.named_parameters()}
    found = {
        names[id(value)]: (group["lr"], group["weight_decay"])
        for group in trainer.optimizer.param_groups
        for value in group["params"]
    }
    assert len(found) == sum(value.requires_grad for value in trainer.model.parameters())
    return found


@pytest.mark.parametrize("lora", [None, "language_model"])
def test_the_head_has_its_own_rate(tmp_path, tiny_model, tiny_processor, tiny_train, lora):
    options = {"peft_config": emotion_lora_config(lora) if lora else None}
    settings = {"weight_decay": 0.1, "learning_rate": 1e-4}
    both = []
    for own in ({}, {"head_learning_rate": 1e-2}):
        model = copy.deepcopy(tiny_model)
        trainer = make_trainer(model, tiny_processor, tmp_path, tiny_train, trainer_options=options, **settings, **own)
        both.append(groups(trainer))
        assert trainer.optimizer.param_groups[0]["lr"] == 1e-4  # the rate that is logged
    stock, own = both
    assert {name: decay for name, (_, decay) in stock.items()} == {name: decay for name, (_, decay) in own.items()}
    assert {decay for _, decay in own.values()} == {0.1, 0.0} if lora is None else True
    for name, (rate, _) in own.items():
        assert rate == (1e-2 if name.startswith("head.") or ".head." in name else 1e-4), name
    assert {rate for rate, _ in stock.values()} == {1e-4}


def test_the_rates_are_what_is_trained_at(tmp_path, tiny_model, tiny_processor, tiny_train):
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train, learning_rate=1e-30, head_learning_rate=1e-2
    )
    trainer.train()
    moved = {name for name, value in weights(trainer).items() if (value - before[name]).abs().max() > 1e-12}
    assert moved and all(name.startswith("head.") for name in moved)


def test_lower_layers_are_trained_at_smaller_rates(tmp_path, tiny_processor, tiny_train, tiny_emotions):
    backbone = build_mini_backbone(tmp_path / "b", hidden_size=16, audio_layers=3, text_layers=2, num_mel_bins=16)
    model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=tiny_emotions)
    trainer = make_trainer(
        model, tiny_processor, tmp_path, tiny_train, learning_rate=1.0, layer_decay=0.5, head_learning_rate=3.0
    )
    found = {name: rate for name, (rate, _) in groups(trainer).items()}
    tower, language = "model.audio_tower.", "model.language_model."
    expected = {
        f"{tower}conv1.weight": 0.5**4,
        f"{tower}layers.0.fc1.weight": 0.5**3,
        f"{tower}layers.2.self_attn.q_proj.weight": 0.5,
        f"{tower}layer_norm.weight": 1.0,
        "model.multi_modal_projector.linear.weight": 1.0,
        f"{language}embed_tokens.weight": 0.5**3,
        f"{language}layers.0.mlp.up_proj.weight": 0.5**2,
        f"{language}layers.1.mlp.up_proj.weight": 0.5,
        f"{language}norm.weight": 1.0,
        "head.classifier.weight": 3.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_decay_of_layers_that_are_frozen_is_refused(tmp_path, tiny_model, tiny_processor, tiny_train):
    tiny_model.freeze(["audio_tower", "language_model"])
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, layer_decay=0.5)
    with pytest.raises(ValueError, match=r"layer_decay=0.5 has no effect: .* Mend: leave it out, or leave freeze"):
        trainer.train()
    tiny_model.part("audio_tower").layers[0].requires_grad_(True)
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, layer_decay=0.5)
    assert len({rate for rate, _ in groups(trainer).values()}) == 2


def test_a_run_with_rates_of_its_own_resumes_with_the_same_weights(tmp_path, tiny_model, tiny_processor, tiny_train):
    def run(folder, interrupt=None, resume=None):
        trainer = make_trainer(
            copy.deepcopy(tiny_model), tiny_processor, tmp_path / folder, tiny_train,
            trainer_options={"callbacks": [Interrupt(interrupt)] if interrupt else None},
            num_train_epochs=2, learning_rate=1e-3, head_learning_rate=1e-2, layer_decay=0.7,
            lr_scheduler_type="cosine",
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run("whole")
    run("parts", interrupt=3)
    arguments = json.loads((tmp_path / "parts" / "checkpoint-3" / "training_args.json").read_text())
    assert (arguments["head_learning_rate"], arguments["layer_decay"]) == (1e-2, 0.7)
    assert largest_difference(weights(run("parts", resume=True)), weights(whole)) <= 1e-7


def test_an_optimizer_of_ones_own_has_its_own_rates(tmp_path, tiny_model, tiny_processor, tiny_train):
    optimizer = torch.optim.SGD(tiny_model.parameters(), lr=0.1)
    options = {"optimizers": (optimizer, None)}
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train, trainer_options=options, head_learning_rate=0.1
    )
    with pytest.raises(ValueError, match="Mend: leave them out, or leave `optimizers` out"):
        trainer.train()
