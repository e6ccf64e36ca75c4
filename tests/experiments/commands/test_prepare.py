"""`prepare`: all faults printed, nothing half-built taken for whole, each dataset's own layout."""

import json
import signal
import subprocess
import sys
import time

import pytest

from data_pipelines import records
from experiments.commands.prepare import main
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.conftest import ROOT, shared_data
from tests.data_pipelines import coco_files


@pytest.fixture
def ochuman(tmp_path):
    """OCHuman's layout; the folder, and the content of val and test."""
    contents = {"val": coco_files.content(3), "test": coco_files.content(2, first_id=11)}
    for split, content in contents.items():
        coco_files.write_images(tmp_path / "data" / "images", content)
        _write(tmp_path / "data", split, content)
    return tmp_path / "data", contents


def _write(folder, split, content):
    coco_files.write_json(folder / f"ochuman_coco_format_{split}_range_0.00_1.00.json", content)


def test_both_splits_are_built(ochuman, tmp_path, capsys):
    main("ochuman", data_dir=ochuman[0], out=tmp_path / "out")
    assert len(records.open_split("ochuman", "val", tmp_path / "out")) == 3
    assert len(records.open_split("ochuman", "test", tmp_path / "out")) == 2
    printed = capsys.readouterr()
    assert "prepared; val 3 records in 1 shard(s), test 2 records" in printed.out
    assert "5/5" in printed.err  # the progress bar


def test_all_faults_of_all_splits_are_printed_and_nothing_is_built(ochuman, tmp_path, capsys):
    folder, contents = ochuman
    contents["val"]["annotations"][0]["keypoints"][2] = 7
    contents["val"]["images"][2]["width"] = 9
    contents["test"]["annotations"][0]["bbox"] = [1, 1, -1, 1]
    for split, content in contents.items():
        _write(folder, split, content)
    with pytest.raises(InputError, match=r"3 fault.*--skip-bad"):
        main("ochuman", data_dir=folder, out=tmp_path / "out")
    printed = capsys.readouterr().err
    assert "annotation 101: v outside 0..2" in printed
    assert "image 3: image size differs from the file" in printed
    assert "annotation 111: empty or negative box" in printed
    assert not list(tmp_path.glob("out/**/*array_record*"))


def test_skip_bad_leaves_faults_out_and_writes_the_list(ochuman, tmp_path):
    folder, contents = ochuman
    contents["val"]["annotations"][0]["keypoints"][2] = 7
    (folder / "images" / "0003.jpg").write_bytes(b"broken")
    _write(folder, "val", contents["val"])
    main("ochuman", data_dir=folder, out=tmp_path / "out", skip_bad=True)
    split = records.open_split("ochuman", "val", tmp_path / "out")
    assert [record["image_id"] for record in split] == [1, 2]
    assert [len(record["keypoints"]) for record in split] == [0, 1]
    lines = (split.folder / records.left_out_name("val")).read_text().splitlines()
    assert [line.split(".json: ")[1].split(":")[0] for line in lines] == [
        "annotation 101",
        "image 3",
    ]
    assert not (split.folder / records.left_out_name("test")).exists()


def test_a_broken_file_is_not_skipped(ochuman, tmp_path):
    folder, _ = ochuman
    (folder / "ochuman_coco_format_val_range_0.00_1.00.json").write_text("{")
    with pytest.raises(InputError, match=r"val_range.*broken JSON.*mend this file"):
        main("ochuman", data_dir=folder, out=tmp_path / "out", skip_bad=True)


def test_check_only_builds_nothing_and_caps_the_list(ochuman, tmp_path, capsys):
    folder, _ = ochuman
    content = coco_files.content(40, first_id=100)
    coco_files.write_images(tmp_path / "elsewhere", content)
    _write(folder, "val", content)
    with pytest.raises(InputError, match="40 fault"):
        main("ochuman", data_dir=folder, out=tmp_path / "out", check_only=True)
    printed = capsys.readouterr().err
    assert printed.count("missing image (") == 10
    assert "missing image: 30 more, 40 in all" in printed
    assert not (tmp_path / "out").exists()


def test_check_only_of_sound_data_passes(ochuman, tmp_path, capsys):
    main("ochuman", data_dir=ochuman[0], out=tmp_path / "out", check_only=True)
    assert "val: 3 sound images, 3 annotations; no faults" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_missing_split_is_named_and_the_other_built(ochuman, tmp_path, capsys):
    folder, _ = ochuman
    (folder / "ochuman_coco_format_test_range_0.00_1.00.json").unlink()
    main("ochuman", data_dir=folder, out=tmp_path / "out")
    assert "split test is missing: there is no" in capsys.readouterr().err
    assert len(records.open_split("ochuman", "val", tmp_path / "out")) == 3


