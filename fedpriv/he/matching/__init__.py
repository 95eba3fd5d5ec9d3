"""Matching of encrypted faces: columns of ciphertexts, questions to the key holder, a gallery on disk."""
