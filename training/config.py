# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""From options to the one dict that describes a run; no torch, no files, no processes."""

import re
from typing import Any

from dnnlib.errors import ArgumentError, arg, as_option

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

# gdd distils, the others train a teacher.
TEACHER_LOSSES = ('edm', 'vp', 've')
LOSSES = ('gdd', *TEACHER_LOSSES)

# Options whose default depends on the loss: EDM's recipe for teachers, GDD's for distillation.
LOSS_DEFAULTS = {
    'gdd': dict(batch=512, duration=200.0, lr=4e-4, dropout=0.0, tick=25, snap=10),
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

R1_INTERVAL = 16
RANDOM_TEACHER = (
    'random'  # in place of a teacher: weights of the generator drawn as for training from scratch
)
# What the official code reads for every network with classes (pretrained/README.md).
OFFICIAL_CLASS_TABLE = 'pretrained/imagenet-class-embeddings-tf_efficientnet_lite0.npy'


def plan_batch(batch: int, batch_gpu: int | None, world_size: int) -> tuple[int, int]:
    """Split the total batch over processes and accumulation rounds.

    Args:
        batch:      Total batch, images per iteration.
        batch_gpu:  Largest batch of one forward pass, or None for no limit.
        world_size: Number of processes.
    Returns:
        Images per process and iteration, images per forward pass.
    Raises:
        ArgumentError: The batch cannot be divided evenly.
    """
    local = batch // world_size
    micro = local if batch_gpu is None else min(batch_gpu, local)
    unit = world_size * max(micro, 1)
    if local < 1 or batch % unit:
        raise ArgumentError(
            arg('batch', batch),
            f' must be a multiple of {world_size} processes x {max(micro, 1)} images per forward pass (',
            arg('batch_gpu'),
            f') = {unit}; try ',
            arg('batch', max(round(batch / unit), 1) * unit),
        )
    return local, micro


def build_config(opts: dict[str, Any]) -> dict[str, Any]:
    """Resolve the options of train.py.

    Args:
        opts: Dict of option values, without second spellings (training/options.py); None where none is given.
    Returns:
        Nested dict of plain values, which is saved as training_options.json and is all that a run needs.
    Raises:
        ArgumentError: Options that exclude or need each other.
    """
    opts = _with_defaults(opts)
    _check_options(opts)
    distils = opts['loss'] == 'gdd'
    config = _run_config(opts)
    config['network_options'] = _network_options(opts)
    config['network_kwargs'] = _network_kwargs(opts, config['network_options'])
    config['optimizer_kwargs'] = dict(lr=opts['lr'], betas=[0.0, 0.99] if distils else [0.9, 0.999], eps=1e-8)
    config.update(_distillation_config(opts) if distils else _teacher_config(opts))
    if distils:
        for name in ('optimizer_kwargs', 'd_optimizer_kwargs'):
            config[name]['weight_decay'] = opts['weight_decay']
    config['options'] = opts  # what a resumed run is compared by
    return config


def check_teacher_given(opts: dict[str, Any]) -> None:
    """Raise ArgumentError if there is nothing to distil, with what users of EDM's commands must add."""
    if opts['loss'] == 'gdd' and not opts['transfer']:
        raise ArgumentError(
            arg('transfer'),
            ' is missing: ',
            arg('loss', 'gdd'),
            ' distils a teacher, give its EDM pickle, for example ',
            arg('transfer', 'pretrained/edm-mnist-32x32-cond-ve.pkl'),
            '; to train a teacher use ',
            arg('loss', 'edm'),
            "; a command for EDM's train.py, where that is the default, needs ",
            arg('precond', 'edm'),
            ' added, and nothing else',
        )


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


# ------------------------------------------------------------------------------------------------
# Parts of the dict.


def _with_defaults(opts: dict[str, Any]) -> dict[str, Any]:
    """Fill in what depends on other options."""
    distils, official = opts['loss'] == 'gdd', opts['compat'] == 'official'
    # A teacher that goes on from another's weights may average them at once (EDM).
    warmup = 0.0 if not distils and opts['transfer'] else 0.05
    table = OFFICIAL_CLASS_TABLE if distils and official and opts['cond'] else 'random'
    defaults = dict(
        LOSS_DEFAULTS[opts['loss']],
        ema_warmup=warmup,
        arch=None if opts['transfer'] else 'ddpmpp',
        precision='fp32',
        r1_type='r1',
        d_resolution=BACKBONE_PIXELS,
        class_embed=table,
    )
    return opts | {name: value for name, value in defaults.items() if opts[name] is None}


def _run_config(opts: dict[str, Any]) -> dict[str, Any]:
    """What every run has, whatever it trains."""
    return dict(
        loss=opts['loss'],
        precond=opts['loss'],
        arch=opts['arch'],
        compat=opts['compat'],
        seed=opts['seed'],
        batch_size=opts['batch'],
        batch_gpu=opts['batch_gpu'],
        precision=opts['precision'],
        total_nimg=max(round(opts['duration'] * 1e6), 1),
        tick_nimg=opts['tick'] * 1000,
        snapshot_ticks=opts['snap'],
        state_ticks=opts['dump'],
        state_minutes=opts['dump_min'],
        keep_states=opts['keep'],
        device=opts['device'],
        bench=opts['bench'],
        channels_last=opts['channels_last'],
        grid_size=opts['grid'],
        dataset_kwargs=_dataset_kwargs(opts),
        loader_kwargs=dict(num_workers=opts['workers']),
        ema_kwargs=_ema_kwargs(opts),
        nan=opts['nan'] or ('zero' if opts['compat'] == 'official' else 'skip'),
        nan_limit=opts['nan_limit'],
        reduce=opts['reduce'],
        tensorboard=opts['tensorboard'],
        metrics_kwargs=_metrics_kwargs(opts),
        transfer=opts['transfer'],
        trust_pickle=opts['trust_pickle'],
        resume=opts['resume'],
    )


def _dataset_kwargs(opts: dict[str, Any]) -> dict[str, Any]:
    return dict(
        class_name='training.dataset.ImageFolderDataset',
        path=opts['data'],
        use_labels=opts['cond'],
        xflip=opts['xflip'],
        cache=opts['cache'],
        resolution=None,
        max_size=opts['max_size'],
    )


def _ema_kwargs(opts: dict[str, Any]) -> dict[str, Any]:
    main, *extra = (round(mimg * 1e6) for mimg in opts['ema'])
    kwargs = dict(halflife_nimg=main, rampup=opts['ema_warmup'], beta=opts['ema_beta'])
    return kwargs | (dict(extra_nimg=extra) if extra else {})


def _network_options(opts: dict[str, Any]) -> dict[str, Any]:
    """The part of the network's arguments that every run chooses anew, also with a teacher's architecture."""
    distils = opts['loss'] == 'gdd'
    options = dict(dropout=opts['dropout'], use_fp16=opts['precision'] == ('bf16' if distils else 'fp16'))
    if not distils and opts['label_dropout']:
        options['label_dropout'] = opts['label_dropout']
    if not distils and opts['augment']:
        options = dict(augment_dim=AUGMENT_DIM, **options)
    return options


def _network_kwargs(opts: dict[str, Any], options: dict[str, Any]) -> dict[str, Any] | None:
    """Architecture as far as the options tell; None = take all of it from the teacher."""
    given = {key: opts[name] for key, name in ARCHITECTURE_OPTIONS.items() if opts[name] is not None}
    if opts['arch'] is not None:
        return ARCHITECTURES[opts['arch']] | given | options
    if given:
        raise ArgumentError(
            arg(ARCHITECTURE_OPTIONS[next(iter(given))]),
            ' needs ',
            arg('arch'),
            '; without ',
            arg('arch'),
            ' the architecture is that of the teacher (',
            arg('transfer'),
            '): leave both out, or add ',
            arg('arch', 'ncsnpp'),
        )
    return None


def _metrics_kwargs(opts: dict[str, Any]) -> dict[str, Any] | None:
    """What is measured at snapshots and with what, or None."""
    if not opts['metrics']:
        for name in ('metrics_ref', 'metrics_detector', 'metrics_detector_path'):
            if opts[name] is not None:
                raise ArgumentError(
                    arg(name, opts[name]),
                    ' needs ',
                    arg('metrics'),
                    ', the numbers to measure; add for example ',
                    arg('metrics', 'fd10k'),
                    ', or leave it out',
                )
        return None
    if opts['metrics_ref'] is None:
        raise ArgumentError(
            arg('metrics', opts['metrics']),
            ' needs ',
            arg('metrics_ref'),
            ', the statistics to compare with; for example ',
            arg('metrics_ref', 'datasets/mnist-32x32-train-ref-mnist-classifier.npz'),
            '; fid.py ref makes such files',
        )
    return dict(
        metrics=opts['metrics'],
        ref=opts['metrics_ref'],
        detector=opts['metrics_detector'],
        detector_path=opts['metrics_detector_path'],
        batch=opts['metrics_batch'],
    )


def _instance_kwargs(opts: dict[str, Any]) -> dict[str, Any] | None:
    """Everything about the distance to a frozen score network; None without one."""
    kind = opts['teacher_type']
    if kind != 'none':
        check_max_steps(kind, opts['max_steps'])
        return dict(kind=kind, max_steps=opts['max_steps'], distance=opts['distance'] or 'lpips')
    if opts['teacher_only']:
        raise ArgumentError(
            arg('teacher_only', True),
            ' leaves nothing to train on with ',
            arg('teacher_type', 'none'),
            '; add for example ',
            arg('teacher_type', 'cd'),
        )
    return None


def _sampler_kwargs(opts: dict[str, Any]) -> dict[str, Any]:
    """How the generator makes an image, in training and afterwards."""
    steps, middle = opts['multi_step_g'], opts['middle_sigma']
    if steps > 1 and opts['teacher_only']:
        raise ArgumentError(
            arg('multi_step_g', steps),
            ' is about the generated images of the adversarial loss, which ',
            arg('teacher_only', True),
            ' leaves out; leave one out (generate.py ',
            arg('sampler', 'multi_step'),
            ' works anyway)',
        )
    if middle is not None and steps != 2:
        raise ArgumentError(
            arg('middle_sigma', middle),
            ' is the second noise level of 2 steps; use ',
            arg('multi_step_g', 2),
            ', or leave it out',
        )
    if middle is not None and middle >= SIGMA_MAX:
        raise ArgumentError(
            arg('middle_sigma', middle),
            f' must lie below {SIGMA_MAX:g}, the level of the first step; use {MIDDLE_SIGMA}',
        )
    if steps != 2:
        return dict(num_steps=steps)
    return dict(num_steps=steps, middle_sigma=MIDDLE_SIGMA if middle is None else middle)


def _teacher_config(opts: dict[str, Any]) -> dict[str, Any]:
    """Everything that only the training of teachers has."""
    return dict(
        loss_kwargs=dict(P_mean=opts['p_mean'], P_std=opts['p_std']) if opts['loss'] == 'edm' else {},
        loss_scaling=opts['ls'],
        augment_kwargs=dict(p=opts['augment'], **AUGMENTATIONS) if opts['augment'] else None,
        lr_rampup_nimg=opts['lr_rampup'] * 1000,
        lr_rampdown_nimg=opts['lr_rampdown'] * 1000,
    )


def _distillation_config(opts: dict[str, Any]) -> dict[str, Any]:
    """Everything that only distillation has."""
    official = opts['compat'] == 'official'
    # D takes one more step in 17 for R1; the official code pays for it also where R1 is off.
    lazy = R1_INTERVAL / (R1_INTERVAL + 1) if opts['r1_type'] != 'none' or official else 1.0
    return dict(
        perf=opts['perf'],
        freeze=opts['freeze'],
        sync_bn=opts['sync_bn'],
        loss_kwargs=dict(loss_type=opts['loss_type'], r1_gamma=opts['r1_gamma']),
        r1_interval=R1_INTERVAL if opts['r1_type'] == 'r1' else 0,
        feature_kwargs=dict(
            names=backbone_names(opts['backbone']),
            input_size=opts['d_resolution'] or None,
            weights='pretrained' if opts['d_pretrained'] else 'random',
            diffaugment=opts['diffaug'],
            moved_statistics=official,
            fused=not official or opts['perf'] != 'faithful',
        ),
        discriminator_kwargs=dict(channel_max=opts['d_channel_max'], class_embed=opts['class_embed']),
        ada_kwargs=_ada_kwargs(opts),
        augment_notice=_augment_notice(opts),
        optimizer_type=opts['optimizer_type'],
        d_optimizer_kwargs=dict(lr=opts['dlr'] * lazy, betas=[0.0, 0.99**lazy], eps=1e-8),
        teacher_only=opts['teacher_only'],
        target=opts['target'],
        instance_kwargs=_instance_kwargs(opts),
        sampler_kwargs=_sampler_kwargs(opts),
    )


def backbone_names(text: str) -> list[str]:
    """Return the backbones that an official number, or a list such as 'vgg16_bn,resnet50', means.

    Raises:
        ArgumentError: It can be neither.
    """
    names = BACKBONE_SETS.get(text.strip()) or [name.strip() for name in text.split(',')]
    for name in names:
        if not BACKBONE_NAME.fullmatch(name):
            raise ArgumentError(
                arg('backbone', text),
                f': {name!r} is neither an official set, 0 to 3, nor the name of a backbone; use ',
                arg('backbone', '3'),
                ' or ',
                arg('backbone', 'vgg16_bn,tf_efficientnet_lite0'),
            )
    return list(names)


def _ada_kwargs(opts: dict[str, Any]) -> dict[str, Any] | None:
    """Arguments of the adaptive augmentation, or None without (official rule: `augment` only permits it)."""
    if opts['augment'] == 0 or not (opts['augment_p'] or opts['ada_target']):
        return None
    return dict(
        p=opts['augment_p'],
        target=opts['ada_target'],
        batch_size=opts['batch'],
        limit=None if opts['compat'] == 'official' else 1.0,
    )


def _augment_notice(opts: dict[str, Any]) -> str | None:
    """What to tell whoever asks for augmentation and does not get it, or None; it is shown as it is."""
    given = [arg(name, opts[name]) for name in ('augment_p', 'ada_target') if opts[name]]
    augment, parts = arg('augment', opts['augment']), ()
    if opts['augment'] and not given:
        parts = (
            augment,
            ' only permits it, as in the official code; add ',
            arg('ada_target', 0.6),
            ' (adaptive) or ',
            arg('augment_p', 0.2),
            ' (fixed), or leave ',
            arg('augment'),
            ' out',
        )
    elif opts['augment'] == 0 and given:
        parts = (augment, ' switches off what ', given[0], ' asks for; leave ', arg('augment'), ' out')
    if not parts:
        return None
    return 'Warning: no augmentation: ' + ArgumentError(*parts).spell(as_option)


def _check_options(opts: dict[str, Any]) -> None:
    check_teacher_given(opts)
    distils = opts['loss'] == 'gdd'
    if opts['transfer'] == RANDOM_TEACHER and not (distils and opts['arch']):
        raise ArgumentError(
            arg('transfer', RANDOM_TEACHER),
            ' is a generator without a teacher, for comparison: it needs ',
            arg('loss', 'gdd'),
            ' and ',
            arg('arch'),
            '; add ',
            arg('arch', 'ncsnpp'),
            ', or leave ',
            arg('transfer'),
            ' out to train a teacher from random weights',
        )
    if not distils and opts['freeze']:
        needed = arg('loss', 'gdd')
        raise ArgumentError(
            arg('freeze', opts['freeze']),
            ' needs ',
            needed,
            '; a teacher trains all layers, use ',
            arg('freeze', 0),
        )
    if distils and opts['ls'] != 1:
        raise ArgumentError(
            arg('ls', opts['ls']),
            ' needs ',
            arg('loss', 'edm or vp or ve'),
            ': bfloat16 has the exponents of float32, so distillation scales no loss (the official code '
            'ignores the option); use ',
            arg('ls', 1),
            ', or leave it out',
        )
    if distils and opts['precision'] == 'fp16':
        raise ArgumentError(
            arg('precision', 'fp16'),
            ' does not go with ',
            arg('loss', 'gdd'),
            ', whose generator has bfloat16 as its 16-bit type; use ',
            arg('precision', 'bf16'),
        )
    _check_details(opts)


def _check_details(opts: dict[str, Any]) -> None:
    if opts['trust_pickle'] and not opts['transfer']:
        raise ArgumentError(
            arg('trust_pickle'),
            ' is about the file of ',
            arg('transfer'),
            ', which is not given; leave it out',
        )
    if opts['label_dropout'] and not opts['cond']:
        raise ArgumentError(
            arg('label_dropout', opts['label_dropout']),
            ' needs labels to drop; use ',
            arg('cond', True),
            ', or leave it out',
        )
    if opts['ema_beta'] and len(opts['ema']) > 1:
        raise ArgumentError(
            arg('ema_beta', opts['ema_beta']),
            ' replaces the half-life, of which ',
            arg('ema'),
            f' gives {len(opts["ema"])}; leave one of the two out',
        )
