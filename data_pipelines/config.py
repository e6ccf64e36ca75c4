"""What the input pipeline needs to know. Imports no TensorFlow: configs are read without it."""

from __future__ import annotations

import dataclasses

from data_pipelines.synthetic_crowds.config import CrowdConfig
from pinet_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
    """What is trained on beside `dataset`; by default nothing."""

    sets: tuple[str, ...] = ()  # prepared datasets: NAME, or NAME:SPLIT where it is not train_split
    # How often a sample is of each, where `dataset` has the weight 1; 1 each if none is given.
    weights: tuple[float, ...] = ()
    # Which of `dataset` and `sets` have people whose unlabelled keypoints may be in the image:
    # these count neither as background nor as targets, inside the people's boxes.
    partial: tuple[str, ...] = ()
    crowds_weight: float = 0.0  # of crowds that are rendered meanwhile; 0: none are
    crowds: CrowdConfig = CrowdConfig()  # what they look like

    def __post_init__(self) -> None:
        """Refuses what does not fit together.

        Raises:
            UsageError: with the field's name and value.
        """
        if self.weights and len(self.weights) != len(self.sets):
            raise UsageError(f"weights {self.weights}: give {len(self.sets)}, one for each set")
        if any(weight <= 0 for weight in self.weights):
            raise UsageError(f"weights {self.weights}: must be positive")
        if self.crowds_weight < 0:
            raise UsageError(f"crowds_weight {self.crowds_weight}: give 0 or more")


@dataclasses.dataclass(frozen=True)
class PixelConfig:
    """Changes of colours and sharpness; by default none, as in the papers' recipes."""

    brightness: float = 0.0  # a factor, uniform in 1 +- this
    contrast: float = 0.0  # likewise, about the image's mean grey
    saturation: float = 0.0  # likewise, about each pixel's grey
    hue: float = 0.0  # uniform in +- this share of the circle of colours
    blur: float = 0.0  # share of blurred images
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # standard deviation, pixels, uniform

    def __post_init__(self) -> None:
        """Refuses what is no share and no range.

        Raises:
            UsageError: with the field's name and value.
        """
        for name in ("brightness", "contrast", "saturation", "hue", "blur"):
            _check_share(name, getattr(self, name))
        low, high = self.blur_sigma
        if not 0 < low <= high:
            raise UsageError(f"blur_sigma {low} {high}: give the least, above 0, and the greatest")


@dataclasses.dataclass(frozen=True)
class PastingConfig:
    """People of other images, pasted over people; by default none."""

    share: float = 0.0  # of the images that people are pasted into
    people: tuple[int, int] = (1, 2)  # fewest and most of them

    def __post_init__(self) -> None:
        """Refuses what is no share and no range.

        Raises:
            UsageError: with the field's name and value.
        """
        _check_share("share", self.share)
        fewest, most = self.people
        if not 1 <= fewest <= most:
            raise UsageError(f"people {fewest} {most}: give the fewest, 1 or more, and the most")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UsageError(f"{name} {value}: give a share, 0 to 1")


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """The paper's augmentation (section 4 of the reference's recipe), and what may be added."""

    scale: tuple[float, float] = (0.75, 1.5)  # of the image's short side
    rotation_deg: float = 30.0  # uniform in +- this
    translation_px: float = 40.0  # integer, uniform in +- this x short side / 200 x sampled scale
    flip_probability: float = 0.5  # of a mirrored sample
    pasting: PastingConfig = PastingConfig()
    pixels: PixelConfig = PixelConfig()


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which records to read, and how they become batches."""

    dataset: str = "coco_keypoints"  # the TFDS builder's name
    train_split: str = "train"  # trained on
    eval_split: str = "val"  # tested on
    input_size: int = 512  # pixels; the maps have a quarter of it
    max_people: int = 30  # rows that the people of an image are padded to
    min_keypoints: int = 1  # labelled keypoints that a training image has at least
    augmentation: AugmentationConfig = AugmentationConfig()
    fine_valid_mask: bool = False  # give the valid mask at half the input's size, too
    mixture: MixtureConfig = MixtureConfig()


@dataclasses.dataclass(frozen=True)
class PersonAugmentationConfig:
    """The released code's augmentation; by default top-down HRNet's on COCO."""

    half_body_probability: float = 0.3  # of persons with enough labelled keypoints
    half_body_keypoints: int = 9  # that are enough
    scale: float = 0.35  # of a factor on the crop's size: standard and greatest deviation
    rotation_deg: float = 45.0  # standard deviation; at most twice as much
    rotation_probability: float = 0.6  # of a turned sample
    flip_probability: float = 0.5  # of a mirrored sample
    pixels: PixelConfig = PixelConfig()


@dataclasses.dataclass(frozen=True)
class PersonDataConfig:
    """Which records top-down methods read, person by person, and how they are augmented."""

    dataset: str = "coco_keypoints"  # the TFDS builder's name
    train_split: str = "train"  # trained on
    eval_split: str = "val"  # tested on
    augmentation: PersonAugmentationConfig = PersonAugmentationConfig()
    mixture: MixtureConfig = MixtureConfig()
