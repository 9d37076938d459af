"""Batch jobs: half the price, within a day, collected by another process at any time later."""
