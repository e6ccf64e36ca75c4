"""What an experiment's samples are made of: prepared sets, and crowds rendered meanwhile."""

from __future__ import annotations

import dataclasses

from data_pipelines.config import MixtureConfig, PersonDataConfig
from data_pipelines.input_pipeline import Images, Samples, SetSamples
from data_pipelines.mixture import Mixture
from data_pipelines.pasting import Cutouts
from data_pipelines.person_batches import CrowdCrops, PreparedCrops, find_persons
from data_pipelines.provenance import stored_source
from data_pipelines.records import open_split
from data_pipelines.synthetic_crowds.config import CrowdConfig
from data_pipelines.synthetic_crowds.records import CrowdRecords
from experiments.configs.base import ExperimentConfig
from pinet_jax.errors import InputError, UsageError
from pinet_jax.skeletons import Skeleton

_SEEDS = 2**64  # between two sets' seeds: more than a seed can be


def open_samples(config: ExperimentConfig) -> SetSamples:
    """The samples of an experiment's `data`: of one set, or of a mixture.

    Raises:
        InputError: a set is not there, or does not fit the network's keypoints or the batch.
        UsageError: what the mixture names does not fit together.
    """
    mixture = config.data.mixture
    names = _names(config)
    first, *sets = (_of_split(config, name, number) for number, name in enumerate(names))
    others: list[Samples] = list(sets)
    weights = [1.0, *(mixture.weights or (1.0,) * len(sets))]
    if mixture.crowds_weight:
        others.append(crowd_samples(config, mixture.crowds, number=len(names)))
        weights.append(mixture.crowds_weight)
    return Mixture(first, others, weights, config.training.seed) if others else first


def _names(config: ExperimentConfig) -> list[str]:
    """The first set's name, and those of the mixture.

    Raises:
        UsageError: `partial` names none of them, or the method cannot leave keypoints out.
    """
    names = [config.data.dataset, *config.data.mixture.sets]
    partial = config.data.mixture.partial
    for name in partial:
        if name not in names:
            raise UsageError(f"partial {name}: is none of the sets {', '.join(names)}")
    if partial and "partial" not in config.model.optional_arrays:
        raise UsageError(
            f"partial {', '.join(partial)}: {type(config.model).__name__} trains nothing where a "
            "keypoint is not labelled, or cannot leave it out; give none"
        )
    return names


def _of_split(config: ExperimentConfig, name: str, number: int) -> SetSamples:
    data, seed = config.data, config.training.seed + number * _SEEDS
    dataset, _, split_name = name.partition(":")
    data = dataclasses.replace(data, dataset=dataset, train_split=split_name or data.train_split)
    split = open_split(data.dataset, data.train_split)
    source = stored_source(split.folder)
    if source is not None:
        print(f"{split.folder}: records of {source['data_dir']}")
    _check_keypoints(dataset, split.skeleton, config.model.skeleton)
    if isinstance(data, PersonDataConfig):
        persons = find_persons(split.annotations_file)
        return PreparedCrops(split, persons, data, _crop_shape(config), seed)
    cutouts = None
    if data.augmentation.pasting.share:
        cutouts = Cutouts(split, split.annotations_file)
    return Images(split, data, seed, partial=_partial(data.mixture, name), cutouts=cutouts)


def _partial(mixture: MixtureConfig, name: str) -> bool | None:
    return name in mixture.partial if mixture.partial else None


def crowd_samples(
    config: ExperimentConfig, crowds: CrowdConfig, passes: int = 1, *, number: int = 0
) -> Samples:
    """Crowds that are rendered when they are read, without end.

    Args:
        config: the experiment, whose `data` says how they are augmented.
        crowds: what they look like.
        passes: how often a person is trained on, where samples are persons.
        number: of this set among those of a mixture.

    Raises:
        UsageError: a crowd has more people than the batch has room for.
    """
    data, seed = config.data, config.training.seed
    records = CrowdRecords(crowds, config.model.skeleton, seed)
    seed += number * _SEEDS
    if isinstance(data, PersonDataConfig):
        return CrowdCrops(records, crowds.people[0] * passes, data, _crop_shape(config), seed)
    if crowds.people[1] > data.max_people:
        raise UsageError(
            f"max_people {data.max_people}: crowds have up to {crowds.people[1]}; give at least "
            "as many"
        )
    partial = False if data.mixture.partial else None
    return Images(records, data, seed, partial=partial)


def _crop_shape(config: ExperimentConfig) -> tuple[int, int]:
    (shape,) = config.model.frame_shapes((1, 1), config.inference)  # of any image
    return shape


def _check_keypoints(dataset: str, stored: Skeleton, wanted: Skeleton) -> None:
    if stored.keypoints != wanted.keypoints:
        raise InputError(
            f"{dataset}: has {len(stored.keypoints)} keypoints ({', '.join(stored.keypoints)}), "
            f"the network {len(wanted.keypoints)} ({', '.join(wanted.keypoints)}); choose the "
            "config that belongs to the dataset"
        )
