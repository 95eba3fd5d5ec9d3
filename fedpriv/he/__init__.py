"""Homomorphic encryption of model updates; the only importer of TenSEAL.

Has not undergone a security analysis by third parties.
"""
