"""How training images are shared out among clients: one file per way, every image in one share.

A partition is a public function ``name(dataset, clients, seed, **own) -> list[NDArray[np.int64]]``:
for each client, sorted indices into ``dataset``. It is named in ``configs/partition`` by the module
that defines it, e.g. ``fedpriv.data.partition.people.by_subject``.
"""
