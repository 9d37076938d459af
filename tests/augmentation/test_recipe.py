"""The step of a recipe: what it changes, what it writes, the plot and the page."""

import base64
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from aug_data import EMOTIONS, unbalanced
from datasets import DatasetDict

from hf_emo_dist import DiMEAug, load_emotion_dataset
from hf_emo_dist.audio.clips import load_audio
from hf_emo_dist.augmentation import MixPlan
from hf_emo_dist.augmentation.augment_splits import AugmentationArguments, augment_splits
from hf_emo_dist.augmentation.listening_page import write_listening_page
from hf_emo_dist.augmentation.plan_report import class_mass_plot
from hf_emo_dist.commands.augment import options
from hf_emo_dist.data.writing import write_dataset

ROOT = Path(__file__).parents[2]


def splits(counts=(12, 6, 3)):
    train, test = unbalanced(counts), unbalanced((2, 2, 2), seed=1, ids=[f"test-{i}" for i in range(6)])
    return DatasetDict(train=train, test=test)


def test_the_training_split_alone_is_augmented(tmp_path):
    data = splits()
    settings = AugmentationArguments(augment="default", augment_features="x", augment_examples=3)
    result, report = augment_splits(data, settings, tmp_path / "report", notes=["made up"])
    assert len(result["train"]) == 21 + report.rows_added and len(result["test"]) == 6
    assert result["train"].features == result["test"].features
    assert result["test"].select_columns(data["test"].column_names)[:] == data["test"][:]
    write_dataset(result, tmp_path / "out", description="x", vote_source="made up", emotions=EMOTIONS)
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {
        "augmentation.md",
        "augmentation.json",
        "augmentation_plan.parquet",
        "class_mass.png",
        "mixed_clips.html",
    }
    about = json.loads((tmp_path / "report" / "augmentation.json").read_text())
    assert about["rows_written"] == report.rows_added and about["not_mixed"] == {}
    plan = MixPlan.load(tmp_path / "report" / "augmentation_plan.parquet", data["train"])
    assert plan.rows["id"][:] == result["train"]["id"][21:]
    assert "made up" in (tmp_path / "report" / "mixed_clips.html").read_text()


def test_no_augmentation_changes_nothing(tmp_path):
    data = splits()
    result, report = augment_splits(data, AugmentationArguments(), tmp_path / "report")
    assert report is None and result["train"][:] == data["train"][:] and not (tmp_path / "report").exists()
    with pytest.raises(ValueError, match="no split 'training'"):
        augment_splits(data, AugmentationArguments(augment="paper"), tmp_path, train_split="training")


@pytest.mark.parametrize(
    ("text", "target"),
    [("mass", "mass"), ("dominant", "dominant"), ("40", 40), ("sad=5, happy=7", {"sad": 5, "happy": 7})],
)
def test_targets_are_read_from_text(text, target):
    values = options().parse(["data", "out", "--augment_target", text, "--augment_features", "x, y"], "augment")
    settings = values.call(AugmentationArguments)
    assert settings.dime(None).target == target and settings.augment_features == ["x", "y"]


@pytest.mark.parametrize(
    "wrong",
    [{"augment": "papper"}, {"augment_target": "sad=many"}, {"augment_mixing": "air"}, {"augment_neighbours": "near"}],
)
def test_settings_that_do_not_exist_are_said_at_once(wrong):
    with pytest.raises(ValueError, match=r"not known|must be one of|Unknown"):
        AugmentationArguments(**{"augment": "default", **wrong})


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.audio, self.text, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        if tag == "audio":
            self.audio.append(values["src"])
        self.links += [v for k, v in values.items() if k in ("src", "href") and not v.startswith("data:")]
        assert not [name for name in values if name.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_holds_everything_and_nothing_is_run(tmp_path):
    nasty = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
    data = unbalanced((4, 3, 2), ids=[f"{nasty}{i}" for i in range(9)], speakers=[nasty] * 9)
    plan = DiMEAug(features="x", target=6, neighbours="any").plan(data)
    mixed = plan.map()
    text = write_listening_page(plan, mixed, tmp_path / "page.html", number=3, notes=[nasty]).read_text()
    words = {"unmet": {nasty: nasty}, "left_out": {nasty: [nasty]}, "warnings": [nasty], "emotions": [nasty] * 3}
    report = replace(plan.report, **words).to_markdown().replace("\\<", "")
    assert "<" not in report and "&lt;script" in report
    page = Page()
    page.feed(text)
    assert page.tags.count("audio") == 9 and page.tags.count("section") == 3
    assert not {"script", "img", "link", "iframe"} & set(page.tags) and page.links == []
    shown = "".join(page.text)
    assert nasty in shown and f"Words of {nasty}" in shown
    prefix = "data:audio/flac;base64,"
    heard = load_audio(base64.b64decode(page.audio[1].removeprefix(prefix)))
    assert abs(heard - load_audio(mixed[0]["audio"])).max() < 1e-4
    shares = [float(x) for x in re.findall(r"class='share'>([\d.]+)", text)]
    assert len(shares) == 27 and sum(shares) == pytest.approx(9, abs=0.1)


def test_the_plot_shows_before_and_after(tmp_path):
    report = DiMEAug(features="x").plan(unbalanced((12, 6, 3))).report
    figure = class_mass_plot(report, tmp_path / "deep" / "mass.png", notes=["made up"])
    mass, counts = figure.axes
    heights = [patch.get_height() for patch in mass.patches]
    assert heights[:3] == pytest.approx(report.mass_before)
    assert [a + b for a, b in zip(heights[:3], heights[3:], strict=True)] == pytest.approx(report.mass_after)
    assert [patch.get_height() for patch in counts.patches][:3] == report.counts_before
    assert [label.get_text() for label in mass.get_xticklabels()] == list(
        EMOTIONS
    ) and "made up" in figure.get_suptitle()
    assert (tmp_path / "deep" / "mass.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command(tmp_path):
    write_dataset(splits(), tmp_path / "data", description="x", vote_source="made up", emotions=EMOTIONS)

    def run(*arguments):
        command = [
            sys.executable,
            str(ROOT / "recipes" / "augment.py"),
            "--dataset",
            str(tmp_path / "data"),
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True)

    done = run(
        "--output_dir",
        str(tmp_path / "out"),
        "--augment",
        "paper",
        "--augment_features",
        "x",
        "--augment_target_ratio",
        "1.0",
    )
    assert done.returncode == 0, done.stderr
    both = load_emotion_dataset(tmp_path / "out")
    assert len(both["train"]) == 36 and len(both["test"]) == 6 and "15 mixed rows" in done.stdout
    assert (tmp_path / "out" / "preparation" / "mixed_clips.html").exists()
    wrong = run("--output_dir", str(tmp_path / "out2"), "--augment_features", "nonsense")
    assert wrong.returncode == 2 and "no column 'nonsense'" in wrong.stderr and "Traceback" not in wrong.stderr
