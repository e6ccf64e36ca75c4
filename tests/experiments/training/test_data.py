"""Rendered crowds that are trained on more than once."""

import contextlib
import dataclasses
import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import load_config
from experiments.configs.base import SyntheticConfig
from experiments.training import data as training_data
from experiments.training.data import crowds_of_step, mirrored
from pinet_jax.errors import UsageError
from pinet_jax.skeletons import COCO_17
from tests.tiny import batch, experiment

LEFT_WRIST, RIGHT_WRIST, NOSE = (
    COCO_17.keypoints.index(name) for name in ("left_wrist", "right_wrist", "nose")
)


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_every_crowd_has_all_its_turns_in_order(passes):
    steps = 2 * passes * training_data._BLOCK
    seen = [crowds_of_step(step, passes) for step in range(steps)]
    turns = Counter(number for number, _ in seen)
    assert turns == dict.fromkeys(range(steps // passes), passes)
    for number in (0, 5, steps // passes - 1):
        assert [turn for seen_number, turn in seen if seen_number == number] == list(range(passes))


def test_a_crowd_is_trained_on_at_least_once():
    with pytest.raises(UsageError, match=r"^passes 0: give 1 or more"):
        SyntheticConfig(passes=0)


def test_a_mirrored_batch_has_its_keypoints_where_the_pixels_went():
    made = batch(2)
    made["image"][:] = 0
    made["keypoints"][:] = 0
    made["image"][0, 20, 8] = 255  # row 20, column 8: a left wrist
    made["keypoints"][0, 0, LEFT_WRIST] = 8, 20, 2
    made["image"][0, 4, 63] = 100  # the last column: a nose
    made["keypoints"][0, 0, NOSE] = 63, 4, 1
    made["valid_mask"][0, 3, 1] = 0
    made["corners"][0, 0] = [[8, 20], [18, 20], [8, 50], [18, 50]]

    seen = jax.device_get(mirrored(made, COCO_17))
    keypoints = seen["keypoints"][0, 0]
    np.testing.assert_array_equal(keypoints[RIGHT_WRIST], [55, 20, 2])
    np.testing.assert_array_equal(keypoints[NOSE], [0, 4, 1])
    assert seen["image"][0, 20, 55].tolist() == [255] * 3
    assert seen["image"][0, 4, 0].tolist() == [100] * 3
    assert (keypoints[:, 2] > 0).sum() == 2 and not seen["keypoints"][1].any()
    assert seen["valid_mask"][0, 3].argmin() == 14
    np.testing.assert_array_equal(seen["area"], made["area"])
    left_top, right_top, left_bottom, right_bottom = seen["corners"][0, 0].tolist()
    assert (left_top, right_bottom) == ([45, 20], [55, 50])
    assert (right_top, left_bottom) == ([55, 20], [45, 50])


def test_mirroring_twice_changes_nothing():
    made = batch(2)
    again = jax.device_get(mirrored(mirrored(made, COCO_17), COCO_17))
    for name in made:
        np.testing.assert_allclose(again[name], made[name], rtol=1e-6, atol=2e-6)


def test_batches_come_again_mirrored_also_after_a_restart(monkeypatch):
    from data_pipelines.synthetic_crowds import crowds

    rendered = []

    def crowd_batch(key, ids, **_):
        jax.debug.callback(lambda ids: rendered.append(ids.tolist()), ids)
        images = jnp.broadcast_to(ids[:, None, None, None], (4, 8, 8, 3)).at[:, :, 0].add(100)
        return {**batch(4), "image": images}

    monkeypatch.setattr(crowds, "crowd_batch", crowd_batch)
    monkeypatch.setattr(training_data, "_BLOCK", 2)
    config = experiment()
    config = dataclasses.replace(config, synthetic=dataclasses.replace(config.synthetic, passes=2))
    everywhere = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def read(start, count):
        batches = training_data.SyntheticCrowds(config).batches(start, everywhere)
        return jax.device_get(list(itertools.islice(batches, count)))

    from_start = read(0, 5)
    assert [ids[0] for _, ids in from_start] == [0, 4, 0, 4, 8]
    first, again = from_start[0][0]["image"], from_start[2][0]["image"]
    np.testing.assert_array_equal(again, first[:, :, ::-1])
    assert (first != again).any()
    assert len({tuple(ids) for ids in rendered}) == len(rendered)  # nothing is rendered twice

    resumed = read(3, 2)
    jax.tree.map(np.testing.assert_array_equal, resumed, from_start[3:])


def test_persons_of_rendered_crowds_come_in_the_same_way():
    """Crops of the crowds' people, as often as `passes` says; the same after a restart."""
    config = load_config("simple_baseline_coco")
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, crop_shape=(64, 32)),
        synthetic=dataclasses.replace(experiment().synthetic, passes=2),
        training=dataclasses.replace(config.training, batch_size=4),
    )
    data = training_data.open_training_data(config)
    everywhere = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def read(start, count):
        batches = data.batches(start, everywhere)
        with contextlib.closing(batches):
            return jax.device_get(list(itertools.islice(batches, count)))

    whole = read(0, 3)
    assert np.concatenate([ids for _, ids in whole]).tolist() == np.repeat(range(6), 2).tolist()
    jax.tree.map(np.testing.assert_array_equal, read(2, 1), whole[2:])
    batch, _ = whole[0]
    assert batch["image"].shape == (4, 64, 32, 3)
    assert set(config.model.batch_arrays) <= set(batch)
    assert (batch["keypoints"][..., 2] > 0).any(axis=(1, 2)).all()
    assert data.images_per_epoch == config.synthetic.epoch_images
