# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The claims of the paper and of this code that benchmarks/claim_study.py tests, and by which runs.

A claim compares rows; a row is a recipe with a few options on top, or a network that is only measured. Rows
that several claims share are trained once.
"""

import dataclasses
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPERATIONS = ROOT / 'docs' / 'curves' / 'operations.json'


@dataclasses.dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        recipe:    Recipe of train.sh, or '' for a network that is only measured.
        options:   Options of train.py on top, or of fid.py gen.
        length:    Training length as a multiple of --kimg.
        processes: Number of processes.
        module:    What runs in place of train.py, or ''.
    """

    recipe: str
    options: tuple[str, ...] = ()
    length: float = 1.0
    processes: int = 1
    module: str = ''


@dataclasses.dataclass(frozen=True)
class Data:
    """What differs between the demo and the photographs.

    Attributes:
        prefix:    Of the recipes: PREFIX-gdd, PREFIX-cd, PREFIX-fd.
        gdd_i:     The recipe of GDD-I.
        teacher:   File of the teacher.
        reference: Reference statistics for the curves and the default of --ref.
        mean_gamma: R1 weight that a mean of the losses over the batch comes to; the recipe's belongs to their
                   sum over a quarter of it.
    """

    prefix: str
    gdd_i: str
    teacher: str
    reference: str
    mean_gamma: float


# The recipes have batch 32 and 2.5e-5 against the sum over 8 images.
DATA = {
    'demo': Data(
        'demo',
        'demo',
        'pretrained/edm-mnist-32x32-cond-ve.pkl',
        'datasets/mnist-32x32-train-ref-mnist-classifier.npz',
        8 * 2.5e-5,
    ),
    'photos': Data(
        'photos',
        'photos-gdd-i',
        'pretrained/edm-cifar10-16x16-cond-ve.pkl',
        'datasets/cifar10-16x16-ref-tf_efficientnet_lite1.npz',
        8 * 2.5e-5,
    ),
}
ABOUT = {
    'freezing': 'freezing most convolutions helps: GDD-I against GDD',
    'teacher': "the student beats its teacher's many-step sampler",
    'images': 'a few per cent of the images go most of the way: the curve of GDD-I',
    'instance': 'adversarial beats instance-based distillation at equal cost (counted operations)',
    'projection': 'one random projection for all processes against one per process, 4 processes',
    'bfloat16': 'bfloat16 (on a CPU emulated) against float32',
    'mean': 'the sum of the losses against their mean, by the R1 weight that it comes to',
    'features': "ImageNet features against the teacher's own",
    'fast': "the number types of a GPU's fast mode against float32",
    'fd': 'the Fréchet distance as the loss against a discriminator, equal images',
}


def rows(data: Data) -> dict[str, Row]:
    """Return all rows on a data set, by name."""
    gdd_i = data.gdd_i
    return {
        'GDD-I': Row(gdd_i),
        'GDD': Row(f'{data.prefix}-gdd'),
        'teacher, 18 steps': Row('', (f'--network={data.teacher}',)),
        'teacher, one step': Row('', (f'--network={data.teacher}', '--sampler=one_step')),
        'CD': Row(f'{data.prefix}-cd', length=equal_cost(gdd_i, f'{data.prefix}-cd')),
        'GDD-I, 4 processes, one projection': Row(
            gdd_i, ('--compat=official',), processes=4, module='benchmarks.one_projection'
        ),
        'GDD-I, 4 processes, four projections': Row(gdd_i, ('--compat=official',), processes=4),
        'GDD-I, bfloat16 emulated': Row(gdd_i, ('--precision=bf16',), module='benchmarks.emulated_bf16'),
        'GDD-I, mean of the losses': Row(gdd_i, (f'--r1-gamma={data.mean_gamma:g}',)),
        'GDD-I, teacher features': Row(gdd_i, ('--backbone=teacher',)),
        'GDD-I, teacher features, less noise': Row(
            gdd_i, ('--backbone=teacher', '--teacher-sigma=lognormal')
        ),
        'GDD-I, fast in 16 bits': Row(gdd_i, ('--perf=fast-16bit',), module='benchmarks.emulated_fp16'),
        'GDD-I, both features': Row(gdd_i, ('--backbone=teacher,tf_efficientnet_lite0',)),
        'FD loss': Row(f'{data.prefix}-fd'),
    }


CLAIMS = {
    'freezing': ('GDD-I', 'GDD'),
    'teacher': ('teacher, 18 steps', 'teacher, one step', 'GDD-I'),
    'images': ('GDD-I',),
    'instance': ('GDD-I', 'CD'),
    'projection': ('GDD-I, 4 processes, one projection', 'GDD-I, 4 processes, four projections'),
    'bfloat16': ('GDD-I', 'GDD-I, bfloat16 emulated'),
    'mean': ('GDD-I', 'GDD-I, mean of the losses'),
    'features': (
        'GDD-I',
        'GDD-I, teacher features',
        'GDD-I, both features',
        'GDD-I, teacher features, less noise',
    ),
    'fd': ('GDD-I', 'FD loss'),
    'fast': ('GDD-I', 'GDD-I, fast in 16 bits'),
}


def operations() -> dict[str, float]:
    """Return the counted operations of one training image of each recipe, in GFLOP.

    `python -m benchmarks.expected_results count` writes the file.
    """
    return json.loads(OPERATIONS.read_text(encoding='utf-8'))['gflop_per_image']


def equal_cost(recipe: str, other: str) -> float:
    """Return how many images of `other` cost as much as one of `recipe`, to two digits."""
    counted = operations()
    return float(f'{counted[recipe] / counted[other]:.2g}')
