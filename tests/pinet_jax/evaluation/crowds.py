"""Made-up ground truth and poses with everything that real files have."""

from typing import Any

import numpy as np

from pinet_jax.skeletons import Skeleton


def make_crowd(
    skeleton: Skeleton, *, images: int = 12, seed: int = 0, first_id: int = 100
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """COCO-format annotations and results.

    There are images without people, images without poses, crowd regions, people without keypoints,
    people found twice and not at all, poses on nobody, and images with more than 20 poses.
    """
    rng = np.random.default_rng(seed)
    dataset: dict[str, Any] = {"images": [], "annotations": [], "categories": [_category(skeleton)]}
    results = []
    for image_id in range(first_id, first_id + images):
        dataset["images"].append(
            {
                "id": image_id,
                "file_name": f"{image_id}.jpg",
                "width": 640,
                "height": 480,
                "crowdIndex": float(rng.uniform()),
            }
        )
        people = [_person(skeleton, rng) for _ in range(rng.integers(0, 7))]
        for person in people:
            annotation_id = len(dataset["annotations"]) + 1
            dataset["annotations"].append({**person, "id": annotation_id, "image_id": image_id})
        poses = [_near(person, rng) for person in people for _ in range(rng.integers(0, 7))]
        poses += [_near(_person(skeleton, rng), rng) for _ in range(rng.integers(0, 4))]
        results += [{**pose, "image_id": image_id} for pose in poses]
    return dataset, results


def _category(skeleton: Skeleton) -> dict[str, Any]:
    return {"id": 1, "name": "person", "keypoints": list(skeleton.keypoints)}


def _person(skeleton: Skeleton, rng: np.random.Generator) -> dict[str, Any]:
    size = rng.uniform(20, 200, 2)
    corner = rng.uniform(0, 400, 2)
    points = corner + size * rng.uniform(size=(skeleton.num_keypoints, 2))
    visibility = rng.integers(0, 3, skeleton.num_keypoints) * (rng.uniform() > 0.15)
    keypoints = np.column_stack([points * (visibility > 0)[:, None], visibility])
    return {
        "category_id": 1,
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int((visibility > 0).sum()),
        "bbox": [*corner.tolist(), *size.tolist()],
        "area": float(0.53 * size.prod()),
        "iscrowd": int(rng.uniform() < 0.1),
    }


def _near(person: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A pose of a person, from nearly perfect to far off."""
    keypoints = np.reshape(person["keypoints"], (-1, 3)).astype(float)
    spread = rng.choice([0.01, 0.05, 0.1, 0.3]) * np.sqrt(person["area"])
    keypoints[:, :2] += rng.normal(scale=spread, size=(len(keypoints), 2))
    keypoints[:, 2] = rng.uniform(size=len(keypoints))
    return {
        "category_id": 1,
        "keypoints": keypoints.ravel().tolist(),
        "score": float(rng.uniform()),
    }
