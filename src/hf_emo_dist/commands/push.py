"""`hf-emo-dist push`: a checkpoint, votes, a data set or a metric to the Hub."""

from __future__ import annotations

import argparse
import sys
from typing import Any

__all__ = ["add_arguments", "run"]

KINDS = {
    "model": "a checkpoint with its processor and card",
    "votes": "votes from a ledger or a data set: no recordings, and no transcripts or replies unless asked (private)",
    "dataset": "a whole prepared data set with its recordings (private)",
    "metric": "an evaluate module as a Space",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the subcommand's own subcommands."""
    kinds = parser.add_subparsers(dest="kind", metavar="WHAT", required=True, title="what to push")
    for kind, summary in KINDS.items():
        sub = kinds.add_parser(kind, help=summary, description=f"Pushes {summary}.", allow_abbrev=False)
        what = {
            "model": "folder of the checkpoint",
            "votes": "ledger (.sqlite), Parquet file or folder",
            "metric": "folder, or a metric of this package such as js_divergence",
        }
        sub.add_argument("source", help=what.get(kind, "folder"))
        sub.add_argument("repo_id", help="owner/name, or name for your own account")
        sub.add_argument("--dry_run", action="store_true", help="list the files and their sizes, and send nothing")
        visible = sub.add_mutually_exclusive_group()
        visible.add_argument("--private", action="store_true", default=None, help="make the repository private")
        visible.add_argument(
            "--public", dest="private", action="store_false", default=None, help="make the repository public"
        )
        sub.add_argument("--revision", help="branch to push to")
        sub.add_argument("--create_pr", action="store_true", help="open a pull request instead")
        sub.add_argument("--commit_message", help="of the commit")
        if kind == "model":
            sub.add_argument("--merge", action="store_true", help="fold an adapter into its backbone")
            sub.add_argument("--base_model", help="Hub id of an adapter's backbone, where a local copy was used")
            sub.add_argument("--scores", help="scores.json of hf-emo-dist evaluate (default: the one in the folder)")
            sub.add_argument("--dataset", help="data set of the training, for the card: folder or Hub id")
            sub.add_argument("--license", help="of the checkpoint (default: worked out)")
            sub.add_argument("--overwrite_card", action="store_true", help="replace a README that was edited by hand")
        if kind == "votes":
            sub.add_argument("--include_transcripts", action="store_true", help="also what was said, and prompts")
            sub.add_argument("--include_replies", action="store_true", help="also what annotators wrote")
            sub.add_argument("--columns", help="further columns to publish, comma separated")
            sub.add_argument("--vote_source", help="who gave the votes (default: what the data set's card says)")
            sub.add_argument("--license", help="such as cc-by-4.0 (default: the data set's)")
        if kind in ("votes", "dataset"):
            sub.add_argument(
                "--allow_restricted",
                action="store_true",
                help="push data marked as restricted, where its terms allow it",
            )


def run(args: argparse.Namespace) -> None:
    """Pushes, or lists what would be pushed."""
    from .. import hub

    options: dict[str, Any] = {
        name: value
        for name, value in vars(args).items()
        if name not in ("command", "kind", "source", "repo_id", "more")
    }
    if options["private"] is None:
        options.pop("private")  # each kind's own default
    if options.get("columns") is not None:
        options["columns"] = [name.strip() for name in options["columns"].split(",") if name.strip()]
    push = {"model": hub.push_model, "votes": hub.push_votes, "dataset": hub.push_dataset, "metric": hub.push_metric}[
        args.kind
    ]
    sys.stdout.write(f"{push(args.source, args.repo_id, **options)}\n")
