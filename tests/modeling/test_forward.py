import copy

import numpy as np
import pytest
import torch
from tiny_data import tone
from transformers import Qwen2AudioModel

from hf_emo_dist.modeling.head import average_windows


@pytest.fixture
def inputs(tiny_processor):
    clips = [tone(200, 0.31), tone(400, 0.5), tone(300, 0.05)]
    return tiny_processor(audio=clips, transcript=["Well, well.", None, "No."])


def stock_forward(model, inputs):
    """The same weights in transformers' own model, on 30 s of features, and our head on its hidden states."""
    stock = Qwen2AudioModel(model.config).to(model.dtype).eval()
    stock.load_state_dict(model.model.state_dict())
    features = torch.nn.functional.pad(inputs["input_features"], (0, 3000 - inputs["input_features"].shape[-1]))
    mask = torch.nn.functional.pad(inputs["feature_attention_mask"], (0, 3000 - inputs["input_features"].shape[-1]))
    # the silence that the feature extractor would have put there has the value of the padding within the batch
    for row, n in enumerate(inputs["feature_attention_mask"].sum(-1).tolist()):
        features[row, :, n + 2 :] = inputs["input_features"][row, 0, -1]
    positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp_min(0)
    hidden = stock(
        input_ids=inputs["input_ids"],
        input_features=features.to(model.dtype),
        attention_mask=inputs["attention_mask"],
        feature_attention_mask=mask,
        position_ids=positions,
    ).last_hidden_state
    return hidden


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_forward_is_the_stock_model_and_the_head(tiny_model, inputs, dtype, tolerance):
    model = tiny_model.to(dtype)
    for parameter in model.parameters():  # nothing near zero, so that every part matters
        torch.nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        hidden = stock_forward(model, inputs)
        out = model(**inputs, output_hidden_states=True)
        mask = inputs["attention_mask"].bool()
        torch.testing.assert_close(out.hidden_states[-1][mask], hidden[mask], atol=tolerance, rtol=tolerance)
        expected = model.head(hidden, inputs["attention_mask"])
    torch.testing.assert_close(out.logits, expected, atol=tolerance, rtol=tolerance)


