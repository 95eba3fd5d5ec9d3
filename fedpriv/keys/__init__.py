"""The command line of the keys of those who compute on ciphertexts."""
