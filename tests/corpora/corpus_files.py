"""Small corpora in the formats of the real ones, with invented votes (the quoted lines of public readmes aside)."""

import json
import zlib

import numpy as np

from hf_emo_dist.audio.clips import encode_wav
from hf_emo_dist.corpora import CorpusReport

WAV = encode_wav(0.1 * np.sin(np.arange(1600)))


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def clip(name):
    """A recording of its own for every name: one recording under two ids is refused in two splits."""
    return encode_wav(0.1 * np.sin((1 + zlib.crc32(name.encode()) / 2**32) * np.arange(1600)))


def wav(path):
    return write(path, clip(path.name))


def read(reader, root, **options):
    """What a reader makes of a folder, and its report."""
    report = CorpusReport()
    options = {"cache_dir": root.parent / "cache", "progress": False, **options}
    return reader(root, report=report, **options), report


def found(report):
    """What is in a report: reason, item, file and line."""
    return {(problem.reason, problem.item, problem.where) for problem in report.problems}


def block(turn, tags, code="xxx", means="[2.5000, 3.5000, 1.5000]", comment="()"):
    """A block of an IEMOCAP evaluation file: rater to tags, besides a dimensional rater and the actor's own vote."""
    lines = [f"[6.2901 - 8.2357]\t{turn}\t{code}\t{means}"]
    lines += [f"{rater}:\t{text}\t{comment}" for rater, text in tags.items()]
    lines += ["C-F1:\tAnger;\t(myself)", "A-E3:\tval 3; act 2; dom  2;\t()"]
    return "\n".join(lines) + "\n\n"


# Quoted by the formats' public descriptions.
QUOTED_BLOCK = (
    "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\n"
    "C-E2:\tNeutral;\t()\nC-E3:\tNeutral;\t()\nC-E4:\tNeutral;\t()\nC-F1:\tNeutral;\t(curious)\n"
    "A-E3:\tval 3; act 2; dom  2;\t()\nA-E4:\tval 2; act 3; dom  3;\t(mildly aggravated but staying polite, attitude)\n"
    "A-F1:\tval 3; act 2; dom  1;\t()\n\n"
)
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def iemocap(root):
    """Two sessions, four speakers, with everything that can be odd about them."""
    one = root / "Session1" / "dialog"
    text = HEADER + QUOTED_BLOCK
    text += block("Ses01F_impro01_M000", {"C-E2": "Frustration; Disgust; Anger;", "C-E3": "Anger;", "C-E4": "Sadness;"})
    text += block("Ses01F_impro01_M001", {"C-E2": "Excited;", "C-E3": "Happiness; Excited;", "C-E4": "Other;"}, "exc")
    write(one / "EmoEvaluation" / "Ses01F_impro01.txt", text)
    write(one / "EmoEvaluation" / "._Ses01F_impro01.txt", b"\x00\x05\x16\x07 not a text")
    write(
        one / "transcriptions" / "Ses01F_impro01.txt",
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
        "M: [overlapping]\n"
        "Ses01F_impro01_M000 [007.5712-010.4750]: \n"
        "Ses01F_impro01_M001 [010.0100-011.3925]: Yes: good.\n",
    )
    for turn in ("F000", "M000", "M001"):
        wav(root / "Session1" / "sentences" / "wav" / "Ses01F_impro01" / f"Ses01F_impro01_{turn}.wav")
    two = root / "Session2" / "dialog"
    text = HEADER + block(
        "Ses02M_script01_1b_F003", {"C-E1": "Neutral state;", "C-E2": "Sadness;", "C-E4": "Fear;"}, "sad"
    )
    text += block("Ses02M_script01_1b_MXX1", {"C-E1": "Surprise;", "C-E2": "Anger;", "C-E4": "Anger;"}, "ang")
    write(two / "EmoEvaluation" / "Ses02M_script01_1b.txt", text)
    write(two / "transcriptions" / "Ses02M_script01_1b.txt", "Ses02M_script01_1b_F003 [001.0-002.0]: Go.\n")
    for turn in ("F003", "MXX1"):
        wav(root / "Session2" / "sentences" / "wav" / "Ses02M_script01_1b" / f"Ses02M_script01_1b_{turn}.wav")
    return root


