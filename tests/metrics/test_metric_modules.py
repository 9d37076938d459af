"""The `evaluate` modules: by folder and by file, combined, in a Trainer, their cards and examples, and what of the package they need."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_emo_dist import compute_scores
from hf_emo_dist.scores.divergences import bhattacharyya_coefficient, jensen_shannon_divergence

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.name for path in (ROOT / "metrics").iterdir() if path.is_dir())
each_module = pytest.mark.parametrize("name", MODULES)


@pytest.fixture(scope="module")
def evaluate_offline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    evaluate = pytest.importorskip("evaluate")
    patch = pytest.MonkeyPatch()
    # Results go to a cache of our own, and the network must not be needed. Modules stay in the cache of all tests: a process imports
    # their package from one place only.
    patch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path_factory.mktemp("results"))
    patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    patch.chdir(ROOT)
    yield evaluate
    patch.undo()


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(4), 20), rng.dirichlet(np.ones(4), 20)


def expected(name: str, predictions: np.ndarray, references: np.ndarray) -> dict[str, Any]:
    if name == "js_divergence":
        return {name: jensen_shannon_divergence(predictions, references).mean()}
    if name == "bhattacharyya_coefficient":
        return {name: bhattacharyya_coefficient(predictions, references).mean()}
    assert name == "emotion_distribution"
    return compute_scores(predictions, references)


@each_module
def test_module_by_folder_and_by_file_in_batches(evaluate_offline: Any, rows: Any, name: str) -> None:
    predictions, references = rows
    metric = evaluate_offline.load(f"metrics/{name}")
    wanted = pytest.approx(expected(name, *rows))
    assert metric.compute(predictions=predictions, references=references) == wanted
    metric = evaluate_offline.load(f"metrics/{name}/{name}.py")
    for at in range(0, 20, 5):
        metric.add_batch(predictions=predictions[at : at + 5].tolist(), references=references[at : at + 5].tolist())
    assert metric.compute() == wanted


@each_module
def test_what_is_no_distribution_is_refused(evaluate_offline: Any, name: str) -> None:
    metric = evaluate_offline.load(f"metrics/{name}")
    with pytest.raises(ValueError, match="Row 1 of `p"):
        metric.compute(predictions=[[0.5, 0.5], [3.0, -2.0]], references=[[0.5, 0.5], [0.5, 0.5]])


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
    source = (ROOT / "metrics" / name / f"{name}.py").read_text(encoding="utf-8")
    (text,) = (
        node.value.value
        for node in ast.parse(source).body
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


def needed(module: str, seen: set[str]) -> set[str]:
    """Modules of the package, and packages, that a module imports when it is loaded."""
    path = ROOT / "src" / Path(*module.split(".")).with_suffix(".py")
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module.split(".")[: -node.level]) if node.level else ""
            origin = f"{base}.{node.module}" if node.module and base else node.module or base
            inside = [f"{origin}.{alias.name}" for alias in node.names]
            files = [name for name in inside if (ROOT / "src" / Path(*name.split(".")).with_suffix(".py")).is_file()]
            found |= set(files or [str(origin)])
    for name in found - seen:
        if name.startswith("hf_emo_dist"):
            found |= needed(name, seen | found)
    return found


@each_module
def test_a_space_needs_little_of_the_package(name: str) -> None:
    source = (ROOT / "metrics" / name / f"{name}.py").read_text(encoding="utf-8")
    imports = re.findall(r"^from (hf_emo_dist\S*) import", source, flags=re.MULTILINE)
    assert len(imports) == 1
    closure = {module.partition(".")[0] for module in needed(imports[0], set())} - {"hf_emo_dist"}
    import sys

    assert closure - sys.stdlib_module_names == {"numpy"}
    own = {module for module in needed(imports[0], set()) if module.startswith("hf_emo_dist")}
    assert own <= {"hf_emo_dist.distributions"} | {module for module in own if module.startswith("hf_emo_dist.scores.")}


@each_module
def test_a_space_runs_without_the_package(rows: Any, name: str) -> None:
    import evaluate

    from hf_emo_dist.hub.vendoring import standalone_source

    source = standalone_source(ROOT / "metrics" / name / f"{name}.py")
    assert not re.findall(r"^\s*(?:from|import) hf_emo_dist", source, flags=re.MULTILINE)
    space: dict[str, Any] = {"__name__": name}
    exec(compile(source, f"{name}.py", "exec"), space)
    (kind,) = (value for value in space.values() if isinstance(value, type) and issubclass(value, evaluate.Metric))
    assert kind.__new__(kind)._compute(*rows) == pytest.approx(expected(name, *rows))


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
