"""What every service over HTTP has, whatever it is for: settings, bounds, logs, metrics, TLS, start and end.

:mod:`service` makes the application, :mod:`running` runs it with the bounds of :mod:`limits` (bodies and
requests) and :mod:`protocol` (connections).
:mod:`outgoing` and :mod:`kept` connect to one.
"""
