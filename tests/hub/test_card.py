"""The model card: what it says, that nobody else's name can say anything in it, and that its code runs."""

import json
import re
import shutil

import pytest
import yaml
from hub_repos import metadata_errors
from huggingface_hub import ModelCard
from huggingface_hub.repocard import REGEX_YAML_BLOCK, RepoCard
from tiny_data import tone

from hf_emo_dist import push_model, write_model_card
from hf_emo_dist.hub.cards.dataset_card import preparation_section
from hf_emo_dist.hub.cards.model_card import model_card
from hf_emo_dist.hub.cards.model_facts import ModelFacts, gather_model_facts
from hf_emo_dist.hub.cards.rendering import is_edited, with_mark, write_card

SCORES = {
    "js_divergence": 0.2134,
    "bhattacharyya_coefficient": 0.81,
    "log_likelihood_per_vote": None,
    "accuracy": 0.5,
    "macro_f1": float("nan"),
    "num_examples": 88,
    "num_speakers": 9,
    "split": "test",
    "score_column": "human_distribution",
    "emotions": ["angry", "happy", "sad"],
    "notes": ["only 9 speakers: the intervals are rough"],
    "predictors": {
        "model": {
            "js_divergence": 0.2134, "js_interval": [0.19, 0.24], "bhattacharyya_coefficient": 0.81, "accuracy": 0.5,
        },
        "mean_of_training_targets": {
            "js_divergence": 0.36, "js_interval": [0.3, 0.4], "bhattacharyya_coefficient": 0.67,
        },
        "uniform": {"js_divergence": 0.41, "js_interval": [None, None]},
    },
}  # fmt: skip
PREPARATION = {
    "annotation": {
        "backend": "gemini", "model": "gemini-x-pro", "model_versions": ["gemini-x-pro-001"], "prompt_version": "3",
        "preset": "paper",
        "panel": [
            {"focus": "tone of voice", "temperature": 0.2, "mode": "label"},
            {"focus": "words", "mode": "distribution"},
        ],
        "num_requests": 5280, "num_votes": 5201, "failures": {"blocked": 60, "empty": 19}, "cost_usd": 4.203,
    },
    "combine": {
        "method": "posterior", "settings": {"agreement": 0.35},
        "fitted_on": {"split": "train", "rows": 528, "speakers": 12, "votes": 4900.0, "left_out": 9},
        "notes": ["9 rows were not fitted on."], "data": ["borrowed votes"],
        "worth": {"gemini-x-pro": {"1": [0.42, 0.3, 0.55], "5": [1.2, None, None], "10": [1.5, 1.0, 2.0]}},
        "gain_over_human": [0.05, 0.03, 0.07], "verdict": "The annotators help: +0.050 nats a vote [0.030, 0.070].",
    },
    "dime_aug": {"preset": "paper", "target_ratio": 0.3, "num_mixed": 40},
    "source": {"license": "cc-by-4.0"},
}  # fmt: skip
TRAINING = {
    "data": {
        "dataset": "anna/ravdess-votes", "vote_source": "Nine listeners a clip.", "license": "cc-by-nc-sa-4.0",
        "languages": ["en"],
        "splits": {
            "train": {
                "rows": 528, "speakers": 12, "human_votes": 4900, "synthetic_votes": 5201, "mixed_rows": 40,
            },
        },
        "preparation": PREPARATION,
    },
    "hardware": "NVIDIA H100",
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
}  # fmt: skip


def checked(card):
    """The card's metadata, after the Hub's own rules."""
    assert metadata_errors(card, "model") == []
    parsed = ModelCard(card)
    assert isinstance(parsed.data.to_dict(), dict)
    assert RepoCard(str(parsed)).data.to_dict() == parsed.data.to_dict()
    return yaml.safe_load(REGEX_YAML_BLOCK.search(card).group(2))