def test_a_second_time_nothing_is_done(ochuman, tmp_path, capsys):
    main("ochuman", data_dir=ochuman[0], out=tmp_path / "out", splits=("val",))
    capsys.readouterr()
    main("ochuman", data_dir=ochuman[0], out=tmp_path / "out", splits=("val",))
    assert "already prepared" in capsys.readouterr().out
    with pytest.raises(InputError, match="before with val only; prepare val, test with --replace"):
        main("ochuman", data_dir=ochuman[0], out=tmp_path / "out")


def _other_project(folder):
    content = coco_files.content(2, first_id=50)
    coco_files.write_images(folder / "images", content)
    _write(folder, "val", content)


def _corrected(folder):
    content = coco_files.content(3)
    content["annotations"][0]["keypoints"][0] += 1
    _write(folder, "val", content)


def _other_picture(folder):
    (folder / "images" / "0001.jpg").write_bytes((folder / "images" / "0002.jpg").read_bytes())


@pytest.mark.parametrize("change", [_other_project, _corrected, _other_picture])
def test_a_set_prepared_of_other_files_is_never_taken(ochuman, tmp_path, change):
    folder, out = ochuman[0], tmp_path / "out"
    main("ochuman", data_dir=folder, out=out, splits=("val",))
    before = [record["keypoints"].tolist() for record in records.open_split("ochuman", "val", out)]
    change(folder)
    with pytest.raises(InputError, match=rf"its val was prepared of {folder}, whose .*--replace"):
        main("ochuman", data_dir=folder, out=out, splits=("val",))
    kept = [record["keypoints"].tolist() for record in records.open_split("ochuman", "val", out)]
    assert kept == before
    main("ochuman", data_dir=folder, out=out, splits=("val",), replace=True)
    now = records.open_split("ochuman", "val", out)
    assert len(now) == (2 if change is _other_project else 3)
    main("ochuman", data_dir=folder, out=out, splits=("val",))
    assert not list(out.glob("ochuman/*.replaced")) and not list(out.glob("ochuman/.building"))


def test_two_projects_whose_folders_are_called_alike(tmp_path):
    for project, skeleton in (("p1", COCO_17), ("p2", CROWDPOSE_14)):
        data = tmp_path / project / "data"
        content = coco_files.content(2, skeleton)
        coco_files.write_images(data / "val", content)
        coco_files.write_json(data / "annotations" / "person_keypoints_val.json", content)
        coco_files.write_json(data / "skeleton.json", skeleton.to_json())
    main("custom", data_dir=tmp_path / "p1" / "data", out=tmp_path / "out")
    with pytest.raises(InputError, match=r"prepared of .*p1/data, .* not those of .*p2/data"):
        main("custom", data_dir=tmp_path / "p2" / "data", out=tmp_path / "out")


def test_a_replacement_that_fails_leaves_the_older_set(ochuman, tmp_path):
    folder, out = ochuman[0], tmp_path / "out"
    main("ochuman", data_dir=folder, out=out, splits=("val",))
    (folder / "images" / "0001.jpg").write_bytes(b"broken")
    with pytest.raises(InputError, match="1 fault"):
        main("ochuman", data_dir=folder, out=out, splits=("val",), replace=True)
    assert len(records.open_split("ochuman", "val", out)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"splits": ("train",)}, "--splits train: the dataset has val, test"),
        ({"name": "mine"}, "--name mine: only `prepare custom` takes it"),
        ({"data_dir": "nowhere"}, "--data-dir nowhere: no such folder"),
    ],
)
def test_wrong_flags_are_named(ochuman, tmp_path, arguments, message):
    from pathlib import Path

    given = {"data_dir": ochuman[0], "out": tmp_path / "out"} | arguments
    given["data_dir"] = Path(given["data_dir"])
    with pytest.raises(InputError, match=message):
        main("ochuman", **given)


def test_an_asked_split_that_is_missing_is_an_error(ochuman, tmp_path):
    folder, _ = ochuman
    (folder / "ochuman_coco_format_test_range_0.00_1.00.json").unlink()
    with pytest.raises(InputError, match=r"--splits test: .* is missing"):
        main("ochuman", data_dir=folder, out=tmp_path / "out", splits=("test",))


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="none of the dataset's annotation files"):
        main("coco", data_dir=tmp_path, out=tmp_path / "out")


