"""Runs a study of votes or models and writes its report: `hf-emo-dist report`.

python recipes/report.py saturation|strata|agreement|diagnose|cross-corpus|ablation ... --output DIR
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
