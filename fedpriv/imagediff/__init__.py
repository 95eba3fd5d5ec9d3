"""Differences of encrypted pictures as a service, its client and its command."""