def test_an_unwritable_place_is_an_error(ochuman, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        main("ochuman", data_dir=ochuman[0], out=tmp_path / "file")


def test_a_custom_set_takes_its_skeleton_and_name(tmp_path):
    folder = tmp_path / "my_crowds"
    content = coco_files.content(2, CROWDPOSE_14)
    coco_files.write_images(folder / "train", content)
    coco_files.write_json(folder / "annotations" / "person_keypoints_train.json", content)
    coco_files.write_json(folder / "skeleton.json", CROWDPOSE_14.to_json())
    main("custom", data_dir=folder, out=tmp_path / "out")
    split = records.open_split("my_crowds", "train", tmp_path / "out")
    assert split.skeleton == CROWDPOSE_14
    assert len(split) == 2

    other = coco_files.write_json(tmp_path / "other.json", COCO_17.to_json())
    with pytest.raises(InputError, match="other keypoints than the skeleton's"):
        main("custom", data_dir=folder, out=tmp_path / "out", skeleton=other, name="others")
    with pytest.raises(InputError, match="--name a/b"):
        main("custom", data_dir=folder, out=tmp_path / "out", name="a/b")


def test_a_split_that_tfds_cannot_name_is_an_error(tmp_path):
    coco_files.write_json(tmp_path / "annotations" / "person_keypoints_a-b.json", {})
    coco_files.write_json(tmp_path / "skeleton.json", COCO_17.to_json())
    with pytest.raises(InputError, match="'a-b' is no name for a split"):
        main("custom", data_dir=tmp_path, out=tmp_path / "out", name="mine")


def test_crowdposes_halves_are_joined(tmp_path):
    folder = tmp_path / "data"
    for split, first in (("train", 1), ("val", 11)):
        content = coco_files.content(2, CROWDPOSE_14, first)
        coco_files.write_images(folder / "images", content)
        coco_files.write_json(folder / "json" / f"crowdpose_{split}.json", content)
    main("crowdpose", data_dir=folder, out=tmp_path / "out")
    split = records.open_split("crowdpose", "trainval", tmp_path / "out")
    assert split.index.image_id.tolist() == [1, 2, 11, 12]
    assert len(json.loads(split.annotations_file.read_text())["annotations"]) == 4


# Writes two records and then waits for ever; the parent kills it there.
STUCK = """
import sys, time
from pathlib import Path
from data_pipelines.builders.base import KeypointBuilder
from experiments.commands.prepare import main

example = KeypointBuilder._example

def stuck(self, image, annotations):
    if image["id"] == 3:
        Path(sys.argv[3]).touch()
        time.sleep(600)
    return example(self, image, annotations)

KeypointBuilder._example = stuck
main("ochuman", data_dir=Path(sys.argv[1]), out=Path(sys.argv[2]))
"""


@pytest.fixture
def killed(ochuman, tmp_path):
    """The place where a `prepare` was killed with SIGKILL while it wrote records."""
    out, reached = tmp_path / "out", tmp_path / "reached"
    process = _stuck(ochuman[0], out, reached)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    return out


def _stuck(data_dir, out, reached):
    command = [sys.executable, "-c", STUCK, str(data_dir), str(out), str(reached)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not reached.exists():
        assert process.poll() is None and time.monotonic() < deadline, "it never wrote a record"
        time.sleep(0.05)
    return process


def test_a_killed_prepare_leaves_nothing_that_passes_for_whole(ochuman, killed):
    left_behind = list(killed.glob("ochuman/.building/ochuman/incomplete*/*array_record*"))
    assert left_behind  # it was killed in the middle of writing
    with pytest.raises(InputError, match="holds no prepared dataset"):
        records.open_split("ochuman", "val", killed)

    main("ochuman", data_dir=ochuman[0], out=killed)
    assert [r["image_id"] for r in records.open_split("ochuman", "val", killed)] == [1, 2, 3]
    assert [path.name for path in killed.glob("ochuman/*") if path.is_dir()] == ["1.0.0"]


def test_two_at_once_are_refused(ochuman, tmp_path):
    process = _stuck(ochuman[0], tmp_path / "out", tmp_path / "reached")
    try:
        with pytest.raises(InputError, match="another prepare is at work"):
            main("ochuman", data_dir=ochuman[0], out=tmp_path / "out")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("dataset", "split", "images", "missing"),
    [
        ("coco", "train", 28, None),
        ("coco", "val", 16, None),
        ("ochuman", "val", 3, "test"),
        ("crowdpose", "trainval", 2, "test"),
    ],
)
def test_real_downloads(tmp_path, capsys, dataset, split, images, missing):
    main(dataset, data_dir=shared_data(dataset), out=tmp_path)
    name = {"coco": "coco_keypoints"}.get(dataset, dataset)
    assert len(records.open_split(name, split, tmp_path)) == images
    said = capsys.readouterr().err
    assert (f"split {missing} is missing" in said) == (missing is not None)


def test_crowdposes_2000_val_images_are_missing(tmp_path, capsys):
    with pytest.raises(InputError, match="2000 fault"):
        main("crowdpose", data_dir=shared_data("crowdpose"), splits=("val",), check_only=True)
    assert "missing image: 1990 more, 2000 in all" in capsys.readouterr().err
