"""The studies of votes and models: one file or folder a study, each a table, plots and a page."""
