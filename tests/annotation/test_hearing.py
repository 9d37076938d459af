"""What a hearing test concludes from answers, which clips it takes, and what silence is: nothing is sent here."""

import numpy as np
import pytest

from hf_emo_dist.annotation.hearing import judging
from hf_emo_dist.annotation.hearing.asking import askable, looks
from hf_emo_dist.annotation.hearing.clips import choose_pairs, pairs_of, silence
from hf_emo_dist.annotation.hearing.judging import ClipAnswers, judge
from hf_emo_dist.annotation.types import PanelMember
from hf_emo_dist.audio.check import problem_of

LABELS = np.eye(4)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(judging, "_DRAWS", 399)


def answers(shares_of, clips=20, own=3, tested=1, seed=0, stated=None):
    """Answers drawn from `shares_of(clip, member, audio)`; as shares around them where `stated` says how closely."""
    rng = np.random.default_rng(seed)

    def one(clip, member, audio):
        shares = np.asarray(shares_of(clip, member, audio), dtype=float)
        if stated:
            return tuple(rng.dirichlet(stated * shares + 0.05))
        return tuple(LABELS[rng.choice(4, p=shares)])

    return [
        ClipAnswers(
            {member: one(clip, member, "own") for member in range(own)},
            {member: one(clip, member, "other") for member in range(tested)},
            {member: one(clip, member, "silence") for member in range(tested)},
        )
        for clip in range(clips)
    ]


def peak(emotion, share):
    shares = np.full(4, (1 - share) / 3)
    shares[emotion % 4] = share
    return shares


