"""An answer drawn beside its image: the gaze as an arrow, the emotion as bars."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fedpriv.data.emotions import EMOTIONS
from fedpriv.metrics.angular import vector_from_pitch_yaw
from fedpriv.serving.answers import Answer, Emotion, Gaze
from fedpriv.serving.image import GreyImage, as_picture

_HEIGHT, _WIDEST, _SMOOTH = 216, 384, 2
_PANEL, _GAP, _BAR, _ROW, _FOOT = 236, 10, 96, 22, 26
_BACKGROUND, _TEXT, _FAINT = (24, 26, 30), (240, 242, 245), (160, 168, 180)
_ARROW, _OUTLINE = (255, 176, 32), (20, 20, 20)
_FIRST, _OTHERS = (60, 160, 240), (74, 82, 96)


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_answer(image: GreyImage, answer: Answer, caption: str = "") -> Image.Image:
    """Draw an image, enlarged, with what was answered.

    The arrow is the gaze direction in orthographic projection from the middle of the picture, 0.75 of its
    height long for a gaze at a right angle to the camera: up for positive pitch, left for positive
    yaw (:mod:`fedpriv.data.gaze_convention`); its dot alone is a look into the camera.

    Args:
        image: (H, W) uint8.
        answer: of this image; parts that are None are not drawn.
        caption: one line below, e.g. the file's name.

    Returns:
        RGB.
    """
    eye = _picture(image, answer.gaze)
    width = eye.width + 2 * _GAP + (_PANEL if answer.emotion else 0)
    sheet = Image.new("RGB", (width, eye.height + 2 * _GAP + _FOOT), _BACKGROUND)
    sheet.paste(eye, (_GAP, _GAP))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    if answer.emotion is not None:
        _bars(pen, eye.width + 3 * _GAP, (sheet.height - _FOOT) // 2, answer.emotion)
    foot = _GAP
    if answer.gaze is not None:
        angles = np.degrees([answer.gaze.pitch, answer.gaze.yaw])
        text = f"pitch {angles[0]:+.1f}°   yaw {angles[1]:+.1f}°"
        pen.text((foot, sheet.height - _FOOT + 3), text, fill=_ARROW, font=font)
        foot += int(pen.textlength(text, font=font)) + 2 * _GAP
    room = sheet.width - foot - _GAP
    pen.text((foot, sheet.height - _FOOT + 3), _cut(pen, font, caption, room), fill=_FAINT, font=font)
    return sheet


def draw_answers(pictures: list[Image.Image], columns: int = 2) -> Image.Image:
    """Put pictures of answers into rows of ``columns``.

    Raises:
        ValueError: there are none, or ``columns`` is below 1.
    """
    if not pictures or columns < 1:
        raise ValueError(f"draw_answers: {len(pictures)} pictures in {columns} columns")
    columns = min(columns, len(pictures))
    width, height = max(each.width for each in pictures), max(each.height for each in pictures)
    sheet = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height), _BACKGROUND)
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * width, index // columns * height))
    return sheet


def _picture(image: GreyImage, gaze: Gaze | None) -> Image.Image:
    """Return the image enlarged, its gaze drawn at twice the size and reduced, for smooth edges."""
    rows, columns = image.shape
    zoom = min(_HEIGHT / rows, _WIDEST / columns)
    size = max(1, round(columns * zoom)), max(1, round(rows * zoom))
    large = as_picture(image).resize((size[0] * _SMOOTH, size[1] * _SMOOTH), Image.Resampling.BICUBIC)
    drawn = large.convert("RGB")
    if gaze is not None:
        _arrow(ImageDraw.Draw(drawn), drawn.size, gaze)
    return drawn.reduce(_SMOOTH)


def _arrow(pen: ImageDraw.ImageDraw, size: tuple[int, int], gaze: Gaze) -> None:
    direction = vector_from_pitch_yaw([gaze.pitch, gaze.yaw])[:2]
    start = np.array(size) / 2.0
    tip = start + direction * 0.75 * size[1]
    length = float(np.hypot(*(tip - start)))
    head = min(26.0, 0.7 * length)
    # dark below, a little larger: an arrow that can be seen on skin and on the white of an eye
    for grown, colour in ((3.0, _OUTLINE), (0.0, _ARROW)):
        radius = 9.0 + grown
        pen.ellipse([*(start - radius), *(start + radius)], fill=colour)
        if length > radius:
            along = (tip - start) / length
            side, neck = np.array([-along[1], along[0]]), tip - along * head
            pen.line([tuple(start), tuple(neck)], fill=colour, width=int(9 + 2 * grown))
            half = 0.6 * head + grown
            corners = (tip + along * 2 * grown, neck + side * half, neck - side * half)
            pen.polygon([tuple(corner) for corner in corners], fill=colour)


def _bars(pen: ImageDraw.ImageDraw, left: int, middle: int, emotion: Emotion) -> None:
    title, font = ImageFont.load_default(size=19), ImageFont.load_default(size=13)
    top = middle - (len(EMOTIONS) * _ROW + 30) // 2
    pen.text((left, top), emotion.label, fill=_TEXT, font=title)
    for index, (name, share) in enumerate(zip(EMOTIONS, emotion.probabilities, strict=True)):
        y, first = top + 32 + index * _ROW, name == emotion.label
        pen.text((left, y), name, fill=_TEXT if first else _FAINT, font=font)
        bar = left + 66
        pen.rectangle((bar, y + 2, bar + _BAR, y + 15), fill=(38, 42, 50))
        if share > 0:
            pen.rectangle((bar, y + 2, bar + round(share * _BAR), y + 15), fill=_FIRST if first else _OTHERS)
        pen.text((bar + _BAR + 8, y), f"{100 * share:.0f} %", fill=_TEXT if first else _FAINT, font=font)


def _cut(pen: ImageDraw.ImageDraw, font: _Font, text: str, room: int) -> str:
    """Return as much of a text's beginning as there is room for."""
    text = "".join(each if each.isprintable() else "?" for each in text)
    if pen.textlength(text, font=font) <= room:
        return text
    while text and pen.textlength(f"{text}...", font=font) > room:
        text = text[:-1]
    return f"{text}..." if text else ""
