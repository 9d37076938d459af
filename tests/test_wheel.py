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
            "import numpy as np\nhf_emo_dist.WaveformPerturbation(p=1.0).waveform(np.ones(9000, 'f4'), 'a')",
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