def hears(share):
    return lambda clip, member, audio: peak(
        {"own": clip, "other": clip + 1 + clip // 4 % 3, "silence": 0}[audio], share
    )


def words(share):
    return lambda clip, member, audio: peak(clip * 7 // 3, share)


def constant(share):
    return lambda clip, member, audio: peak(0, share)


def neutral(clip, member, audio):
    """80 % of a corpus is neutral, and silence is heard as neutral too; it is known who is not."""
    emotion = {"own": clip % 5 and clip, "other": (clip + 2) % 5 and clip + 1, "silence": 0}[audio]
    return peak(emotion, 0.9)


CASES = {
    "hears": ("hears", hears(1.0), {}),
    "hears, modestly": ("hears", hears(0.6), {"own": 10, "tested": 8}),
    "hears, in a corpus that is mostly neutral": ("hears", neutral, {"own": 10, "tested": 4}),
    "hears, and states shares": ("hears", hears(0.7), {"stated": 10}),
    "deaf, one answer": ("does not hear", constant(1.0), {}),
    "deaf, by the words": ("does not hear", words(1.0), {}),
    "deaf, by the words, a little noise": ("does not hear", words(0.95), {"own": 10, "tested": 4}),
    "deaf, one answer in shares that differ": ("does not hear", constant(0.7), {"stated": 100}),
    "deaf, by the words, in shares that differ": ("does not hear", words(0.7), {"stated": 100}),
    "deaf, and mostly noise": ("undecided", constant(0.4), {}),
    "hears, but mostly noise": ("undecided", hears(0.3), {}),
    "deaf, with few clips": ("undecided", words(1.0), {"clips": 15}),
}


@pytest.mark.parametrize("verdict, shares_of, options", CASES.values(), ids=CASES)
def test_verdicts(verdict, shares_of, options):
    found = judge(answers(shares_of, **options))
    assert found.verdict == verdict, found
    assert 0 < found.p_value <= 1 and found.clips == options.get("clips", 20)


def test_no_answer_is_no_sign_of_anything_and_many_of_them_keep_from_a_no():
    deaf = answers(words(1.0), own=4, tested=2)
    silent = [ClipAnswers(clip.own, clip.other, dict.fromkeys(clip.silence)) for clip in deaf]
    assert judge(silent).verdict == "undecided"  # it may be that it hears, and will not answer
    some = [*silent[:3], *deaf[3:]]
    assert judge(some).verdict == "does not hear" and judge(some).answers["silence"] == 34
    nothing = [ClipAnswers(dict.fromkeys(clip.own), clip.other, clip.silence) for clip in deaf]
    assert judge(nothing).p_value is None and judge(nothing).verdict == "undecided"
    alone = [ClipAnswers({0: clip.own[0], 1: None, 2: None}, clip.other, clip.silence) for clip in deaf]
    assert judge(alone).clips == 0  # nobody else to agree with


def test_neither_the_order_of_clips_nor_the_names_of_emotions_matter():
    found = answers(hears(0.5), own=5, tested=2, seed=3)
    turned = [
        ClipAnswers(
            *({k: tuple(np.roll(vote, 1)) for k, vote in votes.items()} for votes in (c.own, c.other, c.silence))
        )
        for c in found
    ]
    first, renamed, mixed = judge(found), judge(turned), judge(found[::-1])
    assert first == renamed and judge(found) == first
    assert mixed.effect == pytest.approx(first.effect) and mixed.agreement == pytest.approx(first.agreement)
    assert mixed.p_value == pytest.approx(first.p_value, abs=0.1)


def test_the_effect_is_what_the_own_audio_does_for_agreement():
    same, different = tuple(LABELS[0]), tuple(LABELS[1])
    clip = ClipAnswers({0: same, 1: same, 2: different}, {0: different}, {0: same})
    # the other two hear it as `same` and `different`: whatever member 0 says agrees with one of them
    assert judge([clip] * 8).effect == 0
    clip = ClipAnswers({0: same, 1: same, 2: same}, {0: different}, {0: same})
    found = judge([clip] * 8)
    assert found.effect == pytest.approx(0.5)
    assert found.agreement == {"own": 1.0, "other": 0.0, "silence": 1.0, "other clips": 1.0}


@pytest.mark.parametrize("options", [{"own": 3}, {"own": 6, "tested": 4}, {"own": 3, "stated": 10}], ids=str)
def test_who_hears_nothing_is_rarely_said_to_hear_however_members_differ(options):
    """The permutation is exact: members may differ, answers may hang on the words, and noise may be as it is."""

    def deaf(clip, member, audio):
        return 0.5 * peak(clip, 0.8) + 0.5 * peak(member, 0.9)

    values = [judge(answers(deaf, clips=12, seed=seed, **options)).p_value for seed in range(150)]
    assert np.mean([value <= 0.05 for value in values]) <= 0.11  # three deviations over 0.05
    assert 0.4 < np.mean(values) < 0.65


def runs(shares_of, number=60, panel=10):
    """The share of hearing tests that end in each verdict, look after look, as they are run."""
    ends = []
    for seed in range(number):
        plan = looks(20, panel, 100_000)
        all_answers = answers(shares_of, own=panel, tested=min(8, panel), seed=seed)
        for look in plan:
            clips = [
                ClipAnswers(
                    {k: clip.own[k] for k in range(look.own)},
                    {k: clip.other[k] for k in range(look.tested)},
                    {k: clip.silence[k] for k in range(look.tested)},
                )
                for clip in all_answers[: look.clips]
            ]
            found = judge(clips, look.alpha, look.alpha_no)
            if found.verdict != "undecided":
                break
        ends.append(found.verdict)
    return {verdict: ends.count(verdict) / number for verdict in ("hears", "does not hear", "undecided")}


POWER = {  # benchmarks/hearing.py has the whole table
    "hears": (hears(0.8), "hears", 0.95),
    "hears, half of it noise": (hears(0.5), "hears", 0.7),
    "deaf, by the words": (words(1.0), "does not hear", 1.0),
    "deaf, by the words, some noise": (words(0.9), "does not hear", 0.8),
}


@pytest.mark.parametrize("shares_of, verdict, least", POWER.values(), ids=POWER)
def test_power(shares_of, verdict, least):
    found = runs(shares_of, 40)
    assert found[verdict] >= least, found
    wrong = "does not hear" if verdict == "hears" else "hears"
    assert found[wrong] <= (0.03 if verdict == "hears" else 0.1), found


def test_a_weak_hearer_is_not_stopped():
    """The worst that can be said wrongly: of an annotator that is right two times in five, of four."""
    for panel in (3, 10):
        assert runs(hears(0.4), 60, panel)["does not hear"] <= 0.02


def test_where_emotions_are_not_known_more_must_be_alike():
    """One clip that got another answer by another's audio: in a corpus that is mostly neutral, a sign of hearing."""
    neutral, sad = tuple(LABELS[0]), tuple(LABELS[1])
    alike = ClipAnswers({0: neutral, 1: neutral, 2: neutral}, {0: neutral}, {0: neutral})
    found = [ClipAnswers(alike.own, {0: sad}, alike.silence), *[alike] * 19]
    assert judge(found).verdict == "does not hear"
    assert judge(found, margin=judging.MARGIN_UNKNOWN).verdict == "undecided"
    assert judge([alike] * 20, margin=judging.MARGIN_UNKNOWN).verdict == "does not hear"


def test_looks_ask_for_more_while_the_risks_stay():
    for panel in (2, 3, 10, 40):
        for replies in (40, 5_000, 1_000_000):
            plan = looks(20, panel, replies)
            assert (plan[0].clips, plan[-1].clips) == (8, 20)
            assert sum(look.alpha for look in plan) == pytest.approx(judging.ALPHA)
            assert sum(look.alpha_no for look in plan if look.clips == 20) == pytest.approx(judging.ALPHA_NO)
            assert all(2 <= look.own <= panel and look.tested <= panel for look in plan)
            requests = max(2 * look.clips * look.tested for look in plan)
            assert requests <= max(min(80, replies), 0.05 * replies)
    assert [look.tested for look in looks(20, 10, 1_000_000)] == [1, 1, 2, 4, 8]
    assert [(look.clips, look.tested) for look in looks(8, 10, 1_000)] == [(8, 1), (8, 2)]
    assert looks(8, 1, 15) == [] and len(looks(8, 1, 16)) == 1  # a test is never larger than the run


def test_members_are_compared_within_one_mode():
    label, stated = PanelMember("voice"), PanelMember("voice", mode="distribution")
    assert askable([label, stated, PanelMember("words")]) == [label, PanelMember("words")]
    assert askable([label, stated, PanelMember("words", mode="distribution")])[0] == stated
    assert askable([label]) == [label, PanelMember("voice", replicate=1)]


# --- clips


def test_clips_are_spread_over_speakers_and_emotions_and_the_other_row_differs():
    ids = [f"u{i}" for i in range(500)]
    emotions = ["neutral" if i % 10 else ("sad", "angry", "happy")[i // 10 % 3] for i in range(500)]
    speakers = [f"s{i % 23}" for i in range(500)]
    pairs = choose_pairs(ids, 20, 0, speakers, emotions)
    assert pairs == choose_pairs(ids, 20, 0, speakers, emotions) != choose_pairs(ids, 20, 1, speakers, emotions)
    own, other = zip(*pairs, strict=True)
    assert len(set(own) | set(other)) == 40
    assert {emotions[row] for row in own} == {"neutral", "sad", "angry", "happy"}
    assert max(sum(emotions[row] == name for row in own) for name in set(emotions)) == 5
    assert all(emotions[a] != emotions[b] for a, b in pairs)
    assert len({speakers[row] for row in own}) >= 18
    # A row is chosen by its id: rows that come later change little.
    longer = choose_pairs([*ids, "more"], 20, 0)
    assert len(set(longer) & set(choose_pairs(ids, 20, 0))) >= 15


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 25, 39])
def test_few_rows_lend_each_other_their_audio(count):
    pairs = choose_pairs([f"u{i}" for i in range(count)], 20, 0)
    assert len(pairs) == (min(20, count) if count > 1 else 0)
    assert all(a != b for a, b in pairs) and len({a for a, _ in pairs}) == len(pairs)


def test_mixed_rows_are_not_asked_about():
    from datasets import Dataset

    rows = [{"id": f"u{i}", "mixed_from": ["a", "b"] if i % 2 else []} for i in range(30)]
    assert all(row % 2 == 0 for pair in pairs_of(Dataset.from_list(rows), 20, 0) for row in pair)


def test_silence_is_quiet_and_still_a_clip():
    quiet = silence(1.5, "u1")
    assert len(quiet["array"]) == 24000 and np.abs(quiet["array"]).max() < 0.0015
    assert problem_of(quiet) is None
    assert np.array_equal(quiet["array"], silence(1.5, "u1")["array"])
    assert not np.array_equal(quiet["array"], silence(1.5, "u2")["array"])
    assert np.allclose(quiet["array"] * 32768, np.round(quiet["array"] * 32768))  # 16 bits lose nothing
