"""Packs hold what their annotation file says, or are refused."""

import numpy as np
import pytest
from PIL import Image

from data_pipelines.packs import MAX_PEOPLE, read_pack, write_pack
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.data_pipelines.coco_files import content, person, write_images, write_json


def _written(folder, annotations, **options):
    write_images(folder / "images", annotations)
    file = write_json(folder / "annotations.json", annotations)
    out = folder / "pack.npz"
    count = write_pack(out, file, folder / "images", COCO_17, **options)
    assert count == len(annotations["images"])
    return out


def test_a_pack_has_pictures_and_labels_of_its_set(tmp_path):
    annotations = content(3)
    pack = read_pack(_written(tmp_path, annotations, quality=100), COCO_17)
    assert pack.ids.tolist() == [1, 2, 3]
    assert pack.images.shape == (3, 48, 48, 3)
    np.testing.assert_array_equal(pack.sizes, [[32, 48]] * 3)
    expected = np.reshape(annotations["annotations"][0]["keypoints"], (17, 3))
    np.testing.assert_allclose(pack.keypoints[:, 0], np.stack([expected] * 3), atol=0.05)
    np.testing.assert_allclose(pack.boxes[:, 0], [[5, 4, 30, 20]] * 3)
    assert (pack.keypoints[:, 1:] == 0).all()
    assert (pack.ignored == 0).all()


def test_large_pictures_are_shrunk_and_their_labels_with_them(tmp_path):
    annotations = content(1)
    annotations["images"][0] |= {"width": 96, "height": 64}
    pack = read_pack(_written(tmp_path, annotations, long_side=48), COCO_17)
    np.testing.assert_array_equal(pack.sizes, [[32, 48]])
    expected = np.reshape(annotations["annotations"][0]["keypoints"], (17, 3))[:, :2] / 2
    np.testing.assert_allclose(pack.keypoints[0, 0, :, :2], expected, atol=0.05)
    np.testing.assert_allclose(pack.boxes[0, 0], [2.5, 2, 15, 10], atol=0.05)


def test_colours_survive(tmp_path):
    annotations = content(1)
    file = write_json(tmp_path / "a.json", annotations)
    (tmp_path / "images").mkdir()
    picture = Image.new("RGB", (48, 32), (200, 60, 20))
    picture.save(tmp_path / "images" / annotations["images"][0]["file_name"], quality=100)
    write_pack(tmp_path / "p.npz", file, tmp_path / "images", COCO_17)
    colours = read_pack(tmp_path / "p.npz", COCO_17).images[0, :32]
    np.testing.assert_allclose(colours, np.broadcast_to([200, 60, 20], colours.shape), atol=6)


def test_found_people_whom_nobody_annotated_are_ignored_regions(tmp_path):
    """One pose lies on the annotated person, one beside, and one is not sure enough."""
    annotations = content(1)

    def found(x, y, score):
        corners = [x, y, 1, x + 10, y + 5, 1] + [x, y, 1] * 15
        return {"image_id": 1, "category_id": 1, "keypoints": corners, "score": score}

    poses = [found(8, 8, 0.9), found(37, 25, 0.3), found(37, 1, 0.01)]
    file = write_json(tmp_path / "poses.json", poses)
    pack = read_pack(_written(tmp_path, annotations, found_poses=file), COCO_17)
    assert (pack.ignored[0].any(axis=-1)).sum() == 1
    x, y, width, height = pack.ignored[0, 0]
    assert x <= 37 and y <= 25 and x + width >= 46.9 and y + height >= 30
    stranger = found(8, 8, 0.9) | {"image_id": 99}
    write_json(tmp_path / "poses.json", [stranger])
    with pytest.raises(InputError, match="99"):
        write_pack(
            tmp_path / "p.npz",
            tmp_path / "annotations.json",
            tmp_path / "images",
            COCO_17,
            found_poses=file,
        )


def test_people_without_keypoints_and_crowds_are_ignored_regions(tmp_path):
    annotations = content(1)
    annotations["annotations"] += [
        person(201, 1, keypoints=[0] * 51, num_keypoints=0, bbox=[1, 2, 3, 4]),
        person(202, 1, iscrowd=1, bbox=[10, 12, 9, 7]),
    ]
    pack = read_pack(_written(tmp_path, annotations), COCO_17)
    assert (pack.keypoints[0, :, :, 2] > 0).any(axis=-1).sum() == 1
    assert sorted(pack.ignored[0, :2].tolist()) == [[1, 2, 3, 4], [10, 12, 9, 7]]


def test_of_too_many_people_the_smallest_are_ignored_regions(tmp_path):
    annotations = content(1)
    annotations["annotations"] = [
        person(300 + i, 1, bbox=[0, 0, 10 + i, 10]) for i in range(MAX_PEOPLE + 2)
    ]
    pack = read_pack(_written(tmp_path, annotations), COCO_17)
    assert pack.boxes[0, :, 2].min() == 12
    assert sorted(pack.ignored[0, :2, 2].tolist()) == [10, 11]


def test_a_missing_picture_is_named_and_nothing_is_written(tmp_path):
    annotations = content(2)
    write_images(tmp_path / "images", annotations)
    (tmp_path / "images" / "0002.jpg").unlink()
    file = write_json(tmp_path / "a.json", annotations)
    with pytest.raises(InputError, match="image 2"):
        write_pack(tmp_path / "p.npz", file, tmp_path / "images", COCO_17)
    assert not list(tmp_path.glob("p.npz*"))


def test_what_is_no_pack_is_refused_in_one_line(tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(InputError, match="pinet-jax pack"):
        read_pack(path, COCO_17)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"p\.npz: is no pack"):
        read_pack(path, COCO_17)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(InputError, match=r"p\.npz: is no pack"):
        read_pack(path, COCO_17)
    whole = _written(tmp_path / "set", content(2))
    path.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"p\.npz: is no pack"):
        read_pack(path, COCO_17)
    with pytest.raises(InputError, match="keypoints"):
        read_pack(whole, CROWDPOSE_14)
