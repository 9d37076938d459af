"""The wheel by itself: everything public is inside it, and without the extras the errors say what to install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(installed, code, folder):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder)


def command(installed, folder, *words):
    """`hf-emo-dist …` as it lies in the wheel, typed in a folder that holds nothing of this repository."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    script = [sys.executable, "-P", "-c", "import sys; from hf_emo_dist.commands.main import main; sys.exit(main())"]
    done = subprocess.run([*script, *map(str, words)], capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0 and "Traceback" not in done.stderr, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_public_name_comes_from_the_wheel(installed, tmp_path):
    code = (
        "import hf_emo_dist, sys\n"
        "print(hf_emo_dist.__file__)\n"
        "for name in hf_emo_dist.__all__: getattr(hf_emo_dist, name)\n"
        "print(*sorted(m.__file__ for n, m in sys.modules.items() if n.startswith('hf_emo_dist')), sep='\\n')\n"
    )
    done = run(installed, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(installed)) for line in done.stdout.splitlines()), done.stdout


def test_the_card_template_has_one_source(installed):
    inside = installed / "hf_emo_dist" / "hub" / "cards" / "model_card_template.md"
    assert inside.read_bytes() == (ROOT / "model_card_template.md").read_bytes()
    assert (ROOT / "model_card_template.md").resolve() == (
        ROOT / "src/hf_emo_dist/hub/cards/model_card_template.md"
    ).resolve()
    assert (installed / "hf_emo_dist" / "hub" / "cards" / "data_card_template.md").is_file()


def test_type_information_and_metadata_are_inside(installed):
    assert (installed / "hf_emo_dist" / "py.typed").exists()
    (metadata,) = installed.glob("*.dist-info/METADATA")
    text = metadata.read_text(encoding="utf-8")
    assert "License-Expression: Apache-2.0" in text or "License: Apache-2.0" in text
    base = [line for line in text.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert base and not any("torch" in line for line in base)


BLOCK = (
    "import importlib.abc, sys\n"
    "class Missing(importlib.abc.MetaPathFinder):\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.partition('.')[0] == {package!r}:\n"
    "            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)\n"
    "sys.meta_path.insert(0, Missing())\n"
    "import hf_emo_dist\n"
)


@pytest.mark.parametrize(
    ("package", "use", "extra"),
    [
        ("torch", "hf_emo_dist.Qwen2AudioForEmotionDistribution", "train"),
        ("transformers", "hf_emo_dist.EmotionDistributionTrainer", "train"),
        ("peft", "hf_emo_dist.paper_lora_config()", "train"),
        ("soundfile", "hf_emo_dist.load_audio(b'RIFF')", "audio"),
        (
            "faiss",
            "import numpy as np\nfrom hf_emo_dist.augmentation.neighbours import find_neighbours\nfind_neighbours(np.eye(3, dtype='f4'), 1)",
            "augment",
        ),
        (
            "librosa",
            "import numpy as np\nhf_emo_dist.augmentation.WaveformPerturbation(p=1.0).waveform(np.ones(9000, 'f4'), 'a')",
            "augment",
        ),
    ],
)
def test_a_missing_extra_names_the_install(installed, tmp_path, package, use, extra):
    done = run(installed, BLOCK.format(package=package) + use, tmp_path)
    assert done.returncode != 0
    assert f"pip install 'hf-emo-dist[{extra}]'" in done.stderr.splitlines()[-1], done.stderr


def test_votes_and_scores_need_no_torch(installed, tmp_path):
    code = BLOCK.format(package="torch") + (
        "row = {'id': 'a', 'human_votes': ['sad', 'happy']}\n"
        "print(hf_emo_dist.combine_votes(row, emotions=['happy', 'sad'])['human_distribution'])\n"
        "print(hf_emo_dist.scores.jensen_shannon_divergence([[1.0, 0.0]], [[0.0, 1.0]]))\n"
    )
    done = run(installed, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{'happy': 0.5, 'sad': 0.5}", "[1.]"]


def test_the_console_script_is_the_command(installed):
    (points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "hf-emo-dist = hf_emo_dist.commands.main:main" in points.read_text()
    assert {"mini.yaml", "quickstart.yaml"} <= {
        path.name for path in (installed / "hf_emo_dist/commands/configs").iterdir()
    }


@pytest.mark.slow
def test_from_a_csv_of_votes_to_a_card_by_the_wheel_alone(installed, tmp_path):
    from tiny_data import tone

    from hf_emo_dist.audio.clips import encode_wav

    (tmp_path / "recordings").mkdir()
    lines = ["file,speaker,angry,sad"]
    for i in range(16):
        (tmp_path / "recordings" / f"{i}.wav").write_bytes(encode_wav(tone(200 + 20 * i, 0.3, seed=i), 16000))
        lines.append(f"{i}.wav,s{i % 4},{i % 3 + 1},{i % 2}")
    (tmp_path / "votes.csv").write_text("\n".join(lines))
    words = ["--speaker_split", "0.5,0.25,0.25", "--vote_source", "Invented."]
    assert "Wrote" in command(installed, tmp_path, "read", "table", "votes.csv", "recordings", "my_dataset", *words)
    command(
        installed, tmp_path, "backbone", "my_backbone", "--hidden_size", 16, "--audio_layers", 1, "--text_layers", 1
    )
    words = ["--backbone", "my_backbone", "--dataset", "my_dataset", "--output_dir", "my_model", "--max_steps", 2]
    assert "checkpoint: my_model" in command(installed, tmp_path, "train", "--config", "mini", *words)
    assert "JS divergence" in command(
        installed,
        tmp_path,
        "evaluate",
        "my_model",
        "my_dataset",
        "--output",
        "my_model/scores.json",
        "--num_resamples",
        20,
    )
    assert "wrote my_model/README.md" in command(installed, tmp_path, "card", "my_model")
    assert "Invented." in (tmp_path / "my_model" / "README.md").read_text()
    assert command(installed, tmp_path, "predict", "recordings", "--model", "my_model").count("%") == 32


@pytest.mark.slow
def test_the_quickstart_by_the_wheel_alone(installed, tmp_path):
    words = ["--num_utterances", 60, "--num_speakers", 6, "--hidden_size", 16, "--num_train_epochs", 1]
    told = command(installed, tmp_path, "quickstart", *words)
    assert told.count("$ hf-emo-dist") == 7 and "$ accelerate launch" in told
    for name in ("scores.json", "reliability.png", "report/strata.html", "clip.wav", "model/README.md"):
        assert (tmp_path / "quickstart_output" / name).is_file()
    folder = [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert folder == ["quickstart_output"]
