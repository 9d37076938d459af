"""The address of a room of 0.1: what it held is in `evaluation` and `studies`."""

raise ImportError(
    "hf_emo_dist.reports was divided: scoring, cross-validation, baselines and plots are in hf_emo_dist.evaluation, "
    "the studies of `hf-emo-dist report` in hf_emo_dist.studies."
)
