"""`hf-emo-dist report STUDY …`: the studies as commands; each writes JSON, Markdown, PNG, PDF and one HTML page."""

from __future__ import annotations

import argparse
import importlib
import sys

from .._lazy import missing_extra

__all__ = ["STUDIES", "add_arguments", "run"]

#: study → (module of this room, what it does in one line)
STUDIES = {
    "saturation": (
        "saturation.saturation",
        "how many votes an utterance needs, over what independent draws would give",
    ),
    "strata": ("strata", "scores by ambiguity, or by any column, and skill over predictors that hear nothing"),
    "agreement": ("agreement", "listeners among themselves, and each synthetic annotator with them"),
    "diagnose": ("diagnose", "signs of failure of annotations, augmentation and models, with advice"),
    "cross-corpus": ("cross_corpus", "train on one corpus, score on another, with a label map"),
    "ablation": ("ablation.ablation", "human, synthetic or combined votes, with and without DiME-Aug, over seeds"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand a study."""
    studies = parser.add_subparsers(dest="study", metavar="STUDY", title="studies", required=True)
    for name, (module, summary) in STUDIES.items():
        study = studies.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        importlib.import_module(f"hf_emo_dist.studies.{module}").add_arguments(study)


def run(args: argparse.Namespace) -> None:
    """Run a study, write its report and print its findings.

    Raises:
        ModuleNotFoundError: An extra is not installed; it names the `pip install`.
    """
    module = importlib.import_module(f"hf_emo_dist.studies.{STUDIES[args.study][0]}")
    try:
        study = module.run(args)
    except ModuleNotFoundError as error:
        raise missing_extra(f"reports.{args.study}", error) from error
    page = study.save(args.output)
    sys.stdout.write("\n".join([study.title, *study.notes, *(f"- {line}" for line in study.findings)]) + "\n")
    sys.stdout.write(
        f"written: {page}, and beside it {study.kind}.json, {study.kind}.md and the plots as PNG and PDF\n"
    )
