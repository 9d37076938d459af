"""Sending: who is asked when, pacing, budget, and the report of a run."""