@pytest.fixture
def trained(full):
    files = {
        "training_facts.json": TRAINING,
        "train_results.json": {"train_runtime": 5400.0},
        "training_args.json": {"learning_rate": 3e-4, "seed": 7, "fp16": False, "num_train_epochs": 8.0},
        "recipe.json": {"backbone": "Qwen/Qwen2-Audio-7B-Instruct", "lora": None, "freeze_audio_tower": True},
        "scores.json": SCORES,
    }
    for name, values in files.items():
        (full / name).write_text(json.dumps(values))
    (full / "reliability.png").write_bytes(b"PNG")
    (full / "emissions.csv").write_text("timestamp,energy_consumed,emissions\n2026-01-01,1.25,0.4\n")
    return full


def test_it_says_what_is_known(trained):
    card = model_card(gather_model_facts(trained, repo_id="anna/mini"))
    data = checked(card)
    assert data["license"] == "cc-by-nc-sa-4.0" and data["pipeline_tag"] == "audio-classification"
    assert data["base_model"] == "Qwen/Qwen2-Audio-7B-Instruct" and data["library_name"] == "hf-emo-dist"
    assert data["datasets"] == ["anna/ravdess-votes"] and data["language"] == ["en"]
    (result,) = data["model-index"][0]["results"]
    metrics = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert metrics == {"js_divergence": 0.2134, "bhattacharyya_coefficient": 0.81, "accuracy": 0.5}  # and no NaN
    assert result["dataset"]["split"] == "test" and data["model-index"][0]["name"] == "mini"
    for line in (
        "`angry`, `happy`, `sad` (in the order of the model's outputs)",
        "| Human votes | 4,900 |",
        "| Synthetic votes | 5,201 |",
        "| Where the votes come from | Nine listeners a clip. |",
        "| Annotator model | `gemini-x-pro` through `gemini` |",
        "| Version that answered | `gemini-x-pro-001` |",
        "| Prompts | version `3`, preset `paper` |",
        "2 annotators: `tone of voice, label, temperature 0.2`; `words, distribution`",
        "| Cost of annotating | 4.20 USD |",
        "| How votes were combined | By a Dirichlet posterior: human votes, counted one by one",
        "| Fitted on | 528 rows of split `train` (12 speakers) with 4,900 human votes |",
        "| What answers are worth | `gemini-x-pro`, in human votes: 1 answer 0.42 [0.30, 0.55]; 5 answers 1.20; "
        "10 answers 1.50 [1.00, 2.00] (borrowed votes) |",
        r"| Do they help? | The annotators help: +0.050 nats a vote \[0.030, 0.070\]. (borrowed votes) |",
        "| Mind | 9 rows were not fitted on. |",
        "| DiME-Aug | preset `paper`, target ratio `0.3`, num mixed `40` |",
        "40 of them mixed by DiME-Aug",
        "| **this model** | 0.213 [0.190, 0.240] | 0.810 | - | 0.500 | - |",
        "| mean of the training targets | 0.360 [0.300, 0.400] | 0.670 | - | - | - |",
        "| uniform | 0.410 | - | - | - | - |",
        "| Training time | 90 min |",
        "| Hardware | NVIDIA H100 |",
        "| Energy (codecarbon) | 1.25 kWh |",
        "torch 2.13.0, transformers 5.23.0",
        "(reliability.png)",
        "Art. 5(1)(f)",
        "only 9 speakers: the intervals are rough",
        "`learning_rate` | `0.0003`",
    ):
        assert line in card, line
    assert "predicted_against_target.png" not in card and "`fp16`" not in card


@pytest.mark.parametrize("layout", ["full", "merged", "adapter"])
def test_it_renders_for_each_layout_without_scores(full, adapter, layout):
    folder = adapter if layout == "adapter" else full
    about = {"base_model": "me/backbone"} if layout == "adapter" else {}
    card = model_card(gather_model_facts(folder, layout=layout, **about))
    data = checked(card)
    assert "This model has not been scored" in card and "model-index" not in data and data["license"] == "other"
    if layout == "adapter":
        assert (
            data["base_model"] == "me/backbone" and data["base_model_relation"] == "adapter" and "`me/backbone`" in card
        )
        assert "r `8`" in card
    assert ("folded into the backbone" in card) == (layout == "merged")
    assert "<" not in re.sub(r"<!--.*?-->|<\|", "", card)


