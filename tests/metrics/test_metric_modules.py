"""The `evaluate` modules: by folder and by file, combined, in a Trainer, their cards, and equal to `scores`."""

from __future__ import annotations

import ast
import doctest
import filecmp
import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hf_emo_dist import compute_scores
from hf_emo_dist.hub import metric_folder, push_metric
from hf_emo_dist.scores import bhattacharyya_coefficient, jensen_shannon_divergence

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.name for path in (ROOT / "metrics").iterdir() if path.is_dir())
STANDALONE = {"js_divergence": jensen_shannon_divergence, "bhattacharyya_coefficient": bhattacharyya_coefficient}
each_module = pytest.mark.parametrize("name", MODULES)
each_standalone = pytest.mark.parametrize("name", STANDALONE)


@pytest.fixture(scope="module")
def evaluate_offline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    evaluate = pytest.importorskip("evaluate")
    patch = pytest.MonkeyPatch()
    # Results go to a cache of our own, and the network must not be needed. Modules stay in the cache of all tests: a
    # process imports their package from one place only.
    patch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path_factory.mktemp("results"))
    patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    patch.chdir(ROOT)
    yield evaluate
    patch.undo()


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(4), 20), rng.dirichlet(np.ones(4), 20)


def source_of(name: str) -> str:
    return (ROOT / "metrics" / name / f"{name}.py").read_text(encoding="utf-8")


def expected(name: str, predictions: np.ndarray, references: np.ndarray) -> dict[str, Any]:
    if name in STANDALONE:
        return {name: STANDALONE[name](predictions, references).mean()}
    assert name == "emotion_distribution"
    return compute_scores(predictions, references)


def test_the_copies_at_the_top_are_those_of_the_wheel(installed: Path) -> None:
    for packaged in (ROOT / "src/hf_emo_dist/hub/metrics", installed / "hf_emo_dist/hub/metrics"):
        names = [path.name for path in packaged.iterdir() if path.is_dir()]
        assert sorted(names) == MODULES
        for name in MODULES:
            files = [path.name for path in (ROOT / "metrics" / name).iterdir() if path.is_file()]
            assert {f"{name}.py", "README.md"} <= set(files)
            match, differ, missing = filecmp.cmpfiles(ROOT / "metrics" / name, packaged / name, files, shallow=False)
            assert (sorted(match), differ, missing) == (sorted(files), [], [])


@each_module
def test_module_by_folder_and_by_file_in_batches(evaluate_offline: Any, rows: Any, name: str) -> None:
    predictions, references = rows
    wanted = pytest.approx(expected(name, *rows))
    for folder in (f"metrics/{name}", metric_folder(name)):
        metric = evaluate_offline.load(folder)
        assert metric.compute(predictions=predictions, references=references) == wanted
    metric = evaluate_offline.load(f"metrics/{name}/{name}.py")
    for at in range(0, 20, 5):
        metric.add_batch(predictions=predictions[at : at + 5].tolist(), references=references[at : at + 5].tolist())
    assert metric.compute() == wanted


def test_a_metric_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="name one of bhattacharyya_coefficient, emotion_distribution, js_divergence"):
        metric_folder("accuracy")


@each_module
def test_what_is_no_distribution_is_refused(evaluate_offline: Any, name: str) -> None:
    metric = evaluate_offline.load(f"metrics/{name}")
    with pytest.raises(ValueError, match="Row 1 of `p"):
        metric.compute(predictions=[[0.5, 0.5], [3.0, -2.0]], references=[[0.5, 0.5], [0.5, 0.5]])


def function_of(name: str) -> Any:
    """The function that a standalone module has in place of the one of `scores`."""
    spec = importlib.util.spec_from_file_location(f"standalone_{name}", ROOT / "metrics" / name / f"{name}.py")
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return getattr(module, STANDALONE[name].__name__)


FUNCTIONS = {name: function_of(name) for name in STANDALONE}
# From what no float64 holds to a row in float16, whose sum is a little off 1; zeros and equal rows among them.
masses = st.one_of(st.just(0.0), st.sampled_from([5e-324, 1e-310, 1e-200, 1.0]), st.floats(0.0, 1.0))
pairs = st.integers(2, 6).flatmap(
    lambda k: st.integers(1, 4).flatmap(lambda n: arrays(np.float64, (2, n, k), elements=masses))
)


@each_standalone
@settings(max_examples=300, deadline=None)
@given(pairs, st.sampled_from([np.float64, np.float32, np.float16]))
def test_a_module_without_the_package_gives_what_scores_gives(name: str, pair: np.ndarray, dtype: type) -> None:
    pair[..., 0] += pair.sum(axis=-1) == 0
    p, q = (pair / pair.sum(axis=-1, keepdims=True)).astype(dtype)
    np.testing.assert_allclose(FUNCTIONS[name](p, q), STANDALONE[name](p, q), atol=1e-12, rtol=0)


