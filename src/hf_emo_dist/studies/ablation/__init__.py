"""Ablation: the same recipe on targets from human, synthetic and combined votes, with and without augmentation."""