@pytest.mark.parametrize(
    ("source", "word"), [("SIMULATED. A program.", "Simulated votes"), ("Borrowed from other clips.", "Borrowed votes")]
)
def test_simulated_and_borrowed_votes_are_said_so_in_the_first_lines(source, word):
    facts = ModelFacts("m", ("angry", "sad"), data={"vote_source": source}, scores={**SCORES, "emotions": None})
    card = model_card(facts)
    body = card[REGEX_YAML_BLOCK.search(card).end() :].strip().splitlines()
    assert word in body[2]
    name = yaml.safe_load(REGEX_YAML_BLOCK.search(card).group(2))["model-index"][0]["results"][0]["dataset"]["name"]
    assert f"({word.split()[0].lower()} votes)" in name


HEARD = {"js_divergence": {"value": 0.2, "low": 0.15, "high": 0.25}}
BY = {
    "gender": {
        "groups": {
            "female": {"num_examples": 40, "num_speakers": 4, "scores": HEARD, "mean_predictor": 0.35},
            "x|y": {"num_examples": 3, "num_speakers": None, "scores": HEARD, "mean_predictor": None},
        },
        "gap": {"js_divergence": {"best": "female", "worst": "x|y", "value": 0.04, "low": -0.01, "high": 0.09}},
        "notes": ["few speakers, rough intervals: female (4)"],
    },
}
CALIBRATION = {
    "temperature": 1.5, "split": "validation", "dataset": "anna/ravdess-votes", "rows": 88, "votes": 800.0,
    "speakers": 3, "notes": ["borrowed votes"], "log_likelihood_per_vote": {"before": -1.21, "after": -1.1},
}  # fmt: skip
BEFORE_AND_AFTER = {
    "temperature": 1.5, "applied": False, "before": {"js_divergence": 0.2134, "log_likelihood_per_vote": -1.3},
    "after": {"js_divergence": 0.2099, "log_likelihood_per_vote": -1.2}, "fitted_on": CALIBRATION,
}  # fmt: skip


def test_it_says_how_sure_the_model_is_and_for_whom(trained):
    config = json.loads((trained / "config.json").read_text())
    (trained / "config.json").write_text(json.dumps({**config, "calibration": CALIBRATION}))
    (trained / "scores.json").write_text(json.dumps({**SCORES, "by": BY, "temperature": BEFORE_AND_AFTER}))
    (trained / "by_group.png").write_bytes(b"PNG")
    card = model_card(gather_model_facts(trained, repo_id="anna/mini"))
    checked(card)
    for line in (
        "| Temperature (not applied unless `apply_temperature=True`) | 1.500, fitted on 800 human votes of 88 rows, 3 "
        "speakers, split `validation`, data set `anna/ravdess-votes`; their log-likelihood a vote, before and after: "
        "-1.210, -1.100 nats; borrowed votes |",
        "the table above is as predicted",
        "| as predicted | 0.213 | - | -1.300 | - |",
        "| at the temperature | 0.210 | - | -1.200 | - |",
        "## Fairness",
        "By `gender`:",
        "| female | 40 | 4 | 0.200 [0.150, 0.250] | - | - | - | 0.350 |",
        r"| x\|y | 3 | - | 0.200 [0.150, 0.250] | - | - | - | - |",
        r"| **gap** |  |  | 0.040 [-0.010, 0.090] (female best, x\|y worst) | - | - | - |  |",
        r"- few speakers, rough intervals: female \(4\)",
        "(by_group.png)",
    ):
        assert line in card, line
    markdown = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False}).enable("table")
    tables = [token for token in markdown.parse(card[card.index("## Scores") :]) if token.type == "table_open"]
    assert len(tables) == 3
    plain = model_card(ModelFacts("m", ("a", "b")))
    assert "Fairness" not in plain and "emperature" not in plain


