"""Differences of encrypted pictures: exact, signed, several values to a slot."""
