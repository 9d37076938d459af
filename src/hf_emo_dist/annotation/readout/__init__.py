"""Read-outs: the probability of every label, read off an open model and not sampled."""
