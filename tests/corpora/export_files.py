"""Exports of labelling tools, in the form that each tool's code and documentation give them, with invented votes."""

import json

from corpus_files import WAV, write


def clips(folder, *names):
    for name in names or ("a.wav", "b.wav", "c.wav"):
        write(folder / name, WAV + name.encode())  # of each its own bytes: the same sound twice is asked about
    return folder


def label_studio_task(number, audio, *annotations, **data):
    def annotation(who, *results, **more):
        result = [
            {"from_name": name, "to_name": "audio", "type": "choices", "value": {"choices": choices, **times}}
            for name, choices, times in results
        ]
        return {"id": number * 10, "completed_by": who, "was_cancelled": False, "result": result, **more}

    return {
        "id": number,
        "data": {"audio": audio, **data},
        "annotations": [annotation(who, *results, **more) for who, results, more in annotations],
        "predictions": [{"model_version": "m", "result": [{"value": {"choices": ["Sad"]}}]}],
    }


def emotion(*choices, **times):
    return ("emotion", list(choices), times)


LABEL_STUDIO = [
    label_studio_task(
        7,
        "/data/upload/1/1b2c3d4e-a.wav",
        (1, [emotion("Anger"), ("quality", ["good"], {})], {}),
        ({"id": 2, "email": "x@y.z"}, [emotion("Sadness", "Anger")], {}),
        (3, [emotion("Happiness")], {"was_cancelled": True}),
        (4, [("quality", ["bad"], {})], {}),
        speaker="s1",
    ),
    label_studio_task(
        8,
        "http://localhost:8080/data/local-files/?d=recordings/b.wav",
        ({"email": "x@y.z"}, [emotion("Happiness"), emotion("Sadness", start=0.1, end=0.5)], {}),
        speaker="s2",
    ),
    label_studio_task(9, "s3://bucket/set/c.wav", speaker="s3"),
]


def label_studio(folder):
    return write(folder / "project-1.json", json.dumps(LABEL_STUDIO))


LABEL_STUDIO_MIN = [
    {"audio": "/data/upload/1/1b2c3d4e-a.wav", "id": 7, "emotion": "Anger", "quality": "good", "annotator": 1},
    {"audio": "/data/upload/1/1b2c3d4e-a.wav", "id": 7, "emotion": {"choices": ["Sadness", "Anger"]}, "annotator": 2},
    {"audio": "/data/upload/1/2b2c3d4e-b.wav", "id": 8, "emotion": "Happiness", "annotator": 1},
    {"audio": "/data/upload/1/3b2c3d4e-c.wav", "id": 9, "quality": "bad", "annotator": 1},
]


def label_studio_min(folder):
    return write(folder / "project-1-min.json", json.dumps(LABEL_STUDIO_MIN))


def label_studio_table(folder, sign=",", name="project-1.csv"):
    def cell(value):
        text = json.dumps(value) if isinstance(value, dict) else str(value)
        return '"' + text.replace('"', '""') + '"'

    keys = ("annotator", "audio", "emotion", "id", "quality")
    lines = [sign.join(map(cell, keys))]
    lines += [sign.join(cell(row.get(key, "")) for key in keys) for row in LABEL_STUDIO_MIN]
    return write(folder / name, "\n".join(lines) + "\n")


def potato_state(*labels):
    return [[{"schema": schema, "name": name}, value] for schema, name, value in labels]


POTATO = {
    "alice": {
        "clip-1": potato_state(("emotion", "angry", "true"), ("confidence", "scale_4", "4")),
        "clip-2": potato_state(("emotion", "happy", True), ("emotion", "sad", True)),
    },
    "bob@lab.org": {
        "clip-1": {"emotion": {"labels": {"sad": True, "happy": False}}},
        "clip-2": potato_state(("confidence", "scale_2", "2")),
        "clip-3": potato_state(("emotion", "select-one", "happy")),
    },
}


