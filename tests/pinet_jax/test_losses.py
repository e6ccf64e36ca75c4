import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax import losses
from pinet_jax.networks.heads import Maps
from pinet_jax.skeletons import COCO_17
from pinet_jax.targets import Targets, render_targets
from tests.conftest import golden


@pytest.fixture(scope="module")
def targets() -> Targets:
    """Of the two images that the reference was trained on."""
    figures = golden("train_ochuman.npz")
    render = jax.vmap(lambda *x: render_targets(*x, COCO_17.partition("part-large")))
    return render(
        jnp.asarray(figures["keypoints"], jnp.float32),
        jnp.asarray(figures["area"], jnp.float32),
        jnp.ones((2, 32, 32), jnp.uint8),
    )


def test_proposals_are_the_references(targets):
    expected = golden("train_ochuman.npz")["proposal_index"]  # [B, S, 40]
    proposals = losses.sample_proposals(targets, 120)
    ours = np.asarray(proposals.yx[..., 0] * 32 + proposals.yx[..., 1])
    assert proposals.mask.all()
    np.testing.assert_array_equal(np.sort(ours), np.sort(expected))


def test_an_image_without_people_has_no_proposals():
    shapes = ((2,), (2,), (1,), (1,), (1, 2, 2), (1, 2))
    maps = [jnp.zeros((1, 8, 8, *shape)) for shape in shapes]
    empty = Targets(*maps, jnp.zeros((1, 0, 1, 3)))
    assert not losses.sample_proposals(empty, 120).mask.any()
    # The released code then takes all of them, though they have no weight in the loss.
    assert losses.sample_proposals(empty, 120, batch_minimum=True).mask.all()


def test_the_batch_minimum_is_the_poorest_images():
    weight = np.zeros((2, 8, 8, 1, 2), np.float32)
    weight[0, 0, :5], weight[1, 0, :3] = 1, 1
    ones = jnp.ones((2, 8, 8, 1))
    maps = Targets(ones, ones, ones, ones, weight, jnp.asarray(weight), ones)
    count = losses.sample_proposals(maps, 120).mask.sum(axis=-1)
    assert count.tolist() == [[5], [3]]
    count = losses.sample_proposals(maps, 120, batch_minimum=True).mask.sum(axis=-1)
    assert count.tolist() == [[3], [3]]


@pytest.mark.parametrize("case", range(2))
def test_losses_of_one_part_are_the_references(case):
    """SPM's: keypoint and centre maps are one average; without a person there is no offset loss."""
    figures = {
        key.removeprefix(f"case{case}_"): np.moveaxis(value, 1, -1) if value.ndim == 4 else value
        for key, value in golden("baselines/spm/losses_coco.npz").items()
        if key.startswith(f"case{case}_")
    }
    target, weight = (np.split(figures[f"heat_{x}"], [17], axis=-1) for x in ("gt", "weight"))

    def twice(offsets):  # the figures' weights are of numbers, ours of pairs
        return jnp.stack([offsets, offsets], axis=-1)

    offset, offset_weight = figures["offset_gt"], figures["offset_weight"]
    targets = Targets(target[0], weight[0], target[1], weight[1], offset, offset_weight, offset)

    def both(heat, offset):
        maps = Maps(heat[..., :17], heat[..., 17:], offset)
        point = losses.point_loss(maps, targets)
        distance = losses.offset_loss(twice(offset), twice(targets.offset), offset_weight)
        return point + 0.03 * distance, (point, 0.03 * distance)

    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        program = jax.value_and_grad(both, argnums=(0, 1), has_aux=True)
        answer = program(jnp.asarray(figures["heat"]), jnp.asarray(figures["offset"]))
        (_, values), gradients = jax.device_get(answer)
    np.testing.assert_allclose(values, figures["losses"], rtol=1e-6)
    for actual, key in zip(gradients, ("grad_heat", "grad_offset"), strict=True):
        limit = 1e-5 * np.abs(figures[key]).max()
        np.testing.assert_allclose(actual, figures[key], rtol=0, atol=limit)


def test_point_loss_by_hand():
    ones = jnp.ones((1, 2, 2, 1))
    maps = Maps(heatmap=3 * ones, part_map=ones, offset=ones)
    targets = Targets(ones, 0.1 * ones, 2 * ones, ones, ones, ones, ones)
    # Four entries of 0.1 x 2^2 and four of 1 x 1^2, over eight.
    assert float(losses.point_loss(maps, targets)) == pytest.approx((0.4 + 1.0) / 2)


def test_offset_loss_by_hand():
    target = jnp.zeros((3, 2))
    prediction = jnp.asarray([[1.0, 1 / 18], [-2.0, 0.0], [100.0, 100.0]])
    weight = jnp.asarray([0.5, 0.25, 0.0])
    expected = 0.5 * (1 - 1 / 18 + 9 / 2 / 18**2) + 0.25 * (2 - 1 / 18)
    assert float(losses.offset_loss(prediction, target, weight)) == pytest.approx(expected / 4)
    assert float(losses.offset_loss(prediction, target, jnp.zeros(3))) == 0


def test_the_targets_themselves_have_no_loss(targets):
    maps = Maps(targets.heatmap, targets.part_map, targets.offset)
    proposals = losses.sample_proposals(targets, 120)
    poses = losses.coarse_poses(targets.offset, proposals)
    assert float(losses.point_loss(maps, targets)) == 0
    nothing = jnp.zeros_like(poses)
    assert float(losses.refinement_loss(nothing, targets.offset, targets, proposals)) == 0
    # One pixel too far everywhere: smooth L1 at 1, times the mean of the positive weights.
    loss = losses.refinement_loss(nothing + 1, targets.offset, targets, proposals)
    weights = np.asarray(losses.take_parts(targets.offset_weight, proposals.yx))
    assert float(loss) == pytest.approx((1 - 1 / 18) * weights[weights > 0].mean(), rel=1e-5)


def test_true_offsets_lead_to_true_keypoints(targets):
    figures = golden("train_ochuman.npz")
    proposals = losses.sample_proposals(targets, 120)
    poses = np.asarray(losses.coarse_poses(targets.offset, proposals)).reshape(2, 120, 17, 2)
    weights = np.asarray(losses.take_parts(targets.offset_weight, proposals.yx))
    trained = weights.reshape(2, 120, 17) > 0
    for image in range(2):
        keypoints = figures["keypoints"][image, ..., :2]  # [P, K, 2]
        distance = np.linalg.norm(poses[image][:, None] - keypoints[None], axis=-1)
        assert distance.min(axis=1)[trained[image]].max() < 1e-4


def test_masked_proposals_count_for_nothing(targets):
    proposals = losses.sample_proposals(targets, 120)
    kept = proposals._replace(mask=proposals.mask & (jnp.arange(40) < 20)[None, None])
    delta = jnp.ones((2, 3, 40, 17, 2)).at[:, :, 20:].set(1000.0).reshape(2, 120, 17, 2)
    loss = float(losses.refinement_loss(delta, targets.offset, targets, kept))
    assert loss < 1
