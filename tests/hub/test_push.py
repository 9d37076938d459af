"""Push and pull through the real client, against a server with the Hub's protocol."""

import inspect
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hub_repos import Blob
from hub_server import put
from tiny_data import tone

from hf_emo_dist import load_emotion_model, push_model, push_votes, write_model_card
from hf_emo_dist.hub.cards.model_card import model_card
from hf_emo_dist.hub.cards.model_facts import gather_model_facts
from hf_emo_dist.hub.cards.rendering import is_edited
from hf_emo_dist.hub.files import SecretFoundError, checkpoint_files, clean_json

READS, OTHER = "hf_reads00000000000000000000000", "hf_somebody_else0000000000000000"


@torch.no_grad()
def logits(model, processor):
    return model(**processor(audio=[tone(200, 0.3), tone(300, 0.2)], transcript=["Well.", None])).logits.float().numpy()


PULL = """
import json, sys
import numpy as np, torch
import hf_emo_dist
from transformers import AutoModelForAudioClassification, pipeline
from hf_emo_dist import load_emotion_model, Qwen2AudioForEmotionDistribution, EmotionDistributionProcessor

assert hf_emo_dist.__file__.startswith(sys.argv[1]), hf_emo_dist.__file__
torch.set_num_threads(1)
time = np.arange(4800) / 16000
waves = [np.load(sys.argv[2])["a"], np.load(sys.argv[2])["b"]]

@torch.no_grad()
def logits(model, processor):
    return model(**processor(audio=waves, transcript=["Well.", None])).logits.tolist()

clip = {"audio": {"array": waves[0], "sampling_rate": 16000}, "transcript": "Well."}
found = {}
for name in ("full", "merged", "adapter"):
    repo = f"me/{name}"
    model, processor = load_emotion_model(repo)
    found[name] = logits(model, processor)
    found[f"{name}, from_pretrained"] = logits(Qwen2AudioForEmotionDistribution.from_pretrained(repo).eval(), processor)
    found[f"{name}, auto"] = logits(AutoModelForAudioClassification.from_pretrained(repo).eval(), processor)
    found[f"{name}, pipeline"] = [
        [np.log(score[e]) for e in model.config.emotions]
        for task in ("speech-emotion-distribution", "audio-classification")
        for answer in [pipeline(task, model=repo)([clip])]
        for score in [{x["label"]: x["score"] for x in answer[0]}]
    ]
from peft import PeftModel
base = Qwen2AudioForEmotionDistribution.from_pretrained("me/backbone", emotions=model.config.emotions)
found["adapter, PeftModel"] = logits(PeftModel.from_pretrained(base, "me/adapter").eval(), processor)
print(json.dumps(found))
"""


