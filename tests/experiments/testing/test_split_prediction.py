"""Every image once, grouped by size, resumed, and in its own pixels."""

import dataclasses
import itertools

import numpy as np
import pytest

from experiments.testing.image_sets import ImageSet
from experiments.testing.split_prediction import predict_split, predict_stages, share_of
from pinet_jax.errors import InputError
from pinet_jax.evaluation.result_files import PartialResults
from pinet_jax.poses import Poses
from pinet_jax.resizing import resized_shape
from pinet_jax.skeletons import COCO_17

SHAPES = [(64, 96), (96, 64), (64, 90), (64, 96), (200, 70), (64, 96), (96, 64)]
INPUT_SIZE = 64


class KilledError(Exception):
    pass


@dataclasses.dataclass
class FakePredictor:
    """Finds one person at (width, height), whose score is the image's grey value."""

    skeleton = COCO_17
    batches: list = dataclasses.field(default_factory=list)
    killed_after: int = 1000

    def frame_shapes(self, image_shape):
        return (resized_shape(*image_shape, INPUT_SIZE),)

    def frames(self, image, boxes=None):
        return [image]

    def predict_stream(self, images, batch_size):
        while batch := list(itertools.islice(images, batch_size)):
            if len(self.batches) == self.killed_after:
                raise KilledError
            self.batches.append((batch_size, [image.shape[:2] for _, (image,) in batch]))
            for place, (image,) in batch:
                height, width = image.shape[:2]
                keypoints = np.full((1, 17, 3), (width, height, 0.5), np.float32)
                poses = Poses(keypoints, np.float32([image[0, 0, 0]]))
                yield place, {"coarse": poses, "refined": poses, "final": poses}


@pytest.fixture
def images():
    """Image number n has the id 100 - n and the grey value n."""
    return ImageSet(
        ids=[100 - n for n in range(len(SHAPES))],
        shapes=SHAPES,
        read=lambda n: np.full((*SHAPES[n], 3), n, np.uint8),
    )


def run(images, predictor, path, batch_size=2):
    with PartialResults(path, {}) as partial:
        timing = predict_split(images, predictor, partial, batch_size=batch_size)
        return timing, partial.results(images.ids)


def test_every_image_gets_its_own_poses_in_the_files_order(images, tmp_path):
    predictor = FakePredictor()
    timing, results = run(images, predictor, tmp_path / "p")
    assert timing.images == len(SHAPES)
    assert [entry["image_id"] for entry in results] == list(images.ids)
    for n, (entry, (height, width)) in enumerate(zip(results, SHAPES, strict=True)):
        assert entry["score"] == n
        assert entry["keypoints"][:2] == [width, height]
    # 64 x 90 and 64 x 96 share an input; so few of a size do not pay for a larger batch
    assert sorted(size for size, _ in predictor.batches) == [1, 2, 2, 2]


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_killed_run_goes_on_where_it_was(images, tmp_path, batches):
    with pytest.raises(KilledError):
        run(images, FakePredictor(killed_after=batches), tmp_path / "killed")
    again = FakePredictor()
    timing, results = run(images, again, tmp_path / "killed")
    assert results == run(images, FakePredictor(), tmp_path / "whole")[1]
    assert len(again.batches) == 4 - batches
    assert timing.images == sum(len(shapes) for _, shapes in again.batches)


@pytest.mark.parametrize("processes", [1, 2, 3, 9])
def test_processes_share_the_images_evenly(images, processes):
    shares = [share_of(images, FakePredictor(), number, processes) for number in range(processes)]
    assert sorted(i for share in shares for i in share.ids) == sorted(images.ids)
    counts = [len(share.ids) for share in shares]
    assert max(counts) - min(counts) <= 1
    wide = [sum(width > height for height, width in share.shapes) for share in shares]
    assert max(wide) - min(wide) <= 1  # 64 x 90 and 64 x 96: one input
    for share in shares:
        for place, (image_id, shape) in enumerate(zip(share.ids, share.shapes, strict=True)):
            image = share.read(place)
            assert (image[0, 0, 0], image.shape[:2]) == (100 - image_id, shape)


def test_a_finished_run_has_nothing_to_do(images, tmp_path):
    _, first = run(images, FakePredictor(), tmp_path / "p")
    predictor = FakePredictor(killed_after=0)
    timing, second = run(images, predictor, tmp_path / "p")
    assert (timing.images, timing.images_per_second) == (0, None)
    assert first == second


def test_stages_of_few_images_use_the_splits_programs(images, tmp_path):
    predictor = FakePredictor()
    run(images, predictor, tmp_path / "p")
    compiled = {size for size, _ in predictor.batches}
    chosen = FakePredictor()
    stages = predict_stages(images, [97, 99], chosen, batch_size=2)
    assert {i: s["coarse"].scores.tolist() for i, s in stages.items()} == {97: [3.0], 99: [1.0]}
    assert {size for size, _ in chosen.batches} <= compiled


def test_a_folder_of_other_images_is_refused(tmp_path):
    from PIL import Image

    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    entry = {"id": 4, "file_name": "a.png", "height": 20, "width": 30}
    images = ImageSet.of_folder([entry], tmp_path)
    assert (images.ids, images.shapes) == ([4], [(20, 30)])
    assert images.read(0).shape == (20, 30, 3)
    other = ImageSet.of_folder([entry | {"height": 30, "width": 20}], tmp_path)
    with pytest.raises(InputError, match=r"a\.png: 30 x 20 pixels, 20 x 30 in the annotations"):
        other.read(0)