# Quoted from the corpus's readme.
QUOTED_LABELS = (
    "MSP-PODCAST_0001_0139.wav; N; A:2.400000; V:4.000000; D:2.800000;\n"
    "WORKER00000001; Other-confused; Concerned,Confused; A:3.000000; V:3.000000; D:4.000000;\n"
    "WORKER00000018; Neutral; Neutral; A:1.000000; V:4.000000; D:2.000000;\n"
    "WORKER00000044; Surprise; Neutral,Surprise; A:3.000000; V:5.000000; D:3.000000;\n"
)
MSP_RATINGS = {
    "MSP-PODCAST_0001_0139.wav": [
        ("WORKER00000001", "Other-confused", "Concerned,Confused"),
        ("WORKER00000018", "Neutral", "Neutral"),
        ("WORKER00000044", "Surprise", "Neutral,Surprise"),
    ],
    "MSP-PODCAST_0002_0001.wav": [(f"W{i}", label, "") for i, label in enumerate(["Happy"] * 3 + ["Sad", "Contempt"])],
    "MSP-PODCAST_0003_0001.wav": [(f"W{i}", "Angry", "Dissapointed") for i in range(5)],
}


def msp_labels(folder, shape):
    """The same ratings in one of the shapes of the releases."""
    attributes = "A:1.000000; V:4.000000; D:2.000000;"
    if shape == "txt":
        blocks = [QUOTED_LABELS]
        for name, ratings in list(MSP_RATINGS.items())[1:]:
            lines = [f"{name}; X; A:2.0; V:4.0; D:2.0;"]
            lines += [f"{worker}; {major}; {second}; {attributes}" for worker, major, second in ratings]
            blocks.append("\n".join(lines) + "\n")
        return write(folder / "labels.txt", "\n".join(blocks))
    if shape == "json":
        content = {
            name: {
                worker: {"EmoClass_Major": major, "EmoClass_Second": second, "EmoAct": 1, "EmoDom": 2, "EmoVal": 4}
                for worker, major, second in ratings
            }
            for name, ratings in MSP_RATINGS.items()
        }
        return write(folder / "labels_detailed.json", json.dumps(content))
    rows = [(name, *rating) for name, ratings in MSP_RATINGS.items() for rating in ratings]
    if shape == "detail":
        lines = ["FileName,EmoDetail"]
        lines += [f'{n},"{w}; {major}; {second + "; " if second else ""}{attributes}"' for n, w, major, second in rows]
    else:
        worker = "Workers" if shape == "1.6" else "WorkerID"
        lines = [f"FileName,{worker},EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom"]
        lines += [f'{n},{w},{major},"{second}",1,4,2' for n, w, major, second in rows]
    return write(folder / "labels_detailed.csv", "\n".join(lines) + "\n")


def msp_podcast(root, shape="detail", spelling="consensus", folder="Labels"):
    labels = root / folder
    msp_labels(labels, shape)
    write(
        labels / f"labels_{spelling}.csv",
        "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
        "MSP-PODCAST_0001_0139.wav,N,2.4,4.0,2.8,30,Male,Test1\n"
        "MSP-PODCAST_0002_0001.wav,H,3.0,6.0,4.0,31,Female,Train\n"
        "MSP-PODCAST_0003_0001.wav,X,5.0,2.0,5.0,Unknown,Unknown,Development\n"
        "MSP-PODCAST_0009_0001.wav,,,,,,,Test3\n",
    )
    for name in (*MSP_RATINGS, "MSP-PODCAST_0009_0001.wav"):
        wav(root / "Audios" / name)
    for stem, text in {"0001_0139": "Wait, what?\n", "0002_0001": "Great.", "0003_0001": " \n"}.items():
        write(root / "Transcripts" / f"MSP-PODCAST_{stem}.txt", text)
    return root


RESPONSES = (
    ",localid,pos,ans,ttr,queryType,numTries,clipNum,questNum,subType,clipName,sessionNums,"
    "respEmo,respLevel,dispEmo,dispVal,dispLevel\n"
)


