"""Keys in the ledger as 0.1.0 wrote them: a reply that was paid for is found again by any later version."""

import hashlib

import pytest
from backend_setup import KEY_NAMES

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.backends import GeminiBackend, OpenAIBackend, SimulatedBackend
from hf_emo_dist.annotation.reading import read_batch
from hf_emo_dist.annotation.run.run_report import RunReport

ROW = {
    "id": "a",
    "audio": {"bytes": b"RIFF as it came", "path": "a.wav"},
    "transcript": "Kids are „talking“ {by} the door.",
    "true_distribution": {"angry": 0.25, "happy": 0.0, "neutral": 0.5, "sad": 0.25},
}
BACKENDS = {
    "gemini-3.8-flash": lambda: GeminiBackend(),
    "gemini-2.5-pro": lambda: GeminiBackend("gemini-2.5-pro", thinking=256, safety="high"),
    "gpt-audio": lambda: OpenAIBackend("gpt-audio"),
    "vllm": lambda: OpenAIBackend(
        "Qwen/Qwen2-Audio-7B-Instruct", base_url="http://host:8000/v1/", capabilities={"structured": "json_schema"}
    ),
    "simulated": lambda: SimulatedBackend(seed=3, focus_noise=0.1),
}
PANEL = [{"focus": "voice"}, {"focus": "voice"}, {"focus": "Mind the pauses.", "wording": 1, "persona": "a nurse"}]
OPTIONS = {
    "default": {"num_annotations": 12, "num_distributions": 3},
    "paper": {"preset": "paper"},
    "panel": {"panel": PANEL, "use_transcript": False, "emotions": ("sad", "neutral", "happy", "angry")},
}
# (plan, key of the first member, SHA-256 of all requests' hashes and keys), the last two cut to 16 digits
GOLDEN = {
    ("gemini-3.8-flash", "default"): ("0bcd4e022fd8941f71486b4a572b7be5", "71d3699c59d6031a", "6e14462d2c3b915d"),
    ("gemini-3.8-flash", "paper"): ("53246d45d9743ac5c23566f37ae3f9a9", "4372cb55c185cab0", "b2801155c2f428f2"),
    ("gemini-3.8-flash", "panel"): ("253f430d456d21cc01c7270e17bf8bf5", "f7b4dd97b1e1b10f", "9402d190acabc082"),
    ("gemini-2.5-pro", "default"): ("cd84f4d7470a49a90e19cef7cca4fb6d", "d61a876501fba995", "2e91e8126a10530d"),
    ("gemini-2.5-pro", "paper"): ("ac83cb2d21389a360a9fd12604efbd7a", "dc1c8e0ec079f85c", "3af026288763c0cd"),
    ("gemini-2.5-pro", "panel"): ("1a03c15210eb0f3fc44a00ab8a61cac5", "d2feee0218f77ce5", "fe98d76dd7b09982"),
    ("gpt-audio", "default"): ("e74ea1eb4619929dd3da61749889db12", "ace461c8f83aa514", "b2e5883baa5dae14"),
    ("gpt-audio", "paper"): ("f0e2b7c1b558580382e72d0895c0c75a", "3d03d7dd143c26c6", "475eb3ce498cb56e"),
    ("gpt-audio", "panel"): ("5c4c98930fb40f937ca289b3c5d0315a", "20cfc070aad68ff0", "f17e9a959d678f7b"),
    ("vllm", "default"): ("11ebfc7e2a88c374119c742609a0fb51", "b1302cd4b72fe596", "fc660ee3f40f0a56"),
    ("vllm", "paper"): ("3d4a187d61e4017142d4940be8dc69f4", "180a5d910ac04f7f", "cf59ed6e5873ba02"),
    ("vllm", "panel"): ("b78fbc5f98474eb3f7552c7109307d8c", "261425e1b7bd93bc", "bb5a30c0d4653ad3"),
    ("simulated", "default"): ("18a692f39676582c396543acf1b53c04", "7bfa91abe3122585", "285ff4573981e8d3"),
    ("simulated", "paper"): ("910bece2f0cb9f98b4b5252807fc7029", "df611856a8818706", "55397c0afc07a577"),
    ("simulated", "panel"): ("456f7e56bd87e157aab3c5a5e96b4028", "cf4b137af8cf8eec", "ed497767324e4f34"),
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_replies_of_old_ledgers_are_found(tmp_path, monkeypatch, backend, options):
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    annotator = Annotator(BACKENDS[backend](), ledger=tmp_path / "v.sqlite", progress=False, **OPTIONS[options])
    (utterance,), _ = read_batch(ROW, "audio", annotator.backend.row_columns)
    jobs = annotator.jobs(utterance, RunReport())
    digest = hashlib.sha256("".join(job.request_hash + job.key for job in jobs).encode()).hexdigest()
    assert (annotator.plan, jobs[0].key[:16], digest[:16]) == GOLDEN[backend, options]
