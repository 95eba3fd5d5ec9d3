"""The face renderer: geometry, symmetry, dependence on the seed, and what may not tell the person."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from fedpriv.data.synthetic import face_skin, face_surroundings
from fedpriv.data.synthetic.face_actions import EMOTION_UNITS, UNITS
from fedpriv.data.synthetic.face_geometry import Rays, cast, project, to_pixels
from fedpriv.data.synthetic.face_identity import draw_person, identity_vector, parameters
from fedpriv.data.synthetic.face_landmarks import (
    ARCFACE_TEMPLATE,
    aligned_camera,
    eye_camera,
    face_camera,
    landmarks,
)
from fedpriv.data.synthetic.face_mirror import mirror_person, mirror_views
from fedpriv.data.synthetic.face_priors import PORTRAITS, draw_views
from fedpriv.data.synthetic.face_relief import nose
from fedpriv.data.synthetic.face_render import render_scene
from fedpriv.data.synthetic.face_scene import grey_person, grey_views
from fedpriv.data.synthetic.face_sensor import expose
from fedpriv.data.synthetic_faces import render_portraits

CALM = ("glasses", "hat", "occluder", "imbalance", "gaze_x", "gaze_y", "roll", "shift_x", "shift_y", "tilt")


def drawn(index, count, size=48, **changes):
    """Views of person ``index``, any field overwritten."""
    views = draw_views(PORTRAITS, [None] * count, (3, size, size), 3, "test", index)
    return replace(views, **{name: np.asarray(value, dtype=np.float32) for name, value in changes.items()})


def calm(index, count, size=48, units=None, **changes):
    """Views from straight ahead, nothing worn, nothing shown but ``units`` (name to intensity)."""
    still = {name: np.zeros(count) for name in (*CALM, "yaw", "pitch", "light_x")}
    shown = np.zeros((count, len(UNITS)))
    for name, value in (units or {}).items():
        shown[:, list(UNITS).index(name)] = value
    return drawn(index, count, size, **{**still, "zoom": np.ones(count), "units": shown, **changes})


def pixel_landmarks(person, views, camera):
    return to_pixels(camera, landmarks(person, views))


@pytest.mark.parametrize("index", range(5))
def test_every_pixel_on_the_head_projects_back_to_where_its_ray_started(index):
    person, views = draw_person(1, index), drawn(index, 4)
    camera = face_camera(person, views, 48)
    rays = cast(person, views, camera)
    points = np.stack([rays.x, rays.y, rays.z], axis=-1).reshape(4, -1, 3).astype(np.float64)
    found = to_pixels(camera, project(person, views, points))
    rows, columns = np.mgrid[0:96, 0:96]
    start = np.stack([(columns + 0.5) / 2, (rows + 0.5) / 2], axis=-1).reshape(-1, 2)
    on_head = rays.inside.reshape(4, -1) == 1.0
    assert on_head.mean() > 0.3
    assert np.abs(found - start)[on_head].max() < 0.01
    radii = person.half_width, person.half_height, person.depth
    level = ((points / radii) ** 2).sum(axis=-1)
    np.testing.assert_allclose(level[on_head], 1.0, atol=1e-4)


@pytest.mark.parametrize("index", range(3))
def test_the_eye_landmarks_are_the_centroids_of_the_rendered_irises(index):
    person = replace(draw_person(1, index), eye_opening=14.0, eye_lower=1.0, eye_peak=0.0)
    person = grey_person(replace(person, skin=person.skin * 0, lashes=0.0))
    nothing = np.zeros((6, len(UNITS)))
    worn = {name: np.zeros(6) for name in ("glasses", "hat", "occluder", "gaze_x", "gaze_y")}
    views = grey_views(drawn(index, 6, 112, units=nothing, squint=np.ones(6), ambient=np.ones(6), **worn))
    camera = aligned_camera(person, views, 112)
    bright = render_scene(replace(person, iris=person.iris + 40.0), views, camera)
    plain = render_scene(person, views, camera)
    mask = np.maximum(bright - plain, 0.0)[:, 0]
    places = pixel_landmarks(person, views, camera)
    rows, columns = np.mgrid[0:112, 0:112] + 0.5
    for i in range(6):
        for eye in range(2):
            x, y = places[i, eye]
            near = mask[i] * ((columns - x) ** 2 + (rows - y) ** 2 < 12.0**2)
            # the glint and the pupil are the same in both; the ring is symmetrical about the centre
            centre = np.array([(near * columns).sum(), (near * rows).sum()]) / near.sum()
            assert np.abs(centre - (x, y)).max() < 0.35


@pytest.mark.parametrize("index", range(3))
def test_the_mouth_landmarks_are_the_ends_of_the_rendered_lips(index):
    person, views = draw_person(1, index), drawn(index, 6, 112, **{name: np.zeros(6) for name in CALM})
    camera = aligned_camera(person, views, 112)
    dark = replace(person, lips=person.lips * 0)
    change = np.abs(render_scene(person, views, camera) - render_scene(dark, views, camera)).sum(axis=1)
    places = pixel_landmarks(person, views, camera)
    for i in range(6):
        mask = change[i] > 0.15 * change[i].max()
        rows, columns = np.nonzero(mask)
        for corner, end in ((3, columns.argmin()), (4, columns.argmax())):
            found = np.array([columns[end], rows[end]]) + 0.5
            assert np.abs(found - places[i, corner]).max() < 2.5


@pytest.mark.parametrize("index", range(3))
def test_the_nose_landmark_is_the_tip_that_the_relief_is_built_round(index):
    person, views = draw_person(1, index), drawn(index, 6, 112)
    camera = aligned_camera(person, views, 112)
    tip = nose(person, views, cast(person, views, camera))
    weight = np.exp(-(tip.aside**2 + tip.below**2) / 9.0)
    rows, columns = (np.mgrid[0:224, 0:224] + 0.5) / 2
    centre = np.stack(
        [(weight * grid).sum(axis=(1, 2)) / weight.sum(axis=(1, 2)) for grid in (columns, rows)], 1
    )
    assert np.abs(centre - pixel_landmarks(person, views, camera)[:, 2]).max() < 0.15


def test_the_nose_moves_against_the_eyes_when_the_head_turns():
    person = draw_person(1, 0)
    views = calm(0, 3, yaw=[-0.3, 0.0, 0.3])
    found = landmarks(person, views)
    ahead = found[:, 2, 0] - found[:, :2, 0].mean(axis=1)
    assert ahead[0] > 4.0
    assert abs(ahead[1]) < 0.01
    assert ahead[2] == pytest.approx(-ahead[0], abs=0.01)


def test_alignment_is_the_least_squares_similarity_to_the_arcface_template():
    person = draw_person(1, 2)
    calm_crop = {name: np.zeros(5) for name in ("shift_x", "shift_y", "tilt")}
    views = drawn(2, 5, zoom=np.ones(5), **calm_crop)
    camera = aligned_camera(person, views, 112)
    found = landmarks(person, views)
    for i in range(5):
        # unknowns a, b, x, y of (a p - b q + x, b p + a q + y)
        rows = [[p, -q, 1, 0] for p, q in found[i]] + [[q, p, 0, 1] for p, q in found[i]]
        a, b, x, y = np.linalg.lstsq(np.array(rows), (ARCFACE_TEMPLATE + 0.5).T.ravel(), rcond=None)[0]
        assert camera.scale[i] == pytest.approx(np.hypot(a, b), rel=1e-4)
        assert camera.angle[i] == pytest.approx(np.arctan2(b, a), abs=1e-4)
        assert (camera.offset_x[i], camera.offset_y[i]) == pytest.approx((x, y), abs=1e-2)


@pytest.mark.parametrize("index", range(4))
def test_the_mirrored_person_and_views_give_the_mirrored_picture(index):
    person, views = draw_person(5, index), drawn(index, 5, quantum=np.zeros(5))
    other, turned = mirror_person(person), mirror_views(views)
    here = render_scene(person, views, face_camera(person, views, 48))
    there = render_scene(other, turned, face_camera(other, turned, 48))
    np.testing.assert_allclose(there[..., ::-1], here, atol=5e-3)
    grey = expose(here, views).astype(int) - expose(there, turned)[..., ::-1].astype(int)
    assert np.abs(grey).max() <= 2
    swap = [1, 0, 2, 4, 3]
    np.testing.assert_allclose(
        landmarks(other, turned)[:, swap] * [-1, 1], landmarks(person, views), atol=1e-3
    )


def test_a_face_is_not_its_own_mirror_image():
    person = draw_person(5, 0)
    views = calm(0, 1, ground_waves=np.zeros((1, 4, 4)))
    scene = render_scene(person, views, face_camera(person, views, 48))
    assert np.abs(scene - scene[..., ::-1]).max() > 0.05


def test_a_mirrored_right_eye_looks_like_a_left_eye():
    person = draw_person(5, 1)
    views = drawn(1, 3)
    camera = eye_camera(person, views, 36, 60)
    eye = pixel_landmarks(person, views, camera)[:, 1]
    shift = np.stack([views.shift_x, views.shift_y], axis=1) * 60
    np.testing.assert_allclose(eye, shift + np.array([30.0, 36 * 0.70]), atol=1e-3)
    assert camera.scale == pytest.approx(1.36 * views.zoom, rel=1e-5)


def test_pictures_depend_on_seed_person_and_index_alone():
    many = render_portraits(0, 3, 11, 32)
    render_portraits(0, 9, 2, 32)
    for count in (1, 4, 7):
        np.testing.assert_array_equal(render_portraits(0, 3, count, 32), many[:count])
    assert not np.array_equal(render_portraits(1, 3, 1, 32)[0], many[0])
    assert not np.array_equal(render_portraits(0, 4, 1, 32)[0], many[0])
    assert not np.array_equal(many[0], many[1])


def test_the_same_view_is_drawn_whatever_the_size_of_the_picture():
    small, large = (drawn(0, 4, size) for size in (32, 64))
    for name in ("yaw", "units", "ground", "exposure", "noise"):
        np.testing.assert_array_equal(getattr(small, name), getattr(large, name))


def test_people_are_plausible_and_all_different():
    people = [draw_person(0, index) for index in range(300)]
    for person in people:
        assert person.eye_x - person.eye_half_width > person.nose_bridge
        assert person.eye_x + person.eye_half_width < 0.9 * person.half_width
        assert person.eye_y + 2 * person.eye_opening < person.nose_y
        assert person.nose_y + 8 < person.mouth_y - person.lip_upper
        assert person.mouth_y + person.lip_lower + 6 < person.half_height
        assert person.nose_width < person.mouth_half_width * 1.5
        for colour in (person.skin, person.lips, person.hair, person.brow, person.iris):
            assert colour.dtype == np.float32
            assert 0.0 < colour.min() <= colour.max() < 1.0
    shape = np.array([[person.eye_x, person.mouth_y, person.jaw, person.nose_width] for person in people])
    assert len(np.unique(shape, axis=0)) == 300
    assert np.all(shape.std(axis=0) > [1.5, 2.5, 0.2, 1.8])


def test_the_map_from_vector_to_face_is_smooth_but_not_linear():
    vector = identity_vector(0, 0)
    here = np.array(list(parameters(vector).values()))
    near = np.array(list(parameters(vector + 1e-4).values()))
    np.testing.assert_allclose(near, here, atol=0.05)
    middle = np.array(list(parameters(np.zeros(24)).values()))
    opposite = np.array(list(parameters(-vector).values()))
    # an odd (for instance linear) map would put the middle half-way
    assert np.mean(np.abs(here + opposite - 2 * middle)) > 0.5


@pytest.mark.parametrize(
    ("unit", "corner_rises", "wider"), [("AU12", 1, 1), ("AU15", -1, 0), ("AU20", -1, 1), ("AU23", 0, -1)]
)
def test_lip_units_move_the_corners_of_the_mouth(unit, corner_rises, wider):
    person = draw_person(0, 0)
    rest, shown = (landmarks(person, calm(0, 1, units={unit: value}))[0] for value in (0.0, 1.0))
    assert np.sign(np.rint((rest[3, 1] - shown[3, 1]) / 2)) == corner_rises
    assert np.sign(np.rint((shown[4, 0] - shown[3, 0] - rest[4, 0] + rest[3, 0]) / 2)) == wider


def test_lid_units_open_and_narrow_the_eye():
    person = grey_person(replace(draw_person(0, 1), eye_tilt=0.0))

    def opening(units):
        views = grey_views(calm(1, 1, 96, units, ambient=[1.0], fill=[0.0]))
        camera = eye_camera(person, views, 36, 60)
        bright = render_scene(replace(person, iris=person.iris + 30.0), views, camera)
        return float((np.abs(bright - render_scene(person, views, camera)) > 1.0).sum())

    rest = opening({})
    assert opening({"AU5": 1.0}) > 1.15 * rest
    assert opening({"AU7": 1.0}) < 0.9 * rest
    assert opening({"AU6": 1.0}) < 0.9 * rest


def test_brow_units_raise_lower_and_tilt_the_brow():
    person = replace(draw_person(0, 1), hairline=90.0)

    def heights(units):
        """Mean height of the inner and of the outer half of the left brow, in mm."""
        views = calm(1, 1, 112, units, stubble=[0.0])
        camera = face_camera(person, views, 112)
        change = render_scene(replace(person, brow=person.brow * 0 + 9.0), views, camera)
        change -= render_scene(person, views, camera)
        rows, columns = np.nonzero(change[0].sum(axis=0) > 2.0)
        columns, rows = columns[columns > 57], rows[columns > 57]
        inner = columns < np.median(columns)
        return np.array([-rows[inner].mean(), -rows[~inner].mean()]) * 160 / 112

    rest = heights({})
    assert (heights({"AU1": 1.0}) - rest)[0] > 2.5
    assert (heights({"AU1": 1.0}) - rest)[0] > (heights({"AU1": 1.0}) - rest)[1] + 2.0
    assert (heights({"AU2": 1.0}) - rest)[1] > (heights({"AU2": 1.0}) - rest)[0] + 2.0
    assert np.all(heights({"AU4": 1.0}) - rest < -2.0)


def test_the_jaw_drops_below_the_mouth_only():
    person = draw_person(0, 2)
    chin = np.array([[[0.0, person.half_height, 0.0], [0.0, person.eye_y, -person.depth]]])
    rest, dropped = (project(person, calm(2, 1, units={"AU26": value}), chin)[0] for value in (0.0, 1.0))
    assert dropped[0, 1] > rest[0, 1] + 6.0
    assert dropped[1, 1] == pytest.approx(rest[1, 1], abs=1e-4)


def test_a_neutral_face_differs_from_every_emotion_at_the_same_view():
    person = draw_person(0, 3)
    neutral = calm(3, 1)
    scene = render_scene(person, neutral, face_camera(person, neutral, 48))
    for units in list(EMOTION_UNITS.values())[:-1]:
        views = calm(3, 1, units=dict.fromkeys(units, 1.0))
        assert np.abs(render_scene(person, views, face_camera(person, views, 48)) - scene).max() > 0.1


@pytest.mark.parametrize("worn", ["glasses", "hat", "occluder"])
def test_what_is_worn_covers_only_the_pictures_that_wear_it(worn):
    person = draw_person(0, 0)
    place = {
        "occluder_angle": np.full(3, np.pi / 2),
        "occluder_reach": np.full(3, 50.0),
        "hat_y": np.full(3, 40.0),
    }
    plain, shown = calm(0, 3, **place), calm(0, 3, **place, **{worn: [0, 1, 0]})
    camera = face_camera(person, plain, 48)
    changed = np.abs(render_scene(person, plain, camera) - render_scene(person, shown, camera)).max((1, 2, 3))
    assert changed[[0, 2]].tolist() == [0.0, 0.0]
    assert changed[1] > 0.1


def _recognised(features):
    """Share of (people, images, D) whose person the nearest class mean (Mahalanobis) tells, half held out."""
    half = features.shape[1] // 2
    known, asked = features[:, :half], features[:, half:]
    means = known.mean(axis=1)
    within = (known - means[:, None]).reshape(-1, features.shape[2])
    inverse = np.linalg.inv(within.T @ within / len(within) + 1e-6 * np.eye(features.shape[2]))
    difference = asked[:, :, None] - means
    nearest = np.einsum("pnkd,de,pnke->pnk", difference, inverse, difference).argmin(axis=-1)
    return np.mean(nearest == np.arange(len(features))[:, None])


def test_neither_mean_colour_nor_background_tells_the_person():
    people = 20
    images = np.stack([render_portraits(0, index, 30, 32) for index in range(people)]) / 255.0
    colour = images.mean(axis=(3, 4))
    corners = [images[..., :3, :3].mean(axis=(3, 4)), images[..., :3, -3:].mean(axis=(3, 4))]
    shortcut = np.concatenate([colour, *corners], axis=-1)
    # chance is 0.05, with a standard deviation of 0.013
    assert _recognised(colour) < 0.125
    assert _recognised(shortcut) < 0.15


@pytest.mark.parametrize("camera", [partial(face_camera, size=48), partial(eye_camera, height=36, width=60)])
def test_what_is_painted_in_its_own_rows_alone_is_bit_by_bit_what_painting_everywhere_gives(
    camera, monkeypatch
):
    """Every unit at full strength, lids open and shut, heads that turn, hats and glasses on some."""
    views = drawn(9, 6, 48, units=np.repeat([np.ones(len(UNITS)), np.zeros(len(UNITS))], 3, axis=0))
    views = replace(views, units=views.units * np.linspace(0.2, 1, 6, dtype=np.float32)[:, None])
    views = replace(views, hat=np.float32([0, 1, 0, 0, 1, 0]), yaw=2 * views.yaw, roll=2 * views.roll)

    def pictures():
        return [
            render_scene(person, one, camera(person, one)).tobytes()
            for person in map(draw_person, range(4), range(4))
            for one in (views.part(index, index + 1) for index in range(6))
        ]

    found, everything = pictures(), slice(None)
    monkeypatch.setattr(Rays, "rows", lambda *_: everything)
    monkeypatch.setattr(Rays, "head", lambda _: (everything, everything))
    for module in (face_skin, face_surroundings):
        monkeypatch.setattr(module, "span", lambda _: everything)
    assert found == pictures()