def cremad(root):
    """Three clips of two actors; one response came after 20 s, one is repeated."""
    answers = [
        ("r1", 1, "1001_IEO_HAP_LO", "H"),
        ("r2", 1, "1001_IEO_HAP_LO", "N"),
        ("r3", 1, "1001_IEO_HAP_LO", "N"),
        ("r1", 2, "1001_IEO_HAP_LO", "H"),
        ("r1", 3, "1001_IEO_HAP_LO", "H"),
        ("r1", 1, "1002_ITH_FEA_XX", "F"),
        ("r2", 1, "1002_ITH_FEA_XX", "F"),
        ("r2", 1, "1002_ITH_FEA_XX", "S"),
        ("r3", 1, "1002_ITH_FEA_XX", "S"),
        ("r1", 2, "1002_DFA_ANG_XX", "A"),
    ]
    lines = []
    for number, (rater, query, clip, letter) in enumerate(answers, start=1):
        session = rater.removeprefix("r")
        lines.append(
            f"{number},{rater},{number},{letter}_80,900,{query},0,7,{number},4,{clip},{session},{letter},80,H,LO,20"
        )
    write(root / "finishedResponses.csv", RESPONSES + "\n".join(lines) + "\n")
    late = ",localid,sessionNums,queryType,questNum,pos,ttr,numTries,clipNum,clipName\n"
    write(root / "finishedEmoResponses.csv", late + "1,r3,3,1,9,1,20000,0,7,1002_ITH_FEA_XX\n")
    for clip in ("1001_IEO_HAP_LO", "1002_ITH_FEA_XX", "1002_DFA_ANG_XX"):
        wav(root / "AudioWAV" / f"{clip}.wav")
    return root


def emozionalmente(root, splits=True):
    samples = ["file_name,sentence,sentence_language,actor,emotion_expressed"]
    evaluations = ["file_name,evaluator,audio_quality,emotion_recognized"]
    for number, (actor, label) in enumerate([("a1", "joy"), ("a2", "neutrality"), ("a3", "anger")], start=1):
        samples.append(f'{number}.wav,"Sì, certo",it,{actor},{label}')
        evaluations += [f"{number}.wav,u{i},good,{label}" for i in range(4)] + [f"{number}.wav,u9,bad,sadness"]
        wav(root / "audio" / f"{number}.wav")
    write(root / "metadata" / "samples.csv", "\n".join(samples) + "\n")
    write(root / "metadata" / "evaluations.csv", "\n".join(evaluations) + "\n")
    for number, split in enumerate(("train", "dev", "test") if splits else (), start=1):
        write(root / "metadata" / "split" / f"{split}.csv", f"{samples[0]}\n{samples[number]}\n")
    return root


DUSHA_COLUMNS = (
    *("hash_id", "audio_path", "duration", "annotator_emo", "golden_emo", "speaker_text", "speaker_emo", "source_id"),
    "annotator_id",
)


def dusha(root, form="tsv"):
    for part, first in (("crowd_train", "a"), ("crowd_test", "b")):
        rows = []
        for clip, emotions in ((f"{first}1", ["positive", "positive", "other"]), (f"{first}2", ["sad", "neutral"])):
            wav(root / part / "wavs" / f"{clip}.wav")
            for rater, emotion in enumerate(emotions):
                rows.append(
                    (clip, f"wavs/{clip}.wav", "1.0", emotion, "", 'ну "да"', "positive", f"s-{first}", f"r{rater}")
                )
        wav(root / part / "wavs" / f"{first}3.wav")
        rows.append((f"{first}3", f"wavs/{first}3.wav", "1.0", "sad", "sad", "нет", "sad", f"s-{first}", "r0"))
        if form == "tsv":
            text = "\n".join("\t".join(row) for row in [DUSHA_COLUMNS, *rows]) + "\n"
        else:
            text = "\n".join(json.dumps(dict(zip(DUSHA_COLUMNS, row, strict=True)), ensure_ascii=False) for row in rows)
        write(root / part / f"raw_{part}.{form}", text)
    return root


