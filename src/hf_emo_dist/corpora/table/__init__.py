"""The user's own table: one row a clip, with vote counts or a list of votes."""
