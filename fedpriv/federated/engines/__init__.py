"""Engines run the one ServerApp and ClientApp: in this process, in workers, or on Ray."""
