"""Writes pictures and matplotlib figures as PNG files, quickly."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DOTS_PER_INCH = 150


def save_picture(picture: Image.Image | Figure, path: Path) -> None:
    """Write a PNG file: a picture as it is, a figure at 150 dots per inch.

    A figure becomes, dot for dot, what ``figure.savefig(path, dpi=150)`` writes, without its first drawing
    that measures a tight box. Files are up to a quarter larger than at PNG's usual compression, which takes
    three times as long.

    Args:
        picture: a figure has an opaque background.
        path: of the file; replaced if it is there.
    """
    if isinstance(picture, Figure):
        _drawn(picture).save(path, "PNG", compress_level=1, dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    else:
        picture.save(path, "PNG", compress_level=1)


def _drawn(figure: Figure) -> Image.Image:
    canvas, before = FigureCanvasAgg(figure), figure.dpi
    figure.set_dpi(DOTS_PER_INCH)
    try:
        canvas.draw()  # type: ignore[no-untyped-call]
        dots = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        return Image.fromarray(dots[..., :3])
    finally:
        figure.set_dpi(before)
