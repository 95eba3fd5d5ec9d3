"""Entry points, benchmarks and reproduced claims; they use fedpriv, never the reverse."""
