"""Searches: Optuna proposes a job's settings from what earlier ones have found; its only home."""
