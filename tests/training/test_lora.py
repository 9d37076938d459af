import json

import pytest
import speech_encoders
import torch
from peft import get_peft_model

from hf_emo_dist.modeling.backbones import family_class
from hf_emo_dist.training.lora import emotion_lora_config, paper_lora_config

LANGUAGE = {"language_model.q_proj", "language_model.k_proj", "language_model.v_proj", "language_model.o_proj"}
TOWER = {"audio_tower.q_proj", "audio_tower.k_proj", "audio_tower.v_proj"}
ALL = (
    LANGUAGE
    | TOWER
    | {"audio_tower.out_proj", "audio_tower.fc1", "audio_tower.fc2", "multi_modal_projector.linear"}
    | {f"language_model.{name}" for name in ("gate_proj", "up_proj", "down_proj")}
)


@pytest.mark.parametrize(
    ("preset", "expected"), [("paper", LANGUAGE | TOWER), ("language_model", LANGUAGE), ("all", ALL)]
)
def test_which_modules_get_adapters(tiny_model, preset, expected):
    model = get_peft_model(tiny_model, emotion_lora_config(preset))
    rooms = ("language_model", "audio_tower", "multi_modal_projector", "head")
    adapted = {
        f"{next(room for room in rooms if room in name)}.{name.removesuffix('.lora_A').split('.')[-1]}"
        for name, _ in model.named_modules()
        if name.endswith(".lora_A")
    }
    assert adapted == expected
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or ".head.modules_to_save." in name for name in trained)
    heads = {name for name in trained if ".head." in name}
    assert len(heads) == len(list(tiny_model.head.original_module.parameters()))


@pytest.mark.parametrize("family", speech_encoders.FAMILIES)
def test_a_speech_encoder_has_the_presets_of_its_kind_or_says_why_not(family):
    kind = family_class(family)
    assert {*kind.lora_targets, *kind.lora_lacks} == {"attention", "feed_forward", "all"}
    assert kind.lora_targets.keys().isdisjoint(kind.lora_lacks) and ("attention" in kind.lora_lacks) == (
        family == "wavlm"
    )
    for preset, reason in kind.lora_lacks.items():
        with pytest.raises(ValueError, match=f"{kind.family_name}: {reason}. Mend: use one of feed_forward, all"):
            emotion_lora_config(preset, model=kind)


def test_the_papers_settings_and_overrides():
    config = paper_lora_config()
    assert (config.r, config.lora_alpha, config.lora_dropout, config.modules_to_save) == (8, 16, 0.2, ["head"])
    config = emotion_lora_config("all", r=4, modules_to_save=["multi_modal_projector"])
    assert config.r == 4 and config.modules_to_save == ["head", "multi_modal_projector"]
    assert json.dumps(sorted(paper_lora_config().target_modules))
    with pytest.raises(ValueError, match="paper, language_model, all"):
        emotion_lora_config("papper")


def test_an_adapter_starts_as_the_backbone(tiny_model, tiny_processor):
    from tiny_data import tone

    inputs = tiny_processor(audio=[tone(200, 0.3)])
    with torch.no_grad():
        before = tiny_model(**inputs).logits
        model = get_peft_model(tiny_model, emotion_lora_config("all")).eval()
        torch.testing.assert_close(model(**inputs).logits, before)
