# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""How a detector relates to what trained a network: a distance in features that were trained on says less.

A generator that is trained against features of ImageNet networks lowers distances in such features also where
images get no better (Kynkaanniemi et al. 2023, arXiv 2203.06026). So each number says which of four holds:

    seen              the detector's network, with its weights, was one of those that trained the generator
    same pretraining  another network, whose training images include those of one that trained the generator
    independent       neither; also where no feature network trained it
    unknown           the training options are not there, or name a network of unknown origin
"""

import json
import os
import re
import typing

SEEN, SAME, INDEPENDENT, UNKNOWN = 'seen', 'same pretraining', 'independent', 'unknown'
OPTIONS_FILE = 'training_options.json'
_LARGEST_FILE = 1 << 24
_PROGRAM_FEATURES = 'teacher'  # backbone: the encoder of the teacher itself

# Detector, without the hash in its name -> the image collections that its network was trained on.
_DETECTOR_DATA = {
    'inception': {'imagenet'},
    'clip-vit-b-32': {'clip'},
    'clip-vit-l-14-336': {'clip'},
    'dinov2-vit-l-14': {'imagenet', 'lvd'},  # its LVD-142M includes ImageNet-22k, without labels
    'tf_efficientnet_lite0': {'imagenet'},
    'tf_efficientnet_lite1': {'imagenet'},
    'tf_efficientnet_lite2': {'imagenet'},
    'random-conv': set(),
    'mnist-classifier': {'mnist'},
}
# Tags of timm's weights, or parts of them -> image collections.
_TAGS = (
    (r'in1k|in12k|in21k|in22k|imagenet|jft', 'imagenet'),
    (r'lvd142m', 'imagenet'),
    (r'openai|laion|datacomp|dfn|metaclip|webli', 'web'),
)
# Names that this project gives without a tag; all are ImageNet classifiers.
_IMAGENET = re.compile(
    r'(deit|vgg|tf_efficientnet|vit_base_patch16_224|resnet|resnext|wide_resnet|convnext|regnet)'
)


class Training(typing.NamedTuple):
    """What trained a network: backbones by name, and the data set; and where that was read."""

    networks: tuple[str, ...]
    dataset: str  # base name without extension, lower case
    source: str


class Overlap(typing.NamedTuple):
    """One of the four relations, and why, in words."""

    relation: str
    reason: str

    def facts(self) -> dict[str, str]:
        """Return both for a report."""
        return dict(overlap=self.relation, overlap_reason=self.reason)


def read_training(network: str, metadata: dict[str, typing.Any] | None = None) -> Training | None:
    """Return what trained the network of a snapshot, from the options beside it; None where that is unknown.

    Args:
        network: Path or URL of the snapshot; `training_options.json` of its run lies in the same folder.
        metadata: What the snapshot itself holds: a teacher of this project says so there.
    """
    path = os.path.join(os.path.dirname(network), OPTIONS_FILE)
    try:
        if os.path.isfile(path) and os.path.getsize(path) <= _LARGEST_FILE:
            with open(path, encoding='utf-8') as file:
                return training_of(json.load(file), path)
    except (OSError, ValueError, AttributeError, TypeError):
        return None  # damaged, or not of this project: unknown
    if (metadata or {}).get('loss') in ('edm', 'vp', 've'):
        return Training((), '', 'the snapshot')
    return None


def training_of(config: dict[str, typing.Any], source: str) -> Training:
    """Return what trained a network, from resolved training options.

    Args:
        config: Content of training_options.json.
        source: Where it was read.
    """
    features, instance = config.get('feature_kwargs') or {}, config.get('instance_kwargs') or {}
    names = []
    if features.get('weights', 'pretrained') == 'pretrained' and not config.get('teacher_only'):
        names += features.get('names', [])
    if instance.get('distance') == 'lpips':
        names.append('vgg16')
    path = str((config.get('dataset_kwargs') or {}).get('path', ''))
    dataset = os.path.splitext(os.path.basename(path.rstrip('/')))[0].lower()
    return Training(tuple(dict.fromkeys(map(str, names))), dataset, source)


def find_overlap(detector: str, trained: Training | None) -> Overlap:
    """Tell how a detector relates to what trained a network.

    Args:
        detector: Its name, with or without the start of its hash; a hash means other weights than published.
        trained: From `read_training`; None if that is unknown.
    """
    base = re.sub(r'-[0-9a-f]{8}$', '', detector)
    if trained is None:
        return Overlap(UNKNOWN, f'there is no {OPTIONS_FILE} beside what was measured')
    if not trained.networks:
        return Overlap(INDEPENDENT, f'no feature network trained it ({trained.source})')
    keys = [name.split('.', 1)[0] for name in trained.networks]
    if base in keys:
        words = '' if base == detector else ', with other weights'
        return Overlap(SAME if words else SEEN, f'{base} trained it{words} ({trained.source})')
    own = _DETECTOR_DATA.get(base)
    origins = {name: _training_images(name, trained.dataset) for name in trained.networks}
    shared = [name for name, data in origins.items() if data and own and data & own]
    if shared:
        return Overlap(SAME, f'{", ".join(shared)} trained it ({trained.source})')
    strange = (
        [base] if own is None or base != detector else [n for n, data in origins.items() if data is None]
    )
    if strange:
        return Overlap(UNKNOWN, f'the training images of {", ".join(strange)} are not known')
    return Overlap(INDEPENDENT, f'{", ".join(trained.networks)} trained it ({trained.source})')


def _training_images(name: str, dataset: str) -> set[str] | None:
    """Return the image collections that a backbone was trained on, None if they are not known."""
    if name == _PROGRAM_FEATURES:
        known = [data for data in ('imagenet', 'mnist') if data in dataset]
        return set(known) or {dataset}
    key, _, tag = name.partition('.')
    for pattern, data in _TAGS:
        if tag and re.search(pattern, tag):
            return {data, 'clip'} if tag == 'openai' else {data}
    return {'imagenet'} if _IMAGENET.match(key) and (not tag or 'dino' not in tag) else None
