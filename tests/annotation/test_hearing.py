"""What a hearing test concludes from answers, which clips it takes, and what silence is: nothing is sent here."""

import numpy as np
import pytest
from quick import mostly_slow

from hf_emo_dist.annotation.hearing import judging
from hf_emo_dist.annotation.hearing.asking import askable, looks, wants_again
from hf_emo_dist.annotation.hearing.clips import choose_pairs, pairs_of, silence
from hf_emo_dist.annotation.hearing.judging import ClipAnswers, judge
from hf_emo_dist.annotation.types import PanelMember
from hf_emo_dist.audio.check import problem_of

LABELS = np.eye(4)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(judging, "_DRAWS", 399)


def answers(shares_of, clips=20, own=3, tested=1, seed=0, stated=None, again=0, alike=False):
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
            {member: [one(clip, member, "own") for _ in range(again)] for member in range(tested)},
            alike,
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


def by_prompt(share):
    """Each member has an answer of its own to each clip's words, whatever the audio."""
    return lambda clip, member, audio: peak((clip * 13 + member * 7) % 11 + clip * member, share)


def first_listed(share):
    return lambda clip, member, audio: peak(member, share)


def by_position(share):
    """Members hear, but for so many questions they answer what is first on their list."""

    def shares(clip, member, audio):
        return peak(member, 1) if (clip * 3 + member * 5) % 10 < 10 * share else hears(1.0)(clip, member, audio)

    return shares


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
    "deaf, one answer, a little noise": ("does not hear", constant(0.92), {"own": 6, "tested": 2, "seed": 1}),
    "deaf, by the prompt": ("does not hear", by_prompt(1.0), {}),
    "deaf, first on the list": ("does not hear", first_listed(1.0), {}),
    "deaf, first on the list, of two members": ("does not hear", first_listed(1.0), {"own": 2, "tested": 2}),
    "deaf, by the prompt, a little noise": ("undecided", by_prompt(0.9), {}),
    "deaf, by the prompt, a little noise that is known": ("does not hear", by_prompt(0.9), {"again": 2}),
    "deaf, first on the list, a little noise that is known": ("does not hear", first_listed(0.95), {"again": 2}),
    "deaf, by the prompt, in shares": ("does not hear", lambda *a: peak(0, 1), {"stated": 1e9}),
    "hears, and answers by position half of the time": ("hears", by_position(0.5), {"own": 6, "tested": 2}),
    "hears, and answers by position mostly": ("undecided", by_position(0.7), {"again": 2, "own": 2}),
    "deaf, and mostly noise": ("undecided", constant(0.4), {}),
    "hears, but mostly noise": ("undecided", hears(0.3), {}),
    "deaf, with few clips": ("undecided", words(1.0), {"clips": 15}),
}


@pytest.mark.parametrize("verdict, shares_of, options", CASES.values(), ids=CASES)
def test_verdicts(verdict, shares_of, options):
    found = judge(answers(shares_of, **options))
    assert found.verdict == verdict, found
    assert 0 < found.p_value <= 1 and found.clips == options.get("clips", 20)


def test_answers_that_stay_the_same_tell_nothing_where_the_clips_are_alike():
    """In a corpus that is all neutral, all who hear answer "neutral"; but not each member another thing."""
    alike = answers(constant(1.0), alike=True)
    assert judge(alike).verdict == "undecided"
    assert judge([*alike[:4], *answers(constant(1.0))[:16]]).verdict == "does not hear"
    for shares_of in (by_prompt(1.0), first_listed(1.0)):
        for clips in (answers(shares_of, alike=True), answers(shares_of, alike=False)):
            for margin in (judging.MARGIN, judging.MARGIN_UNKNOWN):
                found = judge(clips, margin=margin)
                assert found.verdict == "does not hear" and found.stay == 1, found


def test_one_change_that_no_noise_explains_keeps_from_a_no():
    deaf = answers(first_listed(1.0))
    changed = ClipAnswers(deaf[0].own, {0: tuple(LABELS[3])}, deaf[0].silence)
    found = judge([changed, *deaf[1:]])
    assert found.verdict == "undecided" and found.stay == pytest.approx(1 - 0.5 / 20)


