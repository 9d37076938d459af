"""Parquet of a stranger: whatever lies in its columns, an error names row and mend, or nothing comes of it."""

import pytest

pytest.importorskip("datasets")

import numpy as np

from hf_emo_dist.combining.evidence_columns import columns_as_arrow, evidence_of
from hf_emo_dist.data.outside_files import check_stays_inside
from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset

EMOTIONS = ("angry", "happy", "sad")


def entry(**values):
    made = {"label": "sad", "distribution": None, "model": "m", "focus": "", "temperature": 0.5, "mode": "label"}
    return {**made, "replicate": 0, "key": "k0", **values}


def stated(*shares):
    return entry(label=None, mode="stated", distribution=dict(zip(EMOTIONS, shares, strict=True)))


REFUSED = {
    "an answer twice": (dict(synthetic_annotations=[[entry(), entry()]]), "holds the answer 'k0' 2 times"),
    "NaN": (dict(synthetic_annotations=[[stated(float("nan"), 0.5, 0.5)]]), "a stated distribution is"),
    "infinite": (dict(synthetic_annotations=[[stated(float("inf"), 0.0, 0.0)]]), "a stated distribution is"),
    "negative": (dict(synthetic_annotations=[[stated(-1.0, 1.0, 1.0)]]), "a stated distribution is"),
    "another sum": (dict(synthetic_annotations=[[stated(1.0, 1.0, 1.0)]]), "a stated distribution is"),
    "an unknown label": (dict(synthetic_annotations=[[entry(label="<script>")]]), "Unknown emotion"),
    "an unknown vote": (dict(human_votes=[["\x1b[2J"]]), "Unknown emotion"),
    "weights of NaN": (dict(human_vote_weights=[[float("nan")]]), "finite and not negative"),
    "negative weights": (dict(human_vote_weights=[[-1.0]]), "finite and not negative"),
    "other weights": (dict(human_vote_weights=[[1.0, 1.0]]), "1 votes but 2 weights"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    values, told = REFUSED[case]
    columns = {"id": ["r0"], "human_votes": [["sad"]], **values}
    with pytest.raises(ValueError, match=rf"(?s)'r0'.*{told}|{told}.*'r0'") as caught:
        evidence_of(columns_as_arrow(columns, list(columns)), EMOTIONS)
    assert "Mend:" in str(caught.value)


def test_answers_that_differ_count_each():
    entries = [entry(), entry(key="k1"), entry(replicate=1), entry(key="", label="angry"), entry(key="", label="angry")]
    columns = {"human_votes": [["sad"]], "synthetic_annotations": [entries]}
    found = evidence_of(columns_as_arrow(columns, list(columns)), EMOTIONS).annotators["m"]
    np.testing.assert_allclose(found.number, [5])


SECRETS = ["/proc/self/environ", "/etc/passwd", "/dev/zero", "/dev/stdin", "missing.wav", "."]


@pytest.mark.parametrize("path", SECRETS)
def test_a_path_brings_in_recordings_only(path, tmp_path):
    """`{"bytes": null, "path": …}` in a stranger's Parquet names any file of the machine that writes the data anew."""
    row = {"id": "r0", "audio": {"bytes": None, "path": path}, "human_votes": ["sad"]}
    rows = build_dataset([row], row_features(EMOTIONS))
    with pytest.raises(OSError, match=r"'r0'.*Mend: "):
        write_dataset(rows, tmp_path / "out", description="x", vote_source="x", emotions=EMOTIONS)
    assert not (tmp_path / "out").exists()


NAMES = ["../../up", "a/b", "/root/x", "..", "a\nb", "a\x1b[2Jb", "=1+1", "<img src=x onerror=alert(1)>", "x" * 100_000]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_an_id_is_no_name_of_a_file(name, tmp_path):
    row = {"id": name, "audio": {"bytes": b"RIFF", "path": name}, "human_votes": ["sad"], "speaker": name}
    folder = write_dataset(
        build_dataset([row], row_features(EMOTIONS)), tmp_path / "out", description="x", vote_source=name, title=name,
        emotions=EMOTIONS,
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "README.md", "train-00000-of-00001.parquet",
    ]  # fmt: skip
    card = (folder / "README.md").read_text()
    assert "<img" not in card.split("---\n", 2)[2] and "\x1b" not in card


PLACES = [
    "/root/private/*.parquet", "../private/*.parquet", "data/../../x.parquet", "~/x.parquet", "file:///root/x.parquet",
    "http://127.0.0.1/x.parquet", "zip://a.parquet::/root/x.zip", "hf://datasets/me/private/x.parquet",
    "C:\\x.parquet", "..\\x.parquet",
]  # fmt: skip
SHAPES = ["data_files: '{}'", "data_files: ['data/*', '{}']", "data_files: [{{split: train, path: '{}'}}]",
          "data_files: {{train: ['{}']}}", "data_dir: '{}'"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_readme_that_names_files_elsewhere(place, shape, tmp_path):
    from hf_emo_dist.data.loading import load_emotion_dataset
    from hf_emo_dist.hub.push_data import push_votes

    (tmp_path / "decoy.parquet").write_bytes(b"PAR1")
    (tmp_path / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  {shape.format(place)}\n---\n# Mine\n"
    )
    for opened in (load_emotion_dataset, lambda folder: push_votes(folder, "me/x", dry_run=True)):
        with pytest.raises(ValueError, match=r"says that the data lies in .* outside of the data set itself.*Mend: "):
            opened(tmp_path)


FINE = ["data/train-*", "data/train-00000-of-00001.parquet", "**", "a..b/*.parquet", "."]


@pytest.mark.parametrize("place", FINE)
def test_a_readme_that_names_its_own_files(place):
    check_stays_inside(f"---\nconfigs:\n- data_files: '{place}'\n---\n# See ../x and http://host\n", "README.md")


def of_aliases(levels):
    """Two letters, doubled so many times."""
    lines = ["a0: &a0 ['x', 'x']", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, levels + 1))]
    return "\n".join(lines) + f"\nconfigs:\n- data_files: *a{levels}\n"


def test_a_readme_of_few_aliases_is_read():
    check_stays_inside(f"---\n{of_aliases(10)}---\n", "README.md")


METADATA = {
    "elsewhere": ("configs:\n- data_files: /etc/passwd\n", "says that the data lies in '/etc/passwd'"),
    "doubled": (of_aliases(40), "cannot be read (.*with its aliases written out.*Mend: "),
    "long": (f"x: {'y' * 2_100_000}\n", "cannot be read (it is longer than 2 MB.*Mend: "),
    "no YAML": ("x: [1\n", "cannot be read (line .*Mend: "),
}


@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize(("text", "told"), METADATA.values(), ids=METADATA)
def test_a_data_set_of_the_hub_whose_metadata_is_refused_before_datasets_reads_it(
    hub, tmp_path, monkeypatch, name, text, told
):
    from hub_server import put

    from hf_emo_dist.data.loading import load_emotion_dataset

    (tmp_path / name).write_text(f"---\n{text}---\n" if name == "README.md" else text)
    put(hub, "you/x", tmp_path, "dataset")
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **more: pytest.fail("datasets reads it"))
    with pytest.raises(ValueError, match=f"{name} of you/x {told}".replace("(", r"\(")):
        load_emotion_dataset("you/x")
