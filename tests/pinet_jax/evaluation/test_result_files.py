"""Written files: read back, resumed after any cut, and named as the server wants."""

import json
import zipfile

import numpy as np
import pytest

from pinet_jax.errors import InputError
from pinet_jax.evaluation.result_files import (
    PartialResults,
    growing_results,
    pose_entries,
    write_results,
    write_submission,
)

RUN = {"checkpoint": "c", "scales": [1.0]}


def entries(image_id):
    keypoints = np.random.default_rng(image_id).normal(size=(2, 17, 3)).astype(np.float32)
    return pose_entries(image_id, keypoints, np.float32([0.1, 0.7]), category_id=3)


def test_entries_keep_every_bit_of_the_poses():
    keypoints = np.random.default_rng(0).normal(100, 50, (3, 14, 3)).astype(np.float32)
    scores = np.float32([0.1, 1 / 3, 1e-8])
    found = json.loads(json.dumps(pose_entries(5, keypoints, scores)))
    assert [entry["image_id"] for entry in found] == [5, 5, 5]
    back = np.array([entry["keypoints"] for entry in found], np.float32).reshape(3, 14, 3)
    np.testing.assert_array_equal(back, keypoints)
    np.testing.assert_array_equal(np.float32([entry["score"] for entry in found]), scores)


def test_a_run_goes_on_from_what_is_there(tmp_path):
    path = tmp_path / "new" / "partial.jsonl"
    with PartialResults(path, RUN) as partial:
        partial.add(7, entries(7))
        partial.add(3, [])  # an image in which nobody was found is done too
    with PartialResults(path, RUN) as partial:
        assert set(partial.done) == {3, 7}
        partial.add(5, entries(5))
        assert partial.results([5, 3, 7]) == entries(5) + entries(7)


def test_every_cut_loses_at_most_the_image_it_cuts(tmp_path):
    path = tmp_path / "partial.jsonl"
    with PartialResults(path, RUN) as partial:
        for image_id in (1, 2):
            partial.add(image_id, entries(image_id))
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with PartialResults(path, RUN) as partial:
            assert list(partial.done) == [1, 2][: sum(length >= end for end in ends[1:])]
            for image_id in (1, 2):
                if image_id not in partial.done:
                    partial.add(image_id, entries(image_id))
        assert path.read_bytes() == whole


def test_what_another_process_has_written_is_taken_over(tmp_path):
    with PartialResults(tmp_path / "other", RUN) as other:
        for image_id in (1, 2):
            other.add(image_id, entries(image_id))
    whole = (tmp_path / "other").read_bytes()
    (tmp_path / "other").write_bytes(whole[:-5])  # it is still writing the second one
    with PartialResults(tmp_path / "own", RUN) as partial:
        partial.add(3, entries(3))
        partial.take_over(tmp_path / "other")
        assert partial.results([3, 1]) == entries(3) + entries(1)
        assert set(partial.done) == {1, 3}
        (tmp_path / "other").write_bytes(whole)
        partial.take_over(tmp_path / "other")
        assert partial.results([1, 2, 3]) == entries(1) + entries(2) + entries(3)
    with PartialResults(tmp_path / "own", RUN) as partial:
        assert set(partial.done) == {3}  # the other file keeps its own
    with (
        PartialResults(tmp_path / "third", {"checkpoint": "d"}) as partial,
        pytest.raises(InputError, match="other: poses of another run"),
    ):
        partial.take_over(tmp_path / "other")


def test_poses_of_another_run_are_refused(tmp_path):
    path = tmp_path / "partial.jsonl"
    PartialResults(path, RUN).close()
    with pytest.raises(InputError, match=r"partial\.jsonl: poses of another run"):
        PartialResults(path, RUN | {"scales": [0.5, 1.0]})


def test_a_place_that_cannot_be_written_is_one_line():
    with pytest.raises(InputError, match=r"/proc/x\.jsonl: cannot be written"):
        PartialResults("/proc/x.jsonl", RUN)


def test_result_file_and_submission(tmp_path):
    results = entries(1) + entries(2)
    write_results(tmp_path / "r.json", results)
    assert json.loads((tmp_path / "r.json").read_text()) == results
    archive = write_submission(tmp_path, results, "test-dev2017", "pinet")
    assert archive.name == "person_keypoints_test-dev2017_pinet_results.zip"
    with zipfile.ZipFile(archive) as file:
        assert file.namelist() == ["person_keypoints_test-dev2017_pinet_results.json"]
        assert json.loads(file.read(file.namelist()[0])) == results
    assert {path.name for path in tmp_path.iterdir()} == {"r.json", archive.name}


def interrupted(path, *additions):
    """poses.json after Ctrl-C, where there was an older one."""
    path.write_text("older")
    with pytest.raises(KeyboardInterrupt), growing_results(path) as results:
        for addition in additions:
            results.add(addition)
        raise KeyboardInterrupt
    return path.read_text()


def test_ctrl_c_keeps_what_was_added(tmp_path):
    text = interrupted(tmp_path / "poses.json", entries(1), entries(2))
    assert json.loads(text) == entries(1) + entries(2)
    # A picture without people has been looked at as well.
    assert json.loads(interrupted(tmp_path / "poses.json", [])) == []


def test_ctrl_c_before_anything_was_added_leaves_the_older_file(tmp_path):
    assert interrupted(tmp_path / "poses.json") == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["poses.json"]