def potato(folder):
    root = folder / "annotation_output"
    for who, labels in POTATO.items():
        state = {"user_id": who, "instance_id_to_label_to_value": labels, "instance_id_to_span_to_value": {}}
        write(root / who / "user_state.json", json.dumps(state))
    write(root / "exports" / "user_state.json", json.dumps({"user_id": "nobody"}))
    items = [
        {"id": f"clip-{k}", "audio_url": f"audio/{name}.wav", "speaker": f"s{k}"} for k, name in enumerate("abc", 1)
    ]
    write(folder / "items.jsonl", "\n".join(map(json.dumps, items)))
    return root


def potato_table(folder):
    return write(
        folder / "annotations.csv",
        "instance_id,user_id,emotion.angry,emotion.happy,emotion.sad,confidence.scale_4\n"
        "a,alice,true,,,4\na,bob@lab.org,,,true,\nb,alice,,true,true,\nb,bob@lab.org,,,,2\nc.wav,bob@lab.org,,true,,\n",
    )


def potato_lines(folder):
    rows = [
        {"instance_id": "a", "user_id": "alice", "labels": {"emotion": {"angry": "true"}}, "spans": {}},
        {"instance_id": "a", "user_id": "bob@lab.org", "labels": {"emotion": {"sad": "true"}}, "spans": {}},
        {"instance_id": "b", "user_id": "alice", "labels": {"emotion": {"happy": True, "sad": True}}, "spans": {}},
        {"instance_id": "c.wav", "user_id": "bob@lab.org", "labels": {"emotion": {"happy": "happy"}}, "spans": {}},
    ]
    return write(folder / "annotations.jsonl", "\n".join(map(json.dumps, rows)))


ARGILLA = [
    {
        "id": "r1",
        "status": "completed",
        "clip": '<audio controls src="/audio/a.wav"></audio>',
        "speaker": "s1",
        "emotion.responses": ["anger", "sadness", "happiness"],
        "emotion.responses.users": ["u1", "u2", "u3"],
        "emotion.responses.status": ["submitted", "submitted", "draft"],
        "quality.responses": ["good"],
        "quality.responses.users": ["u1"],
        "quality.responses.status": ["submitted"],
        "emotion.suggestion": "sadness",
    },
    {
        "id": "r2",
        "status": "pending",
        "clip": '<audio controls src="/audio/b.wav"></audio>',
        "speaker": "s2",
        "emotion.responses": [["happiness", "sadness"], None],
        "emotion.responses.users": ["u1", "u2"],
        "emotion.responses.status": ["submitted", "submitted"],
    },
    {"id": "r3", "status": "pending", "clip": '<audio src="c.wav">', "speaker": "s3"},
]


def argilla(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "data").mkdir(parents=True)
    columns = list(dict.fromkeys(name for record in ARGILLA for name in record))
    rows = [{name: record.get(name) for name in columns} for record in ARGILLA]
    for row in rows:  # a question that takes several labels has lists of lists
        if row["emotion.responses"] is not None:
            row["emotion.responses"] = [
                value if value is None or isinstance(value, list) else [value] for value in row["emotion.responses"]
            ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "train-00000-of-00001.parquet")
    return folder / "data"


def argilla_version_1(folder):
    def response(who, value, status="submitted"):
        return {"user_id": who, "value": value, "status": status}

    records = [
        {
            "clip": "a.wav",
            "emotion": [response("u1", "anger"), response("u2", "sadness"), response("u3", "x", "discarded")],
            "emotion-suggestion": "anger",
            "metadata": {"speaker": "s1"},
        },
        {"clip": "b.wav", "emotion": [response("u1", ["happiness", "sadness"])], "metadata": {"speaker": "s2"}},
    ]
    return write(folder / "records.jsonl", "\n".join(map(json.dumps, records)))


