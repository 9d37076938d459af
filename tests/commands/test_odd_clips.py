"""A folder of good, odd and hostile files through everything that takes audio: the good ones go through, the others are
named, and nothing takes 500 MB.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import made_clips as made
import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space are Linux's")

#: Runs in a process of its own, whose address space may grow by 500 MB from here on.
LIMITED = """
import json, resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:4]
import made_clips as made
folder, work = Path(sys.argv[4]), Path(sys.argv[5])
names = [*made.GOOD, *made.BAD]
def limit():
    pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + 500_000_000,) * 2)
def by_path():
    from datasets import Audio, Dataset
    shares = {"angry": 0.5, "happy": 0.3, "sad": 0.2}
    rows = [{"id": name, "audio": {"bytes": None, "path": str(folder / name)}, "speaker": str(i % 2), "transcript": "",
             "human_votes": ["angry", "sad"], "human_distribution": shares, "emotion_distribution": shares,
             "true_distribution": shares} for i, name in enumerate(names)]
    return Dataset.from_list(rows).cast_column("audio", Audio(sampling_rate=16000, decode=False))
"""
READING = """
import datasets, soundfile, soxr, pandas, pyarrow.parquet
from hf_emo_dist.annotation import Annotator
from hf_emo_dist.audio.check import check_audio
from hf_emo_dist.commands.main import main
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.writing import write_dataset
limit()
report = check_audio(by_path(), progress=False)
said = {problem.row_id: problem.detail for problem in report.problems}
table = folder.parent / "votes.csv"
table.write_text("file,speaker,angry,sad,id\\n" + "".join(f"{n},s{i % 2},1,2,{n}\\n" for i, n in enumerate(names)))
words = ["read", "table", str(table), str(folder), str(work / "data"), "--unusable", "skip"]
strict = main(words)
code = main([*words, "--on_missing", "skip"])
kept = load_emotion_dataset(work / "data", "train")["id"][:]
run = Annotator("simulated", ledger=str(work / "votes.sqlite"), emotions=["angry", "happy", "sad"],
                num_annotations=1, progress=False)
annotated, found = run.annotate(by_path())
voted = [row["id"] for row in annotated.remove_columns("audio") if row["synthetic_votes"]]
try:
    write_dataset(by_path(), work / "paths", description="x", vote_source="x")
    written = ""
except FileNotFoundError as error:
    written = str(error)
print(json.dumps({"said": said, "unverifiable": report.unverifiable, "codes": [strict, code], "kept": kept,
                  "voted": voted, "skipped": dict(found.skipped), "written": written}))
"""
MODEL = """
import datasets, librosa, soundfile, soxr, torch, transformers
from hf_emo_dist import load_emotion_model
from hf_emo_dist.audio.check import check_audio
from hf_emo_dist.audio.decoding import AudioError
from hf_emo_dist.commands.main import main
from hf_emo_dist.training.arguments import EmotionDistributionTrainingArguments
from hf_emo_dist.training.trainer import EmotionDistributionTrainer
torch.set_num_threads(1)
model, processor = load_emotion_model(sys.argv[6])
limit()
files = [str(folder / name) for name in names if name != "folder.wav"]  # a folder stands for what it holds
words = ["predict", *files, "--model", sys.argv[6], "--device", "cpu", "--format", "json"]
code = main([*words, "--output", str(work / "predicted.json")])
predicted = json.loads((work / "predicted.json").read_text())
def train(dataset):
    model, processor = load_emotion_model(sys.argv[6])
    args = EmotionDistributionTrainingArguments(str(work / "run"), max_steps=2, per_device_train_batch_size=4,
                                                report_to="none", use_cpu=True, disable_tqdm=True)
    trainer = EmotionDistributionTrainer(model=model, args=args, processing_class=processor, train_dataset=dataset)
    return trainer.train().training_loss
data = by_path()
try:
    train(data)
    refused = ""
except AudioError as error:
    refused = str(error)
loss = train(data.select(check_audio(data, progress=False).usable))
print(json.dumps({"code": code, "errors": {Path(one["file"]).name: one["error"] for one in predicted if "error" in one},
                  "refused": refused, "loss": loss}))
"""


def limited(script: str, tmp_path: Path, *more: object) -> tuple[dict, str]:
    tests = Path(__file__).parents[1]
    folder = tmp_path / "clips"
    made.odd_folder(folder)
    words = [tests / "audio", tests, tests.parent / "src", folder, tmp_path, *more]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED + script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # an arena a thread reserves address space, and uses none of it
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr + done.stdout


def test_a_folder_of_everything_is_read_checked_and_annotated(tmp_path):
    assert len(made.GOOD) >= 20 and len(made.BAD) >= 20
    found, printed = limited(READING, tmp_path)
    assert set(found["said"]) == set(made.BAD)
    for name, (_, says) in made.BAD.items():
        assert says in found["said"][name], name
        assert name in printed, name
    assert found["unverifiable"] == ["piped.wav", "piped.flac", "untagged.mp3"]
    assert found["codes"][0] != 0 and found["codes"][1] == 0
    assert found["kept"] == list(made.GOOD)
    assert found["voted"] == list(made.GOOD)
    assert set(found["skipped"]) == set(made.BAD)
    assert any(f"Row {name!r}, column 'audio'" in found["written"] for name in made.BAD)


def test_a_folder_of_everything_is_predicted_and_trained_on(tmp_path, tones_checkpoint):
    found, printed = limited(MODEL, tmp_path, tones_checkpoint)
    # A recording to predict may be silent, which the answer says.
    assert set(found["errors"]) == set(made.BAD) - {"silent.flac", "folder.wav"}
    for name, error in found["errors"].items():
        assert made.BAD[name][1] in error, name
    assert found["code"] != 0 and "files could not be predicted" in printed
    for name in made.BAD:
        assert name in found["refused"]
    assert found["loss"] > 0
