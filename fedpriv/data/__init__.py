"""Datasets, their partition over clients, and synthetic renderers."""
