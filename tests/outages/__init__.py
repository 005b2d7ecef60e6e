"""Stores that are away for a while, again and again, while jobs come and run: what was told is what is there."""
