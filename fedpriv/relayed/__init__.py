"""Clients ask the model that they trained through the relays: what each finds, and what that comes to."""
