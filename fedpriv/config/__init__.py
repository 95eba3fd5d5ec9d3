"""Configuration: schema, whitelist, checks and builders; the only importer of hydra."""
