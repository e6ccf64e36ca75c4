"""Pasted people: their pixels are where their keypoints are, and hide what is beneath."""

import dataclasses
import itertools
import json

import cv2
import numpy as np
import pytest

from data_pipelines.config import AugmentationConfig, DataConfig, PastingConfig
from data_pipelines.input_pipeline import Images, batches
from data_pipelines.pasting import Cutout, Cutouts, Labels, paste_people
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17
from tests.data_pipelines.memory_records import make_records

SIZE, PEOPLE = 128, 4
STILL = AugmentationConfig(
    scale=(1.0, 1.0),
    rotation_deg=0.0,
    translation_px=0.0,
    flip_probability=0.0,
    pasting=PastingConfig(share=1.0, people=(1, 1)),
)
LEFT, RIGHT = (COCO_17.keypoints.index(f"{side}_wrist") for side in ("left", "right"))


def frame() -> Labels:
    """A black frame with one person in a box of 40 pixels about the middle."""
    labels = Labels(
        image=np.zeros((SIZE, SIZE, 3), np.uint8),
        keypoints=np.zeros((PEOPLE, 17, 3), np.float32),
        area=np.zeros(PEOPLE, np.float32),
        reach=np.zeros(PEOPLE, np.float32),
        corners=np.zeros((PEOPLE, 4, 2), np.float32),
        valid_masks=tuple(np.zeros((SIZE // n, SIZE // n), np.uint8) for n in (4, 2)),
    )
    labels.keypoints[0, :2] = [[60, 60, 2], [127, 0, 2]]
    labels.area[0], labels.reach[0] = 1600, 7000
    labels.corners[0] = [[44, 44], [84, 44], [44, 84], [84, 84]]
    return labels


def cutout(side: int = 24, image_side: int = SIZE) -> Cutout:
    """A white square, but for one blue and one green pixel: a left and a right wrist."""
    pixels = np.full((side, side, 3), 255, np.uint8)
    keypoints = np.zeros((17, 3), np.float32)
    for keypoint, (x, y), colour in ((LEFT, (5, 9), 2), (RIGHT, (18, 12), 1)):
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 0
        pixels[y - 1 : y + 2, x - 1 : x + 2, colour] = 255
        keypoints[keypoint] = x + 30, y + 50, 2
    box = np.array([30, 50, side, side], np.float32)
    mask = np.full((side, side), 255, np.uint8)
    return Cutout(pixels, mask, np.array([30, 50]), keypoints, box, (image_side, image_side))


def spot(image, colour):
    """Where a blue or green spot is, x and y."""
    others = [c for c in range(3) if c != colour]
    weight = np.clip(image[..., colour].astype(float) - image[..., others].max(axis=-1), 0, None)
    rows, columns = np.indices(weight.shape)
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("rotation", [0.0, 60.0])
@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_pixels_and_keypoints_go_the_same_way(rotation, flip, scale):
    config = dataclasses.replace(
        STILL, rotation_deg=rotation, flip_probability=flip, scale=(scale, scale)
    )
    for index in range(6):
        labels = frame()
        paste_people(labels, [cutout()], config, COCO_17, (0, index))
        (row,) = np.flatnonzero(labels.keypoints[:, LEFT, 2] > 0)
        # Mirrored, a left wrist becomes a right one.
        for keypoint, colour in ((LEFT, 1 if flip else 2), (RIGHT, 2 if flip else 1)):
            found = spot(labels.image, colour)
            np.testing.assert_allclose(labels.keypoints[row, keypoint, :2], found, atol=0.35)
        white = labels.image.max(axis=-1) > 127
        assert labels.area[row] == pytest.approx((24 / scale) ** 2, rel=1e-4)
        assert white.sum() == pytest.approx(labels.area[row], rel=0.06)
        middle = labels.corners[row].mean(axis=0)
        assert ((middle >= 44) & (middle <= 84)).all()  # over the person who was there
        rows, columns = np.nonzero(white)
        # A box's middle is half a pixel of the person's image beside its pixels' mean; and what
        # is white is known to half a pixel of the frame.
        off = np.linalg.norm(middle - [columns.mean(), rows.mean()])
        assert off <= np.sqrt(0.5) * (1 / scale + 1)
        left, right = labels.corners[row, [0, 2]], labels.corners[row, [1, 3]]
        turned = labels.corners[row, 1] - labels.corners[row, 0]
        assert np.linalg.norm(left - right, axis=-1) == pytest.approx(24 / scale, rel=1e-5)
        assert rotation or turned[0] == pytest.approx(24 / scale, rel=1e-5)


def test_keypoints_beneath_become_hidden_and_stay_where_they_are():
    labels, before = frame(), frame()
    paste_people(labels, [cutout(80)], STILL, COCO_17, (0,))
    assert labels.image[60, 60].any()  # the square is larger than the person's box
    np.testing.assert_array_equal(labels.keypoints[0, 0], [60, 60, 1])
    np.testing.assert_array_equal(labels.keypoints[0, 1:], before.keypoints[0, 1:])
    assert labels.area[0] == 1600
    assert (labels.keypoints[1, [LEFT, RIGHT], 2] == 2).all() and labels.area[1] == 6400


def test_somebody_wholly_hidden_is_nobody():
    labels = frame()
    labels.keypoints[0, 1] = 0
    paste_people(labels, [cutout(80)], STILL, COCO_17, (0,))
    assert not labels.keypoints[0].any() and not labels.corners[0].any()
    assert labels.area[0] == labels.reach[0] == 0


def test_what_a_pasted_person_covers_counts():
    labels = frame()
    paste_people(labels, [cutout()], STILL, COCO_17, (0,))
    painted = labels.image.max(axis=-1) > 0
    for mask, step in zip(labels.valid_masks, (4, 2), strict=True):
        np.testing.assert_array_equal(mask, painted[::step, ::step])


def test_nobody_is_pasted_without_room_or_without_somebody_to_paste_over():
    full = frame()
    full.area[1:] = 1  # people without labels have rows, too
    empty = frame()
    empty.keypoints[:] = 0
    outside = frame()
    outside.keypoints[0, :2, 0] = -5
    for labels in (full, empty, outside):
        paste_people(labels, [cutout()], STILL, COCO_17, (0,))
        assert not labels.image.any()


def test_shares_and_counts():
    config = dataclasses.replace(STILL, pasting=PastingConfig(share=0.6, people=(1, 3)))
    counts = []
    for index in range(300):
        labels = frame()
        paste_people(labels, [cutout(6)], config, COCO_17, (7, index))
        counts.append(int((labels.area > 0).sum()) - 1)
    shares = np.bincount(counts, minlength=4) / 300
    np.testing.assert_allclose(shares, [0.4, 0.2, 0.2, 0.2], atol=0.08)


def annotated(folder, outlined=True):
    """Records whose people are outlined, and their annotation file."""
    records = make_records(5)
    people = []
    for record in records.records:
        for place, box in enumerate(record["boxes"]):
            box[:2] = 5, 10
            x, y, w, h = (float(side) for side in box)
            people.append(
                {
                    "id": len(people),
                    "image_id": record["image_id"],
                    "iscrowd": 0,
                    "num_keypoints": 17,
                    "keypoints": record["keypoints"][place].ravel().tolist(),
                    "bbox": [x, y, w, h],
                    "segmentation": [[x, y, x + w, y, x, y + h]] if outlined else [],
                }
            )
    images = [
        {"id": r["image_id"], "height": r["height"], "width": r["width"]} for r in records.records
    ]
    file = folder / "annotations.json"
    file.write_text(json.dumps({"images": images, "annotations": people}))
    return records, file


def test_cutouts_are_the_people_of_the_records(tmp_path):
    records, file = annotated(tmp_path)
    cutouts = Cutouts(records, file)
    everybody = [(r, place) for r in records.records for place in range(len(r["area"]))]
    assert len(cutouts) == len(everybody)
    for (record, place), found in zip(everybody, map(cutouts.__getitem__, range(99)), strict=False):
        np.testing.assert_array_equal(found.keypoints, record["keypoints"][place])
        image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
        (x, y), (h, w) = found.corner, found.mask.shape
        np.testing.assert_array_equal(found.pixels, image[y : y + h, x : x + w])
        half = record["boxes"][place][2] * record["boxes"][place][3] / 2
        assert (found.mask > 0).sum() == pytest.approx(half, rel=0.3, abs=20)  # a triangle


def test_no_outline_at_all(tmp_path):
    with pytest.raises(InputError, match=r"annotations.json: nobody has an outline and 5 labelled"):
        Cutouts(*annotated(tmp_path, outlined=False))


def test_batches_with_pasted_people_go_on_after_a_restart(tmp_path):
    records, file = annotated(tmp_path)
    pasting = PastingConfig(share=1.0, people=(2, 2))
    config = DataConfig(
        input_size=64, max_people=8, augmentation=AugmentationConfig(pasting=pasting)
    )

    def take(start, count, cutouts):
        samples = Images(records, config, 3, cutouts=cutouts)
        return list(itertools.islice(batches(samples, batch_size=4, start_step=start), count))

    whole, rest = take(0, 5, Cutouts(records, file)), take(3, 2, Cutouts(records, file))
    for batch, again in zip(whole[3:], rest, strict=True):
        for name in batch:
            np.testing.assert_array_equal(batch[name], again[name])
    plain = take(0, 5, None)
    more = [
        (a["area"] > 0).sum() - (b["area"] > 0).sum() for a, b in zip(whole, plain, strict=True)
    ]
    assert sum(more) > 10
