"""Every kind of picture file a user may have, and everything that is none."""

import io
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from pinet_jax.errors import InputError
from pinet_jax.image_folders import find_images
from pinet_jax.images import decode_image, image_size, read_image
from tests.conftest import shared_data

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> np.ndarray:
    """Upright: red, green / blue, white quarters of a picture of 24 rows and 32 columns."""
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[:12, :16], picture[:12, 16:] = RED, GREEN
    picture[12:, :16], picture[12:, 16:] = BLUE, WHITE
    return picture


def smooth(height=40, width=56) -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path, picture, **options):
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(path, **options)
    return path


def quarter_colors(picture):
    height, width = picture.shape[:2]
    rows, columns = (height // 4, 3 * height // 4), (width // 4, 3 * width // 4)
    return picture[np.ix_(rows, columns)]  # [2, 2, 3]


def error_line(function, *args) -> str:
    with pytest.raises(InputError) as caught:
        function(*args)
    message = str(caught.value)
    assert message.count("\n") == 0
    return message


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "gif", "jp2"])
def test_lossless_formats_come_back_as_they_were(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", corners())
    np.testing.assert_array_equal(read_image(path), corners())
    assert image_size(path) == (24, 32)


@pytest.mark.parametrize("suffix", ["webp", "avif"])
def test_lossy_formats_come_back_nearly(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", corners(), quality=95)
    np.testing.assert_allclose(quarter_colors(read_image(path)), quarter_colors(corners()), atol=8)


def test_jpeg_has_opencvs_pixels(tmp_path):
    path = save(tmp_path / "a.jpg", smooth(), quality=80)
    expected = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(read_image(path), expected)


def test_real_jpegs_have_opencvs_pixels():
    for path in find_images([shared_data("coco", "val2017")])[:4]:
        expected = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(read_image(path), expected)
        assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_grey_gives_three_equal_channels(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", np.full((8, 16), 77, np.uint8))
    np.testing.assert_array_equal(read_image(path), np.full((8, 16, 3), 77))


def test_black_and_white(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.eye(4, dtype=bool)))
    np.testing.assert_array_equal(read_image(path), 255 * np.eye(4)[:, :, None].repeat(3, 2))


def test_transparency_lies_over_white(tmp_path):
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:, :, 3] = (0, 128, 255)
    expected = [WHITE, (227, 127, 127), (200, 0, 0)]
    picture = read_image(save(tmp_path / "a.png", rgba))
    np.testing.assert_allclose(picture[0].astype(int), expected, atol=1)


def test_grey_with_transparency(tmp_path):
    grey_alpha = np.array([[[50, 255], [50, 0]]], np.uint8)
    picture = read_image(save(tmp_path / "a.png", Image.fromarray(grey_alpha, "LA")))
    np.testing.assert_array_equal(picture, [[(50, 50, 50), WHITE]])


def test_palette_with_a_transparent_color(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *BLUE])
    picture.putdata([0, 1])
    opaque = save(tmp_path / "opaque.png", picture)
    transparent = save(tmp_path / "transparent.png", picture, transparency=1)
    np.testing.assert_array_equal(read_image(opaque), [[RED, BLUE]])
    np.testing.assert_array_equal(read_image(transparent), [[RED, WHITE]])


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk(tmp_path, suffix):
    picture = Image.fromarray(corners()).convert("CMYK")
    options = {"quality": 95} if suffix == "jpg" else {}
    read = read_image(save(tmp_path / f"a.{suffix}", picture, **options))
    np.testing.assert_allclose(quarter_colors(read), quarter_colors(corners()), atol=8)


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm", "jp2"])
def test_16_bit_grey_is_scaled(tmp_path, suffix):
    grey = np.array([[0, 257, 32896, 65535] * 16] * 64, np.uint16)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(cv2.imencode(f".{suffix}", grey)[1].tobytes())
    np.testing.assert_array_equal(read_image(path)[0, :4, 0], [0, 1, 128, 255])


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_colour_is_scaled(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    bgr = corners()[:, :, ::-1].astype(np.uint16) * 257
    path.write_bytes(cv2.imencode(f".{suffix}", bgr)[1].tobytes())
    np.testing.assert_array_equal(read_image(path), corners())


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_32_bit_pixels_are_refused(tmp_path, kind):
    path = save(tmp_path / "a.tiff", np.ones((4, 4), kind))
    assert "32-bit pixels" in error_line(read_image, path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(tmp_path, suffix, orientation):
    # The stored picture is the one that the tag's definition turns into `corners`.
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),  # to be turned clockwise
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](corners())
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{suffix}", np.ascontiguousarray(stored), exif=exif)
    picture = read_image(path)
    assert picture.shape == (24, 32, 3)
    assert image_size(path) == (24, 32)
    np.testing.assert_allclose(quarter_colors(picture), quarter_colors(corners()), atol=8)
    if suffix == "jpg":
        opencv = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
        np.testing.assert_array_equal(picture, opencv)
    if suffix != "tiff":  # Pillow turns these itself
        raw = read_image(path, ignore_orientation=True)
        np.testing.assert_allclose(quarter_colors(raw), quarter_colors(stored), atol=8)
        assert image_size(path, ignore_orientation=True) == stored.shape[:2]


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_leaves_the_picture(tmp_path, exif):
    path = save(tmp_path / "a.jpg", corners(), exif=exif, quality=95)
    np.testing.assert_allclose(quarter_colors(read_image(path)), quarter_colors(corners()), atol=8)


