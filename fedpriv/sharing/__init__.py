"""Secret-shared images through relays: shares, handshake, schedule, envelopes, sessions, assembler.

A client cuts an image into shares and sends each, sealed to the model server, through another relay;
the server puts complete sets together and seals its answer. Nothing here opens a socket or reads a
clock: every time is an argument, in milliseconds since 1970 (``now_ms``).
"""
