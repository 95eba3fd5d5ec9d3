"""Attacks that a protection must stop, run for real; they see what their adversary sees and no more.

They use the public interfaces of the packages they attack and are used by no run.
"""
