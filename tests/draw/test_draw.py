import numpy as np
import pytest
import torch
from PIL import Image

from segue.drawing import contact_sheet, draw_boxes, draw_masks, draw_scene, object_colors, region_labels, side_by_side
from segue.drawing.boxes import labels_fit, place_chip
from segue.drawing.colors import ink_on, mix
from segue.drawing.masks import contours
from segue.drawing.text import clean, fit, font
from segue.errors import UsageError
from segue.structures import Categories, Masks, Regions, Scene

RED, BLUE = (255, 0, 0), (0, 0, 255)


def noise(height=60, width=80, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def blobs(height=60, width=80, count=4, seed=0):
    """Random overlapping discs and an empty mask, dense (N, H, W)."""
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = torch.rand(count, 2, generator=rng) * torch.tensor([height, width])
    radius = 3 + 12 * torch.rand(count, generator=rng)
    dense = (y - centres[:, :1, None]) ** 2 + (x - centres[:, 1:, None]) ** 2 < radius[:, None, None] ** 2
    return torch.cat([dense, torch.zeros(1, height, width, dtype=torch.bool)])


def scene_of(dense, names=("cell",), **fields):
    masks = Masks.from_dense(dense)
    labels = torch.arange(len(masks)) % len(names)
    size = (dense.shape[1], dense.shape[2])
    return Scene(size, Categories.from_names(names), Regions(masks.boxes.float(), labels, masks=masks, **fields))


def changed(before, after):
    return (np.asarray(before) != np.asarray(after)).any(2)


# --- masks ---


def test_masks_paint_inside_only_and_leave_the_original():
    image, dense = noise(), blobs()
    before = np.asarray(image).copy()
    painted = draw_masks(image, Masks.from_dense(dense), [RED] * len(dense))
    assert not (changed(image, painted) & ~dense.any(0).numpy()).any()
    assert changed(image, painted)[dense.any(0).numpy()].mean() > 0.9
    assert (np.asarray(image) == before).all()


def test_tint_and_outline_have_the_promised_colours():
    dense = torch.zeros(1, 9, 9, dtype=torch.bool)
    dense[0, 2:7, 2:7] = True
    painted = np.asarray(
        draw_masks(Image.new("RGB", (9, 9), (100, 100, 100)), Masks.from_dense(dense), [RED], alpha=0.4, outline=1)
    )
    assert painted[4, 4].tolist() == [162, 60, 60]
    assert painted[2, 4].tolist() == list(mix(RED, (255, 255, 255), 0.3))
    assert painted[1, 4].tolist() == [100, 100, 100]


def eroded(mask, width):
    """Brute-force twin: erosion by the 4-neighbourhood, the canvas border counting as set."""
    for _ in range(width):
        padded = np.pad(mask, 1, constant_values=True)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


@pytest.mark.parametrize("width", [0, 1, 2, 3])
def test_contours_equal_erosion(width):
    dense = blobs(count=6, seed=3)
    masks = Masks.from_dense(dense)
    edge = Masks(masks.size, masks.boxes, contours(masks, width)).dense()
    for mask, found in zip(dense.numpy(), edge.numpy(), strict=True):
        assert (found == (mask & ~eroded(mask, width))).all()


def test_small_masks_lie_above_large_ones():
    dense = torch.zeros(2, 20, 20, dtype=torch.bool)
    dense[0, 8:12, 8:12] = True
    dense[1, 2:18, 2:18] = True
    painted = np.asarray(
        draw_masks(Image.new("RGB", (20, 20)), Masks.from_dense(dense), [RED, BLUE], alpha=1, outline=0)
    )
    assert painted[10, 10].tolist() == list(RED)
    assert painted[5, 5].tolist() == list(BLUE)


def test_no_mask_leaves_an_equal_picture():
    image = noise()
    painted = draw_masks(image, Masks.from_dense(torch.zeros(0, 60, 80)), [])
    assert painted is not image
    assert not changed(image, painted).any()


def test_masks_of_another_size_or_number_are_refused():
    with pytest.raises(UsageError):
        draw_masks(noise(), Masks.from_dense(torch.ones(1, 5, 5)), [RED])
    with pytest.raises(UsageError):
        draw_masks(noise(), Masks.from_dense(blobs()), [RED])


# --- boxes ---


def test_boxes_paint_only_their_outline():
    image = noise()
    painted = draw_boxes(image, torch.tensor([[10.0, 20.0, 30.0, 50.0]]), [RED], width=1)
    expected = np.zeros((60, 80), dtype=bool)
    expected[20:50, 10:30] = True
    expected[21:49, 11:29] = False
    assert (changed(image, painted) == expected).all()
    assert (np.asarray(painted)[expected] == RED).all()


def test_boxes_off_the_canvas_and_empty_ones():
    image = noise()
    away = torch.tensor([[-50.0, -50.0, -10.0, -10.0], [500.0, 5.0, 600.0, 9.0], [5.0, 5.0, 5.0, 9.0]])
    assert not changed(image, draw_boxes(image, away, [RED] * 3)).any()
    draw_boxes(image, torch.tensor([[-1e9, -1e9, 1e9, 1e9]]), [RED], ["everything"])
    assert not changed(image, draw_boxes(image, torch.zeros(0, 4), [], [])).any()


def test_first_box_is_on_top():
    box = torch.tensor([[10.0, 10.0, 50.0, 50.0]])
    painted = np.asarray(draw_boxes(noise(), torch.cat([box, box]), [RED, BLUE]))
    assert painted[10, 10].tolist() == list(RED)


def test_boxes_need_as_many_colours_and_labels():
    with pytest.raises(UsageError):
        draw_boxes(noise(), torch.zeros(2, 4), [RED])
    with pytest.raises(UsageError):
        draw_boxes(noise(), torch.zeros(1, 4), [RED], ["a", "b"])


def test_chips_stay_on_the_canvas_and_apart():
    rng = np.random.default_rng(0)
    for _ in range(50):
        taken = []
        for _ in range(4):
            x0, y0 = rng.integers(0, [390, 290])
            box = (int(x0), int(y0), int(rng.integers(x0, 400)), int(rng.integers(y0, 300)))
            chip = (int(rng.integers(10, 200)), 16)
            place = place_chip(box, chip, (400, 300), taken)
            assert (place[2] - place[0], place[3] - place[1]) == chip
            assert place[0] >= 0
            assert place[1] >= 0
            assert place[2] <= 400
            assert place[3] <= 300
            taken.append(place)


def test_chips_go_above_then_below_then_beside_then_inside():
    box, chip, canvas = (50, 100, 90, 200), (60, 16), (400, 300)
    taken = []
    for _ in range(4):
        taken.append(place_chip(box, chip, canvas, taken))
    above, below, right, corner = (50, 84, 110, 100), (50, 200, 110, 216), (90, 100, 150, 116), (30, 100, 90, 116)
    assert taken == [above, below, right, corner]  # at the left there is no room
    full = (0, 0, 400, 300)
    assert place_chip(full, chip, canvas, []) == (0, 0, 60, 16)
    assert place_chip(full, chip, canvas, [(0, 0, 60, 16)]) == (340, 0, 400, 16)
    assert place_chip(full, chip, canvas, [(0, 0, 60, 300)]) == (340, 0, 400, 16)


def test_chips_stay_clear_of_their_box_where_the_canvas_has_room():
    rng = np.random.default_rng(1)
    for _ in range(100):
        x0, y0 = rng.integers(0, [300, 200]).tolist()
        x1, y1 = x0 + int(rng.integers(5, 100)), y0 + int(rng.integers(5, 100))
        place = place_chip((x0, y0, x1, y1), (60, 16), (400, 300), [])
        assert place[3] <= y0 or place[1] >= y1 or place[2] <= x0 or place[0] >= x1


def test_where_no_place_is_clear_a_chip_covers_the_least():
    taken = [(0, 0, 100, 95), (0, 0, 100, 100)]
    assert place_chip((0, 0, 100, 100), (40, 10), (100, 100), taken[:1]) == (0, 90, 40, 100)
    assert place_chip((0, 0, 100, 100), (40, 10), (100, 100), taken[1:]) == (0, 0, 40, 10)


def test_labels_of_few_boxes_are_drawn_and_of_crowds_left_out():
    assert labels_fit([(80, 16)] * 4, [30] * 4, (640, 480))
    assert not labels_fit([(80, 16)] * 40, [20] * 40, (640, 480))
    assert not labels_fit([(80, 16)] * 300, [200] * 300, (640, 480))
    image = Image.new("RGB", (400, 400))
    x = torch.arange(100) % 10 * 40.0
    y = torch.arange(100) // 10 * 40.0
    crowd = torch.stack([x + 5, y + 5, x + 20, y + 20], 1)
    plain = draw_boxes(image, crowd, [RED] * 100)
    assert not changed(plain, draw_boxes(image, crowd, [RED] * 100, ["nucleus 0.99"] * 100)).any()
    few = draw_boxes(image, crowd[:2], [RED] * 2)
    assert changed(few, draw_boxes(image, crowd[:2], [RED] * 2, ["a"] * 2)).any()


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (30, 200), (2000, 16)])
def test_any_canvas_takes_labels(size):
    image = Image.new("RGB", size)
    assert draw_boxes(image, torch.tensor([[0.0, 0.0, *size]]), [RED], ["a very long name " * 9]).size == size


