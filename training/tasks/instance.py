# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Instance-based distillation in training: the loss against a frozen score network, and runs without adversarial loss."""

import functools

import torch

from torch_utils import distributed, misc, training_stats
from training.config import ConfigError, check_max_steps
from training.instance.distances import build_distance
from training.instance.targets import distillation_target, draw_indices, image_levels, index_levels
from training.snapshots.snapshot import load_network
from training.student.freeze import freeze_layers, freeze_table
from training.student.generator import build_generator, computing_twin, describe_generator
from training.update.gradients import StepGuard
from training.update.optimizers import make_optimizer

# Preconditioned networks that denoise at any noise level; each is used with its own coefficients.
SCORE_NETWORKS = ('EDMPrecond', 'VPPrecond', 'VEPrecond', 'iDDPMPrecond')


class InstanceLoss:
    """Add the gradients of the distance between the student's output and its target (distillation spec 6.4).

    Args:
        student:   Generator in training; also makes the long jumps of the targets, without gradient.
        teacher:   Frozen denoiser, eval mode; makes the jumps over one interval.
        kind:      One of `instance_loss.INSTANCE_TYPES`.
        max_steps: Number of intervals.
        distance:  Function (images, images) -> distance of each pair, [N].
    Raises:
        ValueError: `max_steps` does not fit `kind`.
    """

    def __init__(self, student, teacher, kind, max_steps, distance):
        check_max_steps(kind, max_steps)
        self.student, self.teacher = student, teacher
        self.kind, self.max_steps, self.distance = kind, max_steps, distance

    def batch(self, rng, count):
        """Draw the time indices of an iteration and return the function that handles its micro-batches in order.

        Args:
            rng:   BatchRandom of the iteration.
            count: Images of this process.
        Returns:
            Function of (images, labels, z) of the next micro-batch, which adds gradients as `stage` does. Their sum over
            the iteration is the gradient of the mean over its images.
        """
        draw = functools.partial(draw_indices, self.kind, self.max_steps)
        # On the CPU, where the choice between teacher and student is made.
        drawn = rng.share(lambda n, generator: draw(n, generator=generator), count, 'instance', device='cpu')
        done = 0

        def next_stage(images, labels, z):
            nonlocal done
            indices = {name: value[done : done + len(images)] for name, value in drawn.items()}
            done += len(images)
            return self.stage(images, labels, z, indices, gain=len(images) / count)

        return next_stage

    def stage(self, images, labels, z, indices, gain=1.0):
        """Add the gradients of gain * mean of the distances.

        Args:
            images:  Real images [N, C, H, W], -1..1.
            labels:  One-hot labels [N, K]; [N, 0] = unconditional.
            z:       Standard normal noise, shape of `images`.
            indices: Dict of t, u, s, int64 [N] on the CPU.
            gain:    Factor on the mean.
        Returns:
            Distances, [N], detached.
        """
        labels = labels if labels.shape[1] else None
        sigma = image_levels(index_levels(self.max_steps)[indices['t']], images)  # [N, 1, 1, 1]
        noisy = images + sigma * z  # [N, C, H, W]
        with torch.no_grad():
            target = distillation_target(
                self.kind, self.student, self.teacher, noisy, indices, labels, self.max_steps
            )
        distances = self.distance(self.student(noisy, sigma, labels), target)  # [N]
        (distances.mean() * gain).backward()
        training_stats.report('Loss/dist/fake', distances.detach())
        return distances.detach()

    def summary(self, config):
        """Return lines that describe the loss."""
        options = config['instance_kwargs']
        source = (
            f'--target={config["target"]}'
            if config['target']
            else 'the teacher of --transfer (no --target given)'
        )
        return [
            f'Instance loss: --teacher-type={self.kind} --max-steps={self.max_steps} --distance={options["distance"]}; '
            f'score network: {type(self.teacher).__name__}, {source}'
        ]


