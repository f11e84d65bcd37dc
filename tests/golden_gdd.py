# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Golden numbers of features, discriminators, losses and gradients (the `gdd` part of golden.py).

Format and filling rules are described in the README.md beside the golden files.

Stated tolerances: 1e-5 for outputs and statistics, 1e-4 for gradients. Outputs keep to theirs
everywhere. Gradients through ReLUs do so only on the machine that made the numbers: about one in a
million ReLU inputs is so close to zero that rounding decides its sign, and each one that flips moves
gradients by 1e-4 to 3e-2. How far is measured here, not assumed. Wherever a gradient misses the
stated tolerance, our own stage is repeated, up to REPEATS times, from the same state with inputs
moved by their last bits (AMPLITUDE, seeded signs; this moves the features by 3e-7, as much as they
differ from the stored ones and from float64). The change of an entry against the unmoved computation
is its spread; an entry may be off by ALLOW times the larger of its own spread and the stage's root
mean square, and the root mean square error of a stage by STAGE_ALLOW times the latter. The repeats
end as soon as everything agrees, which changes no verdict, because allowances only grow. None
exceeds CEILING, so that noise in the code itself (dropout left on) cannot excuse itself.

Why 5 and 3: with six repeats, and two kinds of perturbation (inputs; inputs and weights), the stored
numbers are off by at most 3.1 times an entry's larger spread (median over stages 1.0) and 1.0 times a
stage's root mean square. Stages without a flip in any repeat keep their stated tolerance.
"""

import copy
import functools

import numpy as np
import torch

from tests.golden import GRADIENT_TOLERANCE, TOLERANCE, Check, fill, load, relative_error, rnd, value
from torch_utils import training_stats
from training.adversarial.discriminator import ProjectedDiscriminator
from training.adversarial.features import ProjectedFeatures
from training.adversarial.stages import GDDLoss
from training.backbones.stages import create_stages
from training.networks import GDDPrecond

REPEATS, AMPLITUDE = 6, 2e-7
ALLOW, STAGE_ALLOW, CEILING = 5, 3, 5e-2
TINY = 1e-5  # for gradients that are zero in exact arithmetic, as the format states it
STAGES, GAINS, R1_GAMMA = ('G', 'D', 'R1'), {'G': 1.0, 'D': 1.0, 'R1': 16.0}, 1e-4
NUM_CLASSES, TABLE_SHAPE = 10, (1000, 320)
# What the format's description states; an `init` stored with an entry overrides it.
GENERATOR = dict(
    img_channels=3,
    model_type='SongUNet',
    embedding_type='fourier',
    encoder_type='residual',
    decoder_type='standard',
    channel_mult_noise=2,
    resample_filter=[1, 3, 3, 1],
    model_channels=16,
    channel_mult=[1, 2],
    num_blocks=1,
    attn_resolutions=[16],
    dropout=0,
)


def check_gdd(directory, seed):
    """Yield a `Check` for every entry of gdd_SEED."""
    entries, arrays = load(directory, 'gdd', seed)
    for name in unique(key.split('/')[1] for key in entries if key.startswith('features/')):
        yield from feature_checks(entries, arrays, seed, name)
    known = {}
    for case in unique(key.rsplit('/', 1)[0] for key in entries if key.startswith('loss/')):
        yield from check_loss(entries, arrays, seed, case, known=known)


def unique(items):
    """Return the distinct items in the order of their first appearance."""
    return list(dict.fromkeys(items))


# ---- rounding -------------------------------------------------------------------------------------------


def nudge(tensor, run, name):
    """Return float32 values moved by their last bits, with signs that belong to the run and the name; run 0:
    unmoved.
    """
    if run == 0:
        return tensor
    signs = np.sign(rnd(f'nudge {run} {name}', tuple(tensor.shape)))
    return (tensor.detach().double() * torch.from_numpy(1 + AMPLITUDE * signs.astype(np.float64))).float()


def root_mean_square(values):
    """Return the root mean square of numbers, 0 of none."""
    return float(np.sqrt(np.mean(np.square(list(values))))) if values else 0.0


class Group:
    """Entries that are judged together: their errors, and their spreads over repeats with moved inputs.

    Args:
        key:       Start of the entry names.
        ours:      Name -> numbers of the unmoved computation.
        stored:    Name -> golden numbers.
        tolerance: Stated tolerance.
    """

    def __init__(self, key, ours, stored, tolerance):
        self.key, self.ours, self.tolerance = key, ours, tolerance
        self.scales = {name: float(np.linalg.norm(stored[name])) or 1.0 for name in ours}
        self.errors = {name: self._distance(name, ours[name], stored[name]) for name in ours}
        self.spreads, self.spread = dict.fromkeys(ours, 0.0), 0.0

    def _distance(self, name, a, b):
        difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
        return (
            float(np.linalg.norm(difference)) / self.scales[name]
            if np.isfinite(difference).all()
            else float('inf')
        )

    def repeat(self, values):
        """Take in one repeat, name -> numbers."""
        changes = {name: self._distance(name, values[name], ours) for name, ours in self.ours.items()}
        self.spreads = {name: max(spread, changes[name]) for name, spread in self.spreads.items()}
        self.spread = max(self.spread, root_mean_square(changes.values()))

    def checks(self):
        """Yield the check of each entry, and of all together where there are several."""
        for name, error in self.errors.items():
            allowance = ALLOW * max(self.spreads[name], self.spread)
            yield Check(f'{self.key}/{name}', error, self.tolerance, min(allowance, CEILING))
        if len(self.errors) > 1:
            yield Check(
                f'{self.key}/root mean square of {len(self.errors)} errors',
                root_mean_square(self.errors.values()),
                self.tolerance,
                min(STAGE_ALLOW * self.spread, CEILING),
            )

    def agrees(self):
        """Tell whether every check passes by now."""
        return all(check.error <= max(check.tolerance, check.allowance) for check in self.checks())


# ---- features -------------------------------------------------------------------------------------------


class RememberingFeatures(torch.nn.Module):
    """Compute features, and remember those of the last image batches that were given without gradient."""

    capacity = 6

    def __init__(self, features):
        super().__init__()
        self.features, self.memory = features, {}

    def forward(self, x):
        if torch.is_grad_enabled():
            return self.features(x)
        key = x.numpy().tobytes()
        if key not in self.memory:
            if len(self.memory) == self.capacity:
                del self.memory[next(iter(self.memory))]
            self.memory[key] = self.features(x)
        return self.memory[key]


@functools.lru_cache(maxsize=2)
def filled_features(names, seed):
    """Return `ProjectedFeatures` of a tuple of names with golden weights and moved statistics;
    copy it to change it.
    """
    weights = {}
    for name in names:
        with torch.device('meta'):
            state = create_stages(name)[0].state_dict()
        weights[name] = {
            key: torch.from_numpy(value(f'{seed}/{name}.{key}', tuple(tensor.shape)))
            for key, tensor in state.items()
            if tensor.is_floating_point()
        }
    features = ProjectedFeatures(names, 224, True, weights=weights, moved_statistics=True)
    features.load_projection_state(
        {
            key: torch.from_numpy(value(f'{seed}/P.{key}', tuple(tensor.shape)))
            for key, tensor in features.projection_state().items()
        }
    )
    return features


@functools.lru_cache(maxsize=1)
def remembering_features(names, seed):
    """Return `filled_features` with a memory."""
    return RememberingFeatures(filled_features(names, seed))


def golden_images(seed, shape):
    """Return the golden images; fewer images are the first ones of more."""
    return torch.from_numpy(np.tanh(rnd(f'{seed}/images', shape)))


def feature_checks(entries, arrays, seed, name):
    """Yield the checks of one backbone: feature maps, gradient for the images, names of the random layers."""
    prefix = f'features/{name}'
    images = golden_images(seed, arrays[f'{prefix}/input_grad'].shape)
    features = filled_features((name,), seed)
    names = {f'{seed}/P.{key}' for key in features.projection_state()}
    expected = entries.get(f'projection_names/{name}', names)
    yield Check(f'projection_names/{name}', float(len(names ^ set(expected))), 0.0)
    maps, gradient = input_gradient(features, name, images, seed)
    for level, x in enumerate(maps):
        entry, key = entries[f'{prefix}/{level}'], f'{prefix}/{level}'
        yield Check(f'{key}/shape', float(list(x.shape) != entry['shape']), 0.0)
        data = x.double()
        # The mean may be a small difference of large values: measure its error by the spread.
        yield Check(f'{key}/mean', float(abs(data.mean() - entry['mean'])) / entry['std'], TOLERANCE)
        yield Check(f'{key}/std', abs(float(data.std()) / entry['std'] - 1), TOLERANCE)
        yield Check(f'{key}/slice', relative_error(x[:, :8, ::7, ::7], arrays[f'{key}/slice']), TOLERANCE)
    stored = {'input_grad': arrays[f'{prefix}/input_grad']}
    group = Group(prefix, {'input_grad': gradient}, stored, GRADIENT_TOLERANCE)
    for run in range(1, 1 + REPEATS):
        if group.agrees():
            break
        group.repeat({'input_grad': input_gradient(features, name, nudge(images, run, 'images'), seed)[1]})
    yield from group.checks()


def check_features(entries, arrays, seed, name):
    """Yield (entry name, error, limit) of `feature_checks`; the limit includes the measured allowance."""
    for check in feature_checks(entries, arrays, seed, name):
        yield check.entry, check.error, max(check.tolerance, check.allowance)


def input_gradient(features, name, images, seed):
    """Return the feature maps and the gradient of their golden weighted sum for the images, detached."""
    images = images.clone().requires_grad_(True)
    maps = features(images)[name]
    total = sum(
        (x * torch.from_numpy(rnd(f'{seed}/cot.{name}.{level}', tuple(x.shape)))).sum()
        for level, x in enumerate(maps)
    )
    (gradient,) = torch.autograd.grad(total, [images])
    return [x.detach() for x in maps], gradient.numpy()


# ---- losses and gradients -------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def filled_discriminator(names, seed, conditional):
    """Return a `ProjectedDiscriminator` with golden weights; copy it before it runs."""
    features = filled_features(names, seed)
    table = torch.zeros(TABLE_SHAPE) if conditional else None
    D = ProjectedDiscriminator(
        features.names,
        features.channels,
        features.resolutions,
        label_dim=NUM_CLASSES if conditional else 0,
        class_table=table,
    )
    with torch.no_grad():
        for name, tensor in D.state_dict().items():
            if not tensor.is_floating_point():
                continue
            vector = name.endswith(('.u', '.v'))
            filling = (rnd if vector else value)(f'{seed}/D.{name}', tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(filling / np.linalg.norm(filling) if vector else filling))
    return D


def filled_generator(entries, case, seed, resolution, conditional):
    """Return a `GDDPrecond` with golden weights, in train mode;
    an `init` stored with the entry or the file decides.
    """
    init = dict(GENERATOR, img_resolution=resolution, label_dim=NUM_CLASSES if conditional else 0)
    init.update(entries[f'{case}/G'].get('init') or entries.get('init') or {})
    G = fill(GDDPrecond(**init), f'{seed}/G.').train()
    for name, parameter in G.named_parameters():
        parameter.requires_grad_(f'{seed}/G.{name}' not in entries[f'{case}/G']['no_grad'])
    return G


class Case:
    """One loss case: filled networks and inputs, a run through the three stages, and repeats of single ones.

    All that a stage leaves to the next are the vectors of D's spectral norms, which advance with each forward
    pass, whatever passes (batch norms use the batch). So a repeat begins at its stage.

    Args:
        entries, arrays, seed, case: As for `check_loss`.
        make_loss: Called as GDDLoss is; tests give wrong versions.
    """

    def __init__(self, entries, arrays, seed, case, make_loss=GDDLoss):
        _, names, condition, self.kind = case.split('/')
        names, conditional = tuple(names.split('+')), condition == 'cond1'
        self.key, self.seed, self.make_loss = case, seed, make_loss
        self.entries = {stage: entries[f'{case}/{stage}'] for stage in STAGES}
        self.z = {stage: torch.from_numpy(arrays[f'{case}/{stage}/z']) for stage in ('G', 'D')}
        shape = tuple(self.z['G'].shape)
        self.images = golden_images(seed, shape)
        self.F, self.D = remembering_features(names, seed), filled_discriminator(names, seed, conditional)
        self.G = filled_generator(entries, case, seed, shape[-1], conditional)
        self.labels = (
            torch.eye(self.G.label_dim)[torch.arange(shape[0])] if conditional else torch.zeros([shape[0], 0])
        )
        self.before, self.probes = {}, {}  # stage -> D before it; name -> random direction

    def logits_real(self):
        """Return the logits of the real images from a fresh copy of D,
        all images of the first backbone first.
        """
        with torch.no_grad():
            return torch.cat(copy.deepcopy(self.D)(self.F(self.images), self.labels))

    def stages(self, last='R1'):
        """Yield (stage, statistics, gradients, number of touched parameters of the other network) up to a
        stage.
        """
        D = copy.deepcopy(self.D)
        for stage in STAGES[: STAGES.index(last) + 1]:
            self.before[stage] = copy.deepcopy(D)
            yield stage, *self._stage_from(D, stage, run=0)

    def repeat(self, stage, run):
        """Return statistics and gradients of a stage that `stages` has run, with inputs moved by the run."""
        return self._stage_from(copy.deepcopy(self.before[stage]), stage, run)[:2]

    def _stage_from(self, D, stage, run):
        """Run a stage with a D, which it advances; return what `stages` yields."""
        G = copy.deepcopy(self.G)
        D.zero_grad(set_to_none=True)
        loss = self.make_loss(G, D, self.F, loss_type=self.kind, r1_gamma=R1_GAMMA)
        statistics = self._run_stage(loss, stage, nudge(self.images, run, 'images'), run)
        (trained, prefix), idle = ((G, 'G'), D) if stage == 'G' else ((D, 'D'), G)
        gradients = {
            f'{self.seed}/{prefix}.{name}': p.grad
            for name, p in trained.named_parameters()
            if p.grad is not None
        }
        return statistics, gradients, sum(p.grad is not None for p in idle.parameters())

    def _run_stage(self, loss, stage, images, run):
        """Return statistic -> (mean, standard deviation)."""
        collector = training_stats.Collector()
        first_logits = []
        hook = loss.D.register_forward_hook(
            lambda module, args, logits: first_logits.append(logits[0].detach())
        )
        if stage == 'R1':
            total = loss.r1_loss(images, self.labels)
            (GAINS[stage] * total).backward(inputs=list(loss.D.parameters()))
        else:
            judge = loss.generator_loss if stage == 'G' else loss.discriminator_loss
            (judge(images, self.labels, nudge(self.z[stage], run, f'z of {stage}')) * GAINS[stage]).backward()
        hook.remove()
        collector.update()
        row = first_logits[0][1]  # The second entry of the official list of rows: image 1 on backbone 0.
        return {
            name: (float(row.mean()), float(row.std()))
            if name.endswith('fake_eff')
            else (collector.mean(name), collector.std(name))
            for name in self.entries[stage]['stats']
        }

    def probe(self, stage, gradients):
        """Return name -> probe of every gradient that is stored and not zero in exact arithmetic."""
        result = {}
        for name in self.entries[stage]['grads']:
            if name not in gradients or before_batch_norm(name):
                continue
            gradient = gradients[name].double()
            if name not in self.probes:
                self.probes[name] = torch.from_numpy(rnd(f'probe:{name}', tuple(gradient.shape)))
            result[name] = [float(gradient.norm()), float((gradient * self.probes[name]).sum())]
        return result


def before_batch_norm(name):
    """Tell whether a parameter is a bias of D before a batch norm,
    whose gradient is zero in exact arithmetic.
    """
    return '.down' in name and name.endswith('.conv.bias')


def check_loss(entries, arrays, seed, case, repeats=REPEATS, make_loss=GDDLoss, last='R1', known=None):
    """Yield the checks of one case: logits of real images, then the stages G, D, R1, up to the `last`.

    `known` is what cases share (`repeat_stage`), a dict that is filled.
    """
    known = {} if known is None else known
    task = Case(entries, arrays, seed, case, make_loss)
    if f'{case}/logits_real' in arrays:
        yield Check(
            f'{case}/logits_real',
            relative_error(task.logits_real(), arrays[f'{case}/logits_real']),
            TOLERANCE,
        )
    groups = {}  # (stage, 'gradients' or 'statistics') -> Group
    for stage, statistics, gradients, touched in task.stages(last):
        key, entry = f'{case}/{stage}', task.entries[stage]
        yield Check(f'{key}/other network untouched', float(touched), 0.0)
        yield Check(
            f'{key}/parameters with gradient', float(len(gradients.keys() ^ entry['grads'].keys())), 0.0
        )
        yield from bias_checks(key, gradients)
        groups[stage, 'gradients'] = Group(
            key, task.probe(stage, gradients), entry['grads'], GRADIENT_TOLERANCE
        )
        if stage == 'R1':  # Squared gradients, which rounding moves as it does gradients.
            groups[stage, 'statistics'] = Group(key, means(statistics), entry['stats'], TOLERANCE)
        else:
            yield from statistics_checks(key, statistics, entry['stats'])
    for stage in task.before:
        repeat_stage(task, stage, groups, repeats, known)
    for group in groups.values():
        yield from group.checks()


def repeat_stage(task, stage, groups, repeats, known):
    """Repeat a stage until its groups agree, up to a number of times; `known` holds the repeats of R1 by its
    unmoved numbers: cases that differ in the loss type, which R1 does not know, share them.
    """
    judged = [group for (of_stage, _), group in groups.items() if of_stage == stage]
    unmoved = repr([group.ours for group in judged])
    for run in range(1, 1 + repeats):
        if all(group.agrees() for group in judged):
            break
        if (unmoved, run) not in known:
            statistics, gradients = task.repeat(stage, run)
            known[unmoved, run] = task.probe(stage, gradients), means(statistics)
        for group, values in zip(judged, known[unmoved, run]):
            group.repeat(values)


def means(statistics):
    """Return the means alone."""
    return {name: mean for name, (mean, _) in statistics.items()}


def statistics_checks(key, statistics, stored):
    """Yield the checks of means of logits; one may be a small difference of large values:
    the spread measures it.
    """
    for name, (mean, spread) in statistics.items():
        yield Check(f'{key}/{name}', abs(mean - stored[name]) / max(abs(stored[name]), spread), TOLERANCE)


def bias_checks(key, gradients):
    """Yield the checks of gradients that are zero in exact arithmetic,
    measured by those of the same convolution.
    """
    for name, gradient in gradients.items():
        if before_batch_norm(name):
            weight = gradients[name[: -len('bias')] + 'weight']
            yield Check(
                f'{key}/{name} (tiny)', float(gradient.double().norm() / weight.double().norm()), TINY
            )