# --- text ---


def test_text_is_one_clean_line():
    assert clean("a\nb\tc\0d\u202ee") == "a b c d e"
    assert clean("x" * 1000) == "x" * 59 + "…"
    assert clean("") == ""


def test_text_is_cut_to_its_room():
    face = font(14)
    assert fit("short", face, 500) == "short"
    cut = fit("a long class name", face, 60)
    assert cut.endswith("…")
    assert face.getlength(cut) <= 60
    assert fit("wide", face, 2) == ""


def test_ink_contrasts():
    assert ink_on((255, 255, 0)) == (16, 16, 16)
    assert ink_on((0, 0, 90)) == (255, 255, 255)


# --- scenes ---


def test_colours_by_object_or_by_class():
    dense = blobs()
    one, many = scene_of(dense), scene_of(dense, ("cat", "dog"))
    assert len(set(object_colors(one))) == len(dense)
    assert object_colors(many) == [many.categories[int(label)].color for label in many.regions.labels]
    assert object_colors(Scene((5, 5), one.categories, Regions.empty())) == []


def test_labels_of_regions():
    dense = blobs(count=1)
    assert region_labels(scene_of(dense, ("cat", "dog"))) == ["cat", "dog"]
    assert region_labels(scene_of(dense, ("cat", "dog"), scores=torch.tensor([0.987, 0.5]))) == ["cat 0.99", "dog 0.50"]


