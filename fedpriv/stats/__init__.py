"""Statistics of encrypted tables: the owner's commands, and a server that computes and can open nothing."""
