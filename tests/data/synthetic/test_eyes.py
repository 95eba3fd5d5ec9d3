from dataclasses import replace

import numpy as np
import pytest

from fedpriv.data.synthetic import eye_layers, eyes
from fedpriv.data.synthetic.eye_priors import PITCH_RANGE, YAW_RANGE, draw_person, draw_views
from fedpriv.data.synthetic.eye_scene import HEIGHT, WIDTH, mirror_person, mirror_views
from fedpriv.data.synthetic.eyes import expose, iris_coverage, render_person, render_scene, render_views

PIXELS_PER_MM = 1.55


def calm_views(person, count, **changes):
    """Views with the eye near the middle, so that the iris stays in the picture."""
    views = draw_views(person, 7, 0, count)
    random = np.random.default_rng(3)
    calm = {
        "shift_x": random.uniform(-0.5, 0.5, count),
        "shift_y": random.uniform(-0.5, 0.5, count),
        "scale": random.uniform(0.85, 1.0, count),
        **changes,
    }
    return replace(views, **{name: np.asarray(value, dtype=np.float32) for name, value in calm.items()})


def moments(mask, view_shift, scale):
    """Centroid and covariance, in mm from the eyeball's centre, of coverage (36, 60)."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    x = (columns - WIDTH / 2 - view_shift[0]) / (PIXELS_PER_MM * scale)
    y = (rows - HEIGHT / 2 - view_shift[1]) / (PIXELS_PER_MM * scale)
    points = np.stack([x.ravel(), y.ravel()])
    weights = mask.astype(np.float64).ravel()
    centre = points @ weights / weights.sum()
    offsets = points - centre[:, None]
    pixel = 1.0 / (12.0 * (PIXELS_PER_MM * scale) ** 2)
    return centre, (offsets * weights) @ offsets.T / weights.sum() - pixel * np.eye(2)


@pytest.mark.parametrize("index", range(4))
def test_the_iris_mask_gives_back_the_optical_axis_to_a_fifth_of_a_degree(index):
    person = draw_person(11, index)
    pitch, yaw = (
        axis.ravel() for axis in np.meshgrid(np.linspace(-0.4, 0.3, 5), np.linspace(-0.45, 0.45, 5))
    )
    views = calm_views(person, 25, pitch=pitch, yaw=yaw)
    masks = iris_coverage(person, views)
    depth = np.sqrt(person.eyeball_radius**2 - person.iris_radius**2)
    for i in range(25):
        centre, covariance = moments(masks[i], (views.shift_x[i], views.shift_y[i]), views.scale[i])
        o_x, o_y = centre / depth
        found_pitch = np.arcsin(-o_y)
        found_yaw = np.arcsin(-o_x / np.cos(found_pitch))
        true_pitch, true_yaw = pitch[i] - person.kappa_pitch, yaw[i] - person.kappa_yaw
        assert np.degrees(abs(found_pitch - true_pitch)) < 0.2
        assert np.degrees(abs(found_yaw - true_yaw)) < 0.2

        minor, major = 2.0 * np.sqrt(np.linalg.eigvalsh(covariance))
        assert major == pytest.approx(person.iris_radius, abs=0.03)
        assert minor == pytest.approx(person.iris_radius * np.cos(true_pitch) * np.cos(true_yaw), abs=0.03)


@pytest.mark.parametrize("index", range(6))
def test_the_mirrored_right_eye_is_the_left_eye_turned_round_with_negated_yaw(index):
    person = draw_person(5, index)
    views = draw_views(person, 5, index, 6)
    other_views = mirror_views(views)
    left = render_scene(person, views)
    right = render_scene(mirror_person(person), other_views)
    np.testing.assert_allclose(right[:, :, ::-1], left, atol=2e-4)
    np.testing.assert_array_equal(other_views.yaw, -views.yaw)
    grey = expose(left, views).astype(int) - expose(right, other_views)[:, :, ::-1].astype(int)
    assert np.abs(grey).max() <= 1


def test_an_eye_is_not_its_own_mirror_image():
    person = draw_person(5, 0)
    views = calm_views(person, 1, yaw=[person.kappa_yaw], light_x=[0.0])
    scene = render_scene(person, views)
    assert np.abs(scene - scene[:, :, ::-1]).max() > 0.05


def test_pictures_depend_on_seed_and_person_alone_not_on_count_or_order():
    many = render_person(0, 3, 21)
    render_person(0, 9, 2)
    for count in (1, 5, 8, 13):
        few = render_person(0, 3, count)
        np.testing.assert_array_equal(few.images, many.images[:count])
        np.testing.assert_array_equal(few.gaze, many.gaze[:count])


def test_another_seed_or_person_gives_other_pictures():
    first = render_person(0, 0, 2)
    assert not np.array_equal(first.images, render_person(1, 0, 2).images)
    assert not np.array_equal(first.images, render_person(0, 1, 2).images)
    assert not np.array_equal(first.images[0], first.images[1])


def test_the_label_is_the_visual_axis_while_the_picture_shows_the_optical_one():
    person = draw_person(2, 0)
    views = calm_views(person, 4)
    turned = replace(person, kappa_yaw=person.kappa_yaw + 0.05, kappa_pitch=person.kappa_pitch - 0.02)
    moved = replace(views, yaw=views.yaw + np.float32(0.05), pitch=views.pitch - np.float32(0.02))
    np.testing.assert_allclose(render_scene(turned, moved), render_scene(person, views), atol=1e-3)
    assert np.abs(render_scene(turned, views) - render_scene(person, views)).max() > 0.05


def test_kappa_points_towards_the_nose_by_about_five_degrees():
    kappa = np.degrees([[draw_person(0, i).kappa_yaw, draw_person(0, i).kappa_pitch] for i in range(200)])
    # The nose of a left eye lies towards -x, where positive yaw points.
    assert kappa.mean(axis=0) == pytest.approx([5.0, 1.3], abs=0.35)
    assert np.all(kappa.std(axis=0) > [0.9, 0.45])


def test_the_dark_of_the_iris_moves_with_the_gaze():
    person = replace(draw_person(4, 0), iris=0.12, sclera=0.9, glasses=0.0)
    straight = {"light_x": np.zeros(3), "light_y": np.zeros(3), "glint": np.zeros(3), "glasses": np.zeros(3)}
    views = calm_views(
        person,
        3,
        pitch=np.full(3, person.kappa_pitch),
        yaw=np.array([-0.4, 0.0, 0.4]) + person.kappa_yaw,
        scale=np.ones(3),
        squint=np.full(3, 1.1),
        shift_x=np.zeros(3),
        shift_y=np.zeros(3),
        **straight,
    )
    strip = 1.0 - render_scene(person, views)[:, 15:21, 15:45]
    dark = np.maximum(strip - 0.7, 0.0).sum(axis=1)
    position = (dark * np.arange(30)).sum(axis=1) / dark.sum(axis=1)
    assert position[0] > position[1] + 3
    assert position[1] > position[2] + 3


def test_the_upper_lid_follows_the_gaze_down():
    person = draw_person(4, 1)
    views = calm_views(
        person, 2, pitch=[0.2, -0.35], yaw=[0.0, 0.0], scale=[1, 1], squint=[1, 1], glasses=[0, 0]
    )
    white = render_scene(replace(person, sclera=5.0, iris=5.0, skin=0.1), views)
    assert (white[0] > 0.8).sum() > 1.3 * (white[1] > 0.8).sum()


def test_people_differ_in_where_they_look_and_where_their_light_comes_from():
    people = [(person := draw_person(0, i), draw_views(person, 0, i, 100)) for i in range(30)]
    yaw = np.array([views.yaw.mean() for _, views in people])
    light = np.array([views.light_x.mean() for _, views in people])
    within = np.mean([views.yaw.std() for _, views in people]) / 10
    assert yaw.std() > 3 * within
    assert light.std() > 0.3


def test_pictures_are_bytes_with_contrast_and_labels_float32_radians():
    eyes = render_person(0, 0, 40)
    assert eyes.images.shape == (40, 1, 36, 60)
    assert eyes.images.dtype == np.uint8
    assert eyes.gaze.shape == (40, 2)
    assert eyes.gaze.dtype == np.float32
    for column, (low, high) in enumerate([PITCH_RANGE, YAW_RANGE]):
        assert low <= eyes.gaze[:, column].min() < eyes.gaze[:, column].max() <= high
    assert eyes.images.reshape(40, -1).std(axis=1).min() > 5


def test_glasses_cover_only_pictures_that_wear_them():
    person = replace(draw_person(0, 0), rim=0.0, rim_width=16.0, rim_height=10.0)
    plain = calm_views(person, 3, glasses=[0, 0, 0], reflection=[0, 0, 0])
    worn = replace(plain, glasses=np.array([0, 1, 0], dtype=np.float32))
    changed = np.abs(render_scene(person, worn) - render_scene(person, plain)).max(axis=(1, 2))
    assert changed[[0, 2]].tolist() == [0.0, 0.0]
    assert changed[1] > 0.1


def test_no_views_render_to_no_pictures():
    person = draw_person(0, 0)
    assert render_views(person, draw_views(person, 0, 0, 0)).shape == (0, 1, HEIGHT, WIDTH)


def test_what_is_painted_where_it_is_seen_alone_is_bit_by_bit_what_painting_everywhere_gives(monkeypatch):
    def pictures():
        return [render_person(index, index, 16).images.tobytes() for index in range(8)]

    found = pictures()
    for module in (eyes, eye_layers):
        monkeypatch.setattr(module, "span", lambda _: slice(None))
    assert found == pictures()
