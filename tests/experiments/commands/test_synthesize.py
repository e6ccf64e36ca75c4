"""The command's files: whole, loadable by pycocotools, and the same for the same seed."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from data_pipelines.synthetic_crowds import rendering
from experiments.commands import synthesize
from pinet_jax.errors import InputError
from pinet_jax.evaluation.crowding import crowd_index
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton

IMAGES = 6  # not a multiple of what is rendered at once
DIALS = {"images": IMAGES, "seed": 3, "people": (2, 5), "size": 128}


@pytest.fixture(scope="module", params=[COCO_17, CROWDPOSE_14], ids=lambda s: s.name)
def made(request, tmp_path_factory) -> tuple[Path, Skeleton]:
    out = tmp_path_factory.mktemp("crowds") / request.param.name
    synthesize.main(out=out, skeleton=request.param.name, **DIALS)
    return out, request.param


def annotations(out: Path) -> Path:
    return out / "annotations" / "person_keypoints_train.json"


def test_pycocotools_reads_it(made):
    out, skeleton = made
    coco = COCO(annotations(out))
    assert coco.loadCats(1)[0]["keypoints"] == list(skeleton.keypoints)
    assert len(coco.getImgIds()) == IMAGES
    for image in coco.loadImgs(coco.getImgIds()):
        picture = cv2.imread(str(out / "train" / image["file_name"]))
        assert picture.shape == (image["height"], image["width"], 3) == (128, 128, 3)
        people = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert people
        for person in people:
            keypoints = np.array(person["keypoints"]).reshape(-1, 3)
            assert len(keypoints) == skeleton.num_keypoints
            assert person["num_keypoints"] == (keypoints[:, 2] > 0).sum() > 0
            check_mask(coco.annToMask(person), person, keypoints)
        boxes = np.array([person["bbox"] for person in people])
        points = np.array([person["keypoints"] for person in people]).reshape(len(people), -1, 3)
        assert image["crowdIndex"] == pytest.approx(crowd_index(boxes, points), abs=1e-3)


def check_mask(mask: np.ndarray, person: dict, keypoints: np.ndarray) -> None:
    for x, y, v in keypoints:
        if v == 2:  # to half a hundredth, which may fall on the next pixel
            x, y = np.floor([x + 0.5, y + 0.5]).astype(int)
            assert mask[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()
    x, y, w, h = person["bbox"]
    left, top, width, height = coco_mask.toBbox(person["segmentation"])
    assert x <= left and y <= top and left + width <= x + w and top + height <= y + h
    assert mask.sum() <= person["area"] <= w * h


def test_the_skeleton_lies_beside_it(made):
    out, skeleton = made
    assert Skeleton.from_json(out / "skeleton.json") == skeleton
    assert not list(out.glob(".*"))


def test_the_same_seed_gives_the_same_files(made, tmp_path):
    out, skeleton = made
    again = tmp_path / "again"
    synthesize.main(out=again, skeleton=skeleton.name, **DIALS)
    assert annotations(again).read_bytes() == annotations(out).read_bytes()
    for picture in (out / "train").iterdir():
        assert (again / "train" / picture.name).read_bytes() == picture.read_bytes()


def test_what_is_there_is_not_overwritten(made):
    out, skeleton = made
    with pytest.raises(InputError, match="already there"):
        synthesize.main(out=out, skeleton=skeleton.name, **DIALS)
    other = {"coco_17": "crowdpose_14", "crowdpose_14": "coco_17"}[skeleton.name]
    with pytest.raises(InputError, match="other keypoints"):
        synthesize.main(out=out, skeleton=other, split="val", **DIALS)


def test_a_killed_run_leaves_no_annotations_and_can_be_repeated(tmp_path, monkeypatch):
    written = []

    def fail_at_third(folder, index, made):
        if index == 2:
            raise KeyboardInterrupt
        written.append(index)
        return write(folder, index, made)

    write = rendering._write
    with monkeypatch.context() as patch:
        patch.setattr(rendering, "_write", fail_at_third)
        with pytest.raises(KeyboardInterrupt):
            synthesize.main(out=tmp_path, **DIALS)
    assert written and not annotations(tmp_path).exists() and not (tmp_path / "train").exists()

    # Killed between its last two steps, and once in the middle without a chance to tidy up.
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "stray.jpg").touch()
    (tmp_path / ".train.unfinished").mkdir()
    synthesize.main(out=tmp_path, **DIALS)
    content = json.loads(annotations(tmp_path).read_text())
    names = sorted(path.name for path in (tmp_path / "train").iterdir())
    assert names == sorted(image["file_name"] for image in content["images"])


@pytest.mark.parametrize(
    ("wrong", "flag"),
    [({"images": 0}, "--images 0"), ({"split": "../x"}, "--split"), ({"split": ""}, "--split")],
)
def test_wrong_calls_are_named(tmp_path, wrong, flag):
    with pytest.raises(InputError, match=flag):
        synthesize.main(out=tmp_path / "set", **{**DIALS, **wrong})
    assert not (tmp_path / "set").exists()
