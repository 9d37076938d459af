"""What a synthetic vote is worth: targets from few human votes and an annotator's, scored on human votes held out.

CREMA-D's votes on voices, four folds of actors; everything is fitted on the votes drawn from the rows of other actors,
and scored on the votes of a row that were not drawn. Annotators: the votes on the same clips' faces (real and biased),
and simulated ones. crowd-kit and cleanlab are beside them where they are installed; these are given all rows at once.
Then what a fit and `Dataset.map` take for 100,000 rows.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import DATA

from hf_emo_dist.combining.combiner import VoteCombiner
from hf_emo_dist.combining.evidence import Answers, Evidence
from hf_emo_dist.evaluation.scoring import Bootstrap, interval_words
from hf_emo_dist.scores.floor import fit_dirichlet_prior
from hf_emo_dist.studies import Sources
from hf_emo_dist.studies.vote_table import shares_of
from hf_emo_dist.studies.worth.findings import percent_words
from hf_emo_dist.studies.worth.targets import HELD_OUT, METHODS, compared, folds, make_targets
from hf_emo_dist.studies.worth.voters import Voters, first_counts, voters_of

FOLDS, DRAWN = (
    4,
    3,
)  # the prior of smoothed human votes is fitted on three votes a row, whatever the targets are made of
FEW_ROWS, FEW_SPEAKERS = 150, 8
SMOOTHED = "smoothed"
ANSWERS = 10
SCENARIOS = {
    "face": "(i) the votes on the clips' faces, about 10 a clip",
    "sharp": "(ii) simulated: over-sharp and class-confusing, with clip effects that the family does not contain",
    "worthless": "(iii) simulated: uniform at random",
    "two": "(iv) two at once: the faces, and one uniform at random",
    "adversarial": "(v) the faces with permuted labels",
}
#: Change of the posterior's JS against smoothed human votes, in percent: what must hold, and the aim.
BARS = {
    (3, None): {"face": (-9, -12), "sharp": (-11, -16), "worthless": (1,), "two": (1,), "adversarial": (1,)},
    (1, None): {"face": (-15, -18), "sharp": (-18, -25), "worthless": (3,), "two": (3,), "adversarial": (3,)},
    (3, FEW_ROWS): dict.fromkeys(SCENARIOS, (2,)),
    (1, FEW_ROWS): dict.fromkeys(SCENARIOS, (2,)),
}
outcomes: list[bool] = []


def annotators(scenario: str, face: np.ndarray, voice: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Counts (N, K) of each annotator."""
    rng = np.random.default_rng([seed, 7])
    rows, size = voice.shape

    def at_random() -> np.ndarray:
        return rng.multinomial(ANSWERS, np.full(size, 1 / size), size=rows)

    if scenario == "face":
        return {"face": face}
    if scenario == "worthless":
        return {"model": at_random()}
    if scenario == "two":
        return {"face": face, "model": at_random()}
    if scenario == "adversarial":
        return {"face, permuted": np.roll(face, -1, axis=1)}
    # a draw from each clip's posterior over all of its votes, made sharper, confused, and moved by the clip
    truth = np.array([rng.dirichlet(row) for row in voice + fit_dirichlet_prior(voice)])
    sharp = truth**3 / (truth**3).sum(axis=1, keepdims=True)
    confusion = np.full((size, size), 0.03) + 0.7 * np.eye(size)
    for said, heard, more in ((1, 0, 0.25), (2, 5, 0.25), (4, 4, 0.1), (5, 4, 0.3), (3, 4, 0.2)):
        confusion[said, heard] += more
    answers = sharp @ (confusion / confusion.sum(axis=1, keepdims=True))
    moved = np.array([rng.dirichlet(3 * row + 1e-3) for row in answers])
    return {"model": np.array([rng.multinomial(ANSWERS, row / row.sum()) for row in moved])}


def few_rows(fold: np.ndarray, groups: np.ndarray, seed: int) -> list[np.ndarray]:
    """For each fold, 150 rows of eight speakers of the others."""
    rng = np.random.default_rng([seed, 8])
    found = []
    for place in range(FOLDS):
        others = np.flatnonzero(fold != place)
        speakers = rng.permutation(np.unique(groups[others]))[:FEW_SPEAKERS]
        found.append(np.sort(rng.permutation(others[np.isin(groups[others], speakers)])[:FEW_ROWS]))
    return found


