import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from segue.data.images import MAX_PIXELS, UPRIGHT, image_size, read_image, to_bytes, to_pil, to_tensor
from segue.errors import ImageError, UsageError

RAMP = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3  # (4, 6, 3), all pixels differ


def rgb(tensor):
    return tensor.permute(1, 2, 0).numpy()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width, height, *chunks, depth=8, color=2):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def pixels_chunk(array):
    rows = b"".join(b"\0" + row.tobytes() for row in array)
    return chunk(b"IDAT", zlib.compress(rows))


# --- modes ---


@pytest.mark.parametrize(
    ("name", "options"), [("a.png", {}), ("a.tif", {}), ("a.bmp", {}), ("a.webp", {"lossless": True})]
)
def test_rgb_files_are_exact(tmp_path, name, options):
    Image.fromarray(RAMP).save(tmp_path / name, **options)
    tensor = read_image(tmp_path / name)
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    assert (rgb(tensor) == RAMP).all()
    assert image_size(tmp_path / name) == (4, 6)


def test_gray_and_one_bit(tmp_path):
    gray = RAMP[:, :, 0]
    Image.fromarray(gray).save(tmp_path / "l.png")
    assert (rgb(read_image(tmp_path / "l.png")) == gray[:, :, None]).all()
    Image.fromarray(gray > 100).save(tmp_path / "1.png")
    assert (rgb(read_image(tmp_path / "1.png")) == np.where(gray > 100, 255, 0)[:, :, None]).all()


def test_alpha_lies_over_white(tmp_path):
    pixels = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = [[[200, 100, 0], [255, 255, 255], [204, 204, 204]]]
    assert rgb(read_image(tmp_path / "a.png")).tolist() == expected
    assert rgb(to_tensor(pixels)).tolist() == expected
    Image.fromarray(np.array([[[10, 255], [10, 0]]], dtype=np.uint8), "LA").save(tmp_path / "la.png")
    assert rgb(read_image(tmp_path / "la.png"))[0, :, 0].tolist() == [10, 255]


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png")
    assert rgb(read_image(tmp_path / "p.png")).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    image.save(tmp_path / "t.png", transparency=1)
    assert rgb(read_image(tmp_path / "t.png")).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    image.save(tmp_path / "p.gif")
    assert rgb(read_image(tmp_path / "p.gif")).tolist() == [[[10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(tmp_path, suffix):
    color = np.zeros((16, 16, 4), dtype=np.uint8)
    color[:, :, 1:3] = 255  # magenta and yellow ink: red
    Image.fromarray(color, "CMYK").save(tmp_path / f"c.{suffix}")
    assert np.abs(rgb(read_image(tmp_path / f"c.{suffix}")).astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 257, 32896, 65535], [0, 1, 128, 255]),  # all of 16 bits
        ([0, 819, 2048, 4095], [0, 51, 128, 255]),  # 12 bits in 16
        ([0, 7, 128, 200], [0, 7, 128, 200]),  # 8 bits in 16
    ],
)
def test_sixteen_bit_gray_keeps_its_brightness(tmp_path, suffix, values, expected):
    Image.fromarray(np.array([values], dtype=np.uint16)).save(tmp_path / f"g.{suffix}")
    assert rgb(read_image(tmp_path / f"g.{suffix}"))[0, :, 1].tolist() == expected


def test_big_endian_sixteen_bit_tiff(tmp_path):
    image = Image.frombytes("I;16B", (2, 1), struct.pack(">HH", 65535, 32768))
    image.save(tmp_path / "b.tif")
    assert rgb(read_image(tmp_path / "b.tif"))[0, :, 0].tolist() == [255, 128]


def test_sixteen_bit_tiff_whose_white_is_zero(tmp_path):
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(tmp_path / "w.tif", tiffinfo={262: 0})
    assert rgb(read_image(tmp_path / "w.tif"))[0, :, 0].tolist() == [255, 0]


def test_sixteen_bit_rgb_png(tmp_path):
    pixels = np.array([[[65535, 32768, 0], [257, 514, 65535]]], dtype=">u2")
    (tmp_path / "c.png").write_bytes(png_of(2, 1, pixels_chunk(pixels), depth=16))
    assert rgb(read_image(tmp_path / "c.png")).tolist() == [[[255, 128, 0], [1, 2, 255]]]


