"""Runs compared: chosen, grouped by everything but the seed, tested, tabulated, drawn and reported."""
