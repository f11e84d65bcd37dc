# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""From command-line options to the one dict that describes a run; no torch, no files, no processes."""

import os
import re

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

# Official --backbone numbers; any other list of names is accepted as well.
BACKBONE_SETS = {
    '0': ['deit_base_distilled_patch16_224', 'tf_efficientnet_lite0'],
    '1': ['vgg16_bn', 'tf_efficientnet_lite0'],
    '2': ['vit_base_patch16_224.augreg_in21k_ft_in1k', 'tf_efficientnet_b0.ns_jft_in1k'],
    '3': ['tf_efficientnet_lite0'],
}

# --loss and --precond name the same thing: gdd distils, the others train a teacher.
TEACHER_LOSSES = ('edm', 'vp', 've')
LOSSES = ('gdd', *TEACHER_LOSSES)

# Options whose default depends on the loss: EDM's recipe for teachers, GDD's for distillation.
LOSS_DEFAULTS = {
    'gdd': dict(batch=512, duration=200.0, lr=4e-4, dropout=0.0, tick=25, snap=10),
    **dict.fromkeys(
        TEACHER_LOSSES, dict(batch=512, duration=200.0, lr=1e-3, dropout=0.13, tick=50, snap=50, augment=0.12)
    ),
}

# Instance-based distillation: --teacher-type and --distance.
TEACHER_TYPES = ('none', 'pd', 'cd', 'ctm', 'rcd')
DISTANCES = ('lpips', 'l2', 'huber')
SIGMA_MAX, MIDDLE_SIGMA = 80.0, 0.8  # noise levels of a generator's two steps

# Augmentation of EDM's teachers: multipliers of --augment, of which mirroring is always on, and the number of labels.
AUGMENTATIONS = dict(xflip=1e8, yflip=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1)
AUGMENT_DIM = 9

# The official recipes run on 4 processes; `clean` gives their R1 strength to any number of processes.
REFERENCE_PROCESSES = 4
R1_INTERVAL = 16
RANDOM_TEACHER = 'random'  # --transfer: weights of the generator drawn as for training from scratch


class ConfigError(ValueError):
    """An impossible combination of options; the message is one line for the user."""


def plan_batch(batch, batch_gpu, world_size):
    """Split the total batch over processes and accumulation rounds.

    Args:
        batch:      Total batch, images per iteration.
        batch_gpu:  Largest batch of one forward pass, or None for no limit.
        world_size: Number of processes.
    Returns:
        Images per process and iteration, images per forward pass.
    Raises:
        ConfigError: The batch cannot be divided evenly.
    """
    local = batch // world_size
    micro = local if batch_gpu is None else min(batch_gpu, local)
    unit = world_size * max(micro, 1)
    if local < 1 or batch % unit:
        works = max(round(batch / unit), 1) * unit
        raise ConfigError(
            f'--batch={batch} must be a multiple of {world_size} processes x {max(micro, 1)} images '
            f'per forward pass (--batch-gpu) = {unit}; try --batch={works}'
        )
    return local, micro


def build_config(opts):
    """Resolve the options of train.py.

    Args:
        opts: Dict of option values; None where the user gave nothing.
    Returns:
        Nested dict of plain values, which is saved as training_options.json and is all that a run needs.
    Raises:
        ConfigError: Options that exclude or need each other.
    """
    loss = choose_loss(opts['loss'], opts['precond'])
    opts = dict(opts, loss=loss, precond=loss)
    for name, value in LOSS_DEFAULTS[loss].items():
        if opts[name] is None:
            opts[name] = value
    if (
        opts['ema_warmup'] is None
    ):  # a teacher that goes on from another's weights may average them at once (EDM)
        opts['ema_warmup'] = 0.0 if loss != 'gdd' and opts['transfer'] else 0.05
    if opts['arch'] is None and not opts['transfer']:
        opts['arch'] = 'ddpmpp'
    _check_options(opts)
    opts['precision'] = choose_precision(opts)
    config = dict(
        loss=loss,
        precond=loss,
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
        dataset_kwargs=dict(
            class_name='training.dataset.ImageFolderDataset',
            path=opts['data'],
            use_labels=opts['cond'],
            xflip=opts['xflip'],
            cache=opts['cache'],
            resolution=None,
            max_size=opts['max_size'],
        ),
        loader_kwargs=dict(num_workers=opts['workers']),
        ema_kwargs=dict(
            halflife_nimg=round(opts['ema'][0] * 1e6), rampup=opts['ema_warmup'], beta=opts['ema_beta']
        ),
        nan=opts['nan'] or ('zero' if opts['compat'] == 'official' else 'skip'),
        nan_limit=opts['nan_limit'],
        tensorboard=opts['tensorboard'],
        metrics_kwargs=_metrics_kwargs(opts),
        transfer=opts['transfer'],
        trust_pickle=opts['trust_pickle'],
        resume=opts['resume'],
    )
    if len(opts['ema']) > 1:
        config['ema_kwargs']['extra_nimg'] = [round(mimg * 1e6) for mimg in opts['ema'][1:]]
    config['network_options'] = _network_options(opts, config['precision'])
    config['network_kwargs'] = _network_kwargs(opts, config['network_options'])
    betas = [0.0, 0.99] if loss == 'gdd' else [0.9, 0.999]
    config['optimizer_kwargs'] = dict(lr=opts['lr'], betas=betas, eps=1e-8)
    config.update(_distillation_config(opts) if loss == 'gdd' else _teacher_config(opts))
    if loss == 'gdd':
        config['optimizer_type'] = opts['optimizer_type']
        for name in ('optimizer_kwargs', 'd_optimizer_kwargs'):
            config[name]['weight_decay'] = opts['weight_decay']
        config.update(
            teacher_only=opts['teacher_only'],
            target=opts['target'],
            instance_kwargs=_instance_kwargs(opts),
            sampler_kwargs=_sampler_kwargs(opts),
        )
    # What a resumed run is compared by; --fp16 and --precond are other spellings of entries that are there.
    config['options'] = {name: value for name, value in opts.items() if name not in ('fp16', 'precond')}
    return config