@torch.no_grad()
def test_padding_on_either_side_gives_the_same_logits(tiny_model, inputs):
    right = tiny_model(**inputs).logits
    left = {key: value.clone() for key, value in inputs.items()}
    for row, length in enumerate(inputs["attention_mask"].sum(-1).tolist()):
        for key in ("input_ids", "attention_mask"):
            left[key][row] = torch.roll(inputs[key][row], inputs[key].shape[1] - length)
    assert not torch.equal(left["attention_mask"], inputs["attention_mask"])
    torch.testing.assert_close(tiny_model(**left).logits, right, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_batch_of_eight_equals_eight_batches_of_one(tiny_model, tiny_processor):
    rng = np.random.default_rng(0)
    clips = [tone(100 + 60 * i, seconds) for i, seconds in enumerate([0.021, 0.3, 1.7, 0.05, 0.9, 0.4013, 0.033, 3.0])]
    words = [None if i % 3 == 0 else "word " * int(rng.integers(1, 12)) for i in range(8)]
    batch = tiny_model(**tiny_processor(audio=clips, transcript=words)).logits
    single = [tiny_model(**tiny_processor(audio=[c], transcript=[w])).logits for c, w in zip(clips, words, strict=True)]
    torch.testing.assert_close(batch, torch.cat(single), atol=1e-5, rtol=0)


@torch.no_grad()
def test_swapping_the_audio_of_two_rows_changes_both_outputs(tiny_model, tiny_processor):
    one, two = tone(150, 0.4), tone(900, 0.4)
    before = tiny_model(**tiny_processor(audio=[one, two], transcript=["a", "b"])).logits
    after = tiny_model(**tiny_processor(audio=[two, one], transcript=["a", "b"])).logits
    assert ((before - after).abs().amax(1) > 1e-3).all()


def test_loss_types_and_outputs(tiny_model, inputs):
    labels = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    plain = tiny_model(**inputs)
    assert plain.loss is None and plain.logits.shape == (3, 3) and plain.logits.dtype == torch.float32
    losses = {}
    for name in ("js", "kl", "soft_cross_entropy"):
        tiny_model.config.loss_type = name
        losses[name] = tiny_model(**inputs, labels=labels).loss.item()
    assert len(set(losses.values())) == 3
    tiny_model.config.loss_type = "dirichlet_multinomial"
    assert torch.isfinite(tiny_model(**inputs, labels=labels, vote_counts=labels * 4).loss)
    with pytest.raises(ValueError, match="human_votes"):
        tiny_model(**inputs, labels=labels)
    tiny_model.config.loss_type = "js"
    loss, logits = tiny_model(**inputs, labels=labels, return_dict=False)
    assert loss.item() == losses["js"] and torch.equal(logits, plain.logits)
    one_by_one = [tiny_model(**inputs, labels=labels, loss_weight=row).loss.item() for row in 3 * torch.eye(3)]
    assert np.mean(one_by_one) == pytest.approx(losses["js"], rel=1e-5)
    assert len({round(value, 6) for value in one_by_one}) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_finite_logits_and_gradients(tiny_model, inputs, dtype):
    model = tiny_model
    model.model.to(dtype)
    out = model(**inputs, labels=torch.tensor([[1.0, 0, 0]] * 3))
    assert out.logits.dtype == torch.float32
    out.loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name
    assert model.model.audio_tower.conv1.weight.grad.abs().sum() > 0


def test_the_audio_can_be_missing_only_with_an_error(tiny_model, inputs):
    words = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    with pytest.raises((TypeError, ValueError), match="input_features"):
        tiny_model(**words)
    with pytest.raises(ValueError, match="feature_attention_mask"):
        tiny_model(**words, input_features=inputs["input_features"])


def test_a_wrong_number_of_placeholders_is_an_error(tiny_model, inputs):
    broken = copy.deepcopy(dict(inputs))
    broken["input_ids"][0, 0] = tiny_model.config.audio_token_id
    with pytest.raises(ValueError, match=r"audio tokens.*EmotionDistributionProcessor"):
        tiny_model(**broken)


def test_attention_mask_may_be_left_out_for_one_clip(tiny_model, tiny_processor):
    inputs = tiny_processor(audio=tone(200, 0.3))
    with torch.no_grad():
        expected = tiny_model(**inputs).logits
        del inputs["attention_mask"]
        torch.testing.assert_close(tiny_model(**inputs).logits, expected)


def test_gradient_checkpointing_gives_the_same_gradients(tiny_model, inputs):
    labels = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    gradients = []
    for checkpointing in (False, True):
        model = copy.deepcopy(tiny_model).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model(**inputs, labels=labels).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_a_frozen_tower_runs_once_and_has_no_graph_with_activation_checkpointing(tiny_model, inputs):
    labels = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])
    tower = tiny_model.model.audio_tower
    calls, graphs = [], []
    tower.layers[0].fc1.register_forward_pre_hook(lambda *_: calls.append(1))
    tower.register_forward_hook(lambda _, args, output: graphs.append(output.last_hidden_state.requires_grad))
    tiny_model.train().activation_checkpointing_enable()
    for trained, expected in ((False, (1, False)), (True, (2, True))):
        tower.requires_grad_(False).layer_norm.requires_grad_(trained)
        calls.clear()
        tiny_model(**inputs, labels=labels).loss.backward()
        assert (len(calls), graphs[-1]) == expected
    # gradients for the features, as a saliency map wants them, still come through
    tower.requires_grad_(False)
    features = inputs["input_features"].clone().requires_grad_(True)
    tiny_model(**{**inputs, "input_features": features}, labels=labels).loss.backward()
    assert features.grad.abs().max() > 0


def test_windows_are_averaged_by_duration():
    logits = torch.randn(4, 3)
    rows, seconds = torch.tensor([0, 0, 0, 1]), torch.tensor([30.0, 30.0, 10.0, 5.0])
    p = logits.softmax(-1)
    expected = torch.stack([(30 * p[0] + 30 * p[1] + 10 * p[2]) / 70, p[3]])
    torch.testing.assert_close(average_windows(logits, rows, seconds).softmax(-1), expected)
    extreme = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], requires_grad=True)
    out = average_windows(extreme, torch.tensor([0, 0]), None)
    out.softmax(-1)[0, 0].backward()
    assert torch.isfinite(out).all() and torch.isfinite(extreme.grad).all()
