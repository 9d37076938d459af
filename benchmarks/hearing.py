"""How often a hearing test is right, on SIMULATED annotators: verdicts over many runs, and what they took.

What to look at: "no" must stay under 1 % for every annotator that hears, "hears" under 5 % for every one that does not,
whatever the noise; the rest is power. An annotator is drawn for each run:

- "by the words": each clip's words say one of four emotions, and it answers that;
- "hears": it hears the clip's emotion with the stated accuracy (an error is the clip's, and stays), another row's audio
  likewise, and silence as neutral; "by words 70 %": for so many pairs of words and audio it goes by the words instead;
- "of each answer": every single answer is right with that probability, with no memory of the clip;
- noise: so many of the answers are one of the three other emotions, at random;
- "shares": it states shares, drawn from a Dirichlet distribution of so many pseudo-counts around its answer.

Emotions are balanced among the clips, as human votes let them be; "80 % neutral" is a corpus without human votes.

    python benchmarks/hearing.py --runs 400
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from hf_emo_dist.annotation.hearing import judging
from hf_emo_dist.annotation.hearing.asking import CLIPS, looks
from hf_emo_dist.annotation.hearing.judging import ClipAnswers, judge

NUM = 4
LABELS = [tuple(row) for row in np.eye(NUM)]
Annotator = Callable[[int, int, str], tuple[float, ...]]


def around(emotion: int, share: float) -> np.ndarray:
    """A distribution with this share on one emotion."""
    shares = np.full(NUM, (1 - share) / (NUM - 1))
    shares[emotion] = share
    return shares


def annotator(
    rng: np.random.Generator,
    hears: bool,
    noise: float = 0.0,
    accuracy: float = 1.0,
    by_words: float = 0.0,
    constant: bool = False,
    fresh: bool = False,
    shares: float | None = None,
    neutral: float | None = None,
) -> Annotator:
    """One annotator, with its corpus: answers by clip, member and audio."""
    if neutral is None:
        emotions = np.arange(CLIPS) % NUM
        others = (emotions + rng.integers(1, NUM, CLIPS)) % NUM
    else:
        frequencies = around(0, neutral)
        emotions, others = (rng.choice(NUM, size=CLIPS, p=frequencies) for _ in range(2))
    words = rng.integers(0, NUM, CLIPS)
    impressions: dict[tuple[int, str], int] = {}

    def impression(clip: int, audio: str) -> int:
        if not hears:
            return 0 if constant else int(words[clip])
        if audio == "silence":
            found = 0
        else:
            found = int((emotions if audio == "own" else others)[clip])
            if not fresh and rng.random() > accuracy:
                found = int(rng.integers(NUM))
        return int(words[clip]) if rng.random() < by_words else found

    def answer(clip: int, member: int, audio: str) -> tuple[float, ...]:
        if (clip, audio) not in impressions:
            impressions[clip, audio] = impression(clip, audio)
        expected = around(impressions[clip, audio], accuracy if fresh else 1 - noise)
        if shares is not None:
            return tuple(rng.dirichlet(np.maximum(shares * expected, 0.02)))
        return LABELS[rng.choice(NUM, p=expected)]

    return answer


def one_test(asked: Annotator, panel: int, replies: int, margin: float) -> tuple[str, int]:
    """A test as it is run: look after look. The verdict, and the requests that it alone needed."""
    answers: dict[tuple[int, int, str], tuple[float, ...]] = {}

    def get(clip: int, member: int, audio: str) -> tuple[float, ...]:
        if (clip, member, audio) not in answers:
            answers[clip, member, audio] = asked(clip, member, audio)
        return answers[clip, member, audio]

    for look in looks(CLIPS, panel, replies):
        clips = [
            ClipAnswers(
                {member: get(clip, member, "own") for member in range(look.own)},
                {member: get(clip, member, "other") for member in range(look.tested)},
                {member: get(clip, member, "silence") for member in range(look.tested)},
            )
            for clip in range(look.clips)
        ]
        found = judge(clips, look.alpha, look.alpha_no, margin)
        if found.verdict != "undecided":
            break
    return found.verdict, sum(audio != "own" for *_, audio in answers)


CASES: Mapping[str, Mapping[str, object]] = {
    "deaf, always one answer": {"hears": False, "constant": True},
    "deaf, one answer, noise 5 %": {"hears": False, "constant": True, "noise": 0.05},
    "deaf, one answer, noise 30 %": {"hears": False, "constant": True, "noise": 0.3},
    "deaf, one answer, shares 50": {"hears": False, "constant": True, "noise": 0.3, "shares": 50},
    "deaf, by the words": {"hears": False},
    "deaf, by the words, noise 5 %": {"hears": False, "noise": 0.05},
    "deaf, by the words, noise 15 %": {"hears": False, "noise": 0.15},
    "deaf, by the words, noise 30 %": {"hears": False, "noise": 0.3},
    "deaf, by the words, shares 50": {"hears": False, "noise": 0.3, "shares": 50},
    "hears 80 %": {"hears": True, "accuracy": 0.8},
    "hears 70 %, noise 30 %": {"hears": True, "accuracy": 0.7, "noise": 0.3},
    "hears 60 %, noise 50 %": {"hears": True, "accuracy": 0.6, "noise": 0.5},
    "hears 60 %, shares 20": {"hears": True, "accuracy": 0.6, "noise": 0.5, "shares": 20},
    "hears 50 % of each answer": {"hears": True, "accuracy": 0.5, "fresh": True},
    "hears 40 % of each answer": {"hears": True, "accuracy": 0.4, "fresh": True},
    "hears 80 %, by words 50 %": {"hears": True, "accuracy": 0.8, "by_words": 0.5, "noise": 0.1},
    "hears 80 %, by words 70 %": {"hears": True, "accuracy": 0.8, "by_words": 0.7},
    "hears 80 %, by words 80 %": {"hears": True, "accuracy": 0.8, "by_words": 0.8},
    "hears 80 %, by words 90 %": {"hears": True, "accuracy": 0.8, "by_words": 0.9},
    "hears all, 90 % neutral": {"hears": True, "neutral": 0.9},
    "hears all, 80 % neutral": {"hears": True, "neutral": 0.8},
    "hears 70 %, 80 % neutral, noise 20 %": {"hears": True, "neutral": 0.8, "accuracy": 0.7, "noise": 0.2},
}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--draws", type=int, default=499, help="of the permutation test; 9,999 in a real one")
    parser.add_argument("--panels", default="10x100000,10x460,3x460", help="members x replies of the run, ...")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    arguments = parser.parse_args()
    judging._DRAWS = arguments.draws
    print(f"SIMULATED annotators, {arguments.runs} runs each")
    for panel, replies in (map(int, part.split("x")) for part in arguments.panels.split(",")):
        print(f"{panel} members, a run of {replies:,} replies")
        for name, options in CASES.items():
            if arguments.only not in name:
                continue
            margin = judging.MARGIN_UNKNOWN if "neutral" in options else judging.MARGIN
            began, counts, requests = time.perf_counter(), Counter(), []
            for run in range(arguments.runs):
                rng = np.random.default_rng([run, panel])
                verdict, number = one_test(annotator(rng, **options), panel, replies, margin)  # type: ignore[arg-type]
                counts[verdict] += 1
                requests.append(number)
            shares = {verdict: 100 * counts[verdict] / arguments.runs for verdict in ("hears", "does not hear")}
            print(
                f"  {name:38s} hears {shares['hears']:5.1f} %  no {shares['does not hear']:5.1f} %  "
                f"requests of its own {np.mean(requests):4.0f}  ({time.perf_counter() - began:.0f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
