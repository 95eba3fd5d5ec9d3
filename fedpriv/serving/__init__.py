"""Trained models made to answer single images: what a server infers with. Knows no sockets."""
