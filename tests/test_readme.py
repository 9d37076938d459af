"""The README's Python runs as it stands."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_python_examples_run(tmp_path, monkeypatch, capsys):
    from hf_emo_dist.corpora.simulated import simulate_corpus
    from hf_emo_dist.data.writing import write_dataset
    from hf_emo_dist.modeling.mini import build_mini_backbone

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 2
    monkeypatch.chdir(tmp_path)
    corpus = simulate_corpus(num_utterances=24, num_speakers=6, seed=0)
    write_dataset(corpus, "quickstart_output/data", description="simulated", vote_source="simulated")
    build_mini_backbone("quickstart_output/backbone", hidden_size=16, audio_layers=1, text_layers=1, num_mel_bins=16)
    for code in blocks:
        exec(compile(code, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "'js_divergence'" in shown and "mixed rows" in shown


def test_commands_of_the_readme_exist():
    from hf_emo_dist.commands.main import COMMANDS

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"hf-emo-dist ([a-z][a-z-]+)", text))
    assert len(named) >= 12 and named <= set(COMMANDS)
    files = set(re.findall(r"(?:recipes|dataset_scripts|metrics|docs)/[\w/.]+\.(?:py|yaml|md)", text))
    assert files and [name for name in sorted(files) if not (ROOT / name).exists()] == []
