"""Metrics: numpy in, float out."""