POOLED = "Pooled one for one, as in arXiv 2601.14620: on CREMA-D's votes this was measured to make worse targets than"
#: What `preparation.json` says of combining, and what the card says then.
COMBINED = [
    ({"method": "pool", "settings": {"human_weight": 1.0, "synthetic_weight": 1.0}}, POOLED),
    ({"human_weight": 1.0, "synthetic_weight": 1.0, "empty": "error"}, POOLED),  # before there were methods
    ({"method": "pool", "settings": {"synthetic_weight": 0.5}}, "Pooled, not one for one: synthetic weight `0.5`"),
    ({"synthetic_weight": 0.5}, "Pooled, not one for one: synthetic weight `0.5`"),
    ({"method": "weighted", "weight": 0.1234, "weight_given": False}, "synthetic votes of one weight (0.123, fitted)."),
    ({"method": "weighted", "weight": 0.25, "weight_given": True}, "synthetic votes of one weight (0.25, given)."),
    ({"method": "human"}, "There are no synthetic votes: the target is the distribution of the human votes."),
    ({"method": "tomorrow's"}, "method `tomorrow's`"),
]


@pytest.mark.parametrize(("about", "told"), COMBINED)
def test_both_cards_say_how_votes_became_targets(about, told):
    card = model_card(ModelFacts("m", ("angry", "sad"), preparation={"combine": about}))
    section = preparation_section({}, {"combine": about})
    for text in (card, section):
        assert re.sub(r"\\(.)", r"\1", text).count(told) == 1 and text.count("How votes were combined") == 1
    assert "How votes were combined" not in model_card(ModelFacts("m", ("angry", "sad")))


EVIL = [
    "sad\n---\nlicense: mit\n---\n# Owned",
    "x: y\n- z",
    "`</code><script>alert(1)</script>`",
    "[click](javascript:alert(1))",
    "![](http://evil.example/pixel.png)",
    "a | b |\n|---|",
    "{{ 7 * 7 }}{% raw %}",
    "---",
    "<img src=x onerror=alert(1)>",
    "http://evil.example www.evil.example anna@evil.example",
    "\u202egnp.exe",
    "# Heading",
    "```\nrm -rf",
    "'; DROP TABLE",
]


@pytest.mark.parametrize("evil", EVIL)
def test_nobody_s_name_is_markup(evil):
    markdown = pytest.importorskip("markdown_it")
    emotions = (evil.lower(), "sad")

    def facts(name):
        return ModelFacts(
            name, (name, "sad"), base=name, dataset=name,
            data={"vote_source": name, "license": name, "splits": {name: {"rows": 1}}},
            preparation={
                "annotation": {
                    "model": name, "backend": name, "model_versions": [name], "panel": [{"focus": name}],
                    "failures": {name: 1}, "num_requests": name,
                },
                "combine": {
                    "method": "posterior", "worth": {name: {name: [1.0, name, 2.0]}}, "verdict": name, "notes": [name],
                    "data": [name], "fitted_on": {"split": name, "rows": name, "speakers": name, "votes": name},
                },
                "dime_aug": {"preset": name},
            },
            hyperparameters={name: name}, hardware=name, versions={name: name},
            scores={
                **SCORES, "notes": [name], "split": name, "temperature": BEFORE_AND_AFTER,
                "by": {name: {"groups": {name: {"num_examples": name, "scores": HEARD}, "b": {}}, "notes": [name],
                              "gap": {"js_divergence": {"best": name, "worst": name, "value": 0.1}}}},
            },
            calibration={**CALIBRATION, "split": name, "dataset": name, "rows": name, "votes": name, "notes": [name]},
            problems=[name], lora={"target_modules": [name]}, model={"loss_type": name},
        )  # fmt: skip

    plain, card = model_card(facts("plain")), model_card(facts(emotions[0]))
    data = checked(card)
    assert data["license"] == "other" and "Owned" not in [*data]
    assert data["emotions"][1] == "sad" and len(data["emotions"]) == 2
    parser = markdown.MarkdownIt("gfm-like", {"linkify": False}).enable("table")

    def shape(text):
        tokens = [t for t in parser.parse(text[REGEX_YAML_BLOCK.search(text).end() :])]
        kinds = [t.type for t in tokens if not t.type.startswith("inline")]
        inner = [
            child.type
            for t in tokens
            if t.children
            for child in t.children
            if child.type in ("link_open", "image", "html_inline")
        ]
        return kinds, inner

    assert shape(card) == shape(plain)
    assert "\u202e" not in card and re.search(r"\b49\b", card) is None
    assert not is_edited(card)