def test_an_impossible_orientation_leaves_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 99
    assert image_size(save(tmp_path / "a.jpg", corners(), exif=exif)) == (24, 32)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp"])
def test_one_pixel(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", np.full((1, 1, 3), 255, np.uint8))
    np.testing.assert_array_equal(read_image(path), [[WHITE]])


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, BLUE)]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(path), np.broadcast_to(RED, (4, 4, 3)))


def test_an_icon_is_as_large_as_its_header_says(tmp_path):
    path = save(tmp_path / "a.ico", corners(), sizes=[(16, 12), (32, 24)])
    assert read_image(path).shape[:2] == image_size(path) == (24, 32)


def test_many_megapixels_are_read_without_a_warning(tmp_path):
    path = save(tmp_path / "a.png", Image.new("1", (10_000, 9_500)))
    assert image_size(path) == (9_500, 10_000)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tiff", "bmp", "jp2", "avif"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.02])
def test_truncated_files_are_refused(tmp_path, suffix, kept):
    path = save(tmp_path / f"a.{suffix}", smooth(200, 300))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert str(path) in error_line(read_image, path)


def test_a_jpeg_without_its_last_rows_is_refused(tmp_path):
    path = save(tmp_path / "a.jpg", smooth(200, 300))
    path.write_bytes(path.read_bytes()[:-20])
    assert error_line(read_image, path).startswith(f"{path}: a truncated or damaged JPEG")


def test_what_is_no_picture_is_refused(tmp_path):
    text, empty, missing = (tmp_path / n for n in ("notes.jpg", "empty.png", "missing.png"))
    text.write_text("no picture at all")
    empty.touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    for function in (read_image, image_size):
        assert error_line(function, text).startswith(f"{text}: not a picture (JPEG, ")
        assert error_line(function, empty) == f"{empty}: the file is empty"
        assert error_line(function, missing) == f"{missing}: no such file"
        assert error_line(function, tmp_path) == f"{tmp_path}: a folder, not a picture"
        assert "not a regular file" in error_line(function, tmp_path / "pipe.jpg")
        assert "cannot be read" in error_line(function, tmp_path / ("x" * 5000))
        assert "no such file" in error_line(function, text / "inside.jpg")


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path):
    path = save(tmp_path / "bomb.png", Image.new("1", (20_000, 20_000)))
    assert path.stat().st_size < 100_000
    for function in (read_image, image_size):
        assert error_line(function, path).startswith(f"{path}: more than 179 megapixels")


def test_postscript_is_not_run(tmp_path):
    path = save(tmp_path / "a.eps", corners())
    assert "not a picture" in error_line(read_image, path)


def test_noise_behind_every_magic_number_is_refused_in_one_line(tmp_path):
    rng = np.random.default_rng(0)
    for suffix in ("jpg", "png", "gif", "webp", "tiff", "bmp", "jp2", "avif", "ppm", "ico"):
        data = bytearray(save(tmp_path / f"a.{suffix}", smooth()).read_bytes())
        data[24:] = rng.bytes(len(data) - 24)
        try:
            picture = decode_image(bytes(data), "noise")
        except InputError as error:
            assert str(error).startswith("noise: ") and "\n" not in str(error)
        else:  # some formats are mostly pixels
            assert picture.dtype == np.uint8 and picture.shape[2] == 3


def test_pictures_in_memory():
    file = io.BytesIO()
    Image.fromarray(corners()).save(file, "PNG")
    np.testing.assert_array_equal(decode_image(file.getvalue(), "x"), corners())
    assert error_line(decode_image, b"", "record 7").startswith("record 7: ")


def test_a_folder_gives_its_pictures_sorted(tmp_path):
    (tmp_path / "inside").mkdir()
    save(tmp_path / "inside" / "deep.png", corners())
    for name in ("b.PNG", "a.jpg", ".hidden.png"):
        save(tmp_path / name, corners())
    save(tmp_path / "no_suffix", corners(), format="PNG")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "poses.json").write_text("[]")
    (tmp_path / "broken.jpeg").write_text("looks like a picture by its name")
    (tmp_path / "phone.heic").write_text("not decoded here, but not passed over either")
    names = [path.name for path in find_images([tmp_path])]
    assert names == ["a.jpg", "b.PNG", "broken.jpeg", "no_suffix", "phone.heic"]


def test_files_keep_their_place_and_come_once(tmp_path):
    first, second = (save(tmp_path / name, corners()) for name in ("b.png", "a.png"))
    text = tmp_path / "notes.txt"
    text.write_text("named, so that reading it can say why not")
    assert find_images([first, text, tmp_path, second]) == [first, text, second]


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("text")
    assert error_line(find_images, [tmp_path]).startswith(f"{tmp_path}: no pictures")


def test_pixels_of_14_bits_in_16_are_warned_of(tmp_path, caplog):
    grey = np.linspace(6900, 9100, 64).astype(np.uint16).reshape(8, 8)
    path = save(tmp_path / "thermal.png", grey)
    for _ in range(2):
        assert read_image(path).max() == 35
    (line,) = caplog.messages  # a file is named once
    assert "thermal.png: 16-bit pixels of 6900 to 9100 become 27 to 35 of 255" in line
    caplog.clear()
    read_image(save(tmp_path / "full.png", grey * 7))
    assert not caplog.messages