def prolific(folder):
    write(
        folder / "prolific_export.csv",
        "Submission id,Participant id,Status,Started at\n"
        "1,5f1c,APPROVED,2026\n2,77ab,APPROVED,2026\n3,9abc,RETURNED,2026\n",
    )
    return write(
        folder / "answers.csv",
        "PROLIFIC_PID,STUDY_ID,SESSION_ID,clip,heard,headphones,speaker\n"
        "5f1c,st,1,https://host/audio/a.wav,Anger,yes,s1\n77ab,st,2,https://host/audio/a.wav,sad,yes,s1\n"
        "9abc,st,3,https://host/audio/a.wav,happy,no,s1\n5f1c,st,1,https://host/audio/b.wav,happy|sad,yes,s2\n"
        "77ab,st,2,https://host/audio/b.wav,,yes,s2\n0000,st,9,https://host/audio/b.wav,sad,yes,s2\n",
    )


# Written by audformat 1.4.3, with a segmented table and a pickle's name in place of a table added by hand.
AUDFORMAT = """name: mydb
source: ''
usage: unrestricted
languages: [deu]
license: CC-BY-4.0
raters:
  gold: {type: other}
  m: {type: machine}
  r1: {type: human}
  r2: {type: human}
schemes:
  arousal: {dtype: float, minimum: 0, maximum: 1}
  emotion:
    dtype: str
    labels:
      W: {name: anger}
      T: {name: sadness}
      F: {name: happiness}
  speaker: {dtype: str, labels: speakers}
  transcription: {dtype: str}
splits:
  dev: {type: dev}
  train: {type: train}
tables:
  emotion.train:
    type: filewise
    split_id: train
    columns:
      r1: {scheme_id: emotion, rater_id: r1}
      r2: {scheme_id: emotion, rater_id: r2}
      m: {scheme_id: emotion, rater_id: m}
  emotion.train.gold:
    type: filewise
    split_id: train
    columns:
      emotion: {scheme_id: emotion, rater_id: gold}
      emotion.agreement: {}
  emotion.dev:
    type: segmented
    split_id: dev
    columns:
      r1: {scheme_id: emotion, rater_id: r1}
  files:
    type: filewise
    columns:
      speaker: {scheme_id: speaker}
      transcription: {scheme_id: transcription}
      arousal.r1: {scheme_id: arousal, rater_id: r1}
      arousal.r2: {scheme_id: arousal, rater_id: r2}
misc_tables:
  speakers:
    levels: {speaker: str}
    columns:
      gender: {}
"""


def audformat(folder, parquet=False):
    root = folder / "mydb"
    write(root / "db.yaml", AUDFORMAT)
    write(root / "db.emotion.train.csv", "file,r1,r2,m\naudio/a.wav,W,T,W\naudio/b.wav,F,,W\n")
    write(root / "db.emotion.train.gold.csv", "file,emotion,emotion.agreement\naudio/a.wav,W,0.5\naudio/b.wav,F,1.0\n")
    write(
        root / "db.emotion.dev.csv",
        "file,start,end,r1\naudio/c.wav,0 days 00:00:00,,T\naudio/b.wav,0 days 00:00:01,0 days 00:00:02,T\n",
    )
    write(
        root / "db.files.csv",
        "file,speaker,transcription,arousal.r1,arousal.r2\naudio/a.wav,s1,ja,0.2,0.4\naudio/b.wav,s2,nein,0.6,\n"
        "audio/c.wav,s3,,,\n",
    )
    write(root / "db.speakers.csv", "speaker,gender\ns1,male\ns2,female\n")
    if parquet:
        import pyarrow.csv
        import pyarrow.parquet as pq

        for path in sorted(root.glob("db.*.csv")):
            pq.write_table(pyarrow.csv.read_csv(path), path.with_suffix(".parquet"))
            path.unlink()
    return root


# .94 s + .01, of CREMA-D's six emotions.
EMO_SUPERB = (
    "FileName,angry,sad,disgust,fear,neutral,happy,SpkrID,Gender,Split_Set\n"
    "a.wav,0.386,0.01,0.01,0.01,0.01,0.574,1037,Female,Train\n"
    "b.wav,0.01,0.01,0.01,0.762,0.198,0.01,1058,Female,Development\n"
    "c.wav,0.95,0.01,0.01,0.01,0.01,0.01,1001,Male,Test\n"
)


def emo_superb(folder, text=EMO_SUPERB):
    return write(folder / "labels_consensus_1.csv", text)