def test_float_and_long_tiff(tmp_path):
    Image.fromarray(np.array([[0.0, 0.2, 1.0]], dtype=np.float32)).save(tmp_path / "f.tif")
    assert rgb(read_image(tmp_path / "f.tif"))[0, :, 0].tolist() == [0, 51, 255]
    Image.fromarray(np.array([[-100, 0, 900_000]], dtype=np.int32)).save(tmp_path / "i.tif")
    assert rgb(read_image(tmp_path / "i.tif"))[0, :, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([False, True]), [0, 255]),
        (np.array([0.0, 0.5, 1.0], dtype=np.float16), [0, 128, 255]),
        (np.array([-1.0, 0.0, 1.0]), [0, 128, 255]),
        (np.array([1000.0, 3000.0]), [0, 255]),
        (np.array([0, 255], dtype=np.int64), [0, 255]),
        (np.array([7.0, 7.0]), [0, 0]),  # no scale at all
        (np.array([0, 2**40]), [0, 255]),
    ],
)
def test_scales_of_arrays(values, expected):
    assert to_bytes(values).tolist() == expected


def test_arrays_of_every_shape():
    assert (rgb(to_tensor(RAMP)) == RAMP).all()
    assert (rgb(to_tensor(RAMP[::-1, ::-1])) == RAMP[::-1, ::-1]).all()  # negative strides
    assert to_tensor(RAMP[:, :, 0]).shape == to_tensor(RAMP[:, :, :1]).shape == (3, 4, 6)
    assert (rgb(to_tensor(Image.fromarray(RAMP))) == RAMP).all()
    assert (np.asarray(to_pil(to_tensor(RAMP))) == RAMP).all()


def test_result_does_not_share_the_arrays_memory():
    array = RAMP.copy()
    to_tensor(array).zero_()
    assert (array == RAMP).all()


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 3, 5)), np.zeros((0, 3, 3)), np.zeros(3), np.array(["x"]), np.zeros((1, 2, 3, 3)), "photo", None],
)
def test_what_is_no_picture_is_refused(bad):
    with pytest.raises(UsageError):
        to_tensor(bad)


def test_pixels_that_are_no_numbers_are_refused():
    for value in (np.nan, np.inf):
        with pytest.raises(ImageError, match="NaN"):
            to_tensor(np.array([[0.0, value]]))


# --- EXIF ---


def turned(orientation):
    """RAMP as a camera would store it under this EXIF orientation."""
    if orientation == 1:
        return Image.fromarray(RAMP)
    back = {6: 8, 8: 6}.get(orientation, orientation)
    return Image.fromarray(RAMP).transpose(UPRIGHT[back])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_every_exif_orientation_is_turned_upright(tmp_path, orientation, suffix):
    path, exif = tmp_path / f"o.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    turned(orientation).save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {"quality": 100}))
    tensor = read_image(path)
    assert tensor.shape == (3, 4, 6)
    assert image_size(path) == (4, 6)
    tolerance = 40 if suffix == "jpg" else 0
    assert np.abs(rgb(tensor).astype(int) - RAMP).max() <= tolerance
    with Image.open(path) as opened:
        assert torch.equal(to_tensor(opened), tensor)


