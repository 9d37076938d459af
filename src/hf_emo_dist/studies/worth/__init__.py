"""Worth: what synthetic votes are worth beside human ones, on the user's own data."""