def test_three_layouts_from_a_process_that_has_only_the_wheel(hub, full, adapter, tiny_backbone, installed, tmp_path):
    put(hub, "me/backbone", tiny_backbone)
    push_model(full, "me/full")
    push_model(adapter, "me/merged", merge=True)
    push_model(adapter, "me/adapter", base_model="me/backbone")
    for name in ("full", "merged", "adapter"):
        assert [message for _, message, _ in hub.repo(f"me/{name}").commits[1:]] == [f"Upload {name} with hf_emo_dist"]
    wanted = {
        "full": logits(*load_emotion_model(full)),
        "adapter": logits(*load_emotion_model(adapter)),
        "merged": logits(*load_emotion_model(adapter, merge=True)),
    }
    assert np.abs(wanted["full"] - wanted["adapter"]).max() > 1e-2
    np.savez(tmp_path / "waves.npz", a=tone(200, 0.3), b=tone(300, 0.2))
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    environment |= {"HF_HOME": str(tmp_path / "home"), "HF_TOKEN": READS}
    done = subprocess.run(
        [sys.executable, "-c", PULL, str(installed), str(tmp_path / "waves.npz")],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert len(found) == 13
    for name, values in found.items():
        expected = wanted[name.partition(",")[0]]
        if "pipeline" in name:
            expected = np.repeat(torch.tensor(expected[:1]).log_softmax(-1).numpy(), 2, axis=0)
        np.testing.assert_allclose(values, expected, atol=1e-6, err_msg=name)
    assert not [path for method, path in hub.requests if path.endswith((".bin", ".pt", ".py")) and method == "GET"]
    assert hub.count("GET", "/storage/") >= 3 and hub.leaks == []


def test_a_dry_run_lists_files_and_sizes_and_asks_nothing(hub, full):
    report = push_model(full, "me/full", dry_run=True)
    assert hub.requests == [] and report.commit is None
    weights = (full / "model.safetensors").stat().st_size
    assert {file.path_in_repo: file.size for file in report.files}["model.safetensors"] == weights
    assert "would be pushed to the model me/full" in str(report) and "README.md" in str(report)


def run_of_a_training(folder):
    """What else lies in an output folder."""
    for name in (
        "optimizer.pt",
        "training_args.bin",
        "rng_state.pth",
        "scheduler.pt",
        "predictions.parquet",
        "pytorch_model.bin",
    ):
        (folder / name).write_bytes(b"pickle")
    (folder / "checkpoint-3").mkdir()
    (folder / "checkpoint-3" / "model.safetensors").write_bytes(b"old")
    (folder / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": "/home/anna/runs/checkpoint-3"}))
    arguments = {
        "output_dir": "/home/anna/runs",
        "hub_token": "hf_abcdefghijklmnopqrstuvwxyz",
        "learning_rate": 1e-4,
        "seed": 0,
    }
    (folder / "training_args.json").write_text(
        json.dumps({**arguments, "logging_dir": "/home/anna/runs/logs", "run_name": "/home/anna"})
    )
    recipe = {"backbone": "/home/anna/backbone", "dataset": "C:\\Users\\anna\\votes", "lora": None}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "scores.json").write_text(
        json.dumps({"js_divergence": 0.25, "settings": {"model": "/home/anna/runs", "dataset": "~/votes"}})
    )


def test_nothing_private_is_uploaded(hub, full):
    run_of_a_training(full)
    push_model(full, "me/full")
    files = hub.repo("me/full").files
    assert not [
        name for name in files if name.endswith((".bin", ".pt", ".pth", ".parquet")) or "/" in name or "state" in name
    ]
    for name, blob in files.items():
        for secret in (b"anna", b"hf_abc", b"hf_writes"):
            assert secret not in blob.data, name
    assert json.loads(files["recipe.json"].data) == {"backbone": "backbone", "dataset": "votes", "lora": None}
    assert json.loads(files["training_args.json"].data) == {"learning_rate": 1e-4, "seed": 0}
    assert "backbone" in files["README.md"].data.decode()


@pytest.mark.parametrize(
    "secret", ["hf_abcdefghijklmnopqrstuvwxyz", "hf_writes0000000000000000000000", "sk-test-1234567890", "{cwd}/x"]
)
def test_a_secret_in_an_edited_card_stops_the_push(hub, full, secret, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOME_API_KEY", "sk-test-1234567890")
    (full / "README.md").write_text(f"# Mine\nlog in with {secret.format(cwd=tmp_path)}\n")
    with pytest.raises(SecretFoundError, match=r"README\.md holds") as caught:
        push_model(full, "me/full")
    assert secret not in str(caught.value) and hub.requests == []


def test_faults_are_waited_out_and_make_no_second_commit(hub, full, naps):
    hub.part_size = 20_000  # several parts a file
    hub.fail("POST", "/preupload/", status=429, headers={"Retry-After": "7"})
    hub.fail("PUT", "/storage/", cut=True)
    hub.fail("PUT", "/storage/", status=500)
    hub.fail("POST", "/commit/", status=503)
    hub.fail("POST", "/commit/", after=True)  # it is made, and the answer gets lost
    report = push_model(full, "me/full")
    repo = hub.repo("me/full")
    assert len(repo.commits) == 2 and report.commit == repo.commits[-1][0]
    assert repo.files["model.safetensors"].data == (full / "model.safetensors").read_bytes()
    assert 8.0 in naps  # as the server asked, and one
    assert all(fault.times == 0 for fault in hub.faults)


def test_a_push_that_was_given_up_goes_on_where_it_was(hub, full):
    run_of_a_training(full)
    (full / "reliability.png").write_bytes(b"picture" * 500)
    hub.fail("POST", "/commit/", times=100, status=500)
    with pytest.raises(OSError, match="make the same call again; what has been uploaded is not sent again"):
        push_model(full, "me/full")
    assert len(hub.repo("me/full").commits) == 1
    sent = hub.count("PUT", "/storage/")
    assert sent == 2
    hub.faults.clear()
    push_model(full, "me/full")
    assert hub.count("PUT", "/storage/") == sent and len(hub.repo("me/full").commits) == 2
    push_model(full, "me/full")  # nothing has changed
    assert len(hub.repo("me/full").commits) == 2


@pytest.mark.parametrize(
    ("token", "repo", "message"),
    [
        ("hf_unknown", "me/full", "does not know you"),
        (READS, "me/full", "may not write to me/full"),
        (OTHER, "me/full", "may not write to me/full"),
    ],
)
def test_who_may_not_write_is_told_so_at_once(hub, full, naps, token, repo, message):
    with pytest.raises(PermissionError, match=message) as caught:
        push_model(full, repo, token=token)
    assert naps == [] and token not in str(caught.value)


def test_a_private_model_is_for_its_owner(hub, full, monkeypatch):
    push_model(full, "me/secret", private=True)
    assert hub.repo("me/secret").private
    load_emotion_model("me/secret")
    for token in (OTHER, None):
        monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", f"{full}/{token}")
        with pytest.raises(OSError, match=r"me/secret.*\n?.*token"):
            load_emotion_model("me/secret")


def test_what_is_not_there_is_told_apart(hub, full):
    push_model(full, "me/full")
    with pytest.raises(OSError, match="me/none is not a local folder and is not a valid model identifier"):
        load_emotion_model("me/none")
    with pytest.raises(OSError, match="v9 is not a valid git identifier"):
        load_emotion_model("me/full", revision="v9")
    hub.fail("HEAD", "resolve", times=500, status=429)
    hub.fail("GET", "/api/models/", times=500, status=429)
    with pytest.raises(OSError, match="me/full"):
        load_emotion_model("me/full")


def test_a_bare_name_is_the_account_s_own(hub, full):
    assert push_model(full, "mine").repo_id == "me/mine"
    assert 'model="me/mine"' in hub.repo("me/mine").files["README.md"].data.decode()


def test_numbers_are_no_secrets():
    kept = {
        "decoder_start_token_id": 3,
        "pad_token": "<pad>",
        "audio_bos_token": "<a>",
        "max_audio_tokens_per_batch": 100,
        "path": "a/b",
    }
    assert clean_json({**kept, "hub_token": "x", "is_local": True, "tokenizer": {"name_or_path": "x"}}) == {
        **kept,
        "tokenizer": {},
    }
    assert clean_json(["see /home/anna/x.txt, or https://a.b/c/d"]) == ["see x.txt, or https://a.b/c/d"]


def test_weights_of_an_earlier_push_do_not_stay_beside_the_new_ones(hub, full, adapter, tmp_path):
    push_model(full, "me/model")
    assert "model.safetensors" in hub.repo("me/model").files
    push_model(adapter, "me/model", base_model="me/backbone", overwrite_card=True)
    files = hub.repo("me/model").files
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    push_model(full, "me/model", overwrite_card=True)
    files = hub.repo("me/model").files
    assert "model.safetensors" in files and not [name for name in files if name.startswith("adapter_")]


def test_a_revision_is_pinned(hub, full, tiny_processor):
    first = push_model(full, "me/full").commit
    model, _ = load_emotion_model(full)
    before = logits(model, tiny_processor)
    with torch.no_grad():
        model.head.classifier.bias += torch.tensor([3.0, 0.0, 0.0])
    model.save_pretrained(full)
    push_model(full, "me/full", commit_message="Another bias")
    np.testing.assert_array_equal(logits(*load_emotion_model("me/full", revision=first)), before)
    assert np.abs(logits(*load_emotion_model("me/full")) - before).max() > 1
    push_model(full, "me/full", revision="tries")
    assert "tries" in hub.repo("me/full").branches


def test_an_adapter_of_a_local_backbone_is_not_pushed(hub, adapter):
    with pytest.raises(ValueError, match=r"base_model='owner/name', or push with merge=True"):
        push_model(adapter, "me/adapter")
    assert hub.requests == []


def test_a_folder_that_is_named_like_a_repository_is_none(hub, adapter):
    """`data/mine` of a training in another folder."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "models/mini"}))
    facts = {
        "backbone": "models/mini",
        "backbone_is_local": True,
        "data": {"dataset": "data/mine", "dataset_is_local": True},
    }
    (adapter / "training_facts.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="is 'mini', a local folder"):
        push_model(adapter, "me/adapter")
    card = model_card(gather_model_facts(adapter))
    assert "models/mini" not in card and "data/mine" not in card and "`mini`, a local folder" in card


def test_a_changed_label_order_is_refused_after_a_pull_too(hub, full):
    push_model(full, "me/full")
    repo = hub.repo("me/full")
    config = json.loads(repo.files["config.json"].data)
    config["id2label"] = {"0": "sad", "1": "happy", "2": "angry"}
    repo.files["config.json"] = Blob(json.dumps(config).encode(), False)
    with pytest.raises(ValueError, match="disagree"):
        load_emotion_model("me/full")
    with pytest.raises(ValueError, match="disagree"):
        push_model(pulled(hub, "me/full", full.parent / "pulled"), "me/again")


def pulled(hub, name, folder):
    folder.mkdir()
    for path, blob in hub.repo(name).files.items():
        (folder / path).write_bytes(blob.data)
    return folder


def test_a_readme_that_was_edited_is_kept(hub, full):
    push_model(full, "me/full")
    pushed = hub.repo("me/full").files["README.md"].data.decode()
    assert not is_edited(pushed)
    mine = pushed.replace("## Limits", "I listened to all of it.\n\n## Limits")
    hub.repo("me/full").files["README.md"] = Blob(mine.encode(), False)  # on the page of the Hub
    report = push_model(full, "me/full", license="mit")
    assert hub.repo("me/full").files["README.md"].data.decode() == mine and "edited on the Hub" in str(report)
    push_model(full, "me/full", license="mit", overwrite_card=True)
    assert "license: mit" in hub.repo("me/full").files["README.md"].data.decode()
    (full / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    push_model(full, "me/full")
    assert hub.repo("me/full").files["README.md"].data.decode() == "---\nlicense: mit\n---\n# Mine\n"


@pytest.mark.parametrize("function", [push_model, push_votes, write_model_card])
def test_the_old_spelling_of_license_is_answered_with_the_new_one(function, tmp_path):
    with pytest.raises(TypeError, match=r"no argument 'licence' any more. Mend: write license="):
        function(tmp_path, "me/x", licence="mit")
    assert "license" in inspect.signature(function).parameters


def test_what_is_no_checkpoint(hub, tmp_path, tiny_backbone):
    with pytest.raises(OSError, match="is no folder"):
        push_model(tmp_path / "none", "me/x")
    with pytest.raises(OSError, match="is no checkpoint"):
        push_model(tmp_path, "me/x")
    with pytest.raises(ValueError, match="qwen2_audio model, not one of this library"):
        push_model(tiny_backbone, "me/x")
    with pytest.raises(OSError, match=r"no \.safetensors"):
        checkpoint_files(tmp_path, readme="# Mine")
