"""Template recovery: how much of an enrolled face do answers to chosen probes give away?

Against raw scores, and against the accept or reject of :mod:`fedpriv.faces` with and without its defences.
"""