def test_replicates_never_show_that_anybody_hears():
    """A cache answers the same question from memory, and another model's noise looks like hearing beside it."""
    cached = [
        ClipAnswers(clip.own, clip.other, clip.silence, {0: [clip.own[0]] * 2})
        for clip in answers(first_listed(0.7), seed=5)
    ]
    found = judge(cached)
    assert found.stay_again == 1 and found.stay < 0.8 and found.verdict == "undecided"


def test_replicates_are_asked_for_where_they_tell_more_than_members():
    plan = looks(20, 10, 460)
    for shares_of, wanted in ((first_listed(0.95), True), (hears(0.9), False), (words(0.95), False)):
        found = judge(answers(shares_of))
        assert wants_again(found, plan[1], plan[2:]) is wanted, found
        assert not wants_again(found, plan[0], plan[1:]) and not wants_again(found, plan[2], [])
    for replies, tested in ((460, [1]), (3_200, [1, 2]), (100_000, [1, 2, 4, 8]), (40, [])):
        repeated = [look for look in looks(20, 10, replies, again=True) if look.again]
        assert [look.tested for look in repeated] == tested
        assert all(4 * 20 * look.tested <= max(80, 0.05 * replies) for look in repeated)


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


def runs(shares_of, number=60, panel=10, replies=100_000):
    """The share of hearing tests that end in each verdict, look after look, as they are run."""
    ends = []
    for seed in range(number):
        plan = looks(20, panel, replies)
        all_answers = answers(shares_of, own=panel, tested=min(8, panel), seed=seed, again=2)
        while plan:
            look = plan.pop(0)
            clips = [
                ClipAnswers(
                    {k: clip.own[k] for k in range(look.own)},
                    {k: clip.other[k] for k in range(look.tested)},
                    {k: clip.silence[k] for k in range(look.tested)},
                    {k: clip.again[k][: look.again] for k in range(look.tested)},
                )
                for clip in all_answers[: look.clips]
            ]
            found = judge(clips, look.alpha, look.alpha_no)
            if found.verdict != "undecided":
                break
            if wants_again(found, look, plan):
                plan = [later for later in looks(20, panel, replies, again=True) if later.again]
        ends.append(found.verdict)
    return {verdict: ends.count(verdict) / number for verdict in ("hears", "does not hear", "undecided")}


POWER = {  # benchmarks/hearing.py has the whole table
    "hears": (hears(0.8), "hears", 0.95),
    "hears, half of it noise": (hears(0.5), "hears", 0.7),
    "deaf, by the words": (words(1.0), "does not hear", 1.0),
    "deaf, by the words, some noise": (words(0.9), "does not hear", 0.8),
}


@pytest.mark.parametrize("shares_of, verdict, least", mostly_slow(POWER, "hears", "deaf, by the words"))
def test_power(shares_of, verdict, least):
    found = runs(shares_of, 40)
    assert found[verdict] >= least, found
    wrong = "does not hear" if verdict == "hears" else "hears"
    assert found[wrong] <= (0.03 if verdict == "hears" else 0.1), found


@pytest.mark.slow
def test_a_weak_hearer_is_not_stopped():
    """The worst that can be said wrongly: of an annotator that is right two times in five, of four."""
    for panel in (3, 10):
        assert runs(hears(0.4), 60, panel)["does not hear"] <= 0.02


def test_noise_hides_little_of_who_does_not_hear():
    for shares_of in (constant(0.9), by_prompt(0.95), first_listed(0.95)):
        found = runs(shares_of, 40, replies=460)
        assert found["does not hear"] >= 0.6 and found["hears"] <= 0.1, found


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
            again = looks(20, panel, replies, again=True)
            assert all(look.alpha > 0 and look.alpha_no > 0 for look in again)
            assert sum(look.alpha for look in again) == pytest.approx(judging.ALPHA)
            assert sum(look.alpha_no for look in again if look.clips == 20) == pytest.approx(judging.ALPHA_NO)
            assert again[: 2 if replies > 40 else 1] == plan[: 2 if replies > 40 else 1]
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
