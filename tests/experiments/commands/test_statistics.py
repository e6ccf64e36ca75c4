"""`statistics`: the table, the JSON and the plot tell the same, right figures."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments.commands import prepare, statistics
from pinet_jax.errors import InputError
from tests.conftest import shared_data
from tests.data_pipelines import coco_files


def _occluded(number: int, image_id: int, x: float) -> dict:
    """A person of whom only the left side of the body is labelled, and only its knee is seen."""
    keypoints = np.zeros((17, 3))
    keypoints[[5, 11], 2] = 1
    keypoints[13, 2] = 2
    keypoints[:, :2] = x + 1
    return coco_files.person(
        number, image_id, keypoints=keypoints.ravel().tolist(), bbox=[x, 0, 20, 10]
    )


@pytest.fixture
def content():
    """Two images: two people that share a third of their boxes, and one person."""
    content = coco_files.content(2)
    content["annotations"] = [_occluded(1, 1, 0), _occluded(2, 1, 10), coco_files.person(3, 2)]
    return content


def test_figures_of_an_annotation_file(tmp_path, content, capsys):
    file = coco_files.write_json(tmp_path / "mine.json", content)
    statistics.main(str(file), out=tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "statistics_mine.json").read_text())
    assert (figures["images"], figures["people"]) == (2, 3)
    assert figures["people_per_image"] == {"mean": 1.5, "most": 2, "images_with": [0, 1, 1]}
    assert figures["box_iou"]["mean"] == pytest.approx(1 / 6)
    assert figures["box_iou"]["images_in_bin"][6] == 1  # 1 / 3
    assert figures["crowd_index"]["source"] == "computed"
    assert figures["visibility"]["nose"] == {"unlabelled": 2, "hidden": 1, "visible": 0}
    assert figures["visibility"]["left_knee"] == {"unlabelled": 0, "hidden": 0, "visible": 3}
    # Of the three parts, the two occluded people have a head unlabelled and a body hidden.
    assert figures["parts_without_a_visible_keypoint"]["part-large"] == pytest.approx(4 / 9)
    assert figures["parts_without_a_labelled_keypoint"]["part-large"] == pytest.approx(2 / 9)

    table = capsys.readouterr().out
    assert "mine: 2 images, 3 people" in table
    assert any(line.split() == ["part-large", "44.4", "22.2"] for line in table.splitlines())
    assert any(line.split() == ["left_knee", "100.0", "0.0", "0.0"] for line in table.splitlines())
    picture = Image.open(tmp_path / "out" / "statistics_mine.png")
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 10  # something is drawn


def test_figures_of_a_prepared_set(tmp_path, content, capsys):
    folder = tmp_path / "data"
    coco_files.write_images(folder / "images", content)
    coco_files.write_json(folder / "ochuman_coco_format_val_range_0.00_1.00.json", content)
    prepare.main("ochuman", data_dir=folder, out=tmp_path / "sets")
    statistics.main("ochuman", out=tmp_path / "out", data_dir=tmp_path / "sets")
    figures = json.loads((tmp_path / "out" / "statistics_ochuman_val.json").read_text())
    assert (figures["images"], figures["people"]) == (2, 3)
    with pytest.raises(InputError, match=r"--splits test: .* has val"):
        statistics.main(
            "ochuman", out=tmp_path / "out", data_dir=tmp_path / "sets", splits=("test",)
        )


def test_faults_are_told_of(tmp_path, content, capsys):
    content["annotations"][2]["bbox"] = [0, 0, -1, 0]
    file = coco_files.write_json(tmp_path / "mine.json", content)
    statistics.main(str(file), out=tmp_path / "out")
    assert "1 fault(s), left out; the first: " in capsys.readouterr().err


def test_a_file_of_another_skeleton_is_refused(tmp_path, content):
    file = coco_files.write_json(tmp_path / "mine.json", content)
    with pytest.raises(InputError, match="is --skeleton right"):
        statistics.main(str(file), out=tmp_path / "out", skeleton="crowdpose")


def test_a_set_without_people(tmp_path, content):
    content["annotations"] = []
    file = coco_files.write_json(tmp_path / "mine.json", content)
    statistics.main(str(file), out=tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "statistics_mine.json").read_text())
    assert figures["people"] == 0
    assert figures["people_per_image"]["images_with"] == [2]


def test_crowdposes_crowd_index_is_its_own(tmp_path):
    file = shared_data("crowdpose", "json", "crowdpose_val.json")
    statistics.main(str(file), out=tmp_path, skeleton="crowdpose")
    figures = json.loads((tmp_path / "statistics_crowdpose_val.json").read_text())
    stated = [image["crowdIndex"] for image in json.loads(file.read_text())["images"]]
    assert figures["crowd_index"]["source"] == "annotations"
    assert figures["crowd_index"]["mean"] == pytest.approx(np.mean(stated))
    easy = sum(index < 0.2 for index in stated)
    assert sum(figures["crowd_index"]["images_in_bin"][:4]) == easy
