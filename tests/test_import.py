"""`import hf_emo_dist` is quick, loads nothing heavy, and still makes the Auto classes know the model."""

import json
import os
import subprocess
import sys

import pytest

import hf_emo_dist

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "peft",
    "accelerate",
    "scipy",
    "matplotlib",
    "librosa",
    "sklearn",
    "pandas",
)


def fresh(code, *arguments):
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time\n"
        "start = time.perf_counter()\n"
        "import hf_emo_dist\n"
        "print(time.perf_counter() - start)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    runs = [fresh(code).splitlines() for _ in range(5)]
    assert {loaded for _, loaded in runs} == {"[]"}
    assert min(float(seconds) for seconds, _ in runs) <= 0.15


def test_every_public_name_resolves_and_is_listed():
    for name in hf_emo_dist.__all__:
        assert getattr(hf_emo_dist, name) is not None
        assert name in dir(hf_emo_dist)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        hf_emo_dist.nonsense  # noqa: B018


def test_public_names_are_about_thirty_and_none_stands_twice():
    assert 25 <= len(hf_emo_dist.__all__) <= 36
    assert len(set(hf_emo_dist.__all__)) == len(hf_emo_dist.__all__)
    assert not set(hf_emo_dist._MOVED) & set(hf_emo_dist.__all__)


@pytest.mark.parametrize("name", hf_emo_dist._MOVED)
def test_a_name_of_0_1_says_where_it_is_now(name):
    address = f"hf_emo_dist.{hf_emo_dist._MOVED[name]}"
    with pytest.raises(ImportError, match=rf"hf_emo_dist\.{name} is now {address}\.{name}"):
        exec(f"from hf_emo_dist import {name}")
    exec(f"from {address} import {name}")


def test_rooms_of_0_1_say_where_they_are_now():
    with pytest.raises(ImportError, match=r"hf_emo_dist\.evaluation.*hf_emo_dist\.studies"):
        import hf_emo_dist.reports  # noqa: F401
    with pytest.raises(ImportError, match=r"corpora\.write_dataset is now hf_emo_dist\.data\.write_dataset"):
        from hf_emo_dist.corpora import write_dataset  # noqa: F401


AUTO = "from transformers import AutoConfig, AutoProcessor, AutoModelForAudioClassification\n"
PIPELINES = (
    "from transformers.pipelines import PIPELINE_REGISTRY, pipeline\n"
    "implementation = PIPELINE_REGISTRY.check_task('speech-emotion-distribution')[1]['impl']\n"
    "assert implementation.__module__.startswith('hf_emo_dist')\n"
)
ORDERS = {
    "ours first": "import hf_emo_dist\n" + AUTO,
    "Auto classes first": AUTO + "import hf_emo_dist\n",
    "AutoConfig first": "from transformers import AutoConfig\nimport hf_emo_dist\n" + AUTO,
    "ours between": "from transformers import AutoModelForAudioClassification\nimport hf_emo_dist\n" + AUTO,
    "Qwen2-Audio first": "import hf_emo_dist\nfrom transformers import Qwen2AudioForConditionalGeneration\n" + AUTO,
    "our processor first": "from hf_emo_dist import EmotionDistributionProcessor\n" + AUTO,
    "pipelines last": "import hf_emo_dist\n" + AUTO + PIPELINES,
    "pipelines first": PIPELINES.partition("implementation")[0] + "import hf_emo_dist\n" + PIPELINES + AUTO,
    "one class at a time": "import hf_emo_dist\nfrom transformers import AutoProcessor\n"
    "from transformers import AutoConfig\nfrom transformers import AutoModelForAudioClassification\n",
}
LOOK_UPS = {
    "c": 'assert type(AutoConfig.from_pretrained(folder)).__name__ == "Qwen2AudioEmotionConfig"\n',
    "p": 'assert type(AutoProcessor.from_pretrained(folder)).__name__ == "Qwen2AudioEmotionProcessor"\n',
    "m": "assert type(AutoModelForAudioClassification.from_pretrained(folder)).__name__ == "
    '"Qwen2AudioForEmotionDistribution"\n',
}
# A fresh interpreter for each order, forked from one that has loaded what is slow and not under test.
SERVER = """
import json, os, sys, traceback
import scipy.signal, sympy, tokenizers, torch, torch._dynamo, torch.distributed.tensor
import torch.fx.experimental.symbolic_shapes
assert not [name for name in sys.modules if name.startswith(("transformers", "hf_emo_dist"))]
folder, orders = sys.argv[1], json.loads(sys.argv[2])
for name, code in orders.items():
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = os.fdopen(write, "w")
        status = 1
        try:
            exec(code, {"folder": folder})
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(write)
    text = os.fdopen(read).read()
    _, status = os.waitpid(child, 0)
    print(json.dumps([name, status, text]))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, _tiny_model, _tiny_processor):
    folder = tmp_path_factory.mktemp("auto") / "checkpoint"
    _tiny_model.save_pretrained(folder)
    _tiny_processor.save_pretrained(folder)
    # the first look-up is another one each time, so that none is prepared by another
    orders = {
        name: code + "".join(LOOK_UPS[key] for key in ("cpm", "pmc", "mcp")[i % 3])
        for i, (name, code) in enumerate(ORDERS.items())
    }
    lines = map(json.loads, fresh(SERVER, folder, json.dumps(orders)).splitlines())
    return {name: (status, text) for name, status, text in lines}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("order", ORDERS)
def test_auto_classes_know_the_model_in_any_order_of_imports(outcomes, order):
    status, text = outcomes[order]
    assert status == 0, text


def test_a_missing_extra_names_what_to_install():
    code = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None
import hf_emo_dist
for name in ("EmotionDistributionTrainer", "Qwen2AudioForEmotionDistribution", "load_emotion_model"):
    try:
        getattr(hf_emo_dist, name)
    except ModuleNotFoundError as error:
        print(error)
    else:
        raise AssertionError(name)
assert hf_emo_dist.compute_scores([[0.5, 0.5]], [[0.5, 0.5]])["js_divergence"] == 0
"""
    for missing in ("torch", "transformers"):
        lines = fresh(code, missing).splitlines()
        assert len(lines) == 3
        for line in lines:
            assert f"needs {missing}, which is not installed: pip install 'hf-emo-dist[train]'" in line
