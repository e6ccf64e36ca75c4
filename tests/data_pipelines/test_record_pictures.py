"""Training and prediction see the same pixels of a picture, whatever kind of file it is."""

import numpy as np
import pytest
from PIL import Image

from data_pipelines import records
from data_pipelines.annotations import Reading, read_annotations
from data_pipelines.builders.crowdpose import CrowdPose
from data_pipelines.builders.custom import Custom
from experiments.commands.prepare import main
from experiments.testing.image_sets import SetSource
from pinet_jax.errors import InputError
from pinet_jax.images import read_header, read_image
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.data_pipelines import coco_files


def _noise(channels: int, kind: type = np.uint8) -> np.ndarray:
    high = np.iinfo(kind).max
    shape = (32, 48, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(channels).integers(0, high, shape, kind)


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _write_zoo(folder) -> list[str]:
    """One picture of every kind, 48 x 32 as stored; the last three are turned by EXIF."""
    folder.mkdir(parents=True)
    rgb = Image.fromarray(_noise(3))
    sixteen = Image.fromarray(_noise(1, np.uint16))
    palette = rgb.quantize(16)
    transparent = Image.fromarray(_noise(4))
    pictures = {
        "rgb.png": rgb, "a.bmp": rgb, "a.webp": rgb, "a.tif": rgb, "a.gif": palette,
        "16.png": sixteen, "16.tif": sixteen, "palette.png": palette, "rgba.png": transparent,
        "grey.png": rgb.convert("L"), "1.png": rgb.convert("1"),
        "la.png": transparent.convert("LA"),
        "a.jpg": rgb, "cmyk.jpg": rgb.convert("CMYK"),
    }  # fmt: skip
    for name, picture in pictures.items():
        picture.save(folder / name)
    rgb.save(folder / "key.png", transparency=tuple(_noise(3)[0, 0].tolist()))
    rgb.save(folder / "3.jpg", exif=_exif(3))
    rgb.save(folder / "5.png", exif=_exif(5))
    rgb.save(folder / "6.tif", tiffinfo={0x0112: 6})
    return [*pictures, "key.png", "3.jpg", "5.png", "6.tif"]


@pytest.mark.parametrize("exif", ["stored", "upright"])
def test_records_hold_what_prediction_reads(tmp_path, exif):
    names = _write_zoo(tmp_path / "images")
    content = coco_files.content(len(names))
    reading = Reading(exif=exif)
    for image, name in zip(content["images"], names, strict=True):
        header = read_header(tmp_path / "images" / name)
        assert header.stored == (32, 48)
        height, width = header.upright if reading.upright else header.stored
        image |= {"file_name": name, "height": height, "width": width}
    file = coco_files.write_json(tmp_path / "people.json", content)
    annotations = read_annotations([file], COCO_17, tmp_path / "images", reading=reading)
    assert annotations.faults == ()
    builder = Custom(
        name="zoo", skeleton=COCO_17, data_dir=tmp_path / "out", splits={"val": annotations}
    )
    builder.download_and_prepare(download_dir=tmp_path / "downloads")
    split = records.open_split("zoo", "val", tmp_path / "out")
    tested = SetSource(file, tmp_path / "images", reading=reading).open(COCO_17)
    for place, (record, name) in enumerate(zip(split, names, strict=True)):
        pixels = records.image_pixels(record)
        assert pixels.shape == (record["height"], record["width"], 3)
        path = tmp_path / "images" / name
        expected = read_image(path, ignore_orientation=not reading.upright)
        np.testing.assert_array_equal(pixels, expected, err_msg=name)
        np.testing.assert_array_equal(tested.images.read(place), expected, err_msg=name)
    plain = {"rgb.png", "a.jpg", "cmyk.jpg", "grey.png"}
    plain |= {"5.png", "3.jpg"} if exif == "stored" else set()
    kept = {
        name
        for record, name in zip(split, names, strict=True)
        if record["image"] == (tmp_path / "images" / name).read_bytes()
    }
    assert kept == plain


def test_turned_and_stored_pixels_differ_as_exif_says(tmp_path):
    _write_zoo(tmp_path / "images")
    rgb = _noise(3)
    for name, upright in (("5.png", rgb.swapaxes(0, 1)), ("6.tif", np.rot90(rgb, -1))):
        path = tmp_path / "images" / name
        np.testing.assert_array_equal(read_image(path), upright)
        np.testing.assert_array_equal(read_image(path, ignore_orientation=True), rgb)


def test_prepare_asks_for_exif_and_knows_another_answer(tmp_path):
    data = tmp_path / "mine"
    content = coco_files.content(2)
    coco_files.write_images(data / "train", content)
    path = data / "train" / "0001.jpg"
    with Image.open(path) as picture:
        picture.save(path, exif=_exif(3))
    coco_files.write_json(data / "annotations" / "person_keypoints_train.json", content)
    coco_files.write_json(data / "skeleton.json", COCO_17.to_json())
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"1 of 2 pictures have an EXIF.*--exif upright.*stored"):
        main("custom", data_dir=data, out=out)
    assert not list(out.glob("**/*array_record*"))
    main("custom", data_dir=data, out=out, reading=Reading(exif="upright"))
    record = records.open_split("mine", "train", out).record(0)
    np.testing.assert_array_equal(records.image_pixels(record), read_image(path))
    with pytest.raises(InputError, match="was prepared of"):
        main("custom", data_dir=data, out=out, reading=Reading(exif="stored"))
    main("custom", data_dir=data, out=out, reading=Reading(exif="stored"), replace=True)
    record = records.open_split("mine", "train", out).record(0)
    np.testing.assert_array_equal(records.image_pixels(record), read_image(path)[::-1, ::-1])