def test_orientation_follows_the_exif_standard(tmp_path):
    """Orientation 6: the stored first row is the right-hand side of the picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)).save(
        tmp_path / "a.png", exif=exif
    )
    assert rgb(read_image(tmp_path / "a.png")).tolist() == [[[255, 0, 0]], [[0, 255, 0]], [[0, 0, 255]]]


def test_exif_after_the_pixels_of_a_png(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    late = chunk(b"eXIf", exif.tobytes()[6:])
    (tmp_path / "late.png").write_bytes(png_of(6, 4, pixels_chunk(RAMP), late))
    assert read_image(tmp_path / "late.png").shape == (3, 6, 4)
    assert image_size(tmp_path / "late.png") == (6, 4)


@pytest.mark.parametrize("junk", [b"Exif\0\0junkjunkjunk", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_damaged_exif_over_sound_pixels(tmp_path, junk):
    Image.fromarray(RAMP).save(tmp_path / "j.jpg", exif=junk)
    assert read_image(tmp_path / "j.jpg").shape == (3, 4, 6)


def test_sixteen_bit_gray_is_turned_too():
    image = Image.fromarray(np.array([[0, 65535]], dtype=np.uint16))
    image.getexif()[0x0112] = 6
    assert rgb(to_tensor(image))[:, :, 0].tolist() == [[0], [255]]


def test_size_of_a_png_does_not_decode_its_pixels(tmp_path):
    (tmp_path / "header.png").write_bytes(png_of(30, 20, chunk(b"IDAT", b"nothing that decodes")))
    assert image_size(tmp_path / "header.png") == (20, 30)
    with pytest.raises(ImageError):
        read_image(tmp_path / "header.png")


# --- hostile files ---


def refused(path, match):
    for read in (read_image, image_size):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ImageError, match=match) as caught:
                read(path)
        assert str(path.name)[:20] in str(caught.value)
        assert caught.value.cure


def test_missing_folder_and_empty(tmp_path):
    refused(tmp_path / "none.png", "no such file")
    refused(tmp_path, "folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "empty")
    refused(tmp_path / ("x" * 5000), "no such file")
    refused(tmp_path / "zero\0byte", "no such file|zero")


def test_text_posing_as_a_picture(tmp_path):
    (tmp_path / "text.png").write_text("hello, I am a picture")
    refused(tmp_path / "text.png", "not a picture")


def test_postscript_is_not_run(tmp_path):
    (tmp_path / "p.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    refused(tmp_path / "p.eps", "not a picture")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp", "gif"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_truncated_files(tmp_path, suffix, share):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(
        buffer, Image.registered_extensions()[f".{suffix}"]
    )
    whole = buffer.getvalue()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageError):
        read_image(path)


def test_flipped_bytes_give_a_picture_or_an_image_error(tmp_path):
    rng = np.random.default_rng(0)
    for suffix in ("png", "jpg", "tif", "gif", "webp", "bmp"):
        buffer = io.BytesIO()
        Image.fromarray(RAMP).save(buffer, Image.registered_extensions()[f".{suffix}"])
        for _ in range(60):
            content = np.frombuffer(buffer.getvalue(), dtype=np.uint8).copy()
            content[rng.integers(len(content), size=3)] = rng.integers(0, 256, 3)
            (tmp_path / "f").write_bytes(content.tobytes())
            try:
                tensor = read_image(tmp_path / "f")
            except ImageError:
                continue
            assert tensor.shape[0] == 3
            assert tuple(tensor.shape[1:]) == image_size(tmp_path / "f")


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_several_frames_are_refused(tmp_path, suffix):
    first, second = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second])
    refused(tmp_path / f"a.{suffix}", "several frames")


def test_photo_with_a_second_view_is_its_first(tmp_path):
    """Phones write MPO files, JPEGs with a preview or depth picture behind."""
    first, second = (Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 0, 255)))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert np.abs(rgb(read_image(tmp_path / "a.jpg")).astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("side", [13_378, 60_000])  # just above the cap, and far above
def test_decompression_bomb_is_refused_by_its_header(tmp_path, side):
    assert side * side > MAX_PIXELS
    (tmp_path / "bomb.png").write_bytes(png_of(side, side, chunk(b"IDAT", zlib.compress(b"\0"))))
    refused(tmp_path / "bomb.png", "pixels")


def test_below_the_cap_no_warning_leaks(tmp_path):
    (tmp_path / "large.png").write_bytes(png_of(13_377, 13_377, chunk(b"IDAT", zlib.compress(b"\0"))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(tmp_path / "large.png") == (13_377, 13_377)


def test_text_bomb_in_a_png(tmp_path):
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 80_000_000))
    (tmp_path / "text.png").write_bytes(png_of(6, 4, text, pixels_chunk(RAMP)))
    with pytest.raises(ImageError, match="damaged"):
        read_image(tmp_path / "text.png")
