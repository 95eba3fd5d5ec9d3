"""Attacks on the relays, on the original's design, and what a relay learns from what it holds."""
