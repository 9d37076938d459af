import corpus_files
import pytest
from corpus_files import HEADER, QUOTED_BLOCK, block, found, iemocap, wav, write

from hf_emo_dist.corpora.iemocap import read_iemocap

FOUR = ["angry", "happy", "neutral", "sad"]


def read(root, **options):
    return corpus_files.read(read_iemocap, root, **options)


def test_a_rater_of_several_tags_gives_each_a_share_of_one_vote(tmp_path):
    rows = {row["id"]: row for row in read(iemocap(tmp_path / "corpus"))[0]["train"]}
    several = rows["Ses01F_impro01_M000"]
    assert several["human_votes"] == ["frustrated", "disgust", "angry", "angry", "sad"]
    assert several["human_vote_weights"] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1, 1])
    assert several["human_raters"] == ["C-E2", "C-E2", "C-E2", "C-E3", "C-E4"]
    assert several["human_distribution"]["angry"] == pytest.approx((1 + 1 / 3) / 3)
    assert (several["consensus"], several["transcript"], several["valence"]) == (None, None, 2.5)
    assert rows["Ses01F_impro01_M001"]["transcript"] == "Yes: good."
    scripted = rows["Ses02M_script01_1b_F003"]
    assert scripted["human_votes"] == ["neutral", "sad", "fear"]
    assert (scripted["speaker"], scripted["style"], scripted["fold"]) == ("iemocap-Ses02F", "scripted", 2)
    assert rows["Ses02M_script01_1b_MXX1"]["speaker"] == "iemocap-Ses02M"


def test_excited_is_merged_only_when_asked(tmp_path):
    root = iemocap(tmp_path / "corpus")
    apart = read(root)[0]["train"][2]
    assert apart["human_votes"] == ["excited", "happy", "excited", "other"]
    assert apart["human_distribution"]["excited"] == pytest.approx(1.5 / 3)
    joined = read(root, merge_excited=True)[0]["train"]
    assert "excited" not in joined.features["human_distribution"]
    assert joined[2]["human_distribution"]["happy"] == pytest.approx(2 / 3)


def test_policies_for_votes_outside_the_emotions(tmp_path):
    root = iemocap(tmp_path / "corpus")
    dropped, report = read(root, emotions=FOUR)
    rows = {row["id"]: row for row in dropped["train"]}
    # a third of a vote stays a third of a vote
    assert rows["Ses01F_impro01_M000"]["human_vote_weights"] == pytest.approx([1 / 3, 1, 1])
    assert rows["Ses01F_impro01_M001"]["human_votes"] == ["happy"]
    assert report.outside == {"excited": 2, "frustrated": 1, "disgust": 1, "other": 1, "fear": 1, "surprise": 1}

    left, report = read(root, emotions=FOUR, outside="drop_utterance")
    assert left["train"]["id"][:] == ["Ses01F_impro01_F000"]
    assert report.counts(skipped=True) == {"vote_outside": 4}
    assert ("vote_outside", "Ses01F_impro01_M000", "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt:12") in found(
        report
    )

    other, _ = read(root, emotions=FOUR, outside="other")
    assert list(other["train"].features["human_distribution"]) == [*FOUR, "other"]
    assert other["train"][1]["human_distribution"]["other"] == pytest.approx(2 / 9)


