"""Model and data set cards: the facts, the tables and the Markdown."""