class Run:
    """One draw of human votes, and what targets are made of them."""

    def __init__(self, voters: Voters, seed: int, bootstrap: Bootstrap) -> None:
        self.voters, self.seed, self.bootstrap = voters, seed, bootstrap
        self.size = len(voters.emotions)
        self.order = voters.in_random_order(seed)
        self.all = first_counts(self.order, self.order.shape[1], self.size)
        self.three = first_counts(self.order, DRAWN, self.size)
        self.fold = folds(voters.evidence(self.all), voters.groups, FOLDS, 0)
        face = voters.annotators["face"]
        self.face = (face.mean * face.number[:, None]).round().astype(int)

    def evidence(self, scenario: str, votes: int) -> Evidence:
        """The first so many human votes of each row, and the scenario's annotators."""
        given = annotators(scenario, self.face, self.all, self.seed)
        answers = {name: Answers.of_counts(counts) for name, counts in given.items()}
        return Evidence(first_counts(self.order, votes, self.size), answers, self.voters.groups)

    def scores(self, evidence: Evidence, rows: int | None, others: bool) -> dict[str, Any]:
        """Method → its figures, with those against smoothed human votes."""
        fit_rows = None if rows is None else few_rows(self.fold, self.voters.groups, self.seed)
        targets = make_targets(evidence, self.voters.emotions, self.fold, self.seed, fit_rows).targets
        targets = {SMOOTHED: self.smoothed(evidence.human), **targets}
        if others:
            targets |= {name: found for name, found in of_others(evidence).items() if found is not None}
        kept = np.flatnonzero(self.all.sum(axis=1) >= DRAWN + HELD_OUT)
        scored = {name: target[kept] for name, target in targets.items()}
        held = (self.all - evidence.human)[kept]
        return compared(scored, held, self.voters.groups[kept], self.bootstrap, SMOOTHED)

    def smoothed(self, human: np.ndarray) -> np.ndarray:
        """Human votes beside a prior that was fitted by the likelihood of three votes a row of other actors."""
        prior = np.stack([fit_dirichlet_prior(self.three[self.fold != place]) for place in range(FOLDS)])
        return shares_of(human + prior[self.fold])


# --- what others do with the same votes


def of_others(evidence: Evidence) -> dict[str, np.ndarray | None]:
    """Targets by crowd-kit and cleanlab, or None where these are not installed."""
    found: dict[str, np.ndarray | None] = {}
    for names, function in OTHERS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found |= function(evidence)
        except ImportError:
            found |= dict.fromkeys(names)
    return found


def votes_of_raters(evidence: Evidence, with_annotators: bool = True) -> np.ndarray:
    """Labels (N, R), -1 where there is none: the first human vote of each row is one rater's, and so on."""
    tables = [evidence.human]
    if with_annotators:
        tables += [answers.mean * answers.number[:, None] for answers in evidence.annotators.values()]
    parts = []
    for table in tables:
        counts = table.round().astype(int)
        labels = np.full((len(counts), counts.sum(axis=1).max()), -1)
        for row, each in enumerate(counts):
            given = np.random.default_rng(row).permutation(np.repeat(np.arange(len(each)), each))
            labels[row, : len(given)] = given
        parts.append(labels)
    return np.concatenate(parts, axis=1)


def by_crowd_kit(evidence: Evidence) -> dict[str, np.ndarray]:
    """Every human vote and every answer is a worker's label."""
    import pandas as pd
    from crowdkit.aggregation import MACE, DawidSkene, MajorityVote

    labels = votes_of_raters(evidence)
    row, rater = np.nonzero(labels >= 0)
    table = pd.DataFrame({"task": row, "worker": rater, "label": labels[row, rater]})

    def told(model: Any) -> np.ndarray:
        shares = model.fit_predict_proba(table).reindex(
            index=range(len(labels)), columns=range(evidence.human.shape[1])
        )
        return shares_of(shares.fillna(0.0).to_numpy() + 1e-9)

    models = (MajorityVote(), MACE(), DawidSkene())
    return {name: told(model) for name, model in zip(CROWD_KIT, models, strict=True)}


def by_cleanlab(evidence: Evidence) -> dict[str, np.ndarray]:
    """CROWDLAB's posterior (its public functions give that of the consensus label alone): answers as the model beside
    human raters, or as further raters beside a model that says the classes' shares.
    """
    from cleanlab.multiannotator import _get_post_pred_probs_and_weights, get_majority_vote_label

    synthetic = sum(answers.mean * answers.number[:, None] for answers in evidence.annotators.values())
    overall = np.tile(evidence.human.sum(axis=0) / evidence.human.sum(), (len(evidence), 1))

    def told(labels: np.ndarray, model: np.ndarray) -> np.ndarray:
        given = np.where(labels >= 0, labels, np.nan).astype(float)
        consensus = get_majority_vote_label(given, model, verbose=False)
        agree = np.nanmean(np.where(np.isnan(given), np.nan, given == consensus[:, None]), axis=1)
        number = (labels >= 0).sum(axis=1)
        return shares_of(_get_post_pred_probs_and_weights(given, consensus, model, number, agree, verbose=False)[0])

    found = {}
    if evidence.human.sum(axis=1).max() > 1:  # with one rater a row there is no agreement to weigh raters by
        found[CLEANLAB[0]] = told(votes_of_raters(evidence, False), shares_of(synthetic + 0.5))
    found[CLEANLAB[1]] = told(votes_of_raters(evidence), overall)
    return found


