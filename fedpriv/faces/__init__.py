"""Faces matched under encryption: a server that holds a gallery it cannot read, and the parties around it.

Three parties, each a process and, if wanted, a machine of its own:

- the *server* keeps the encrypted gallery and computes on it; it has no secret key;
- the *key holder*, who owns the gallery, opens one result at a time for callers it knows, within a budget;
- a *caller* has a picture and is told who it is, or whether it is who they say: nothing else.

A caller sends its probe to the server and gets a signed *ticket*: the result, still encrypted. It takes the
ticket to the key holder. So the key holder is sent no probe, and the server no answer. A key holder who
knows the templates can compute the probe of an ``identify``, not that of a ``verify``.
"""