def ravdess(root):
    """Three spoken clips and a sung one, and a file that is none."""
    names = ["03-01-06-01-02-01-12", "03-01-02-01-01-01-01", "03-01-05-02-01-02-01", "03-02-05-02-01-02-01", "notes"]
    for name in names:
        wav(root / f"Actor_{name[-2:]}" / f"{name}.wav")
    return root


def emodb(root):
    for name in ("03a01Fa", "16b10Lb", "08a02Wc"):
        wav(root / "wav" / f"{name}.wav")
    return root


# The quoted block is from the corpus's readme.
WHISER_LABELS = """006-040.1-2_13.wav; H; A:4.200000; V:4.800000; D:5.000000;
WORKER00014325; Sad; Sad,Concerned; A:2.000000; V:4.000000; D:4.000000;
WORKER00014332; Happy; Happy,Concerned; A:4.000000; V:6.000000; D:6.000000;
WORKER00014342; Fear; Neutral,Concerned,Fear; A:5.000000; V:3.000000; D:5.000000;
WORKER00014343; Happy; Happy,Concerned; A:5.000000; V:5.000000; D:5.000000;
WORKER00014344; Happy; Happy; A:5.000000; V:6.000000; D:5.000000;

006-041.1-2_1.wav; X; A:3.000000; V:4.000000; D:4.000000;
WORKER00014325; Other-tired; Other; A:3.000000; V:4.000000; D:4.000000;
WORKER00014332; Neutral; Neutral; A:3.000000; V:4.000000; D:4.000000; WORKER1; Sad; Sad; A:1.0; V:1.0; D:1.0;
"""


def whiser(root):
    write(root / "WHiSER" / "Labels" / "labels.txt", WHISER_LABELS)
    for name in ("006-040.1-2_13", "006-041.1-2_1", "006-042.1-2_1"):
        wav(root / "wavs" / f"{name}.wav")
    return root


# The form of the lines is that of public parsers; the votes are invented.
IMPROV_RATINGS = """UTD-IMPROV-S01A-F01-R-FM01.avi; A; A:3.400000; V:1.600000; D:3.800000 ; N:4.200000;
AMT-1; Angry; Angry,Frustrated; A:3.000000; V:2.000000; D:4.000000; N:4.000000;
AMT-2; Angry; Angry; A:4.000000; V:1.000000; D:4.000000; N:5.000000;
AMT-3; Other; Frustrated; A:NaN; V:2.000000; D:4.000000; N:NaN;
AMT-3; Angry; Angry; A:3.000000; V:2.000000; D:4.000000; N:4.000000;
AMT-4; Angry; ; A:3.000000; V:2.000000; D:4.000000; N:4.000000;
AMT-5; Neutral; Neutral; A:3.000000; V:2.000000; D:4.000000; N:4.000000;

UTD-IMPROV-S02H-M02-P-MF03.avi; X; A:NaN; V:NaN; D:NaN ; N:NaN;
AMT-1; Happy; Happy; A:2.000000; V:4.000000; D:3.000000; N:4.000000;
AMT-2; Neutral; Neutral; A:3.000000; V:3.000000; D:NaN; N:5.000000;

UTD-IMPROV-S02H-M02-P-MF04.avi; N; A:2.0; V:3.0; D:3.0 ; N:4.0;
AMT-1; Neutral; Neutral; A:2.0; V:3.0; D:3.0; N:4.0;
"""


def msp_improv(root):
    write(root / "Evalution.txt", IMPROV_RATINGS)
    for session, scenario, kind, name in ((1, "S01A", "R", "F01-R-FM01"), (2, "S02H", "P", "M02-P-MF03")):
        wav(root / f"session{session}" / scenario / kind / f"MSP-IMPROV-{scenario}-{name}.wav")
    wav(root / "session2" / "S02H" / "P" / "MSP-IMPROV-S02H-M02-P-MF09.wav")
    return root


