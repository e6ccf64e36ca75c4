"""What the input pipeline needs to know. Imports no TensorFlow: configs are read without it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """The paper's augmentation (section 4 of the reference's recipe)."""

    scale: tuple[float, float] = (0.75, 1.5)  # of the image's short side
    rotation_deg: float = 30.0  # uniform in +- this
    translation_px: float = 40.0  # integer, uniform in +- this x short side / 200 x sampled scale
    flip_probability: float = 0.5


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which records to read, and how they become batches."""

    dataset: str = "coco_keypoints"  # the TFDS builder's name
    train_split: str = "train"
    eval_split: str = "val"
    input_size: int = 512  # pixels; the maps have a quarter of it
    max_people: int = 30  # rows that the people of an image are padded to
    min_keypoints: int = 1  # labelled keypoints that a training image has at least
    augmentation: AugmentationConfig = AugmentationConfig()
    fine_valid_mask: bool = False  # give the valid mask at half the input's size, too


@dataclasses.dataclass(frozen=True)
class PersonAugmentationConfig:
    """The released code's augmentation; as it stands, top-down HRNet's on COCO."""

    half_body_probability: float = 0.3  # of persons with enough labelled keypoints
    half_body_keypoints: int = 9  # that are enough
    scale: float = (
        0.35  # standard deviation, and greatest deviation, of a factor on the crop's size
    )
    rotation_deg: float = 45.0  # standard deviation; at most twice as much
    rotation_probability: float = 0.6
    flip_probability: float = 0.5


@dataclasses.dataclass(frozen=True)
class PersonDataConfig:
    """Which records top-down methods read, person by person, and how they are augmented."""

    dataset: str = "coco_keypoints"  # the TFDS builder's name
    train_split: str = "train"
    eval_split: str = "val"
    augmentation: PersonAugmentationConfig = PersonAugmentationConfig()
