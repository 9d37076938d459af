"""The ledger: every paid reply, kept once, in an SQLite file that processes share."""