def test_broken_files_are_reported_by_file_and_line_and_the_rest_is_kept(tmp_path):
    root = tmp_path / "corpus"
    dialog = root / "Session1" / "dialog"
    name = "Session1/dialog/EmoEvaluation/Ses01F_impro02.txt"
    text = (
        HEADER
        + QUOTED_BLOCK.replace("impro01", "impro02")
        + block("Ses01F_impro02_F001", {"C-E2": "Anger;", "C-E4": "Anger;"})  # a rater line is missing
        + block("Ses01F_impro02_F002", {f"C-E{i}": "Sadness;" for i in (2, 3, 4)}, comment="(sad (very) sad)")
        + block("Ses01F_impro02_F003", {"C-E2": "Angst;", "C-E3": "Fear;", "C-E4": "Fear;"})
        + "[broken\tSes01F_impro02_F004\tneu\nC-E2:\tAnger;\t()\n\n"
        + block("Ses01F_impro02_F005", {f"C-E{i}": "Sadness;" for i in (2, 3, 4)})  # no wav
        + block("Ses01F_impro02_F006", {"C-E2": ";", "nonsense": "Sadness;"})
        + block("Ses01F_impro02_F000", {f"C-E{i}": "Anger;" for i in (2, 3, 4)})  # once more
    )
    write(dialog / "EmoEvaluation" / "Ses01F_impro02.txt", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    write(
        dialog / "transcriptions" / "Ses01F_impro02.txt",
        "Ses01F_impro02_F000 [1.0-2.0]: It’s caf".encode("cp1252") + b"\xe9.\nSes01F_impro02_F001 no time\n",
    )
    for turn in ("F000", "F001", "F002", "F003", "F004", "F006", "F009"):
        wav(root / "Session1" / "sentences" / "wav" / "Ses01F_impro02" / f"Ses01F_impro02_{turn}.wav")
    dataset, report = read(root, split="own")
    rows = {row["id"][-4:]: row for row in dataset["train"]}
    assert list(rows) == ["F000", "F001", "F002", "F003"]
    assert rows["F000"]["human_votes"] == ["neutral"] * 3 and rows["F000"]["transcript"] == "It’s café."
    assert rows["F001"]["human_votes"] == ["angry"] * 2
    assert rows["F002"]["human_votes"] == ["sad"] * 3
    assert rows["F003"]["human_votes"] == ["fear"] * 2
    lines = {
        turn: text[: text.index(f"Ses01F_impro02_{turn}")].count("\n") + 1 for turn in ("F001", "F002", "F003", "F005")
    }
    problems = found(report)
    where = f"{name}:{lines['F002']}"
    assert ("bom", name, f"{name}:1") in problems and ("crlf", name, f"{name}:1") in problems
    assert ("few_raters", "Ses01F_impro02_F001", f"{name}:{lines['F001']}") in problems
    assert (
        "brackets_in_comment",
        "Ses01F_impro02_F002",
        where[: where.rindex(":")] + f":{lines['F002'] + 1}",
    ) in problems
    assert ("unknown_label", "Ses01F_impro02_F003", f"{name}:{lines['F003']}") in problems
    assert ("bad_header", "Ses01F_impro02_F004") in {p[:2] for p in problems}
    assert ("no_audio", "Ses01F_impro02_F005", f"{name}:{lines['F005']}") in problems
    assert ("no_votes", "Ses01F_impro02_F006") in {p[:2] for p in problems}
    assert ("duplicate_id", "Ses01F_impro02_F000") in {p[:2] for p in problems}
    transcript = "Session1/dialog/transcriptions/Ses01F_impro02.txt"
    assert ("encoding", transcript, f"{transcript}:1") in problems
    assert ("bad_line", "Ses01F_impro02", f"{transcript}:2") in problems
    wave = "Session1/sentences/wav/Ses01F_impro02/Ses01F_impro02_F009.wav"
    assert ("no_labels", "Ses01F_impro02_F009", wave) in problems
    skipped = {"no_audio": 1, "no_labels": 1, "no_votes": 1, "duplicate_id": 1, "bad_header": 1}
    assert report.counts(skipped=True) == skipped


def test_a_missing_rater_is_looked_up_in_the_raters_own_file(tmp_path):
    root = iemocap(tmp_path / "corpus")
    evaluations = root / "Session1" / "dialog" / "EmoEvaluation"
    text = HEADER + block("Ses01F_impro01_F000", {"C-E2": "Anger;"})
    write(evaluations / "Ses01F_impro01.txt", text)
    for rater, line in {"e2": "Sadness; ()", "e3": "Neutral state; ()", "e4": "Anger; Sadness; (hm)"}.items():
        write(evaluations / "Categorical" / f"Ses01F_impro01_{rater}_cat.txt", f"Ses01F_impro01_F000 :{line}\n")
    row = read(root)[0]["train"][0]
    assert row["human_votes"] == ["angry", "neutral", "angry", "sad"]  # E2 as the main file says
    assert row["human_raters"] == ["C-E2", "C-E3", "C-E4", "C-E4"]


def test_sessions_are_folds_without_shared_speakers_and_can_become_splits(tmp_path):
    from hf_emo_dist.data.splits import check_splits, folds_from_column

    root = iemocap(tmp_path / "corpus")
    train = read(root)[0]["train"]
    check_splits(train, fold_column="fold")
    assert [test.tolist() for _, test in folds_from_column(train)] == [[0, 1, 2], [3, 4]]
    parts, _ = read(root, test_fold=2)
    assert {split: len(rows) for split, rows in parts.items()} == {"train": 3, "test": 2}
    check_splits(parts)


def test_the_folder_above_is_found(tmp_path):
    iemocap(tmp_path / "IEMOCAP_full_release")
    assert len(read(tmp_path)[0]["train"]) == 5
