# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""From options to the one dict that describes a run; no torch, no files, no processes."""

from typing import Any, NoReturn

from dnnlib.errors import ArgumentError, arg, as_option
from training.choices import (
    ARCHITECTURE_OPTIONS,
    ARCHITECTURES,
    AUGMENT_DIM,
    AUGMENTATIONS,
    BACKBONE_PIXELS,
    DISTILLATION_LOSSES,
    LOSS_DEFAULTS,
    MIDDLE_SIGMA,
    OFFICIAL_CLASS_TABLE,
    R1_INTERVAL,
    RANDOM_TEACHER,
    SIGMA_MAX,
    backbone_names,
    check_max_steps,
    default_r1_gamma,
    teacher_noise_law,
)

# Decay rates of Adam's moments.
ADAM_BETAS = dict(gdd=(0.0, 0.99), fd=(0.9, 0.95), edm=(0.9, 0.999))


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
        opts: Option values, as training/second_spellings.py leaves them; None where none is given.
    Returns:
        Nested dict of plain values, which is saved as training_options.json and is all that a run needs.
    Raises:
        ArgumentError: Options that exclude or need each other.
    """
    opts = _with_defaults(opts)
    _check_options(opts)
    config = _run_config(opts)
    config['network_options'] = _network_options(opts)
    config['network_kwargs'] = _network_kwargs(opts, config['network_options'])
    betas = ADAM_BETAS.get(opts['loss'], ADAM_BETAS['edm'])
    config['optimizer_kwargs'] = dict(lr=opts['lr'], betas=list(betas), eps=1e-8)
    parts = dict(gdd=_adversarial_config, fd=_frechet_config)
    config.update(parts.get(opts['loss'], _teacher_config)(opts))
    if opts['loss'] == 'gdd':
        for name in ('optimizer_kwargs', 'd_optimizer_kwargs'):
            config[name]['weight_decay'] = opts['weight_decay']
    config['options'] = opts  # what a resumed run is compared by
    return config


def check_teacher_given(opts: dict[str, Any]) -> None:
    """Raise ArgumentError if there is nothing to distil, with what users of EDM's commands must add."""
    if opts['loss'] in DISTILLATION_LOSSES and not opts['transfer']:
        raise ArgumentError(
            arg('transfer'),
            ' is missing: ',
            arg('loss', opts['loss']),
            ' distils a teacher, give its EDM pickle, for example ',
            arg('transfer', 'pretrained/edm-mnist-32x32-cond-ve.pkl'),
            '; to train a teacher use ',
            arg('loss', 'edm'),
            "; a command for EDM's train.py, where that is the default, needs ",
            arg('precond', 'edm'),
            ' added, and nothing else',
        )


# ------------------------------------------------------------------------------------------------
# Parts of the dict.


def _with_defaults(opts: dict[str, Any]) -> dict[str, Any]:
    """Fill in what depends on other options."""
    distils, official = opts['loss'] in DISTILLATION_LOSSES, opts['compat'] == 'official'
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
    defaults['r1_gamma'] = default_r1_gamma(opts['batch'] or defaults['batch'], official)
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
        wandb=opts['wandb'],
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
    distils = opts['loss'] in DISTILLATION_LOSSES
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
        _refuse_without_metrics(opts)
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


def _refuse_without_metrics(opts: dict[str, Any]) -> None:
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
    _check_middle_sigma(middle, steps)
    if steps != 2:
        return dict(num_steps=steps)
    return dict(num_steps=steps, middle_sigma=MIDDLE_SIGMA if middle is None else middle)


def _check_middle_sigma(middle: float | None, steps: int) -> None:
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


def _teacher_config(opts: dict[str, Any]) -> dict[str, Any]:
    """Everything that only the training of teachers has."""
    return dict(
        loss_kwargs=dict(P_mean=opts['p_mean'], P_std=opts['p_std']) if opts['loss'] == 'edm' else {},
        loss_scaling=opts['ls'],
        augment_kwargs=dict(p=opts['augment'], **AUGMENTATIONS) if opts['augment'] else None,
        lr_rampup_nimg=opts['lr_rampup'] * 1000,
        lr_rampdown_nimg=opts['lr_rampdown'] * 1000,
    )


def _frechet_config(opts: dict[str, Any]) -> dict[str, Any]:
    """Everything that distillation by the Fréchet distance has."""
    names = backbone_names(opts['fd_features'], 'fd_features')
    return dict(
        freeze=opts['freeze'],
        feature_kwargs=_feature_kwargs(opts, names),
        teacher_sigma=teacher_noise_law(opts['teacher_sigma'], names, 'fd_features', opts['transfer']),
        fd_queue=opts['fd_queue'],
        fd_beta=opts['fd_beta'],
        optimizer_type=opts['optimizer_type'],
        sampler_kwargs=_sampler_kwargs(opts),
    )


def _feature_kwargs(opts: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Arguments of the frozen feature networks."""
    return dict(
        names=names,
        input_size=opts['d_resolution'] or None,
        weights='pretrained' if opts['d_pretrained'] else 'random',
        diffaugment=opts['diffaug'],
        moved_statistics=opts['compat'] == 'official',
        fused=opts['compat'] != 'official' or opts['perf'] != 'faithful',
    )


def _adversarial_config(opts: dict[str, Any]) -> dict[str, Any]:
    """Everything that only distillation with a discriminator, or with a score network, has."""
    names = backbone_names(opts['backbone'])
    official = opts['compat'] == 'official'
    # D takes one more step in 17 for R1; the official code pays for it also where R1 is off.
    lazy = R1_INTERVAL / (R1_INTERVAL + 1) if opts['r1_type'] != 'none' or official else 1.0
    return dict(
        perf=opts['perf'],
        freeze=opts['freeze'],
        sync_bn=opts['sync_bn'],
        loss_kwargs=dict(loss_type=opts['loss_type'], r1_gamma=opts['r1_gamma']),
        r1_interval=R1_INTERVAL if opts['r1_type'] == 'r1' else 0,
        feature_kwargs=_feature_kwargs(opts, names),
        teacher_sigma=teacher_noise_law(opts['teacher_sigma'], names, 'backbone', opts['transfer']),
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


def _refuse_loss(opts: dict[str, Any], name: str, losses: str, *reason: Any) -> NoReturn:
    # Refuse an option with the loss of this run.
    raise ArgumentError(arg(name, opts[name]), ' needs ', arg('loss', losses), *reason)


def _check_options(opts: dict[str, Any]) -> None:
    check_teacher_given(opts)
    distils = opts['loss'] in DISTILLATION_LOSSES
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
        _refuse_loss(opts, 'freeze', 'gdd', '; a teacher trains all layers, use ', arg('freeze', 0))
    if distils and opts['ls'] != 1:
        reason = ': bfloat16 has the exponents of float32, so distillation scales no loss '
        reason += '(the official code ignores the option); use '
        _refuse_loss(opts, 'ls', 'edm or vp or ve', reason, arg('ls', 1), ', or leave it out')
    if distils and opts['precision'] == 'fp16':
        raise ArgumentError(
            arg('precision', 'fp16'),
            ' does not go with ',
            arg('loss', opts['loss']),
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