def choose_loss(loss, precond):
    """Settle --loss and --precond, of which each implies the other; without either, gdd.

    EDM's command line knows --precond only, with the matching loss; GDD's knows both.

    Args:
        loss, precond: One of LOSSES, or None.
    Returns:
        One of LOSSES.
    Raises:
        ConfigError: They differ.
    """
    chosen = loss or precond or 'gdd'
    if precond not in (None, chosen):
        raise ConfigError(f'--precond={precond} does not go with --loss={loss}; use --precond={loss}')
    return chosen


def choose_precision(opts):
    """Settle --precision and --fp16, the official spelling, which means float16 in EDM and bfloat16 in GDD.

    Args:
        opts: Dict with loss, precision ('fp32', 'fp16', 'bf16' or None) and fp16 (bool or None).
    Returns:
        'fp32', 'fp16' or 'bf16'.
    Raises:
        ConfigError: They contradict each other, or the loss.
    """
    reduced = 'bf16' if opts['loss'] == 'gdd' else 'fp16'
    asked = {None: None, False: 'fp32', True: reduced}[opts['fp16']]
    precision = opts['precision'] or asked or 'fp32'
    if asked not in (None, precision):
        raise ConfigError(
            f'--fp16={opts["fp16"]} means --precision={asked} with --loss={opts["loss"]}, not '
            f'--precision={precision}; leave --fp16 out'
        )
    if opts['loss'] == 'gdd' and precision == 'fp16':
        raise ConfigError(
            '--precision=fp16 does not go with --loss=gdd, whose generator has bfloat16 as its 16-bit type; '
            'use --precision=bf16'
        )
    return precision


def _network_options(opts, precision):
    """The part of the network's arguments that every run chooses anew, also with a teacher's architecture."""
    options = dict(
        dropout=opts['dropout'], use_fp16=precision == ('bf16' if opts['loss'] == 'gdd' else 'fp16')
    )
    if opts['loss'] != 'gdd' and opts['label_dropout']:
        options['label_dropout'] = opts['label_dropout']
    if opts['loss'] != 'gdd' and opts['augment']:
        options = dict(augment_dim=AUGMENT_DIM, **options)
    return options


def _network_kwargs(opts, options):
    """Architecture as far as the options tell; None = take all of it from the teacher."""
    if opts['arch'] is None:
        given = [
            f'--{name}'
            for name in ('cbase', 'cres', 'num-blocks', 'attn-res')
            if opts[name.replace('-', '_')] is not None
        ]
        if given:
            raise ConfigError(
                f'{given[0]} needs --arch; without --arch the architecture is that of the teacher '
                '(--transfer): leave both out, or add --arch=ncsnpp'
            )
        return None
    kwargs = dict(ARCHITECTURES[opts['arch']])
    for key, name in dict(
        model_channels='cbase', channel_mult='cres', num_blocks='num_blocks', attn_resolutions='attn_res'
    ).items():
        if opts[name] is not None:
            kwargs[key] = opts[name]
    return kwargs | options


