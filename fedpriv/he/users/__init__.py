"""Keys and ciphertext files for those who compute on ciphertexts: faces, pictures, tables."""
