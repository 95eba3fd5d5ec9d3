"""Names from labels and lists: harmless whatever the list says, distinct, and the same every time."""

import unicodedata

from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_tools.names import Namer, safe_component

TEXT = st.text(st.characters(), max_size=40)
PATHS = st.one_of(
    TEXT, st.lists(st.sampled_from(["..", ".", "", "a", "A", "con", "e\u0301", "\u00e9"])).map("/".join)
)


def harmless(name: str) -> bool:
    return (
        0 < len(name.encode()) <= 255
        and name[0] != "."
        and name[-1] not in ". "
        and not any(
            unicodedata.category(character)[0] == "C" or character in '/\\:*?"<>|' for character in name
        )
        and name.split(".")[0].upper() not in ("CON", "PRN", "AUX", "NUL", "COM1", "LPT9")
    )


@settings(deadline=None)
@given(TEXT)
@example("..")
@example("con.jpg")
@example(". .")
@example("\ud800")
@example("e\u0301")
def test_a_component_is_harmless_and_stays_what_it_is(raw):
    name = safe_component(raw)
    assert harmless(name)
    assert safe_component(name) == name


@settings(deadline=None)
@given(st.text(st.characters(), min_size=100, max_size=400))
def test_long_names_are_cut_and_stay_different(raw):
    raw = "x" * 200 + raw
    assert harmless(safe_component(raw))
    assert safe_component(raw) != safe_component(raw + "y")


@settings(deadline=None)
@given(st.lists(st.tuples(PATHS, st.integers(0, 3)), max_size=30))
def test_every_image_gets_a_place_of_its_own(entries):
    places = []
    for _ in range(2):
        namer = Namer(unique_numbers=False)
        places.append([namer.place(label, 0, 8 * n, ".jpg", path) for n, (path, label) in enumerate(entries)])
    assert places[0] == places[1]
    folded = [tuple(unicodedata.normalize("NFC", part).casefold() for part in place) for place in places[0]]
    assert len(set(folded)) == len(entries)
    for (folder, file), (_, label) in zip(places[0], entries, strict=True):
        assert harmless(folder)
        assert harmless(file)
        assert file.endswith(".jpg")
        assert folder not in ("manifest.jsonl", "manifest.jsonl.part")
        shared = {other for (name, _), (_, other) in zip(places[0], entries, strict=True) if name == folder}
        assert shared == {label}, "one folder holds one label"


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(0, 20), st.integers(0, 2**64 - 1)), max_size=50))
def test_numbers_alone_tell_images_apart_until_they_repeat(numbers):
    namer = Namer(unique_numbers=False)
    names = [namer.place(7, number, 8 * n, ".png", None)[1] for n, number in enumerate(numbers)]
    assert len(set(names)) == len(names)
    for n, (name, number) in enumerate(zip(names, numbers, strict=True)):
        assert name == (f"{number:09d}~{8 * n}.png" if number in numbers[:n] else f"{number:09d}.png")
    assert namer.people == (1 if numbers else 0)
