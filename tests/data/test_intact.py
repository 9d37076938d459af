"""Files of the package's own that are damaged: named, with what to do, and never taken for whole."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from hf_emo_dist.augmentation.plan import MixPlan
from hf_emo_dist.combining.combiner import VoteCombiner
from hf_emo_dist.data.full_disk import DiskFullError
from hf_emo_dist.data.intact import BrokenFileError, digest_of, read_json, read_parquet, sealed
from hf_emo_dist.data.output import write_json
from hf_emo_dist.data.preparation_file import PREPARATION_NAME, read_preparation

CONTENT = {"step": 3, "name": "fold", "shares": [0.1, 0.25], "by": {"angry": None}}


def changed_bits(file):
    """The file's content with a bit of each of its bytes changed, one at a time."""
    content = file.read_bytes()
    for place in range(len(content)):
        yield content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]


def test_a_bit_of_sealed_json_is_missed_or_changes_nothing(tmp_path):
    """What is left may say the same in other spaces, or be right and have lost the name of its checksum."""
    file = write_json(tmp_path / "state.json", sealed(CONTENT))
    found = {"named": 0, "same": 0, "without checksum": 0}
    for content in changed_bits(file):
        file.write_bytes(content)
        try:
            got = read_json(file, "run it again.")
        except BrokenFileError as error:
            assert str(error).startswith(f"{file} is damaged (") and str(error).endswith("Mend: run it again.")
            found["named"] += 1
        else:
            same = got == CONTENT
            assert same or {key: value for key, value in got.items() if key in CONTENT} == CONTENT
            found["same" if same else "without checksum"] += 1
    assert found["named"] > 100 and found["without checksum"] <= len("checksum")


JSONS = {
    "empty": (b"", "it is no JSON"),
    "cut": (b'{"step": 3, "na', "it is no JSON"),
    "zeros": (bytes(64), "it is no JSON"),
    "no UTF-8": (b'{"step": "\xff\xfe"}', "it is no JSON"),
    "a list": (b"[1]", "it is no JSON object"),
    "without a key": (b'{"name": "x"}', "it has no 'step'"),
    "another type": (b'{"step": "3"}', "it has no 'step', or another kind"),
}


@pytest.mark.parametrize(("content", "said"), JSONS.values(), ids=JSONS.keys())
def test_json_that_is_none_is_named(tmp_path, content, said):
    file = tmp_path / "state.json"
    file.write_bytes(content)
    with pytest.raises(BrokenFileError, match=rf"state\.json is damaged \({said}.*Mend: type this"):
        read_json(file, "type this.", needs={"step": int})


def plan(folder):
    about = {b"hf_emo_dist.mix_plan": b"{}"}
    pq.write_table(pa.table({"id": ["a"]}).replace_schema_metadata(about), folder / "plan.parquet")
    return folder / "plan.parquet", lambda file: MixPlan.load(file, Dataset.from_dict({"id": ["a"]}))


def combiner(folder):
    made = VoteCombiner(emotions=["angry", "sad"], method="pool")
    made.fit_counts([[2.0, 1.0], [0.0, 3.0]], {"it": [[1.0, 0.0], [0.0, 1.0]]}).save(folder / "combiner.json")
    return folder / "combiner.json", VoteCombiner.load


def preparation(folder):
    file = write_json(folder / PREPARATION_NAME, {"annotation": {"backend": "simulated"}})
    return file, lambda file: read_preparation(file.parent)


def predictions(folder):
    pq.write_table(pa.table({"id": ["a"], "x": [0.5]}), folder / "predictions.parquet")
    return folder / "predictions.parquet", lambda file: read_parquet(file, "predict again.")


STATES = {"plan": plan, "combiner": combiner, "preparation": preparation, "predictions": predictions}
DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_the_package_writes_is_named_where_it_is_damaged(tmp_path, state, damage):
    file, read = state(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BrokenFileError, match=rf"{file.name} is damaged \(.*\)\. Mend: \w+"):
        read(file)


def test_a_combiner_whose_figures_were_changed_is_no_combiner(tmp_path):
    file, read = combiner(tmp_path)
    assert read(file).method == "pool"
    values = json.loads(file.read_text())
    values["settings"]["seed"] = 1
    file.write_text(json.dumps(values))
    with pytest.raises(BrokenFileError, match=r"combiner\.json is damaged \(it does not hold what was written\)"):
        read(file)
    del values["checksum"]  # of 0.2, or written by hand
    file.write_text(json.dumps(values))
    assert read(file).seed == 1


def test_a_digest_is_of_the_whole_file_up_to_a_size_and_of_its_end_beyond(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_emo_dist.data.intact._WHOLE", 10**6)
    file = tmp_path / "weights"
    for size in (10**6, 40 * 10**6):
        file.write_bytes(bytes(size))
        before = digest_of(file)
        assert digest_of(file) == before
        with file.open("r+b") as content:
            content.seek(size - 1)
            content.write(b"\1")
        assert digest_of(file) != before
    assert issubclass(DiskFullError, OSError) and issubclass(BrokenFileError, ValueError)
