# ruff: noqa: E402 - the environment is set before anything reads it
"""Fixtures shared by all tests: offline, on one thread, with caches outside the user's home."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Before torch, transformers or datasets are imported: they read these when they load.
_CACHE = tempfile.mkdtemp(prefix="hf_emo_dist_tests_")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HOME=_CACHE,
    HF_DATASETS_CACHE=os.path.join(_CACHE, "datasets"),
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    WANDB_DISABLED="true",
    MPLBACKEND="Agg",
)
for name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"):
    os.environ.pop(name, None)

import copy

import pytest
from hub_fixtures import _adapter, adapter, full, hub, hub_process, naps  # noqa: F401 - fixtures
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from tiny_setup import backbone, data_folder, tones_checkpoint  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[1]
# what several rooms' tests are set up with, also where only one room's are run
sys.path += [str(ROOT / "tests" / room) for room in ("training", "hub", "audio", "annotation")]


@pytest.fixture(scope="session")
def tiny_emotions():
    return TINY_EMOTIONS


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory):
    """The folder of a backbone that does a training step in milliseconds."""
    import torch

    from hf_emo_dist.modeling.mini import build_mini_backbone

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny") / "backbone"
    return build_mini_backbone(folder, hidden_size=16, audio_layers=1, text_layers=1, num_mel_bins=16)


@pytest.fixture(scope="session")
def _tiny_model(tiny_backbone):
    import torch

    from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Qwen2AudioForEmotionDistribution.from_pretrained(tiny_backbone, emotions=TINY_EMOTIONS)


@pytest.fixture(scope="session")
def _tiny_processor(tiny_backbone):
    from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

    return EmotionDistributionProcessor.from_pretrained(tiny_backbone, emotions=TINY_EMOTIONS)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, _tiny_model, _tiny_processor):
    """The tiny model on disk, under a name that a page or a card has to escape."""
    folder = tmp_path_factory.mktemp("checkpoint") / "<model>"
    _tiny_model.save_pretrained(folder)
    _tiny_processor.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_model(_tiny_model):
    """A fresh copy of the tiny model, in evaluation mode."""
    return copy.deepcopy(_tiny_model).eval()


@pytest.fixture
def tiny_processor(_tiny_processor):
    return copy.deepcopy(_tiny_processor)


@pytest.fixture(scope="session")
def tiny_train():
    """16 training rows."""
    return as_dataset(tiny_rows(16, seed=1))


@pytest.fixture(scope="session")
def tiny_validation():
    """8 rows of other speakers."""
    return as_dataset(tiny_rows(8, seed=2))


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder with the unpacked wheel and nothing of the source tree."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(
        ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "build", "dist")
    )
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(work), str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = work.glob("*.whl")
    target = work / "installed"
    zipfile.ZipFile(wheel).extractall(target)
    return target


@pytest.fixture(scope="session")
def real_data():
    """The folder of real recordings that some tests read."""
    folder = Path(os.environ.get("HF_EMO_DIST_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set HF_EMO_DIST_TEST_DATA")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder of eight simulated clips."""
    from hf_emo_dist.corpora.simulated import simulate_corpus
    from hf_emo_dist.data.writing import write_dataset

    folder = tmp_path_factory.mktemp("corpus") / "data"
    write_dataset(simulate_corpus(8, 4, seed=0), folder, description="simulated", vote_source="SIMULATED votes.")
    return folder