def _metrics_kwargs(opts):
    """What is measured at snapshots and with what, or None."""
    if not opts['metrics']:
        given = [name for name in ('ref', 'detector', 'detector_path') if opts[f'metrics_{name}'] is not None]
        if given:
            raise ConfigError(
                f'--metrics-{given[0].replace("_", "-")}={opts[f"metrics_{given[0]}"]} needs --metrics, the numbers '
                'to measure; add for example --metrics=fd10k, or leave it out'
            )
        return None
    if opts['metrics_ref'] is None:
        raise ConfigError(
            f'--metrics={",".join(opts["metrics"])} needs --metrics-ref, the statistics to compare with; for example '
            '--metrics-ref=datasets/mnist-32x32-train-ref-mnist-classifier.npz; fid.py ref makes such files'
        )
    return dict(
        metrics=opts['metrics'],
        ref=opts['metrics_ref'],
        detector=opts['metrics_detector'],
        detector_path=opts['metrics_detector_path'],
        batch=opts['metrics_batch'],
    )


def _instance_kwargs(opts):
    """Everything about the distance to a frozen score network; None without one."""
    kind = opts['teacher_type']
    if kind == 'none':
        if opts['teacher_only']:
            raise ConfigError(
                '--teacher-only=True leaves nothing to train on with --teacher-type=none; add for example '
                '--teacher-type=cd'
            )
        return None
    check_max_steps(kind, opts['max_steps'])
    asked = {None: None, True: 'lpips', False: 'l2'}[opts['lpips']]
    distance = opts['distance'] or asked or 'lpips'
    if asked not in (None, distance):
        raise ConfigError(
            f'--lpips={opts["lpips"]} means --distance={asked}, not --distance={distance}; leave --lpips out'
        )
    return dict(kind=kind, max_steps=opts['max_steps'], distance=distance)


def check_max_steps(kind, max_steps):
    """Raise ConfigError if a method (one of TEACHER_TYPES) cannot divide the noise range into `max_steps` intervals."""
    if kind not in TEACHER_TYPES[1:]:
        raise ConfigError(f'--teacher-type={kind} is unknown; use one of {", ".join(TEACHER_TYPES[1:])}')
    if max_steps < 2:
        raise ConfigError(
            f'--max-steps={max_steps}: a jump and its middle need at least 2 intervals; use --max-steps=1024'
        )
    if kind == 'pd' and max_steps & (max_steps - 1):
        raise ConfigError(
            f'--max-steps={max_steps}: --teacher-type=pd halves the number of steps again and again, so it '
            f'must be a power of two; use --max-steps={2 ** (max_steps.bit_length() - 1)}'
        )


def _sampler_kwargs(opts):
    """How the generator makes an image, in training and afterwards."""
    steps, middle = opts['multi_step_g'], opts['middle_sigma']
    if steps > 1 and opts['teacher_only']:
        raise ConfigError(
            f'--multi-step-g={steps} is about the generated images of the adversarial loss, which '
            '--teacher-only=True leaves out; leave one out (generate.py --sampler=multi_step works anyway)'
        )
    if middle is not None and steps != 2:
        raise ConfigError(
            f'--middle-sigma={middle:g} is the second noise level of 2 steps; use --multi-step-g=2, or leave '
            'it out'
        )
    if middle is not None and middle >= SIGMA_MAX:
        raise ConfigError(
            f'--middle-sigma={middle:g} must lie below {SIGMA_MAX:g}, the level of the first step; '
            f'use {MIDDLE_SIGMA}'
        )
    return dict(num_steps=steps) | (
        dict(middle_sigma=MIDDLE_SIGMA if middle is None else middle) if steps == 2 else {}
    )


def _teacher_config(opts):
    """Everything that only the training of teachers has."""
    return dict(
        loss_kwargs=dict(P_mean=opts['p_mean'], P_std=opts['p_std']) if opts['loss'] == 'edm' else {},
        loss_scaling=opts['ls'],
        augment_kwargs=dict(p=opts['augment'], **AUGMENTATIONS) if opts['augment'] else None,
        lr_rampup_nimg=opts['lr_rampup'] * 1000,
        lr_rampdown_nimg=opts['lr_rampdown'] * 1000,
    )


