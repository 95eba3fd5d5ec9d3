"""Which images test a model. Nobody who is tested was trained on, unless the authors split so."""

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.seeding import generator

Parts = tuple[ImageDataset, ImageDataset]
"""(images to train on, images to test with)."""


def unseen_people(dataset: ImageDataset, count: int, seed: int) -> Parts:
    """Hold out ``count`` people, drawn by ``seed``.

    Raises:
        UserError: when fewer than one person would remain on either side.
    """
    people = np.unique(dataset.subjects)
    if not 1 <= count < len(people):
        raise UserError(
            f"evaluation.test_subjects={count}: the data has {len(people)} people; "
            f"choose between 1 and {len(people) - 1}"
        )
    held_out = np.sort(generator(seed, "test_subjects").permutation(people)[:count])
    return dataset.of_subjects(np.setdiff1d(people, held_out)), dataset.of_subjects(held_out)


def one_person(dataset: ImageDataset, person: int) -> Parts:
    """Hold out the person with index ``person``: one fold of leave-one-person-out.

    Raises:
        UserError: when there is no such person, or no other.
    """
    people = np.unique(dataset.subjects)
    if not 0 <= person < len(people) or len(people) < 2:
        raise UserError(
            f"evaluation.fold={person}: the data has {len(people)} people; choose 0 to {len(people) - 1}"
        )
    return dataset.of_subjects(np.delete(people, person)), dataset.of_subjects(people[person : person + 1])


def subject_fold(dataset: ImageDataset, fold: int, folds: int) -> Parts:
    """Hold out every ``folds``-th person from ``fold`` on: one fold of k-fold by person.

    People are taken in the order of their index, as in the ten folds usual for CK+.

    Raises:
        UserError: when there is no such fold, or fewer people than folds.
    """
    people = np.unique(dataset.subjects)
    if not 2 <= folds <= len(people):
        raise UserError(
            f"evaluation.folds={folds}: the data has {len(people)} people; choose 2 to {len(people)}"
        )
    if not 0 <= fold < folds:
        raise UserError(f"evaluation.fold={fold}: there are {folds} folds; choose 0 to {folds - 1}")
    held_out = people[fold::folds]
    return dataset.of_subjects(np.setdiff1d(people, held_out)), dataset.of_subjects(held_out)


def publishes_split(dataset: ImageDataset) -> bool:
    """Return whether the data set's authors said which images test."""
    return dataset.pairs is not None or dataset.held_out is not None


def published(dataset: ImageDataset) -> Parts:
    """Split as the data set's authors published.

    A set that is nothing but a test (LFW's pairs, verification bins) has an empty training part.

    Raises:
        UserError: when no split was published.
    """
    if dataset.pairs is not None:
        return dataset.subset(np.zeros(0, dtype=np.int64)), dataset
    if dataset.held_out is None:
        raise UserError(
            f"evaluation.protocol=published: data={dataset.name} has no published split; "
            "choose people, one_person or folds"
        )
    if not dataset.held_out.any():
        raise UserError(
            f"evaluation.protocol=published: data={dataset.name}: no image of the test part was loaded"
        )
    return dataset.subset(np.flatnonzero(~dataset.held_out)), dataset.subset(np.flatnonzero(dataset.held_out))


def own_images(
    dataset: ImageDataset, share: NDArray[np.int64], held_out: float, seed: int, client: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hold out part of a client's images of each of its people: to judge what it makes its own.

    Of n images of one person round(n held_out) are held out, at least 1 and at most n - 1; a person's only
    image is trained on. Which, is drawn by ``seed`` and ``client``.

    Edge cases:
        - Images that differ little, as the frames of a film do, stand on both sides: what is measured then
          is more remembered than learned.

    Args:
        dataset: all training images.
        share: the client's, sorted indices.
        held_out: of them, between 0 and 1.
        seed: the run's.
        client: its number.

    Returns:
        (indices to train on, indices to judge by), both sorted.

    Raises:
        UserError: when none can be held out.
    """
    random = generator(seed, "own_images", client)
    chosen = []
    for person in np.unique(dataset.subjects[share]):
        images = random.permutation(share[dataset.subjects[share] == person])
        most = len(images) - 1
        chosen.append(images[: min(most, max(1, round(len(images) * held_out)))])
    kept_back = np.sort(np.concatenate(chosen)) if chosen else share[:0]
    if not len(kept_back):
        raise UserError(
            f"evaluation.personalise.test_share={held_out}: client {client} has no two images of one "
            "person, to train on one and hold out the other; lower federation.clients"
        )
    return np.setdiff1d(share, kept_back), kept_back
