"""Speech encoders: what they compute is what transformers' own classes compute, whatever the batch around a clip."""

import numpy as np
import pytest
import torch
from speech_encoders import CASES
from tiny_data import TINY_EMOTIONS, tone

from hf_emo_dist.modeling.model import EmotionDistributionModel
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

SECONDS = [0.021, 0.3, 0.9, 0.05, 0.6, 0.4013, 0.033, 1.2]
CLIPS = [tone(100 + 60 * i, seconds, seed=i) for i, seconds in enumerate(SECONDS)]


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    return case.backbone(tmp_path_factory.mktemp("encoder") / "backbone")


def load(folder, **options):
    torch.manual_seed(1)
    model = EmotionDistributionModel.from_pretrained(folder, emotions=TINY_EMOTIONS, **options).eval()
    with torch.no_grad():  # an untrained head answers nearly the same to everything
        for parameter in model.head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model, EmotionDistributionProcessor.from_pretrained(folder, emotions=TINY_EMOTIONS)


@pytest.mark.parametrize("weighted", [True, False])
@torch.no_grad()
def test_logits_are_those_of_the_stock_class(case, tmp_path, weighted):
    stock = case.stock(case.stock_head, use_weighted_layer_sum=weighted, num_labels=3)
    stock.save_pretrained(tmp_path)
    case.feature_extractor().save_pretrained(tmp_path)
    model, processor = load(tmp_path, pooling="mean", use_weighted_layer_sum=weighted)
    model.head.load_state_dict(
        {name: value for name, value in stock.state_dict().items() if name in model.head.state_dict()}
    )
    if case.family == "whisper":
        # on less the stock encoder attends to the silence that it pads with
        inputs = processor(audio=[tone(200, 30.0)])
        expected = stock(inputs["input_features"]).logits
    else:
        # a clip by itself: among others, padding leaks into some of the stock classes
        clips = [processor(audio=[clip]) for clip in CLIPS[1:4]]
        expected = torch.cat([stock(**inputs).logits for inputs in clips])
        inputs = processor(audio=CLIPS[1:4])
    torch.testing.assert_close(model(**inputs).logits, expected, atol=2e-5, rtol=1e-4)
    assert len(expected) == 1 or expected.std(0).max() > 1e-2


@pytest.mark.parametrize("options", [{}, {"average_frames": 1}, {"pooling": "mean"}, {"use_weighted_layer_sum": False}])
@torch.no_grad()
def test_a_batch_of_eight_equals_eight_batches_of_one(folder, options):
    model, processor = load(folder, **options)
    batch = model(**processor(audio=CLIPS)).logits
    single = torch.cat([model(**processor(audio=[clip])).logits for clip in CLIPS])
    torch.testing.assert_close(batch, single, atol=1e-5, rtol=1e-5)
    assert (batch[:, None] - batch[None]).abs().amax(-1)[~torch.eye(8, dtype=bool)].min() > 1e-4  # all differ


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm", "unispeech-sat", "data2vec-audio"])
@torch.no_grad()
def test_padding_leaks_into_the_stock_class(name, tmp_path):
    """Why there are masked modules: should transformers mend it, they can go."""
    case = CASES[name]
    stock = case.stock(case.stock_head, num_labels=3)
    _, processor = load(case.backbone(tmp_path))
    batch = stock(**processor(audio=CLIPS)).logits
    single = torch.cat([stock(**processor(audio=[clip])).logits for clip in CLIPS])
    assert (batch - single).abs().max() > 1e-3


@torch.no_grad()
def test_tokens_are_the_encoder_s_frames(folder):
    model, processor = load(folder, average_frames=1)
    for clip in [*CLIPS, np.zeros(160 * 7 + 1, np.float32)]:
        inputs = processor(audio=[clip])
        mask = model.states(inputs[model.main_input_name], inputs["attention_mask"])[1]
        assert mask.sum() == processor.num_tokens(len(clip)) >= 1
