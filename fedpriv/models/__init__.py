"""Small modules that DP-SGD can train."""
