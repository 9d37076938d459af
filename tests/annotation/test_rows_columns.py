"""Rows in, columns out: whatever the row's shape, with their types, and with what is there already kept."""

import numpy as np
import pytest
from datasets import Audio, Dataset, Features, IterableDataset, Value
from scripted import ScriptedBackend
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.reading import is_batch, read_batch, read_dataset
from hf_emo_dist.votes import combine_votes

TONE = {"array": 0.1 * np.sin(np.arange(8000) / 10).astype(np.float32), "sampling_rate": 16000}


def annotator(tmp_path, script=None, **options):
    options = {"emotions": TINY_EMOTIONS, "num_annotations": 3, "progress": False, **options}
    return Annotator(ScriptedBackend(script), ledger=tmp_path / "votes.sqlite", **options)


@pytest.mark.parametrize(
    ("row", "batch"),
    [
        ({"id": "a", "audio": TONE}, False),
        ({"id": ["a"], "audio": [TONE]}, True),
        ({"audio": TONE}, False),
        ({"audio": [TONE, TONE]}, True),
        ({"audio": "clip.wav"}, False),
        ({"audio": ["clip.wav"]}, True),
        ({"audio": [0.1, 0.2]}, False),
        ({"audio": [[0.1, 0.2], [0.3]]}, True),
    ],
)
def test_a_batch_is_told_from_a_row(row, batch):
    assert is_batch(row, "audio") is batch
    assert read_batch(row, "audio")[1] is batch


def test_missing_columns_are_named():
    with pytest.raises(KeyError, match="audio_column"):
        read_batch({"id": "a", "sound": TONE}, "audio")
    with pytest.raises(KeyError, match="truth"):
        read_batch({"id": "a", "audio": TONE}, "audio", ("truth",))
    with pytest.raises(KeyError, match="sound"):
        next(read_dataset(as_dataset(tiny_rows(2)), "sound"))


def test_several_splits_and_streams_are_refused_as_a_whole(tmp_path):
    rows = as_dataset(tiny_rows(2))
    with pytest.raises(TypeError, match="dataset\\[split\\]"):
        annotator(tmp_path).annotate({"train": rows})
    with pytest.raises(TypeError, match="batched=True"):
        annotator(tmp_path).annotate(rows.to_iterable_dataset())


def test_columns_have_their_types_whatever_the_replies_were(tmp_path):
    rows = as_dataset(tiny_rows(6))
    failing = annotator(tmp_path, lambda *_: "no such emotion here")
    for made in (failing.annotate(rows).dataset, rows.map(failing, batched=True, batch_size=2)):
        assert made["synthetic_votes"][:] == [[]] * 6
        assert made.features == failing.features(rows.features)
    labels = annotator(tmp_path / "b").annotate(rows).dataset
    assert labels.features == made.features  # so that they can be concatenated


def test_all_ways_give_the_same_columns(tmp_path):
    rows = as_dataset(tiny_rows(6))
    mine = annotator(tmp_path, num_distributions=0)
    whole = mine.annotate(rows).dataset
    batched = rows.map(mine, batched=True, batch_size=4)
    assert batched.features == whole.features
    single = rows.map(mine)
    stream = list(rows.to_iterable_dataset().map(mine, batched=True, batch_size=4))
    for name in ("synthetic_annotations", "synthetic_votes"):
        assert whole[name][:] == batched[name][:] == single[name][:] == [row[name] for row in stream]
    assert mine.backend.sent == 18


def test_no_column_is_returned_but_the_two(tmp_path):
    (row,) = tiny_rows(1)
    assert set(annotator(tmp_path)(row)) == {"synthetic_annotations", "synthetic_votes"}


def test_another_annotator_adds_to_what_is_there_and_the_same_one_does_not(tmp_path):
    rows = as_dataset(tiny_rows(2))
    first, second = annotator(tmp_path), annotator(tmp_path, panel=[{"focus": "Mind the pauses."}])
    once = first.annotate(rows).dataset
    for way in (lambda ds, who: who.annotate(ds).dataset, lambda ds, who: ds.map(who, batched=True)):
        assert way(once, first)["synthetic_annotations"][:] == once["synthetic_annotations"][:]
        both = way(once, second)
        assert [len(row) for row in both["synthetic_votes"]] == [4, 4]
        assert [row[:3] for row in both["synthetic_annotations"]] == once["synthetic_annotations"][:]


def test_stated_distributions_and_labels_stand_together_and_are_pooled(tmp_path):
    def script(number, request, audio):
        return "sad" if request["mode"] == "label" else '{"angry": 0.5, "happy": 0.5, "sad": 0}'

    (row,) = tiny_rows(1)
    row |= annotator(tmp_path, script, num_annotations=2, num_distributions=1)(row)
    assert row["synthetic_votes"] == ["sad", "sad"]
    assert row["synthetic_annotations"][2]["distribution"] == {"angry": 0.5, "happy": 0.5, "sad": 0.0}
    pooled = combine_votes({**row, "human_votes": []}, TINY_EMOTIONS, empty="drop")["emotion_distribution"]
    assert pooled == pytest.approx({"angry": 1 / 6, "happy": 1 / 6, "sad": 2 / 3})


def test_mixed_rows_get_no_votes(tmp_path):
    rows = tiny_rows(2)
    rows[0] |= {"mixed_from": ["x", "y"], "mix_ratio": 0.5}
    rows[1] |= {"mixed_from": None, "mix_ratio": None}
    mine = annotator(tmp_path)
    assert [len(votes) for votes in mine.annotate(as_dataset(rows)).dataset["synthetic_votes"]] == [0, 3]
    assert mine.backend.sent == 3