THAI_LABELS = {
    "s001_con_actor001_impro1_1.flac": [
        {
            "assigned_emo": "Neutral",
            "majority_emo": "Neutral",
            "annotated": [["Neutral"], ["Neutral", "Sad"], ["None"], ["Other"]],
            "agreement": 0.625,
        }
    ],
    "z011_mic_actor102_script2_2_2b.flac": [
        {"assigned_emo": "Angry", "majority_emo": "None", "annotated": [["Angry"], "Angry"], "agreement": 1.0}
    ],
    "s001_con_actor002_impro1_2.flac": [{"assigned_emo": "Sad", "majority_emo": "Sad", "annotated": [["Sad"]]}],
}


def thai_ser(root):
    write(root / "emotion_label.json", json.dumps(THAI_LABELS))
    actors = [{"Actor's ID": "001", "Sex": "Male", "Age": 30}, {"Actor's ID": "102", "Sex": "Female", "Age": 24}]
    write(root / "actor_demography.json", json.dumps({"data": actors}))
    for microphone in ("con", "clip"):
        name = f"s001_{microphone}_actor001_impro1_1.flac"
        wav(root / "studio1-10" / "studio001" / microphone / name)
    wav(root / "zoom11-20" / "zoom011" / "mic" / "z011_mic_actor102_script2_2_2b.flac")
    return root


def kemdy_table(times, segments):
    """An annotation file: `times` columns before the segment, then the total and ten evaluators."""
    names = [f"Eval{k:02d}{'FM'[k % 2]}" for k in range(1, 11)]
    heads = ["Numb", *[" "] * (times - 1), "Segment ID", "Total Evaluation", " .1", " .2"]
    kinds = [*[" "] * times, " ", "Emotion", "Valence", "Arousal"]
    lines = [
        ",".join([*heads, *(cell for name in names for cell in (name, "", ""))]),
        ",".join(kinds + kinds[-3:] * 10),
    ]
    for number, (segment, total, votes) in enumerate(segments, start=1):
        cells = [str(number), *["1.5"] * (times - 1), segment, total, "3.4", "2.6"]
        lines.append(",".join([*cells, *(cell for vote in votes for cell in (vote, "3", "2"))]))
    return "\n".join(lines) + "\n"


def kemdy(root):
    """KEMDy20: two speakers of a session; one evaluator's cell is blank, one is misspelt as in the corpus."""
    segments = [
        ("Sess01_script01_User001M_001", "neutral", ["neutral"] * 7 + ["disqust", "", "happy"]),
        ("Sess01_script01_User002F_001", "neutral;happy", ["neutral"] * 5 + ["happy"] * 5),
        ("Sess01_script01_User002F_002", "sad", ["sad"] * 10),
    ]
    write(root / "annotation" / "Sess01_eval.csv", kemdy_table(3, segments))
    for segment, text in (("User001M_001", "네, 맞아요 b/"), ("User002F_001", "아니요")):
        wav(root / "wav" / "Session01" / f"Sess01_script01_{segment}.wav")
        write(root / "wav" / "Session01" / f"Sess01_script01_{segment}.txt", text + "\n", encoding="cp949")
    return root


def emonet_voice(root):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        ("a1b2c3d4_1.wav", WAV, "[{'human-1': {'Anger': 2}}, {'human-2': {'Anger': 1}}, {'human-4': {'Anger': 2}}]"),
        ("a1b2c3d4_2.wav", WAV, "[{'human-1': {'Impatience%20and%20Irritability': 0}}, {'human-1': {'Shame': 1}}]"),
        ("b1b2c3d4_1.wav", WAV, "[{'human-3': {'Jealousy%20%26%20Envy': 0}}]"),
        ("c1b2c3d4_1.wav", b"", "[{'human-3': {'Shame': 0}}]"),
        ("d1b2c3d4_1.wav", WAV, "[{'human-3': {'Shame': 3}}]"),
    ]
    table = {"audioId": [{"bytes": data, "path": name} for name, data, _ in rows], "label": [row[2] for row in rows]}
    (root / "data").mkdir(parents=True)
    pq.write_table(pa.table(table), root / "data" / "train-00000-of-00001.parquet")
    return root