def test_scene_passes_through_every_task():
    image, scene = noise(), scene_of(blobs())
    draws = [
        lambda picture, s: draw_masks(picture, s.regions.masks, object_colors(s)),
        lambda picture, s: draw_boxes(picture, s.regions.boxes, object_colors(s), region_labels(s)),
    ]
    painted = draw_scene(scene, image, draws)
    by_hand = draws[1](draws[0](image, scene), scene)
    assert not changed(painted, by_hand).any()
    assert changed(painted, image).any()
    empty = Scene(
        (60, 80), scene.categories, Regions.empty().with_field("masks", Masks.from_dense(torch.zeros(0, 60, 80)))
    )
    assert not changed(draw_scene(empty, image, draws), image).any()
    with pytest.raises(UsageError, match="over a picture"):
        draw_scene(scene, noise(10, 10), draws)


# --- sheets ---


def test_contact_sheet_holds_every_picture_unscaled():
    images = [Image.new("RGB", (20 + i, 10 + 2 * i), (i * 20, 255, 0)) for i in range(5)]
    sheet = np.asarray(contact_sheet(images, columns=2, titles=[f"picture {i}\n" for i in range(5)]))
    for i, image in enumerate(images):
        assert (sheet == (i * 20, 255, 0)).all(2).sum() == image.width * image.height


def test_wide_sheets_shrink():
    sheet = contact_sheet([Image.new("RGB", (5000, 100))] * 3, columns=3)
    assert sheet.width <= 2400


def test_side_by_side():
    pair = np.asarray(
        side_by_side(Image.new("RGB", (30, 20), RED), Image.new("RGB", (30, 20), BLUE), ("target", "prediction"))
    )
    red, blue = ((pair == color).all(2).nonzero() for color in (RED, BLUE))
    assert red[1].max() < blue[1].min()
    assert red[0].min() == blue[0].min()


def test_sheets_of_nothing_are_refused():
    for wrong in ({"images": []}, {"images": [noise()], "columns": 0}, {"images": [noise()], "titles": []}):
        with pytest.raises(UsageError):
            contact_sheet(**wrong)