def test_whom_skip_bad_leaves_out_is_masked_even_in_crowdpose(tmp_path):
    """CrowdPose's own masks are whole: it segments nobody."""
    content = coco_files.content(1, CROWDPOSE_14)
    bad = coco_files.person(200, 1, CROWDPOSE_14, iscrowd="?", segmentation=None, bbox=[1, 2, 4, 3])
    content["annotations"].append(bad)
    coco_files.write_images(tmp_path / "images", content)
    file = coco_files.write_json(tmp_path / "people.json", content)
    found = read_annotations([file], CROWDPOSE_14, tmp_path / "images").with_left_out()
    builder = CrowdPose(data_dir=tmp_path / "out", splits={"test": found})
    builder.download_and_prepare(download_dir=tmp_path / "downloads")
    record = records.open_split("crowdpose", "test", tmp_path / "out").record(0)
    expected = np.ones((32, 48), np.uint8)
    expected[2:5, 1:5] = 0
    np.testing.assert_array_equal(records.valid_pixels(record), expected)
    assert record["annotation_id"].tolist() == [101]


@pytest.mark.parametrize("folder", ["train", "images/train", "images", "."])
def test_custom_pictures_are_found_where_exports_have_them(tmp_path, folder):
    content = coco_files.content(1)
    content["images"][0]["file_name"] = "camera/0001.jpg"
    coco_files.write_images(tmp_path / folder / "camera", coco_files.content(1))
    (tmp_path / "images").mkdir(exist_ok=True)
    file = tmp_path / "annotations" / "person_keypoints_train.json"
    coco_files.write_json(file, content)
    source = Custom.sources(tmp_path)["train"]
    assert source.annotations == (file,)
    assert (source.images / "camera" / "0001.jpg").is_file()


def test_roboflows_layout(tmp_path):
    content = coco_files.content(1)
    coco_files.write_images(tmp_path / "valid", content)
    file = coco_files.write_json(tmp_path / "valid" / "_annotations.coco.json", content)
    assert Custom.sources(tmp_path) == {"valid": ((file,), tmp_path / "valid")}
