"""What a run shows on the terminal: progress while it runs, a summary at the end."""
