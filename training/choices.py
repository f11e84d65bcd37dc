# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What the options of train.py may name: architectures, backbones, losses, methods.

Everything in `training/` may read it; it reads nothing itself.
"""

import re

from dnnlib.errors import ArgumentError, arg

ARCHITECTURES = {
    'ddpmpp': dict(
        model_type='SongUNet',
        embedding_type='positional',
        encoder_type='standard',
        decoder_type='standard',
        channel_mult_noise=1,
        resample_filter=[1, 1],
        model_channels=128,
        channel_mult=[2, 2, 2],
    ),
    'ncsnpp': dict(
        model_type='SongUNet',
        embedding_type='fourier',
        encoder_type='residual',
        decoder_type='standard',
        channel_mult_noise=2,
        resample_filter=[1, 3, 3, 1],
        model_channels=128,
        channel_mult=[2, 2, 2],
    ),
    'adm': dict(model_type='DhariwalUNet', model_channels=192, channel_mult=[1, 2, 3, 4]),
}
ARCHITECTURE_OPTIONS = dict(
    model_channels='cbase', channel_mult='cres', num_blocks='num_blocks', attn_resolutions='attn_res'
)

# Official --backbone numbers; any other list of names is accepted as well.
BACKBONE_SETS = {
    '0': ['deit_base_distilled_patch16_224', 'tf_efficientnet_lite0'],
    '1': ['vgg16_bn', 'tf_efficientnet_lite0'],
    '2': ['vit_base_patch16_224.augreg_in21k_ft_in1k', 'tf_efficientnet_b0.ns_jft_in1k'],
    '3': ['tf_efficientnet_lite0'],
}
BACKBONE_NAME = re.compile(r'[A-Za-z_][\w.-]*')
BACKBONE_PIXELS = 224

# The encoder of the teacher (training/backbones/teacher.py), and the noise on what it sees.
TEACHER_BACKBONE, DEFAULT_TEACHER_SIGMA = 'teacher', 'grid'

# gdd and fd distil, the others train a teacher.
DISTILLATION_LOSSES = ('gdd', 'fd')
TEACHER_LOSSES = ('edm', 'vp', 've')
LOSSES = (*DISTILLATION_LOSSES, *TEACHER_LOSSES)

# Options whose default depends on the loss: EDM's recipe for teachers, GDD's for distillation.
LOSS_DEFAULTS = {
    'gdd': dict(batch=512, duration=200.0, lr=4e-4, dropout=0.0, tick=25, snap=10),
    # The learning rate for a network of many steps that is used in one (arXiv 2604.28190, table B.3).
    'fd': dict(batch=512, duration=200.0, lr=1e-5, dropout=0.0, tick=25, snap=10),
    **dict.fromkeys(
        TEACHER_LOSSES, dict(batch=512, duration=200.0, lr=1e-3, dropout=0.13, tick=50, snap=50, augment=0.12)
    ),
}

# Instance-based distillation.
TEACHER_TYPES = ('none', 'pd', 'cd', 'ctm', 'rcd')
DISTANCES = ('lpips', 'l2', 'huber')
SIGMA_MAX, MIDDLE_SIGMA = 80.0, 0.8  # noise levels of a generator's two steps

# Augmentation of EDM's teachers: multipliers of its probability, of which mirroring is always on, and
# the number of labels.
AUGMENTATIONS = dict(xflip=1e8, yflip=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1)
AUGMENT_DIM = 9

# Number types and shortcuts of distillation, training/adversarial/precision.py.
PERF_MODES = ('faithful', 'fast', 'fast-16bit')

R1_INTERVAL = 16  # iterations of D per R1
# The official recipes run on 4 processes; with compat=clean any number of processes has their strength of R1.
REFERENCE_PROCESSES = 4
# Effective gammas (weight of R1 / images of the sum that it is added to) that were seen working: the official
# recipes', the demo's. 1.25e-4 collapses the demo within 8,000 images (docs/development.md).
WORKING_GAMMAS = (1e-4 / 64, 2.5e-5 / 8)
FAR_FROM_WORKING = 8  # a factor beyond which a run warns
OFFICIAL_R1_GAMMA = 0.01
# In place of a teacher: weights of the generator drawn as for training from scratch.
RANDOM_TEACHER = 'random'
# What the official code reads for every network with classes (pretrained/README.md).
OFFICIAL_CLASS_TABLE = 'pretrained/imagenet-class-embeddings-tf_efficientnet_lite0.npy'


def default_r1_gamma(batch: int, official: bool) -> float:
    """Return the weight of R1 where none is given: the demo's strength at any batch, or official."""
    return OFFICIAL_R1_GAMMA if official else float(f'{WORKING_GAMMAS[1] * batch / REFERENCE_PROCESSES:.6g}')


def check_max_steps(kind: str, max_steps: int) -> None:
    """Raise ArgumentError if a method cannot divide the noise range into `max_steps` intervals."""
    if kind not in TEACHER_TYPES[1:]:
        raise ArgumentError(
            arg('teacher_type', kind), f' is unknown; use one of {", ".join(TEACHER_TYPES[1:])}'
        )
    if max_steps < 2:
        raise ArgumentError(
            arg('max_steps', max_steps),
            ': a jump and its middle need at least 2 intervals; use ',
            arg('max_steps', 1024),
        )
    if kind == 'pd' and max_steps & (max_steps - 1):
        raise ArgumentError(
            arg('max_steps', max_steps),
            ': ',
            arg('teacher_type', 'pd'),
            ' halves the number of steps again and again, so it must be a power of two; use ',
            arg('max_steps', 2 ** (max_steps.bit_length() - 1)),
        )


def backbone_names(text: str, option: str = 'backbone') -> list[str]:
    """Return the backbones that an official number, or a list such as 'vgg16_bn,resnet50', means.

    Args:
        text:   Value of an option.
        option: Its name, for messages.
    Raises:
        ArgumentError: It can be neither.
    """
    names = BACKBONE_SETS.get(text.strip()) or [name.strip() for name in text.split(',')]
    for name in names:
        if not BACKBONE_NAME.fullmatch(name):
            raise ArgumentError(
                arg(option, text),
                f': {name!r} is neither an official set, 0 to 3, nor the name of a backbone; use ',
                arg(option, '3'),
                ' or ',
                arg(option, 'vgg16_bn,tf_efficientnet_lite0'),
            )
    return list(names)


def teacher_noise_law(
    given: str | list[float] | None, names: list[str], option: str, transfer: str
) -> str | list[float] | None:
    """Return the law of the noise for the teacher's encoder; None where it is no feature network.

    Args:
        given:    What the user says of it, or None.
        names:    Feature networks.
        option:   The option that named them, for messages.
        transfer: File of the teacher, or 'random'.
    Raises:
        ArgumentError: A law without the encoder, or the encoder of a teacher that there is not.
    """
    if TEACHER_BACKBONE not in names:
        if given is not None:
            raise ArgumentError(
                arg('teacher_sigma', given),
                " is about the teacher's encoder as a feature network; add ",
                arg(option, TEACHER_BACKBONE),
                ', or leave it out',
            )
        return None
    if transfer == RANDOM_TEACHER:
        raise ArgumentError(
            arg(option, TEACHER_BACKBONE),
            ' means the encoder of the teacher, and ',
            arg('transfer', RANDOM_TEACHER),
            ' has none; use another, for example ',
            arg(option, 'tf_efficientnet_lite0'),
        )
    return DEFAULT_TEACHER_SIGMA if given is None else given
