# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Golden numbers of features, discriminators, losses and gradients (the `gdd` part of golden.py).

Format and filling rules are described in the README.md beside the golden files.

Tolerances. Outputs agree to 1e-5, and gradients of the smooth transformer to 1e-4. Networks with
ReLUs cannot do that for gradients except on the machine that made the numbers: about one in a
million of their inputs is so close to zero that rounding decides its sign, and each one that
flips changes single gradients by 1e-3 to 3e-2. The stored gradients themselves differ by as much
from the same computation in float64, and so do ours when the inputs are perturbed by 4e-7
(test_gan_loss.py shows it). Therefore every gradient has to agree to 5e-2, and the root mean
square over all gradients of a stage to 1e-2; exact values are held by the float64 tables of
test_discriminator.py and test_gan_loss.py, to ten digits.
"""

import copy

import numpy as np
import torch
from golden import fill, load, relative_error, rnd, value

from torch_utils import training_stats
from training.backbones import create_stages, get_spec
from training.discriminator import ProjectedDiscriminator
from training.features import ProjectedFeatures
from training.gan_loss import GDDLoss
from training.networks import GDDPrecond

OUTPUT_TOLERANCE, SMOOTH_TOLERANCE, TINY = 1e-5, 1e-4, 1e-5
ENTRY_TOLERANCE, STAGE_TOLERANCE = 5e-2, 1e-2   # gradients through ReLUs, see above
GAINS = {'G': 1., 'D': 1., 'R1': 16.}
NUM_CLASSES, TABLE_SHAPE = 10, (1000, 320)
# What the format's description states; an `init` stored with an entry overrides it.
GENERATOR = dict(img_channels=3, model_type='SongUNet', embedding_type='fourier', encoder_type='residual',
                 decoder_type='standard', channel_mult_noise=2, resample_filter=[1, 3, 3, 1], model_channels=16,
                 channel_mult=[1, 2], num_blocks=1, attn_resolutions=[16], dropout=0)


def check_gdd(directory, seed):
    """Yield (entry name, relative error, tolerance) for every entry of gdd_SEED."""
    entries, arrays = load(directory, 'gdd', seed)
    for name in unique(key.split('/')[1] for key in entries if key.startswith('features/')):
        yield from check_features(entries, arrays, seed, name)
    for case in unique(key.rsplit('/', 1)[0] for key in entries if key.startswith('loss/')):
        yield from check_loss(entries, arrays, seed, case)


def unique(items):
    """Return the distinct items in the order of their first appearance."""
    return list(dict.fromkeys(items))


def filled_features(names, seed):
    """Return `ProjectedFeatures` with golden weights and moved statistics."""
    weights = {}
    for name in names:
        with torch.device('meta'):
            state = create_stages(name)[0].state_dict()
        weights[name] = {key: torch.from_numpy(value(f'{seed}/{name}.{key}', tuple(tensor.shape)))
                         for key, tensor in state.items() if tensor.is_floating_point()}
    features = ProjectedFeatures(names, 224, True, weights=weights, moved_statistics=True)
    features.load_projection_state({key: torch.from_numpy(value(f'{seed}/P.{key}', tuple(tensor.shape)))
                                    for key, tensor in features.projection_state().items()})
    return features


def golden_images(seed, shape):
    """Return the golden images; fewer images are the first ones of more."""
    return torch.from_numpy(np.tanh(rnd(f'{seed}/images', shape)))


def check_features(entries, arrays, seed, name):
    """Yield the checks of one backbone: feature maps, gradient for the images, names of the random layers."""
    prefix = f'features/{name}'
    stored_grad = arrays[f'{prefix}/input_grad']
    images = golden_images(seed, stored_grad.shape).requires_grad_(True)
    features = filled_features([name], seed)
    names = {f'{seed}/P.{key}' for key in features.projection_state()}
    expected = entries.get(f'projection_names/{name}', names)
    yield f'projection_names/{name}', float(len(names ^ set(expected))), 0.0
    maps = features(images)[name]
    total = 0
    for level, x in enumerate(maps):
        entry, key = entries[f'{prefix}/{level}'], f'{prefix}/{level}'
        yield f'{key}/shape', float(list(x.shape) != entry['shape']), 0.0
        data = x.detach().double()
        # The mean may be a small difference of large values: measure its error by the spread.
        yield f'{key}/mean', float(abs(data.mean() - entry['mean'])) / entry['std'], OUTPUT_TOLERANCE
        yield f'{key}/std', abs(float(data.std()) / entry['std'] - 1), OUTPUT_TOLERANCE
        yield f'{key}/slice', relative_error(x.detach()[:, :8, ::7, ::7], arrays[f'{key}/slice']), OUTPUT_TOLERANCE
        total = total + (x * torch.from_numpy(rnd(f'{seed}/cot.{name}.{level}', tuple(x.shape)))).sum()
    gradient, = torch.autograd.grad(total, [images])
    tolerance = STAGE_TOLERANCE if get_spec(name).family != 'transformer' else SMOOTH_TOLERANCE
    yield f'{prefix}/input_grad', relative_error(gradient, stored_grad), tolerance


def filled_discriminator(features, seed, conditional):
    """Return a `ProjectedDiscriminator` with golden weights."""
    table = torch.zeros(TABLE_SHAPE) if conditional else None
    D = ProjectedDiscriminator(features.names, features.channels, features.resolutions,
                               label_dim=NUM_CLASSES if conditional else 0, class_table=table)
    with torch.no_grad():
        for name, tensor in D.state_dict().items():
            if not tensor.is_floating_point():
                continue
            vector = name.endswith(('.u', '.v'))
            filling = (rnd if vector else value)(f'{seed}/D.{name}', tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(filling / np.linalg.norm(filling) if vector else filling))
    return D


def filled_generator(entries, case, seed, resolution, conditional):
    """Return a `GDDPrecond` with golden weights, in train mode."""
    stored = entries[f'{case}/G']
    init = dict(GENERATOR, img_resolution=resolution, label_dim=NUM_CLASSES if conditional else 0)
    init.update(stored.get('init') or entries.get('init') or {})
    return fill(GDDPrecond(**init), f'{seed}/G.').train()


def check_loss(entries, arrays, seed, case):
    """Yield the checks of one case: logits of real images, then the stages G, D and R1."""
    _, names, condition, kind = case.split('/')
    conditional = condition == 'cond1'
    shape = arrays[f'{case}/G/z'].shape
    images = golden_images(seed, shape)
    F = filled_features(names.split('+'), seed)
    D = filled_discriminator(F, seed, conditional)
    G = filled_generator(entries, case, seed, shape[-1], conditional)
    labels = torch.eye(G.label_dim)[torch.arange(shape[0])] if conditional else torch.zeros([shape[0], 0])
    for name, parameter in G.named_parameters():
        parameter.requires_grad_(f'{seed}/G.{name}' not in entries[f'{case}/G']['no_grad'])
    if f'{case}/logits_real' in arrays:
        with torch.no_grad():
            logits = torch.cat(copy.deepcopy(D)(F(images), labels))
        yield f'{case}/logits_real', relative_error(logits, arrays[f'{case}/logits_real']), OUTPUT_TOLERANCE
    loss = GDDLoss(G, D, F, loss_type=kind, r1_gamma=1e-4)
    for stage in ('G', 'D', 'R1'):
        yield from check_stage(loss, stage, images, labels, entries[f'{case}/{stage}'], arrays, f'{case}/{stage}', seed)


def check_stage(loss, stage, images, labels, entry, arrays, key, seed):
    """Run one stage and yield the checks of its statistics and gradients."""
    collector = training_stats.Collector()
    first_logits = []
    hook = loss.D.register_forward_hook(lambda module, args, logits: first_logits.append(logits[0].detach()))
    for network in (loss.G, loss.D):
        network.zero_grad(set_to_none=True)
    if stage == 'R1':
        loss.r1_stage(images, labels, gain=GAINS[stage])
    else:
        run = loss.generator_stage if stage == 'G' else loss.discriminator_stage
        run(images, labels, torch.from_numpy(arrays[f'{key}/z']), gain=GAINS[stage])
    hook.remove()
    collector.update()
    for name, stored in entry['stats'].items():
        ours, spread = collector.mean(name), collector.std(name)
        if name.endswith('fake_eff'):  # The second entry of the official list of rows: image 1 on backbone 0.
            ours, spread = float(first_logits[0][1].mean()), float(first_logits[0][1].std())
        # A mean may be a small difference of large values: measure its error by their spread. The R1
        # statistics are squared gradients.
        scale = abs(stored) if stage == 'R1' else max(abs(stored), spread)
        yield f'{key}/{name}', abs(ours - stored) / scale, STAGE_TOLERANCE if stage == 'R1' else OUTPUT_TOLERANCE
    trained, idle = (loss.G, loss.D) if stage == 'G' else (loss.D, loss.G)
    yield f'{key}/other network untouched', float(sum(p.grad is not None for p in idle.parameters())), 0.0
    yield from check_gradients(trained, f"{seed}/{'G' if stage == 'G' else 'D'}.", entry, key)


def check_gradients(network, prefix, entry, key):
    """Yield one check per stored gradient, one for the parameters without any, one for the whole stage."""
    errors = []
    gradients = {prefix + name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    yield f'{key}/parameters with gradient', float(len(gradients.keys() ^ entry['grads'].keys())), 0.0
    for name, stored in entry['grads'].items():
        if name not in gradients:
            continue
        ours = gradients[name].double()
        if '.down' in name and name.endswith('.conv.bias') and prefix.endswith('D.'):
            # Zero in exact arithmetic, because a batch norm follows.
            weight = gradients[name[:-len('bias')] + 'weight'].double()
            yield f'{key}/{name} (tiny)', float(ours.norm() / weight.norm()), TINY
            continue
        probe = [float(ours.norm()), float((ours * torch.from_numpy(rnd(f'probe:{name}', tuple(ours.shape)))).sum())]
        error = relative_error(probe, stored) if np.any(stored) else float(ours.norm())
        errors.append(error)
        yield f'{key}/{name}', error, ENTRY_TOLERANCE
    yield f'{key}/root mean square of the gradient errors', float(np.sqrt(np.mean(np.square(errors)))), STAGE_TOLERANCE