CROWD_KIT = ("crowd-kit, majority vote", "crowd-kit, MACE", "crowd-kit, Dawid-Skene")
CLEANLAB = ("CROWDLAB, answers as model", "CROWDLAB, answers as raters")
OTHERS: dict[tuple[str, ...], Callable[[Evidence], dict[str, np.ndarray]]] = {
    CROWD_KIT: by_crowd_kit,
    CLEANLAB: by_cleanlab,
}


# --- the tables


def told_bar(change: float, bars: tuple[float, ...]) -> str:
    """Whether the bar is met, and the aim."""
    outcomes.append(change <= bars[0])
    aim = "" if len(bars) < 2 else f", aim {bars[1]:+d} %: {'met' if change <= bars[1] else 'missed'}"
    return f"{change:+.1f} % (bar {bars[0]:+d} %: {'met' if outcomes[-1] else 'MISSED'}{aim})"


def print_scenario(run: Run, scenario: str, votes: int, rows: int | None) -> None:
    """All methods in one scenario."""
    start = time.perf_counter()
    found = run.scores(run.evidence(scenario, votes), rows, others=rows is None)
    fitted = "all rows of other actors" if rows is None else f"{rows} rows of {FEW_SPEAKERS} other actors"
    print(f"\n{SCENARIOS[scenario]}; {_votes(votes)} a row, fitted on {fitted}")
    names = {SMOOTHED: "human votes, smoothed", **METHODS, "human": "human votes, smoothed by the same fit"}
    print(f"  {'target':40s}{'JS':24s}{'unbiased Brier':24s}{'JS against smoothed':26s}")
    for name, figures in found.items():
        change = percent_words(figures["js"][f"ratio_to_{SMOOTHED}"]) if name != SMOOTHED else "-"
        print(
            f"  {names.get(name, name):40s}{interval_words(figures['js']):24s}"
            f"{interval_words(figures['unbiased_brier']):24s}{change:26s}"
        )
    if rows is None and (missing := [name for names in OTHERS for name in names if name not in found]):
        print(f"  not installed, or not defined here: {', '.join(missing)}")
    posterior = found["posterior"]
    change = 100 * (posterior["js"][f"ratio_to_{SMOOTHED}"]["value"] - 1)
    print(f"  posterior against smoothed human votes, JS: {told_bar(change, BARS[votes, rows][scenario])}")
    if rows is None and votes == DRAWN:
        below = ["weighted", "pool"] if scenario in ("face", "sharp") else ["pool"]
        for other in below:
            met = posterior["unbiased_brier"]["value"] < found[other]["unbiased_brier"]["value"]
            outcomes.append(met)
            print(f"  posterior's unbiased Brier score below that of {METHODS[other]}: {'met' if met else 'MISSED'}")
    print(f"  {time.perf_counter() - start:.0f} s", flush=True)


def print_seeds(voters: Voters, seeds: int, bootstrap: Bootstrap) -> None:
    """How far the draw of the human votes moves the outcome."""
    print(
        f"\nChange of the posterior's JS against smoothed human votes over {seeds} draws of the human votes, in percent"
    )
    for scenario in ("face", "worthless"):
        for votes in (3, 1):
            changes = []
            for seed in range(seeds):
                run = Run(voters, seed, bootstrap)
                found = run.scores(run.evidence(scenario, votes), None, others=False)
                changes.append(100 * (found["posterior"]["js"][f"ratio_to_{SMOOTHED}"]["value"] - 1))
            print(f"  {SCENARIOS[scenario]}; {_votes(votes)}: {_each(changes)}", flush=True)


