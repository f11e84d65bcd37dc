# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tiny data sets, teachers and runs for the tests of training;
everything fits 8x8 pixels and seconds on a CPU.
"""

import io
import json
import zipfile

import numpy as np
import PIL.Image
import torch

import train
from training import networks
from training.adversarial.features import ProjectedFeatures
from training.dataset import ImageFolderDataset
from training.run import state as training_state
from training.snapshots.snapshot import save_snapshot
from training.tasks.distillation import DistillationTask

RESOLUTION = 8
NETWORK_ARGS = ('--arch=ncsnpp', '--cbase=8', '--cres=1,1', '--num-blocks=1', '--attn-res=4')
COMMON_ARGS = ('--batch=8', '--workers=0', '--grid=2x3', '--seed=3', '--device=cpu')
TEACHER_ARGS = ('--loss=edm', '--lr=0.01', '--lr-rampup=0', '--augment=0', *NETWORK_ARGS, *COMMON_ARGS)
# A real discriminator on one small backbone.
GAN_ARGS = ('--backbone=3', '--d-resolution=32', '--d-channel-max=16', '--class-embed=random', *COMMON_ARGS)
UNET = dict(
    model_type='SongUNet',
    embedding_type='fourier',
    encoder_type='residual',
    decoder_type='standard',
    channel_mult_noise=2,
    resample_filter=[1, 3, 3, 1],
    model_channels=8,
    channel_mult=[1, 1],
    num_blocks=1,
    attn_resolutions=[4],
    dropout=0.0,
)


def write_zip(path, count=20, resolution=RESOLUTION, channels=3, classes=3, damaged=()):
    """Write a data set of random images as dataset_tool.py would: PNG files and dataset.json (unless classes
    is 0).

    The images numbered in `damaged` are cut off.
    """
    rng = np.random.RandomState(0)
    labels = []
    with zipfile.ZipFile(path, 'w') as archive:
        for k in range(count):
            pixels = rng.randint(256, size=[resolution, resolution] + [3] * (channels == 3)).astype(np.uint8)
            buffer = io.BytesIO()
            PIL.Image.fromarray(pixels).save(buffer, format='png')
            name = f'00000/img{k:08d}.png'
            archive.writestr(name, buffer.getvalue()[:60] if k in damaged else buffer.getvalue())
            labels.append([name, k % max(classes, 1)])
        if classes:
            archive.writestr('dataset.json', json.dumps({'labels': labels}))
    return str(path)


def write_teacher(path, resolution=RESOLUTION, channels=3, classes=3, cls=networks.EDMPrecond, **arguments):
    """Write the snapshot of a network with random weights."""
    torch.manual_seed(5)
    net = cls(img_resolution=resolution, img_channels=channels, label_dim=classes, **dict(UNET, **arguments))
    save_snapshot(str(path), ema=net.eval())
    return str(path)


def make_config(*args):
    """Resolve options of train.py as its command does; only the tick cannot be small enough there."""
    config = train.resolve(train.main.make_context('train.py', ['--outdir=none', *args]))
    return frozen(dict(config, tick_nimg=16))


class Frozen(dict):
    """A dict that refuses to be changed in place: nothing below the options may do so."""

    def _refuse(self, *_args, **_kwargs):
        raise TypeError('resolved options are complete, and nobody changes them')

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _refuse


def frozen(value):
    """Freeze nested dicts, of the options of a run."""
    return Frozen({k: frozen(v) for k, v in value.items()}) if isinstance(value, dict) else value


def make_run(config):
    """Build a TrainingRun as train.py does, from options that nobody can change."""
    return train.build_run(frozen(config))


def make_task(material, *args, micro_batch=None, **changes):
    """Build a DistillationTask on (data, teacher), with options of train.py and changes of the resolved."""
    data, teacher = material
    config = make_config(f'--data={data}', '--cond=1', f'--transfer={teacher}', *GAN_ARGS, *args)
    return DistillationTask(
        frozen(dict(config, **changes)),
        ImageFolderDataset(data, use_labels=True),
        torch.device('cpu'),
        micro_batch or config['batch_size'],
    )


def duration(nimg):
    """Option for a run of so many images."""
    return f'--duration={nimg / 1e6:.6f}'


def use_random_backbones(setattr_=None):
    """Let the features be built without pretrained weights; `setattr_` as monkeypatch.setattr."""
    from training.adversarial import builders

    (setattr_ or setattr)(
        builders,
        'ProjectedFeatures',
        lambda *args, **kwargs: ProjectedFeatures(*args, **dict(kwargs, weights='random')),
    )


def remove_normalisation(module, setattr_=setattr):
    """Let batch norms only scale and shift, so that no image depends on its neighbours."""
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            setattr_(
                norm,
                'forward',
                lambda x, norm=norm: x * norm.weight[:, None, None] + norm.bias[:, None, None],
            )


def use_small_steps(setattr_=setattr):
    """Let train.py end ticks every 16 images, run R1 every 3 iterations and name states by images."""

    def build_run(config, original=train.build_run):
        r1 = dict(r1_interval=3) if config.get('r1_interval') else {}
        return original(frozen(dict(config, tick_nimg=16, **r1)))

    setattr_(train, 'build_run', build_run)
    setattr_(training_state, 'state_path', lambda run_dir, nimg: f'{run_dir}/training-state-{nimg:06d}.pt')


def read_stats(run_dir):
    """Read stats.jsonl as strict JSON: NaN and infinity are errors."""

    def refuse(text):
        raise ValueError(f'{text} is not JSON')

    with open(f'{run_dir}/stats.jsonl', encoding='utf-8') as file:
        return [json.loads(line, parse_constant=refuse) for line in file]


def lasting(state):
    """Leave out of a state what the clock decides: seconds, rates, memory."""

    def of_clock(name):
        return name.startswith(('Timing/', 'Resources/'))

    statistics = {
        kind: {name: value for name, value in state['statistics'][kind].items() if not of_clock(name)}
        for kind in ('pending', 'moments')
    }
    progress = dict(state['progress'], total_sec=0, tick_sec=0)
    return dict(state, statistics=dict(state['statistics'], **statistics), progress=progress)


def flatten(tree, prefix=''):
    """List (name, leaf) of nested dicts and lists."""
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, (list, tuple)):
        items = enumerate(tree)
    else:
        return [(prefix, tree)]
    return [leaf for key, value in items for leaf in flatten(value, f'{prefix}/{key}')]


def differences(a, b):
    """Name the leaves that differ between two nested states, bit for bit."""
    left, right = dict(flatten(a)), dict(flatten(b))
    names = sorted(left.keys() ^ right.keys())
    for name in left.keys() & right.keys():
        x, y = left[name], right[name]
        same = torch.equal(x, y) if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor) else x == y
        if not same:
            names.append(name)
    return names
