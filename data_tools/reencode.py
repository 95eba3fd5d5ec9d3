"""Decode an image and save it again in one format."""

import io
from collections.abc import Callable


def reencoder(encoding: str | None, quality: int) -> tuple[Callable[[bytes], tuple[bytes, str]] | None, str]:
    """Return a function from image bytes to (bytes, suffix), and words for what it makes.

    The orientation in the EXIF header is applied, since the header is not kept.

    Args:
        encoding: ``jpeg`` or ``png``; None leaves the bytes as they are (no function).
        quality: of JPEG, 1 to 95; colour is not subsampled.

    Returns:
        The function, which raises UserError for what is no image, and its description.
    """
    if encoding is None:
        return None, "as stored"
    import PIL
    from PIL import ImageOps

    from fedpriv.formats.identity_folder import open_image

    def encode(image: bytes) -> tuple[bytes, str]:
        saved = io.BytesIO()
        with open_image(image, "image") as opened:
            rgb = ImageOps.exif_transpose(opened).convert("RGB")
        if encoding == "png":
            rgb.save(saved, "PNG")
            return saved.getvalue(), ".png"
        rgb.save(saved, "JPEG", quality=quality, subsampling=0)
        return saved.getvalue(), ".jpg"

    made = "png" if encoding == "png" else f"jpeg of quality {quality}"
    return encode, f"{made}, upright, Pillow {PIL.__version__}"
