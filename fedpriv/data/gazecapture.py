"""The data set ``gazecapture``: people who look at dots on their phones and tablets."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example, decoded_images
from fedpriv.data.gaze_convention import gaze_to_point, mirror_gaze, mirror_image
from fedpriv.data.gaze_files import cached_labels, check_least, data_folder, spread
from fedpriv.data.origins import of_bytes, second
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.crop import crop_resize, decode_picture
from fedpriv.formats.files import read_input
from fedpriv.formats.gazecapture import Recording, list_recordings, read_recording, sources
from fedpriv.formats.identity_folder import MAX_FILE_BYTES
from fedpriv.progress import track
from fedpriv.types import AnyArray

CARD = DatasetCard(
    name="gazecapture",
    title="GazeCapture",
    tasks=("gaze",),
    contents="1,490,959 frames of 1,474 people with boxes of face and eyes and the dot they look at",
    licence="research only, on registration (see source)",
    source="https://gazecapture.csail.mit.edu",
    layout="the recordings '00002', '00003', ... with 'frames/' and their JSON files",
    citation="Krafka, Khosla, Kellnhofer, Kannan, Bhandarkar, Matusik, Torralba, CVPR 2016, arXiv 1606.05814",
    protocol="published split by person: evaluation.protocol=published; the paper reports cm, not degrees",
)

_VERSION = 1
REGIONS = ("eye", "face")
VALIDATION = ("left_out", "train", "held_out")
EYE_HEIGHT, EYE_WIDTH = 36, 60
_SPLITS = ("train", "val", "test")


def load(
    root: str,
    region: str = "eye",
    validation: str = "left_out",
    distance_cm: float = 30.0,
    size: int = 112,
    max_people: int | None = None,
    max_images: int | None = None,
) -> ImageDataset:
    """Load crops of the frames in which face and both eyes were detected.

    What is published is the dot's place in cm, not an angle. The target here is the direction from an eye
    on the camera's axis at ``distance_cm`` to the dot, an approximation
    (:func:`fedpriv.data.gaze_convention.gaze_to_point`): angular errors are comparable between runs, not with
    publications.

    Args:
        root: the folder that holds the unpacked recordings.
        region: ``eye``: both eyes of a frame, grey 36 x 60, cut to that aspect about the middle of their
            boxes, right eyes mirrored, left before right; ``face``: the face, colour, size x size.
        validation: what becomes of the people of the validation part: ``left_out``, or they are for
            ``train``-ing, or ``held_out`` with the test part.
        distance_cm: assumed between eye and camera, 5 to 200.
        size: height and width of a face; eyes do not use it.
        max_people: only the first so many.
        max_images: frames of each person at most, evenly spread.

    Returns:
        ``images`` (N, 1, 36, 60) or (N, 3, size, size) uint8, a read-only map; ``targets`` (N, 2) float32
        radians; ``held_out`` as published; people named like their folders, those without a
        valid frame left out; ``origins`` (N,) for eyes, (N, 2) for faces, which hold both.

    Raises:
        UserError: the root or a setting is wrong, or a file is not as it should be.
    """
    for name, value, choices in (("region", region, REGIONS), ("validation", validation, VALIDATION)):
        if value not in choices:
            raise UserError(f"data.{name}={value}: choose one of {', '.join(choices)}")
    if not 5 <= distance_cm <= 200:
        raise UserError(f"data.distance_cm={distance_cm}: need 5 to 200")
    check_least(size=(size, 8), max_people=(max_people, 1), max_images=(max_images, 1))
    folder = data_folder(root, CARD)
    people = list_recordings(folder)
    if not people:
        raise UserError(f"data.root={root}: holds no recordings 00002, 00003, ...; {CARD.hint}")
    files = [path for person in people for path in sources(person)]

    def chosen(recording: Recording) -> NDArray[np.int64]:
        frames = np.flatnonzero(recording.valid)
        return frames[spread(len(frames), max_images)]

    def labels() -> dict[str, AnyArray]:
        points, counts, splits = [np.zeros((0, 2))], [], []
        for person in track(people, "read the labels of gazecapture"):
            recording = read_recording(person, folder)
            rows = chosen(recording)
            points.append(recording.point[rows])
            counts.append(len(rows))
            splits.append(_SPLITS.index(recording.split))
        return {"points": np.concatenate(points), "counts": np.array(counts), "splits": np.array(splits)}

    known = cached_labels("gazecapture", _VERSION, {"max_images": max_images}, files, labels)
    used = known["counts"] > 0
    if validation == "left_out":
        used = used & (known["splits"] != _SPLITS.index("val"))
    kept = np.flatnonzero(used)[:max_people]
    if not len(kept):
        raise UserError(f"data.root={root}: no recording has a valid frame (data.validation={validation})")
    counts = known["counts"][kept]
    frames = np.repeat(np.isin(np.arange(len(people)), kept), known["counts"])
    gaze = gaze_to_point(known["points"][frames], distance_cm)
    eyes = 2 if region == "eye" else 1
    if region == "eye":
        gaze = np.stack([gaze, mirror_gaze(gaze)], axis=1).reshape(-1, 2)

    def examples() -> Iterator[Example]:
        for index in kept:
            recording = read_recording(people[index], folder)
            for row in chosen(recording):
                path = people[index] / "frames" / recording.frames[row]
                content = read_input(path, MAX_FILE_BYTES, folder)
                picture, frame = decode_picture(content, path, region == "face"), of_bytes(content)
                try:
                    for crop in _crops(picture, recording, int(row), region, size):
                        yield crop, frame
                except ValueError as error:
                    raise FormatError(path, None, str(error)) from error

    # how far away the dot is changes targets, never pixels
    parameters = {
        "region": region,
        "size": size if region == "face" else None,
        "people": [people[index].name for index in kept],
        "max_images": max_images,
    }
    shape = (len(gaze), 1, EYE_HEIGHT, EYE_WIDTH) if region == "eye" else (len(gaze), 3, size, size)
    tested = _SPLITS[2:] if validation == "train" else _SPLITS[1:]
    held_out = np.isin(known["splits"][kept], [_SPLITS.index(split) for split in tested])
    images, frame_origins = decoded_images("gazecapture", _VERSION, parameters, files, shape, examples)
    # left and right eyes alternate: one frame, two examples
    origins = np.stack([frame_origins[::eyes], second(frame_origins[::eyes])], axis=1)
    return ImageDataset(
        name=f"gazecapture:{region}",
        images=images,
        targets=gaze.astype(np.float32),
        subjects=np.repeat(np.arange(len(kept), dtype=np.int64), counts * eyes),
        subject_names=tuple(people[index].name for index in kept),
        held_out=np.repeat(held_out, counts * eyes),
        origins=origins.reshape(-1) if region == "eye" else origins,
    )


def _crops(
    picture: NDArray[np.uint8], recording: Recording, row: int, region: str, size: int
) -> Iterator[NDArray[np.uint8]]:
    if region == "face":
        x, y, width, height = recording.face[row]
        yield crop_resize(picture, (x, y, width, height), size, size)
        return
    for boxes, mirrored in ((recording.left_eye, False), (recording.right_eye, True)):
        x, y, width, height = boxes[row]
        down = width * EYE_HEIGHT / EYE_WIDTH
        eye = crop_resize(picture, (x, y + (height - down) / 2, width, down), EYE_HEIGHT, EYE_WIDTH)
        yield mirror_image(eye) if mirrored else eye
