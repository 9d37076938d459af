"""Saturation: how many synthetic votes an utterance needs."""
