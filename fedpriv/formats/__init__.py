"""Byte-level readers and writers; no torch."""
