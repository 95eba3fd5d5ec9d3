"""pairs.txt: both views, and every way in which a file is none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError
from fedpriv.formats.lfw_pairs import LfwPairs, Pair, image_path, read_pairs, write_pairs

VIEW2 = (
    "2\t2\n"
    "Abel_Pacheco\t1\t4\nAkhmed_Zakayev\t1\t3\n"
    "Abdel_Madi_Shabneh\t1\tDean_Barker\t1\nAbdel_Nasser\t2\tPeter_Camejo\t10\n"
    "Jean-Marc_de_La_Sabliere\t1\t2\nJ_K_Rowling\t1\t2\n"
    "A\t1\tB\t1\nB\t1\tA\t530\n"
)
VIEW1 = "1\nAaron_Peirsol\t1\t2\nAJ_Cook\t1\tMarsha_Thomason\t1\n"

letters = st.characters(blacklist_categories=("C", "Z"), blacklist_characters="/\\")
names = st.text(letters, min_size=1, max_size=20)
images = st.tuples(names.filter(lambda name: not name.startswith(".")), st.integers(1, 9999))


def parsed(folder, text):
    path = folder / "pairs.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_pairs(path)


def test_view_2_has_sets_of_both_kinds(tmp_path):
    found = parsed(tmp_path, VIEW2)
    assert (found.sets, found.pairs_per_set, len(found.pairs)) == (2, 2, 8)
    assert [pair.same for pair in found.pairs] == [True, True, False, False] * 2
    assert found.pairs[1] == Pair(("Akhmed_Zakayev", 1), ("Akhmed_Zakayev", 3), True)
    assert found.pairs[3] == Pair(("Abdel_Nasser", 2), ("Peter_Camejo", 10), False)


def test_view_1_is_one_set(tmp_path):
    found = parsed(tmp_path, VIEW1)
    assert (found.sets, found.pairs_per_set) == (1, 1)
    assert found.pairs[1] == Pair(("AJ_Cook", 1), ("Marsha_Thomason", 1), False)


def test_images_lie_in_a_folder_per_person():
    assert image_path(("J_K_Rowling", 7)) == "J_K_Rowling/J_K_Rowling_0007.jpg"
    assert image_path(("George_W_Bush", 530)) == "George_W_Bush/George_W_Bush_0530.jpg"


def test_line_ends_and_empty_lines_at_the_end_do_not_matter(tmp_path):
    expected = parsed(tmp_path, VIEW2)
    assert parsed(tmp_path, VIEW2.replace("\n", "\r\n")) == expected
    assert parsed(tmp_path, VIEW2.rstrip("\n")) == expected
    assert parsed(tmp_path, VIEW2 + "\n \n") == expected
    assert parsed(tmp_path, VIEW2.replace("\n", "\t\n")) == expected


def test_the_file_is_written_again_byte_for_byte(tmp_path):
    write_pairs(tmp_path / "x.txt", parsed(tmp_path, VIEW2))
    assert (tmp_path / "x.txt").read_text() == VIEW2
    write_pairs(tmp_path / "x.txt", parsed(tmp_path, VIEW1), view=1)
    assert (tmp_path / "x.txt").read_text() == VIEW1


@given(st.data(), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, data, sets, per_set):
    pairs = []
    for _ in range(sets):
        for _ in range(per_set):
            name, number = data.draw(images)
            pairs.append(Pair((name, number), (name, data.draw(st.integers(1, 9999))), True))
        for _ in range(per_set):
            first = data.draw(images)
            pairs.append(Pair(first, data.draw(images.filter(lambda other: other[0] != first[0])), False))  # noqa: B023
    expected = LfwPairs(pairs, sets, per_set)
    path = tmp_path_factory.mktemp("pairs") / "pairs.txt"
    write_pairs(path, expected)
    assert read_pairs(path) == expected


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "need `sets<tab>pairs`"),
        ("\n", 1, "need `sets<tab>pairs`"),
        ("ten\t300\n", 1, "need `sets<tab>pairs`"),
        ("1\t1\t1\n", 1, "need `sets<tab>pairs`"),
        ("0\t300\n", 1, "0 sets"),
        ("10\t0\n", 1, "of 0 pairs"),
        ("-1\n", 1, "need"),
        ("9999999\t9999999\n", 1, "9999999 sets"),
        ("1000\t1000000\nA\t1\t2\n", 3, "no pair after 1, the first line says 2000000000"),
        (VIEW2.replace("2\t2\n", "2\t3\n", 1), 4, "4 fields; a pair of one person"),
        (VIEW2.replace("2\t2\n", "2\t1\n", 1), 3, "3 fields; a pair of two people"),
        (VIEW2 + "A\t1\t2\n", 10, "a pair beyond the 8"),
        (VIEW2[:-1].rpartition("\n")[0], 9, "no pair after 7, the first line says 8"),
        ("1\n\nA\t1\t2\n", 2, "no pair after 0"),
        ("1\nA\t0\t1\n", 2, "image '0'"),
        ("1\nA\t1\t10000\n", 2, "image '10000'"),
        ("1\nA\t1\tx\n", 2, "image 'x'"),
        ("1\nA\t1\t-1\n", 2, "image '-1'"),
        ("1\nA\t1\t1_0\n", 2, "image '1_0'"),
        ("1\nA\t1\t1\nB\t1\tB\t2\n", 3, "B twice"),
        ("1\n../x\t1\t2\n", 2, "name '../x'"),
        ("1\n..\t1\t2\n", 2, "name '..'"),
        ("1\n.hidden\t1\t2\n", 2, "name '.hidden'"),
        ("1\n/etc\t1\t2\n", 2, "name '/etc'"),
        ("1\na\\b\t1\t2\n", 2, "is not the name of a folder"),
        ("1\na\0b\t1\t2\n", 2, "is not the name of a folder"),
        ("1\n\t1\t2\n", 2, "name ''"),
        ("1\nA\t1\t2\nA\t1\t../B\t1\n", 3, "name '../B'"),
        ("1\n" + "n" * 201 + "\t1\t2\n", 2, "is not the name of a folder"),
        (b"1\n\xff\t1\t2\n", 2, "UTF-8"),
        ("1\n" + "x" * 5000, 2, "longer than 1024 bytes"),
    ],
)
def test_what_is_no_pairs_file_is_refused_with_its_line(tmp_path, text, line, reason):
    with pytest.raises(FormatError) as caught:
        parsed(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'pairs.txt'}: line {line}: ")
    assert reason in caught.value.reason


SAME, OTHER = Pair(("A", 1), ("A", 2), True), Pair(("A", 1), ("B", 1), False)


@pytest.mark.parametrize(
    ("pairs", "view", "reason"),
    [
        (LfwPairs([SAME, OTHER], 2, 1), 2, "2 sets of 1 pairs"),
        (LfwPairs([OTHER, SAME], 1, 1), 2, "1 sets of 1 pairs"),
        (LfwPairs([], 0, 1), 2, "0 sets"),
        (LfwPairs([SAME, OTHER] * 2, 2, 1), 1, "view 1 has one set"),
        (LfwPairs([Pair(("A", 1), ("B", 2), True), OTHER], 1, 1), 2, "two names for one person"),
        (LfwPairs([SAME, Pair(("A", 1), ("../B", 2), False)], 1, 1), 2, "name of a folder"),
        (LfwPairs([SAME, Pair(("A", 1), ("B", 0), False)], 1, 1), 2, "from 1 to 9999"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, pairs, view, reason):
    with pytest.raises(ValueError, match=reason):
        write_pairs(tmp_path / "pairs.txt", pairs, view)
    assert not list(tmp_path.iterdir())