def build_instance_loss(config, student, teacher, device):
    """Build the loss that the options ask for.

    Args:
        config:  Resolved options.
        student: Generator.
        teacher: Network of --transfer, the score network unless --target names another.
        device:  Device to train on.
    Raises:
        ValueError: The score network does not fit, or the distance cannot be had.
    """
    options = dict(config['instance_kwargs'])
    name, option = config['transfer'], '--transfer'
    if config['target']:
        name, option = config['target'], '--target'
        teacher, info = distributed.rank0_first(
            lambda: load_network(name, option='target', trust=config['trust_pickle'])
        )
        config['target_sha256'] = info.sha256
    if teacher is None:
        raise ConfigError(
            f'--teacher-type={options["kind"]} needs a score network, and --transfer={name} has none; name one, for '
            'example --target=pretrained/edm-mnist-32x32-cond-ve.pkl'
        )
    check_score_network(f'{option}={name}', teacher, student)
    layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
    teacher = teacher.to(device, memory_format=layout).eval().requires_grad_(False)
    distance = distributed.rank0_first(
        lambda: build_distance(options['distance'], device, student.img_channels)
    )
    return InstanceLoss(student, teacher, options['kind'], options['max_steps'], distance)


def check_score_network(name, teacher, student):
    """Refuse a score network that cannot denoise at every level, or that makes other images than the student.

    Raises:
        ConfigError: One line for the user.
    """
    if type(teacher).__name__ not in SCORE_NETWORKS:
        raise ConfigError(
            f'{name} is a {type(teacher).__name__}, which denoises at its own few noise levels only; give the '
            'diffusion model it was made from, for example --target=edm-cifar10-32x32-uncond-ve.pkl'
        )
    for what, attribute in (
        ('resolution', 'img_resolution'),
        ('channels', 'img_channels'),
        ('classes', 'label_dim'),
    ):
        ours, theirs = getattr(student, attribute), getattr(teacher, attribute)
        if ours != theirs:
            raise ConfigError(
                f'{name} has {theirs} {what}, but the student of --transfer has {ours}; both must be the '
                'same, so give a teacher of the same images, or leave --target out'
            )


class InstanceTask:
    """Generator, frozen score network and optimizer of a run with --teacher-only: no discriminator, no backbones.

    Args:
        config:  Resolved options (training/config.py); network_kwargs and teacher facts are filled in.
        dataset: Training images.
        device:  Device to train on.
    Raises:
        ValueError: Teacher, data and options do not fit.
    """

    def __init__(self, config, dataset, device):
        self.config, self.device = config, device
        self.layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
        self.G, teacher = build_generator(config, dataset, device)
        self.trained = self.G
        self.g_params = freeze_layers(self.G, config['freeze'])
        for _name, tensor in misc.named_params_and_buffers(self.G):
            distributed.broadcast_(tensor.detach())
        self.loss = build_instance_loss(config, computing_twin(self.G), teacher, device)
        self.guard = StepGuard(config['nan'])
        self.g_optimizer = make_optimizer(
            config['optimizer_type'], self.g_params, **config['optimizer_kwargs']
        )

    def step(self, images, labels, rng, iteration):
        """Run one iteration.

        Args:
            images:    Real images of this process, float32 [N, C, H, W], -1..1.
            labels:    One-hot labels [N, K]; K = 0 without classes.
            rng:       BatchRandom of this iteration.
            iteration: Index of the iteration, from 0 (unused: every iteration is alike).
        Returns:
            What the averages shall know of the step, as `StepGuard.step`.
        """
        self.g_optimizer.zero_grad(set_to_none=True)
        z = rng.randn(images.shape, 'G').contiguous(memory_format=self.layout)
        size, backward = self.config['micro_batch'], self.loss.batch(rng, len(images))
        for x, y, noise in zip(images.split(size), labels.split(size), z.split(size)):
            backward(x, y, noise)
        return self.guard.step('G', self.g_optimizer, self.g_params)

    def snapshot_entries(self):
        """Return what to store beside the EMA."""
        return dict(net=self.G)

    def state_dict(self):
        """Return everything a resume needs."""
        return dict(G=self.G.state_dict(), g_optimizer=self.g_optimizer.state_dict())

    def load_state_dict(self, state):
        """Continue from `state_dict()`."""
        self.G.load_state_dict(state['G'])
        self.loss.student = computing_twin(self.G)
        self.g_optimizer.load_state_dict(state['g_optimizer'])

    def replicas(self):
        """Return the networks that are equal on all processes."""
        return [self.G]

    def summary(self):
        """Return lines that describe what is trained and against what."""
        return [
            *freeze_table(self.G, self.config['freeze']),
            *describe_generator(self.config, self.G),
            *self.loss.summary(self.config),
        ]