@each_standalone
@pytest.mark.parametrize(
    ("p", "q"),
    [
        ([[0.5, 0.6]], [[0.5, 0.5]]),
        ([[0.5, 0.5]], [[np.nan, 0.5]]),
        ([[np.inf, 0.5]], [[0.5, 0.5]]),
        ([[0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]),
        ([[0.5, 0.5], [1.0]], [[0.5, 0.5], [0.5, 0.5]]),
        ([[1.0]], [[1.0]]),
        ([["a", "b"]], [[0.5, 0.5]]),
    ],
    ids=["sum", "NaN", "infinity", "numbers of rows", "ragged", "one label", "words"],
)
def test_and_refuses_what_scores_refuses(name: str, p: Any, q: Any) -> None:
    for function in (FUNCTIONS[name], STANDALONE[name]):
        with pytest.raises(ValueError, match="`"):
            function(p, q)


def test_and_so_do_the_bases_of_the_logarithm() -> None:
    p, q = [[0.5, 0.5]], [[0.1, 0.9]]
    own = FUNCTIONS["js_divergence"]
    for base in (2, np.e, 10, 0.5):
        assert own(p, q, base) == pytest.approx(jensen_shannon_divergence(p, q, base))
    for base in (1, 0, -2):
        with pytest.raises(ValueError, match="`base` of a logarithm"):
            own(p, q, base)


@each_module
def test_what_a_module_needs(name: str) -> None:
    source = source_of(name)
    found = set(re.findall(r"^\s*(?:from|import) ([\w.]+)", source, flags=re.MULTILINE))
    own = {"numpy"} if name in STANDALONE else {"hf_emo_dist.scores"}
    assert found - {"evaluate", "datasets"} == own
    files = {file.path_in_repo: file.read().decode() for file in push_metric(name, f"me/{name}", dry_run=True).files}
    assert files[f"{name}.py"] == source
    assert ("hf-emo-dist" in files["requirements.txt"]) == (name not in STANDALONE)
    # evaluate reads imports from the file's text, one a line
    assert not re.findall(r"^import .*,|^from .* import \(", source, flags=re.MULTILINE)


def test_modules_combine(evaluate_offline: Any, rows: Any) -> None:
    predictions, references = rows
    together = evaluate_offline.combine(
        [evaluate_offline.load("metrics/js_divergence"), evaluate_offline.load("metrics/bhattacharyya_coefficient")]
    )
    result = together.compute(predictions=predictions, references=references)
    wanted = {**expected("js_divergence", *rows), **expected("bhattacharyya_coefficient", *rows)}
    assert result == pytest.approx(wanted)
    named = evaluate_offline.combine(
        {name: evaluate_offline.load(f"metrics/{name}") for name in MODULES}, force_prefix=True
    )
    result = named.compute(predictions=predictions, references=references)
    assert result["js_divergence_js_divergence"] == pytest.approx(result["emotion_distribution_js_divergence"])


def test_options(evaluate_offline: Any, rows: Any) -> None:
    nats = evaluate_offline.load("metrics/js_divergence").compute(
        predictions=[[1.0, 0.0]], references=[[0.0, 1.0]], base=np.e
    )
    assert nats["js_divergence"] == pytest.approx(np.log(2))
    counts = np.random.default_rng(0).multinomial(5, rows[1])
    emotions = ["angry", "happy", "neutral", "sad"]
    result = evaluate_offline.load("metrics/emotion_distribution").compute(
        predictions=rows[0], references=counts / 5, emotions=emotions, counts=counts.tolist()
    )
    assert result == pytest.approx(compute_scores(rows[0], counts / 5, emotions, counts))
    assert "js_divergence_floor" in result and "r2_sad" in result


@each_module
def test_examples_run_as_they_stand(evaluate_offline: Any, name: str) -> None:
    (text,) = (
        node.value.value
        for node in ast.parse(source_of(name)).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_KWARGS_DESCRIPTION"  # type: ignore[attr-defined]
    )
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    assert test.examples and doctest.DocTestRunner().run(test).failed == 0


@each_module
def test_cards_say_what_a_space_needs_and_their_code_runs(evaluate_offline: Any, name: str) -> None:
    import yaml

    card = (ROOT / "metrics" / name / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["title"] and front["description"] and {"evaluate", "metric"} <= set(front["tags"])
    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        *code, last = block.rstrip().split("\n# ")
        exec(compile("\n".join(code or [last]), name, "exec"), names)
        if code:
            value = eval(code[0].rstrip().splitlines()[-1], names)
            assert value == ast.literal_eval(last)
    assert blocks and f'"metrics/{name}"' in card


def test_in_a_trainer(
    evaluate_offline: Any, tiny_model: Any, tiny_processor: Any, tiny_validation: Any, tmp_path: Path
) -> None:
    from hf_emo_dist.training.arguments import EmotionDistributionTrainingArguments
    from hf_emo_dist.training.trainer import EmotionDistributionTrainer

    # the card's own function
    card = (ROOT / "metrics" / "emotion_distribution" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import numpy.*?)```", card, flags=re.DOTALL)
    names: dict[str, Any] = {"metric": evaluate_offline.load("metrics/emotion_distribution")}
    exec(compile(code, "README.md", "exec"), names)
    trainer = EmotionDistributionTrainer(
        model=tiny_model,
        args=EmotionDistributionTrainingArguments(str(tmp_path), use_cpu=True, report_to="none"),
        processing_class=tiny_processor,
        train_dataset=tiny_validation,
        eval_dataset=tiny_validation,
        compute_metrics=names["compute_metrics"],
    )
    result = trainer.evaluate()
    assert 0 < result["eval_js_divergence"] < 1 and "eval_js_divergence_floor" in result
    trainer.compute_metrics = trainer._score
    assert result["eval_js_divergence"] == pytest.approx(trainer.evaluate()["eval_js_divergence"], abs=1e-6)
