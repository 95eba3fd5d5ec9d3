"""Whole people: nobody's images are spread over clients."""

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.partition.assign import shares_of
from fedpriv.errors import UserError
from fedpriv.seeding import generator


def by_subject(dataset: ImageDataset, clients: int, seed: int) -> list[NDArray[np.int64]]:
    """Give every client some identities, whole: a client is a device, a site or a household.

    Identities are shuffled by seed and dealt in turn, so clients differ by at most one identity.

    Returns:
        For each client, sorted indices into ``dataset``.

    Raises:
        UserError: when there are more clients than identities.
    """
    people, persons = np.unique(dataset.subjects, return_inverse=True)
    if clients > len(people):
        found = "1 person" if len(people) == 1 else f"{len(people)} people"
        raise UserError(
            f"federation.clients={clients}: only {found} to train on; lower it to "
            f"{len(people)} or fewer, or hold out fewer people (evaluation.test_subjects)"
        )
    owner = np.empty(len(people), dtype=np.int64)
    owner[generator(seed, "partition").permutation(len(people))] = np.arange(len(people)) % clients
    return shares_of(owner[persons], clients)


def by_identity(dataset: ImageDataset, clients: int, seed: int) -> list[NDArray[np.int64]]:
    """Give every client exactly one identity: a client is somebody's own device.

    The setting of FedFace (Aggarwal, Zhou, Jain 2021, arXiv 2104.03008). Client k holds the k-th
    person in the order of ``dataset.subject_names``, whatever the seed.

    Returns:
        For each client, sorted indices into ``dataset``.

    Raises:
        UserError: unless there are as many clients as people.
    """
    del seed
    people, persons = np.unique(dataset.subjects, return_inverse=True)
    if clients != len(people):
        raise UserError(
            f"federation.clients={clients}: one person per client needs as many clients as people to train "
            f"on; give federation.clients={len(people)}, or partition=by_subject"
        )
    return shares_of(persons.astype(np.int64, copy=False), clients)
