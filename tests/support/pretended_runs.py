# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tiny trainings for the pretended GPU: 16 configurations, run on it and, for comparison, on the CPU."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator

import timm
import torch

from benchmarks.synthetic_data import SyntheticDataset
from benchmarks.throughput import synthetic_config
from tests.support import tiny_runs
from tests.support.pretended_cuda import PretendedCuda
from torch_utils import distributed, training_stats
from training import augment
from training.backbones import stages
from training.tasks import teacher
from training.training_loop import TrainingRun

NOT_DEVICE = [option for option in tiny_runs.GAN_ARGS if not option.startswith('--device')]
GDD = ('--transfer=random', '--freeze=1', *tiny_runs.NETWORK_ARGS, *NOT_DEVICE)
TEACHER = tuple(option for option in tiny_runs.TEACHER_ARGS if not option.startswith('--device'))
ADM = ('--arch=adm', '--cbase=32', '--cres=1,2', '--num-blocks=1', '--attn-res=4')
CASES = {
    'clean': GDD,
    'official': (*GDD, '--compat=official', '--precision=bf16'),
    'bf16': (*GDD, '--precision=bf16'),
    'sync-bn': (*GDD, '--sync-bn=1'),
    'fast': (*GDD, '--perf=fast-16bit'),  # compiled on a GPU, which a pretended one cannot: see below
    'two steps': (*GDD, '--multi-step-g=2', '--precision=bf16'),
    'hinge': (*GDD, '--loss-type=hinge', '--channels-last=0'),
    'accumulation': (*GDD, '--batch-gpu=4'),
    'radam': (*GDD, '--optimizer-type=radam'),
    'nan=zero': (*GDD, '--nan=zero'),
    'ada, diffaug': (*GDD, '--diffaug=1', '--ada-target=0.6', '--augment-p=0.5'),
    'adm': ('--transfer=random', '--freeze=2', *ADM, '--precision=bf16', *NOT_DEVICE),
    'deit': (*GDD, '--backbone=0', '--d-resolution=224', '--batch=2'),
    'teacher fp32': TEACHER,
    'teacher bf16': (*TEACHER, '--precision=bf16'),
    'teacher fp16': (*TEACHER, '--precision=fp16'),
    'teacher vp': (*TEACHER, '--loss=vp'),
    'teacher ve': (*TEACHER, '--loss=ve'),
    'teacher adm, augmented': (*TEACHER, *ADM, '--augment=0.5', '--precision=bf16'),
}


@contextlib.contextmanager
def on_device(device: str, real: bool = False) -> Iterator[PretendedCuda | None]:
    """Let the program run on a GPU ('cuda'), pretended or real, or on the CPU ('cpu')."""
    augment.constant.cache_clear()  # tensors of a pretended GPU must not outlive it
    torch.compiler.set_stance('force_eager')
    with PretendedCuda() if device == 'cuda' and not real else contextlib.nullcontext() as gpu:
        training_stats._counters.clear()
        distributed.init(device)
        try:
            yield gpu
        finally:
            distributed.destroy()
            augment.constant.cache_clear()
            torch.compiler.set_stance('default')


def make_run(options: Iterable[str], device: str) -> TrainingRun:
    """Build a run on random images of 8x8 pixels; R1 comes in iteration 16."""
    given = tiny_runs.make_config('--data=cifar10-32x32.zip', '--cond=1', *options, f'--device={device}')
    config = synthetic_config(given, 1, device=device, batch_gpu=given['batch_gpu'])
    config['dataset_kwargs'].update(resolution=8, classes=3, max_size=40)
    return TrainingRun(config, SyntheticDataset(**config['dataset_kwargs']))


def use_small_transformer(setattr_) -> None:
    """Let DeiT be a narrow one of the same build: twelve blocks and two extra tokens."""
    name, small = 'deit_base_distilled_patch16_224', 'deit_tiny_distilled_patch16_224'
    spec = dataclasses.replace(stages.BACKBONES[name], channels=(192,) * 4)
    setattr_(stages, 'BACKBONES', {**stages.BACKBONES, name: spec})
    original = timm.create_model
    setattr_(timm, 'create_model', lambda model, **kwargs: original(
        small if model == name else model, **kwargs))  # fmt: skip


def compute_as_on_cuda(run: TrainingRun) -> None:
    """Let a run on the CPU compute the generator in bfloat16, which the networks do on CUDA only."""
    if run.config['loss'] == 'gdd' and run.config['precision'] == 'bf16':
        run.task.computing_G.model.register_forward_pre_hook(
            lambda _model, inputs: (inputs[0].to(torch.bfloat16), *inputs[1:])
        )


def pad_as_on_cuda(setattr_) -> None:
    """Let augmentation on the CPU pad by the fixed maximum, and allow float16, as on CUDA."""
    setattr_(augment, 'padding', lambda _matrix, height, width: [width - 1, height - 1] * 2)
    setattr_(teacher, 'check_precision', lambda _precision, _device: None)


def differing(state: dict, other: dict) -> list[str]:
    """Name what differs between two states of one run on GPU and CPU, bit for bit; EMA up to rounding.

    The average is `lerp` on the CPU and another form of it on a GPU, where only the device knows the weight.
    """
    found = tiny_runs.differences(
        *(
            {name: value for name, value in tiny_runs.lasting(s).items() if name != 'ema'}
            for s in (state, other)
        )
    )
    ema, reference = (dict(tiny_runs.flatten(s['ema'])) for s in (state, other))
    found += [
        name
        for name in ema
        if not torch.allclose(ema[name].float(), reference[name].float(), rtol=1e-5, atol=1e-6)
    ]
    return [name for name in found if not name.endswith('/capturable')]  # of RAdam, which follows the device
