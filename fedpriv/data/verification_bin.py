"""InsightFace's verification files (``lfw.bin``, ``cfp_fp.bin``, ``agedb_30.bin``): pairs to test with."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedpriv.data.card import DatasetCard
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.decoded import Example, decoded_images
from fedpriv.data.origins import of_bytes
from fedpriv.errors import UserError
from fedpriv.formats.identity_folder import decode_image
from fedpriv.formats.pair_records import read_pair_records
from fedpriv.formats.verification_bin import read_verification_bin
from fedpriv.pairs import FOLDS, VerificationPairs

CARD = DatasetCard(
    name="verification_bin",
    title="InsightFace's verification sets: LFW, CFP-FP, AgeDB-30, CALFW, CPLFW as .bin",
    tasks=("face",),
    contents="6,000 pairs (CFP-FP 7,000) of aligned colour faces of 112 x 112 in 10 folds, no identities",
    licence="research, that of each set; see source",
    source="https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_",
    layout="one .bin file (name the file itself where the folder has several)",
    citation="Deng, Guo, Xue, Zafeiriou, ArcFace, CVPR 2019, arXiv 1801.07698, and that of each set",
    protocol="threshold chosen on 9 folds, accuracy on the tenth, mean over the folds; no training on it",
)

_VERSION = 1


def load(
    root: str, height: int = 112, width: int = 112, colour: bool = True, allow_numpy: bool = False
) -> ImageDataset:
    """Load a verification file; pair k is images 2k and 2k + 1.

    No identities are published, and one person's images occur in several pairs: every image counts as its
    own person, named by its place. The file is a pickle and is read without executing anything from it, see
    :mod:`fedpriv.formats.verification_bin`.

    Args:
        root: the file, or a folder with a single ``.bin``. Also a ``.rec`` that ``fedpriv-data convert`` made
            of one.
        height: rows of every image after cropping and resizing.
        width: columns of every image after cropping and resizing.
        colour: RGB instead of grey.
        allow_numpy: also read files whose images are numpy arrays of bytes.

    Returns:
        2 P images of shape (3 or 1, height, width), ``subjects`` = ``targets`` = 0 to 2 P - 1, and P
        ``pairs`` in 10 contiguous folds.

    Raises:
        UserError: when the file is missing, damaged or holds what it must not, P is no multiple of 10,
            a fold has pairs of one kind only, or a setting is out of range.
    """
    for field, value in (("height", height), ("width", width)):
        if value < 8:
            raise UserError(f"data.{field}={value}: must be at least 8")
    path = _file(root)
    if path.suffix == ".rec":
        contents, same = read_pair_records(path)
    else:
        contents, same = read_verification_bin(path, allow_numpy=allow_numpy)
    issame = np.array(same, dtype=np.bool_)
    if not len(issame) or len(issame) % FOLDS:
        raise UserError(f"{path}: {len(issame)} pairs do not divide into {FOLDS} folds; get it again")
    genuine = issame.reshape(FOLDS, -1).mean(axis=1)
    if not ((genuine > 0) & (genuine < 1)).all():
        raise UserError(f"{path}: a fold without pairs of one kind; order the pairs fold by fold")

    def examples() -> Iterator[Example]:
        for place, content in enumerate(contents):
            image = decode_image(content, f"{path}: image {place}", height, width, colour)
            yield image, of_bytes(content)

    shape = (len(contents), 3 if colour else 1, height, width)
    images, origins = decoded_images(
        "verification_bin", _VERSION, {"colour": colour}, [path], shape, examples
    )
    subjects = np.arange(len(contents), dtype=np.int64)
    return ImageDataset(
        name=f"verification_bin:{path.stem}",
        images=images,
        targets=subjects.copy(),
        subjects=subjects,
        subject_names=tuple(f"image{place:06d}" for place in range(len(contents))),
        pairs=VerificationPairs(left=subjects[::2].copy(), right=subjects[1::2].copy(), same=issame),
        origins=origins,
    )


def _file(root: str) -> Path:
    path = Path(root).expanduser()
    if path.is_file():
        return path
    found = sorted(path.glob("*.bin")) if path.is_dir() else []
    if len(found) != 1:
        said = f"holds {', '.join(one.name for one in found)}; name one" if found else "no .bin file there"
        raise UserError(f"data.root={root}: {said}; {CARD.hint}")
    return found[0]