def test_its_code_runs(hub, full, tmp_path, monkeypatch, capsys):
    import soundfile

    monkeypatch.chdir(tmp_path)
    soundfile.write("clip.wav", tone(220, 0.4), 16000)
    push_model(full, "me/full")
    card = hub.repo("me/full").files["README.md"].data.decode()
    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len(blocks) == 2
    for code in blocks:
        exec(compile(code, "card", "exec"), {})
    out = capsys.readouterr().out
    assert "'label'" in out and "('angry', 'happy', 'sad')" in out


def test_an_edited_card_is_kept_and_peft_s_is_not(adapter, caplog):
    from peft import PeftModel

    from hf_emo_dist import load_emotion_model

    assert write_model_card(adapter, repo_id="me/a", base_model="me/backbone")
    ours = (adapter / "README.md").read_text()
    model, _ = load_emotion_model(adapter)
    assert isinstance(model, PeftModel)
    model.save_pretrained(adapter)  # peft puts its tags and its version into the card
    theirs = (adapter / "README.md").read_text()
    assert theirs != ours and "library_name: peft" in theirs
    assert write_model_card(adapter, repo_id="me/a", base_model="me/backbone")
    assert (adapter / "README.md").read_text() == ours
    (adapter / "README.md").unlink()
    model.save_pretrained(adapter)  # peft's own form
    assert "More Information Needed" in (adapter / "README.md").read_text()
    assert write_model_card(adapter, repo_id="me/a", base_model="me/backbone")
    mine = ours.replace("Do not use it to watch", "I mean it: do not use it to watch")
    (adapter / "README.md").write_text(mine)
    assert not write_model_card(adapter, repo_id="me/a")
    assert (adapter / "README.md").read_text() == mine and "edited by hand" in caplog.text
    assert write_model_card(adapter, repo_id="me/a", base_model="me/backbone", overwrite=True)


def test_edits_of_metadata_count_too(tmp_path):
    card = with_mark("---\nlicense: other\ntags:\n- a\n---\n# M\n\ntext\n")
    assert not is_edited(card) and not is_edited(card.replace("\n", "\r\n"))
    assert is_edited(card.replace("license: other", "license: mit"))
    assert is_edited(card.replace("- a", "- b"))
    assert not is_edited("---\nlicense: mit\n---\n") and not is_edited("")  # what the Hub makes
    assert write_card(tmp_path / "x" / "README.md", card) and not list(tmp_path.glob("**/*.part"))


def test_what_cannot_be_used_is_said(trained, tmp_path, caplog):
    (trained / "scores.json").write_text(json.dumps({**SCORES, "emotions": ["calm", "sad"]}))
    facts = gather_model_facts(trained)
    assert facts.scores == {} and "other emotions" in caplog.text
    with pytest.raises(OSError, match="no scores at"):
        gather_model_facts(trained, scores=tmp_path / "none.json")
    (trained / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match=r"recipe\.json is damaged .it is no JSON.*Mend: restore or remove it"):
        gather_model_facts(trained)
    with pytest.raises(OSError, match="is no checkpoint"):
        gather_model_facts(tmp_path)


def test_a_local_data_set_is_counted(full, tmp_path, tiny_train, tiny_emotions):
    from datasets import DatasetDict

    from hf_emo_dist.data.writing import write_dataset

    data = write_dataset(
        DatasetDict({"train": tiny_train}),
        tmp_path / "tones",
        description="Tones.",
        vote_source="Simulated.",
        emotions=tiny_emotions,
        license="cc0-1.0",
    )
    (data / "preparation.json").write_text(json.dumps(PREPARATION))
    facts = gather_model_facts(full, dataset=data)
    assert facts.votes("human") == 5 * len(tiny_train) and facts.votes("synthetic") is None
    assert facts.preparation["annotation"]["model"] == "gemini-x-pro" and facts.warnings == ["simulated"]
    assert facts.dataset == "tones" and facts.dataset_id is None and str(tmp_path) not in model_card(facts)
    shutil.rmtree(data)
    (data).mkdir()
    (data / "preparation.json").write_text("[]")
    (full / "training_facts.json").write_text(
        json.dumps({"data": {"dataset": str(data), "splits": {"train": {"rows": 3}}}})
    )
    with pytest.raises(ValueError, match="no JSON object"):
        gather_model_facts(full)
