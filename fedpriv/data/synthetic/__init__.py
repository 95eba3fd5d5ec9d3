"""Procedural renderers."""