def print_few(voters: Voters, seeds: int) -> None:
    """The same for fits on few rows, over draws of votes, speakers and rows, against the bar of `BARS`."""
    print(
        f"\nFitted on {FEW_ROWS} rows of {FEW_SPEAKERS} other actors, over {seeds} draws of votes and rows, in percent"
    )
    for scenario in SCENARIOS:
        for votes in (3, 1):
            changes = []
            for seed in range(seeds):
                run = Run(voters, seed, Bootstrap(1, 0))
                found = run.scores(run.evidence(scenario, votes), FEW_ROWS, others=False)
                changes.append(100 * (found["posterior"]["js"][f"ratio_to_{SMOOTHED}"]["value"] - 1))
            (bar,) = BARS[votes, FEW_ROWS][scenario]
            outcomes.append(max(changes) <= bar)
            met = "met by all" if outcomes[-1] else f"MISSED by {sum(change > bar for change in changes)}"
            told = f"mean {np.mean(changes):+.1f}, worst {max(changes):+.1f} (bar {bar:+d}: {met})"
            print(f"  {SCENARIOS[scenario]}; {_votes(votes)}: {told}", flush=True)


def _votes(number: int) -> str:
    return f"{number} human vote{'s' * (number > 1)}"


def _each(changes: list[float]) -> str:
    return ", ".join(f"{change:+.1f}" for change in changes)


def print_times(rows: int) -> None:
    """A fit and a map of a data set with three annotators, simulated."""
    from datasets import Dataset, disable_progress_bars

    emotions = ("angry", "disgust", "fear", "happy", "neutral", "sad")
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(len(emotions), 0.5), rows)
    human = rng.multinomial(3, truth)
    given = {f"model-{name}": rng.multinomial(5, 0.7 * truth + 0.3 / len(emotions)) for name in "abc"}
    groups = np.array([f"s{place}" for place in rng.integers(0, 500, rows)])
    print(f"\n{rows:,} rows x {len(given)} annotators with 5 answers each (simulated), 500 speakers; CPU time")

    def labels(row: np.ndarray) -> list[str]:
        return [emotions[place] for place in np.repeat(np.arange(len(row)), row)]

    empty = {"distribution": None, "focus": "tone", "temperature": None, "mode": "label", "replicate": 0, "key": ""}
    entries = [
        [{"label": label, "model": name, **empty} for name, counts in given.items() for label in labels(counts[row])]
        for row in range(rows)
    ]
    columns = {"id": [str(row) for row in range(rows)], "speaker": groups.tolist()}
    columns |= {"human_votes": [labels(row) for row in human], "synthetic_annotations": entries}
    dataset = Dataset.from_dict(columns)
    del entries, columns
    disable_progress_bars()
    wall, cpu = time.perf_counter(), time.process_time()
    combiner = VoteCombiner(emotions).fit(dataset)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    outcomes.append(cpu < 60)
    print(f"  fitted in {cpu:.1f} s (wall {wall:.1f} s; target under 60 s: {'met' if outcomes[-1] else 'MISSED'})")
    rates = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        dataset.map(combiner, batched=True, load_from_cache_file=False)
        rates.append((rows / (time.process_time() - cpu), rows / (time.perf_counter() - wall)))
    rate, by_the_clock = max(rates)
    outcomes.append(rate >= 20_000)
    print(
        f"  mapped {rate:,.0f} rows/s (wall {by_the_clock:,.0f}; target 20,000: {'met' if outcomes[-1] else 'MISSED'})",
        flush=True,
    )


def main() -> None:
    """Prints the tables, each beside what must hold, and how many of the bars were met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("votes", type=Path, nargs="?", default=DATA / "cremad_votes" / "votes.csv")
    parser.add_argument("--parts", nargs="+", default=["table", "few", "seeds", "times"])
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--few_seeds", type=int, default=10)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--num_resamples", type=int, default=1000)
    args = parser.parse_args()
    path = args.votes / "votes.csv" if args.votes.is_dir() else args.votes
    if path.is_file():
        voters = voters_of(Sources([str(path)], by="modality"), "voice", ["face"], ())
        bootstrap = Bootstrap(args.num_resamples, 0)
        run = Run(voters, args.seed, bootstrap)
        print(f"CREMA-D, {len(voters.ids)} clips of {len(set(voters.groups))} actors, {FOLDS} folds of actors;")
        print(f"seed {args.seed} of the draw; base-2 JS; 95 % bootstrap intervals over actors")
        for scenario in args.scenarios:
            for votes, rows in BARS:
                if ("table" if rows is None else "few") in args.parts:
                    print_scenario(run, scenario, votes, rows)
        if "seeds" in args.parts:
            print_seeds(voters, args.seeds, bootstrap)
            print_few(voters, args.few_seeds)
    else:
        print(f"no votes at {path}: no table")
    if "times" in args.parts:
        print_times(args.rows)
    print(f"\n{sum(outcomes)} of {len(outcomes)} bars met")


if __name__ == "__main__":
    main()
