"""The services that carry secret-shared images, and their client: sockets live here, and only here.

A client (:mod:`client`) cuts images with :mod:`fedpriv.sharing` and sends every share through another relay
(:mod:`relay`) to the model server (:mod:`model_server`), which infers with :mod:`fedpriv.serving`. The
gateway (:mod:`gateway`) is such a client as a service; the adversary (:mod:`adversary`) sits in a relay's
place. :mod:`constellation` starts them all.
"""
