"""Some test images with the answer that came through the relays and the one inferred beside the image."""

from collections.abc import Sequence

from PIL import Image

from fedpriv.serving.answers import Answer
from fedpriv.serving.image import GreyImage
from fedpriv.serving.overlay import draw_answer, draw_answers


def draw_both(shown: Sequence[tuple[GreyImage, Answer | None, Answer]]) -> Image.Image:
    """Draw each image twice: answered through the relays, and by local inference.

    Args:
        shown: image, answer through the relays (None: lost), local answer; at least one.
    """
    pictures = []
    for image, relayed, local in shown:
        if relayed is None:
            pictures.append(draw_answer(image, Answer(), "relays: no answer"))
        else:
            pictures.append(draw_answer(image, relayed, "through relays"))
        pictures.append(draw_answer(image, local, "local"))
    return draw_answers(pictures, columns=2 * min(3, len(shown)))