def _distillation_config(opts):
    """Everything that only the adversarial distillation has."""
    lazy = R1_INTERVAL / (R1_INTERVAL + 1) if opts['r1_type'] == 'r1' else 1.0
    names = BACKBONE_SETS.get(opts['backbone']) or [name.strip() for name in opts['backbone'].split(',')]
    return dict(
        freeze=opts['freeze'],
        sync_bn=opts['sync_bn'],
        loss_kwargs=dict(loss_type=opts['loss_type'], r1_gamma=opts['r1_gamma']),
        r1_interval=R1_INTERVAL if opts['r1_type'] == 'r1' and opts['use_gp'] else 0,
        feature_kwargs=dict(
            names=names,
            input_size=opts['d_resolution'] if opts['interp224'] else None,
            weights='pretrained' if opts['d_pretrained'] else 'random',
            diffaugment=opts['diffaug'],
            moved_statistics=opts['compat'] == 'official',
            fused=opts['compat'] == 'clean',
        ),
        discriminator_kwargs=dict(channel_max=opts['d_channel_max'], class_embed=opts['class_embed']),
        ada_kwargs=_ada_kwargs(opts),
        augment_notice=_augment_notice(opts),
        d_optimizer_kwargs=dict(lr=opts['dlr'] * lazy, betas=[0.0, 0.99**lazy], eps=1e-8),
    )


def _ada_kwargs(opts):
    """Arguments of the adaptive augmentation, or None where it is inactive (official rule, with --augment as a switch)."""
    if opts['augment'] == 0 or not (opts['augment_p'] or opts['ada_target']):
        return None
    return dict(
        p=opts['augment_p'],
        target=opts['ada_target'],
        batch_size=opts['batch'],
        limit=None if opts['compat'] == 'official' else 1.0,
    )


def _augment_notice(opts):
    """What to tell whoever asks for augmentation and does not get it, or None."""
    given = [
        f'--{name.replace("_", "-")}={opts[name]:g}' for name in ('augment_p', 'ada_target') if opts[name]
    ]
    if opts['augment'] and not given:
        return (
            f'Warning: no augmentation: --augment={opts["augment"]:g} only permits it, as in the official code; '
            'add --ada-target=0.6 (adaptive) or --augment-p=0.2 (fixed), or leave --augment out'
        )
    if opts['augment'] == 0 and given:
        return f'Warning: no augmentation: --augment=0 switches off what {given[0]} asks for; leave --augment out'
    return None


def _check_options(opts):
    if opts['loss'] == 'gdd' and not opts['transfer']:
        raise ConfigError(
            '--transfer is missing: --loss=gdd distils a teacher, give its EDM pickle, for example '
            '--transfer=pretrained/edm-mnist-32x32-cond-ve.pkl; to train a teacher use --loss=edm'
        )
    if opts['transfer'] == RANDOM_TEACHER and (opts['loss'] != 'gdd' or not opts['arch']):
        raise ConfigError(
            '--transfer=random is a generator without a teacher, for comparison: it needs --loss=gdd and --arch; '
            'add --arch=ncsnpp, or leave --transfer out to train a teacher from random weights'
        )
    if opts['loss'] != 'gdd' and opts['freeze']:
        raise ConfigError(
            f'--freeze={opts["freeze"]} needs --loss=gdd; a teacher trains all layers, use --freeze=0'
        )
    if opts['trust_pickle'] and not opts['transfer']:
        raise ConfigError('--trust-pickle is about the file of --transfer, which is not given; leave it out')
    if opts['label_dropout'] and not opts['cond']:
        raise ConfigError(
            f'--label-dropout={opts["label_dropout"]:g} needs labels to drop; use --cond=True, or leave it out'
        )
    if opts['ema_beta'] and len(opts['ema']) > 1:
        raise ConfigError(
            f'--ema-beta={opts["ema_beta"]:g} replaces the half-life, of which --ema gives {len(opts["ema"])}; '
            'leave one of the two out'
        )
    if opts['duration'] <= 0:
        raise ConfigError(f'--duration={opts["duration"]} must be above 0 million images; try 0.01')


def dataset_name(path):
    """Name of a dataset, from its path: base name without .zip."""
    return re.sub(r'\.zip$', '', os.path.basename(os.path.normpath(path)), flags=re.IGNORECASE)


def run_description(config, world_size, desc=None):
    """Return the part of a run folder's name that follows the number (GDD's naming)."""
    c = config
    parts = [
        dataset_name(c['dataset_kwargs']['path']),
        'cond' if c['dataset_kwargs']['use_labels'] else 'uncond',
        c['arch'] or 'teacher',
        c['precond'],
        c['loss'],
        f'gpus{world_size}',
        f'batch{c["batch_size"]}',
        c['precision'],
    ]
    return '-'.join(parts + ([desc] if desc else []))


def next_run_dir(outdir, description):
    """Return outdir/NNNNN-description with the number after the largest one in use."""
    names = os.listdir(outdir) if os.path.isdir(outdir) else []
    numbers = [int(m.group(1)) for name in names if (m := re.match(r'(\d{5})(?:-|$)', name))]
    return os.path.join(outdir, f'{max(numbers, default=-1) + 1:05d}-{description}')
