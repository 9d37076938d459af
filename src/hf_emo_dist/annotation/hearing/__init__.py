"""The hearing test: whether a model's answers follow the audio, before they are paid for."""
