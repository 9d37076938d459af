"""Ablation: one recipe on targets from human, synthetic, pooled votes or a posterior, with and without augmentation."""