def test_a_clip_that_cannot_be_used_is_reported_by_id_and_the_others_answer(tmp_path, caplog):
    rows = tiny_rows(3)
    rows[1]["audio"] = {"bytes": b"no audio", "path": "bad.wav"}
    dataset = as_dataset(rows)
    result = annotator(tmp_path).annotate(dataset)
    assert [len(votes) for votes in result.dataset["synthetic_votes"]] == [3, 0, 3]
    assert list(result.report.skipped) == [rows[1]["id"]] and result.report.complete
    dataset.map(annotator(tmp_path), batched=True)
    assert rows[1]["id"] in caplog.text


def test_the_same_clip_twice_is_asked_for_once(tmp_path):
    rows = tiny_rows(1)
    rows.append({**rows[0], "id": "again"})
    mine = annotator(tmp_path)
    votes = mine.annotate(as_dataset(rows)).dataset["synthetic_votes"]
    assert votes[0] == votes[1] and mine.backend.sent == 3


def test_rows_without_an_id_are_named_by_their_number(tmp_path):
    dataset = as_dataset(tiny_rows(2)).remove_columns("id")
    assert [u.row_id for u in read_dataset(dataset, "audio")] == ["0", "1"]
    assert [len(v) for v in dataset.map(annotator(tmp_path), batched=True)["synthetic_votes"]] == [3, 3]


def test_audio_that_datasets_would_decode_is_read_as_bytes(tmp_path):
    # Audio(decode=True) is what load_dataset gives; reading such a column needs torchcodec, and annotating must not.
    decoding = as_dataset(tiny_rows(2)).cast_column("audio", Audio(sampling_rate=16000))
    mine = annotator(tmp_path)
    whole = mine.annotate(decoding).dataset["synthetic_votes"][:]
    assert decoding.map(mine, batched=True, remove_columns=["audio"])["synthetic_votes"][:] == whole
    assert decoding.map(mine, remove_columns=["audio"])["synthetic_votes"][:] == whole
    assert mine.backend.sent == 6


@pytest.mark.parametrize("shape", ["bytes", "path", "array"])
def test_every_shape_of_audio_is_heard(tmp_path, shape):
    (row,) = tiny_rows(1)
    data = row["audio"]["bytes"]
    path = tmp_path / "clip.flac"
    path.write_bytes(data)
    audio = {"bytes": {"bytes": data, "path": None}, "path": str(path), "array": TONE}[shape]
    heard = []
    mine = annotator(tmp_path, lambda number, request, clip: heard.append(clip.seconds) or "sad")
    assert mine({**row, "audio": audio})["synthetic_votes"] == ["sad"] * 3
    assert heard[0] == pytest.approx(0.5 if shape == "array" else read_seconds(data), abs=1e-3)


def read_seconds(data):
    import io

    import soundfile

    return soundfile.info(io.BytesIO(data)).duration


@pytest.mark.parametrize("mark", [{"restricted": True}, {"corpus": "iemocap"}, {"corpus": "MSP_Podcast"}])
def test_restricted_audio_is_not_uploaded_unless_allowed(tmp_path, mark):
    rows = [{**row, **mark} for row in tiny_rows(2)]
    far = {"destination": "Far Away Inc."}
    mine = Annotator(ScriptedBackend(**far), emotions=TINY_EMOTIONS, ledger=tmp_path / "v.sqlite", progress=False)
    for call in (lambda: mine.annotate(as_dataset(rows)), lambda: mine(rows[0])):
        with pytest.raises(ValueError, match=r"Far Away Inc.*allow_upload=True"):
            call()
    assert mine.backend.sent == 0
    allowed = Annotator(
        ScriptedBackend(**far), emotions=TINY_EMOTIONS, ledger=tmp_path / "v.sqlite", progress=False, allow_upload=True
    )
    assert allowed.annotate(as_dataset(rows)).report.votes == 20
    here = Annotator(ScriptedBackend(), emotions=TINY_EMOTIONS, ledger=tmp_path / "w.sqlite", progress=False)
    assert here.annotate(as_dataset(rows)).report.votes == 20


def test_the_first_upload_says_where_to_and_under_whose_terms(tmp_path, caplog):
    mine = Annotator(
        ScriptedBackend(destination="Far Away Inc."),
        emotions=TINY_EMOTIONS,
        ledger=tmp_path / "v.sqlite",
        progress=False,
    )
    rows = as_dataset(tiny_rows(4))
    rows.map(mine, batched=True, batch_size=2)
    told = [record for record in caplog.records if "Far Away Inc." in record.message]
    assert len(told) == 1 and "Terms: none" in told[0].message


def test_one_at_a_time_is_said_to_be_slow_once(tmp_path, caplog):
    as_dataset(tiny_rows(3)).map(annotator(tmp_path))
    assert caplog.text.count("batched=True") == 1


def test_a_stream_of_typed_rows_is_annotated(tmp_path):
    rows = tiny_rows(2)

    def generate():
        for row in rows:
            yield {"id": row["id"], "audio": row["audio"]["bytes"]}

    stream = IterableDataset.from_generator(
        generate, features=Features({"id": Value("string"), "audio": Value("binary")})
    )
    assert [len(row["synthetic_votes"]) for row in stream.map(annotator(tmp_path), batched=True)] == [3, 3]


def test_an_empty_data_set_stays_one(tmp_path):
    rows = as_dataset(tiny_rows(1)).select([])
    made = annotator(tmp_path).annotate(rows)
    assert isinstance(made.dataset, Dataset) and len(made.dataset) == 0 and made.report.complete
