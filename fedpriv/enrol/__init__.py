"""Enrolment on real sites: each party makes its own key, and all accept one list of public keys and terms."""
