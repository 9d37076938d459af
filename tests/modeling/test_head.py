import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.modeling.configuration import Qwen2AudioEmotionConfig
from hf_emo_dist.modeling.head import AttentionPooling, EmotionDistributionHead


def config(size=16, emotions=("angry", "happy", "sad"), **changes):
    return Qwen2AudioEmotionConfig(
        emotions=emotions, text_config={"model_type": "qwen2", "hidden_size": size}, **changes
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(0, 1000), st.booleans())
def test_pooling_is_the_first_row_of_self_attention(batch, length, seed, left):
    torch.manual_seed(seed)
    stock = torch.nn.MultiheadAttention(16, 4, batch_first=True).double().eval()
    ours = AttentionPooling(16, 4).double()
    weights, biases = stock.in_proj_weight.chunk(3), stock.in_proj_bias.chunk(3)
    with torch.no_grad():
        torch.nn.init.normal_(stock.in_proj_bias)
        for layer, weight, bias in zip((ours.query, ours.key, ours.value), weights, biases, strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        ours.output.load_state_dict(stock.out_proj.state_dict())
    hidden = torch.randn(batch, length, 16, dtype=torch.float64)
    lengths = torch.randint(1, length + 1, (batch,))
    mask = torch.arange(length)[None] < lengths[:, None]
    if left:
        mask = mask.flip(1)
    rows, _ = stock(hidden, hidden, hidden, key_padding_mask=~mask)
    first = mask.long().argmax(1)
    expected = rows[torch.arange(batch), first]
    torch.testing.assert_close(ours(hidden, mask.long()), expected, atol=1e-12, rtol=1e-10)


@pytest.fixture
def head():
    torch.manual_seed(0)
    return EmotionDistributionHead(config()).eval()


def test_padding_changes_nothing(head):
    torch.manual_seed(1)
    hidden = torch.randn(2, 6, 16)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    before = head(hidden, mask)
    changed = hidden.clone()
    changed[0, 4:] = 1e4
    assert torch.equal(head(changed, mask), before)
    torch.testing.assert_close(head(hidden[:1, :4], mask[:1, :4])[0], before[0], atol=1e-6, rtol=1e-6)
    changed[0, 2] += 1.0
    assert not torch.allclose(head(changed, mask)[0], before[0])


def test_padding_on_the_left_equals_padding_on_the_right(head):
    hidden = torch.randn(1, 4, 16)
    pad = torch.zeros(1, 2, 16)
    right = head(torch.cat([hidden, pad], 1), torch.tensor([[1, 1, 1, 1, 0, 0]]))
    left = head(torch.cat([pad, hidden], 1), torch.tensor([[0, 0, 1, 1, 1, 1]]))
    torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-6)


def test_shapes_settings_and_dtype():
    head = EmotionDistributionHead(config(head_hidden_size=6, head_dropout=0.3, head_projection_dropout=0.2))
    assert head.classifier.weight.shape == (3, 6)
    assert (head.residual[-1].p, head.projection[-1].p) == (0.3, 0.2)
    assert EmotionDistributionHead(config()).classifier.weight.shape == (3, 8)
    logits = head(torch.randn(2, 5, 16, dtype=torch.bfloat16), torch.ones(2, 5, dtype=torch.long))
    assert logits.shape == (2, 3) and logits.dtype == torch.float32


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="head_num_attention_heads=8 does not divide the hidden size 12"):
        EmotionDistributionHead(config(size=12))
