"""What an experiment is: a network, its data, its training and its test."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import tyro

from data_pipelines.annotations.reading import Exif
from data_pipelines.config import DataConfig, PersonDataConfig
from data_pipelines.device_augmentation import DeviceAugmentationConfig
from data_pipelines.synthetic_crowds.config import CrowdConfig
from pinet_jax.errors import UsageError
from pinet_jax.methods.base import InferenceConfig, Method
from pinet_jax.methods.pinet import PINetInference
from pinet_jax.training import TrainingConfig


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """Crowds that are rendered while the network trains."""

    crowds: CrowdConfig = CrowdConfig()
    # How often a crowd is trained on, every second time mirrored: on a CPU, rendering takes a
    # quarter of a small network's time.
    passes: int = 1
    epoch_images: int = 2000  # that count as an epoch
    test_images: int = 100  # another seed's; the same in every evaluation

    def __post_init__(self) -> None:
        """Refuses what cannot be done."""
        if self.passes < 1:
            raise UsageError(f"passes {self.passes}: give 1 or more")


@dataclasses.dataclass(frozen=True)
class PackedConfig:
    """Photographs that lie whole in the devices' memory: files of `pinet-jax pack`."""

    packs: tuple[Path, ...] = ()
    weights: tuple[float, ...] = ()  # how often each pack is drawn from; alike if none is given
    # For each pack, whether keypoints may be there that are not labelled: they count neither as
    # background nor as targets. A pack without a flag is labelled whole.
    partial: tuple[bool, ...] = ()
    crowds: int = 0  # rendered crowds beside the packs
    crowds_weight: float = 0.1  # how often they are drawn from
    augmentation: DeviceAugmentationConfig = DeviceAugmentationConfig()
    epoch_images: int = 5000  # that count as an epoch
    test_annotations: Path | None = None  # a COCO-format file to test on while training
    test_images: Path | None = None  # the folder of its pictures
    test_exif: Exif | None = None  # which pixels the labels of turned pictures are in

    def __post_init__(self) -> None:
        """Refuses what does not fit together.

        Raises:
            UsageError: with the field's name and value.
        """
        if self.weights and len(self.weights) != len(self.packs):
            raise UsageError(f"weights {self.weights}: give {len(self.packs)}, one for each pack")
        if len(self.partial) > len(self.packs):
            raise UsageError(f"partial {self.partial}: give at most {len(self.packs)}, one a pack")
        if any(weight <= 0 for weight in (*self.weights, self.crowds_weight)):
            raise UsageError(f"weights {self.weights}: must be positive")

    @property
    def all_weights(self) -> tuple[float, ...]:
        """Of all packs, and last of the rendered crowds if there are any."""
        weights = self.weights or (1.0,) * len(self.packs)
        return (*weights, self.crowds_weight) if self.crowds else weights


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """What happens beside the steps."""

    log_every: int = 20  # steps; a line of metrics.jsonl is the mean over them
    save_every: int = 500  # steps
    keep: int = 2  # latest checkpoints, beside the best
    evaluate_every: float = 10  # epochs; 0: never
    batch_size: int = 1  # of evaluation, images of one size at a time
    pictures: int = 4  # test images that are drawn after every evaluation
    profile: tuple[int, int] | None = None  # first and last step of a trace for TensorBoard


@dataclasses.dataclass(frozen=True)
class PaperResult:
    """What a paper reports for an experiment.

    Attributes:
        where: its table or section.
        figures: fractions by the names that the metrics give them (AP, AP50, AP_easy, ...).
    """

    where: str
    figures: Mapping[str, float]

    @classmethod
    def percent(cls, where: str, **figures: float) -> PaperResult:
        """From figures as papers write them, in percent."""
        return cls(where, {name: round(figure / 100, 6) for name, figure in figures.items()})


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """One file of this folder makes one of these, and so does one line of `paper_rows`."""

    model: Method
    data: DataConfig | PersonDataConfig = DataConfig()  # the latter for methods that need boxes
    synthetic: SyntheticConfig | None = None  # if given, takes the place of `data`
    packed: PackedConfig | None = None  # likewise
    inference: InferenceConfig = PINetInference()  # the method's own
    training: TrainingConfig = TrainingConfig()
    loop: LoopConfig = LoopConfig()
    paper: Annotated[PaperResult | None, tyro.conf.Suppress] = None
