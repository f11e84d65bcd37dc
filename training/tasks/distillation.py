# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Adversarial distillation of a teacher: what one iteration of `--loss=gdd` does (GDD, algorithm of section 4).

Per iteration, on one batch of real images: G main, D main and, every `r1_interval` iterations, R1.
"""

import torch

from torch_utils import distributed, misc
from torch_utils.randomness import derive_seed
from training.adversarial.batch_split import RunningStatistics, SpectralVectors, synchronise_batch_norms
from training.adversarial.class_table import make_class_table
from training.adversarial.discriminator import ProjectedDiscriminator
from training.adversarial.features import ProjectedFeatures
from training.adversarial.input_augment import InputAugment
from training.adversarial.losses import GDDLoss
from training.config import REFERENCE_PROCESSES, ConfigError
from training.sampling.samplers import jump_levels
from training.student.freeze import freeze_layers, freeze_table
from training.student.generator import build_generator, computing_twin, describe_generator
from training.tasks.instance import build_instance_loss
from training.update.gradients import StepGuard
from training.update.optimizers import make_optimizer

CLASS_TABLE_IMAGES = 4096


class DistillationTask:
    """Generator, discriminator, frozen features and their optimizers.

    Args:
        config:  Resolved options (training/config.py); network_kwargs and teacher facts are filled in.
        dataset: Training images.
        device:  Device to train on.
    Raises:
        ValueError: Teacher, data and options do not fit.
    """

    def __init__(self, config, dataset, device):
        self.config, self.device = config, device
        self.layout = layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
        self.G, teacher = build_generator(config, dataset, device)
        self.trained = self.G
        self.g_params = freeze_layers(self.G, config['freeze'])

        self.F = build_features(config, dataset, device).to(memory_format=layout)
        torch.manual_seed(derive_seed(config['seed'], 'discriminator'))
        self.D = build_discriminator(config, self.F, dataset, device).to(memory_format=layout).train()
        if config['sync_bn']:
            synchronise_batch_norms(self.D)
        for module in (self.G, self.D, self.F if config['compat'] == 'clean' else self.F.backbones):
            for _name, tensor in misc.named_params_and_buffers(module):
                distributed.broadcast_(tensor.detach())
        self.guard = StepGuard(config['nan'])
        self.spectral_vectors, self.running_statistics = SpectralVectors(self.D), RunningStatistics(self.D)
        self.augment = InputAugment(config['ada_kwargs'], self.F.diffaugment, self.F.names, device)
        self.loss = GDDLoss(
            computing_twin(self.G),
            self.D,
            self.F,
            levels=jump_levels(**config['sampler_kwargs']),
            observe=self.augment.observe,
            **config['loss_kwargs'],
        )
        self.instance = (
            build_instance_loss(config, self.loss.G, teacher, device) if config['instance_kwargs'] else None
        )
        self.d_params = list(self.D.parameters())
        self.g_optimizer = make_optimizer(
            config['optimizer_type'], self.g_params, **config['optimizer_kwargs']
        )
        self.d_optimizer = make_optimizer(
            config['optimizer_type'], self.d_params, **config['d_optimizer_kwargs']
        )

    def loss_gain(self, local_batch):
        """Return the factor on the summed main losses, before gradients are averaged over the processes.

        The official loss is a sum over the images of one process, so R1 (a mean) weighs more the
        more processes share a batch. `clean` gives any number of processes the balance of four.
        """
        if self.config['compat'] == 'official':
            return 1.0
        return self.config['batch_size'] / REFERENCE_PROCESSES / local_batch

    def step(self, images, labels, rng, iteration):
        """Run one iteration.

        Args:
            images:    Real images of this process, float32 [N, C, H, W], -1..1.
            labels:    One-hot labels [N, K]; K = 0 without classes.
            rng:       BatchRandom of this iteration.
            iteration: Index of the iteration, from 0.
        Returns:
            What the averages shall know of G's step, as `StepGuard.step`.
        """
        gain = self.loss_gain(len(images))
        add_distance = self.instance.batch(rng, len(images)) if self.instance else lambda x, y, z: None
        skipped = self._stage(
            'G',
            self.g_optimizer,
            self.g_params,
            images,
            labels,
            rng,
            lambda x, y, z, augment: (
                self.loss.generator_stage(x, y, z, gain=gain, augment=augment),
                add_distance(x, y, z),
            ),
        )
        self._stage(
            'D',
            self.d_optimizer,
            self.d_params,
            images,
            labels,
            rng,
            lambda x, y, z, augment: self.loss.discriminator_stage(x, y, z, gain=gain, augment=augment),
        )
        interval = self.config['r1_interval']
        if interval and iteration and iteration % interval == 0:
            self._stage(
                'R1',
                self.d_optimizer,
                self.d_params,
                images,
                labels,
                rng,
                lambda x, y, _z, augment: self.loss.r1_stage(
                    x, y, gain=float(interval), fraction=len(x) / len(images), augment=augment
                ),
            )
        self.augment.finish_iteration(iteration)
        self.running_statistics.average()
        return skipped

    def _stage(self, name, optimizer, params, images, labels, rng, backward):
        """Accumulate the gradients of one stage over the micro-batches and take the optimizer step."""
        optimizer.zero_grad(set_to_none=True)
        z = rng.randn(images.shape, name).contiguous(memory_format=self.layout)
        augment = self.augment.stage(name, images, rng)
        for part in self.spectral_vectors.micro_batches(len(images), self.config['micro_batch']):
            backward(images[part], labels[part], z[part], augment(part.start, part.stop))
        return self.guard.step(name, optimizer, params)

    def snapshot_entries(self):
        """Return what to store beside the EMA."""
        return dict(net=self.G, augment_pipe=self.augment.description())

    def state_dict(self):
        """Return everything a resume needs. All ranks call this together, as each may have a projection of its own."""
        digests = distributed.gather_objects(misc.checksum(self.F.projection_state()))
        return dict(
            G=self.G.state_dict(),
            D=self.D.state_dict(),
            projection=self.F.projection_state(),
            projection_digests=digests,
            g_optimizer=self.g_optimizer.state_dict(),
            d_optimizer=self.d_optimizer.state_dict(),
            augment=self.augment.state_dict(),
        )

    def load_state_dict(self, state):
        """Continue from `state_dict()`."""
        self.G.load_state_dict(state['G'])
        self.loss.G = computing_twin(self.G)
        if self.instance:
            self.instance.student = self.loss.G
        self.D.load_state_dict(state['D'])
        self.g_optimizer.load_state_dict(state['g_optimizer'])
        self.d_optimizer.load_state_dict(state['d_optimizer'])
        self.augment.load_state_dict(state['augment'])
        if self.config['compat'] == 'clean':
            self.F.load_projection_state(state['projection'])
        else:  # every process has redrawn its own from the seed
            rank = distributed.get_rank()
            if misc.checksum(self.F.projection_state()) != state['projection_digests'][rank]:
                raise ValueError(
                    f'--compat=official draws the random projection of process {rank} from --seed, and here the '
                    'draw differs from that of the interrupted run; another version of torch?'
                )

    def replicas(self):
        """Return the networks that are equal on all processes."""
        return [self.G, self.D]

    def summary(self):
        """Return lines that describe what is trained and against what."""
        config = self.config
        notice = [config['augment_notice']] if config['augment_notice'] else []
        return [
            *freeze_table(self.G, config['freeze']),
            *describe_generator(config, self.G),
            *(
                [
                    f'Generator: {len(self.loss.levels)} steps, at {", ".join(f"{level:.4g}" for level in self.loss.levels)}'
                ]
                if len(self.loss.levels) > 1
                else []
            ),
            *(self.instance.summary(config) if self.instance else []),
            *self.F.weights_report,
            f'Discriminator: {sum(p.numel() for p in self.D.parameters()):,} parameters on {", ".join(self.F.names)} '
            f'at {self.F.input_size} pixels',
            f'Augmentation: {self.augment}',
            *notice,
            describe_r1(config, distributed.get_world_size()),
        ]


def describe_r1(config, world_size):
    """Say in one line how strong R1 is with so many processes, and how to get the strength of the published ones.

    The main losses are sums over the images of one process, R1 is a mean over them, however they are accumulated.

    Args:
        config:     Resolved options.
        world_size: Number of processes.
    """
    if not config['r1_interval']:
        return 'R1: off'
    official = config['compat'] == 'official'
    gamma = config['loss_kwargs']['r1_gamma']
    share = config['batch_size'] / (world_size if official else REFERENCE_PROCESSES)
    line = (
        f'R1: --r1-gamma={gamma:g} against the loss of {share:g} images (--compat={config["compat"]}): '
        f'effective gamma {gamma / share:.3g}'
    )
    if official and world_size != REFERENCE_PROCESSES:
        line += (
            f'; {gamma * REFERENCE_PROCESSES / config["batch_size"]:.3g} with {REFERENCE_PROCESSES} processes, '
            f'which --r1-gamma={gamma * REFERENCE_PROCESSES / world_size:g} gives here'
        )
    return line


def build_features(config, dataset, device):
    """Build the frozen feature networks; `clean` draws one projection, `official` one per rank."""
    rank = distributed.get_rank() if config['compat'] == 'official' else 0
    kwargs = dict(config['feature_kwargs'])
    target = kwargs.pop('input_size') or dataset.resolution
    interpolate = dataset.resolution < target
    torch.manual_seed(derive_seed(config['seed'], 'projection', rank))
    try:
        return ProjectedFeatures(
            input_size=target if interpolate else dataset.resolution, interpolate=interpolate, **kwargs
        ).to(device)
    except ValueError as error:
        raise ConfigError(
            f'--backbone={",".join(kwargs["names"])} with --d-resolution={target} on images of '
            f'{dataset.resolution} pixels: {error}'
        ) from error


def build_discriminator(config, features, dataset, device):
    """Build the discriminator, with start values for its class embeddings where there are classes."""
    kwargs = dict(config['discriminator_kwargs'])
    source = kwargs.pop('class_embed')
    table = None
    if dataset.label_dim:
        try:
            table = build_class_table(config, source, features, dataset, device)
        except ValueError as error:
            raise ConfigError(f'--class-embed={source}: {error}') from error
    return ProjectedDiscriminator(
        features.names,
        features.channels,
        features.resolutions,
        label_dim=dataset.label_dim,
        class_table=table,
        **kwargs,
    ).to(device)


def build_class_table(config, source, features, dataset, device):
    """Make the start values of the discriminator's class embeddings, as --class-embed says."""
    pooled = labels = None
    if source == 'random':
        source = f'random:{config["seed"]}'
    elif source == 'computed':
        pooled, labels = pooled_dataset_features(features, dataset, device)
    return distributed.rank0_first(
        lambda: make_class_table(  # one process downloads
            dataset.label_dim, source, pooled, labels, all_rows=config['compat'] == 'official'
        )
    )


@torch.no_grad()
def pooled_dataset_features(features, dataset, device, batch=64):
    """Return pooled backbone features and labels of up to 4096 images spread evenly over the data set."""
    count = min(len(dataset), CLASS_TABLE_IMAGES)
    indices = [i * len(dataset) // count for i in range(count)]
    pooled, labels = [], []
    for begin in range(0, count, batch):
        items = [dataset[i] for i in indices[begin : begin + batch]]
        images = (
            torch.stack([torch.as_tensor(image) for image, _ in items]).to(device, torch.float32) / 127.5 - 1
        )
        pooled.append(features.pooled_features(images).cpu())
        labels += [torch.as_tensor(label) for _, label in items]
    return torch.cat(pooled), torch.stack(labels)
