# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Distillation by the Fréchet distance itself: what one iteration does with loss='fd' (arXiv 2604.28190).

No discriminator. The features of generated images, over a population of many batches, shall have the mean and
covariance of those of the training images, in one or several frozen feature networks.
"""

from collections.abc import Mapping
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg
from torch_utils import distributed, misc, training_stats
from torch_utils.batches import labels_or_none
from torch_utils.randomness import BatchRandom
from training.adversarial.builders import build_features
from training.adversarial.input_augment import InputAugment
from training.choices import RANDOM_TEACHER
from training.frechet.distance import Reference
from training.frechet.moments import FeatureQueue, MovingMoments, Population
from training.sampling.samplers import jump_chain, jump_levels
from training.student.freeze import freeze_layers, freeze_table
from training.student.frozen_cast import refresh_twin
from training.student.generator import computing_generator, describe_generator
from training.tasks.frechet_start import gather_rows, generated_features, real_moments
from training.tasks.inputs import StageInputs
from training.tasks.students import build_student
from training.update.gradients import StepGuard
from training.update.optimizers import make_optimizer

# The loss of a feature network is d / (d + SOFTENING), the denominator a constant: its gradient is that of
# log d, except near 0.
SOFTENING = 0.01


class FrechetTask:
    """Generator, frozen features, their populations and references, optimizer. A `Task`
    (training/tasks/task.py).

    Args:
        config:      Resolved options (training/config.py); read, never changed.
        dataset:     Training images.
        device:      Device to train on.
        micro_batch: Images of one forward pass.
    Raises:
        ValueError: Teacher, data and options do not fit.
    """

    def __init__(self, config: dict, dataset: Any, device: torch.device, micro_batch: int) -> None:
        self.config, self.dataset, self.micro_batch = config, dataset, micro_batch
        refuse_dropout_in_parts(config, micro_batch)
        self.layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
        self.G, _teacher, self.facts = build_student(config, dataset, device, self.layout)
        self.trained = self.G
        self._build_features(dataset.resolution, device)
        self.g_params = freeze_layers(self.G, config['freeze'])
        misc.take_over_from_rank0(self.G, self.F)
        self.computing_G = computing_generator(self.G)
        self.levels = jump_levels(**config['sampler_kwargs'])
        # Made before the first step or taken from a state; by name of the feature network.
        self.references: dict[str, Reference] = {}
        self.populations: dict[str, Population] = {}
        self.guard = StepGuard(config['nan'], config['reduce'])
        self.g_optimizer = make_optimizer(
            config['optimizer_type'], self.g_params, **config['optimizer_kwargs']
        )

    # --------------------------------------------------------------------------------------------
    # One iteration.

    def step(
        self, images: torch.Tensor, labels: torch.Tensor, rng: BatchRandom, iteration: int
    ) -> torch.Tensor | None:
        """Run one iteration, as `Task.step`; the first one begins with measuring."""
        if not self.references:
            self.begin()
        z = rng.randn(images.shape, 'G').contiguous(memory_format=self.layout)
        draws = self.augment.draw('G', images, rng)
        return self.generator_step(StageInputs(images, labels, z, draws, {}, len(images)))

    def generator_step(self, inputs: StageInputs) -> torch.Tensor | None:
        """Move the features of a batch to where the reference wants those of the whole population."""
        self.g_optimizer.zero_grad(set_to_none=True)
        parts = inputs.micro_batches(self.micro_batch)
        # The populations need the features of the whole batch before any gradient is known. A single
        # micro-batch keeps its graph; several run without, and once more, one by one, for `backward`.
        with torch.set_grad_enabled(len(parts) == 1):
            features = [self.features(part) for part in parts]
        gradients = self.feature_gradients(
            {name: torch.cat([part[name].detach() for part in features]) for name in self.F.names}
        )
        for number, part in enumerate(parts):
            own = features[0] if len(parts) == 1 else self.features(part)
            begin = number * self.micro_batch
            # Chain rule: the gradient for the features is known, and that of <features, gradient> goes on.
            sum(
                (own[name] * gradients[name][begin : begin + len(own[name])]).sum() for name in self.F.names
            ).backward()
        return self.guard.step('G', self.g_optimizer, self.g_params)

    def features(self, part: StageInputs) -> dict[str, torch.Tensor]:
        """Return the features of images generated from the noise of a part, [n, D] by feature network."""
        labels = labels_or_none(part.labels)
        fakes = self.generate(part.z, labels)  # [n, C, H, W]
        outside = (fakes.detach().abs() > 1).float().mean(dim=[1, 2, 3])
        training_stats.report('Loss/G/outside', outside)
        noise = part.draws['fake']['noise'] if part.draws else None
        return {name: self.F.pooled(name, fakes, noise, labels) for name in self.F.names}

    def generate(self, z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Generate images [n, C, H, W], about -1..1, as the samplers do; labels one-hot [n, K] or None."""
        return jump_chain(self.computing_G, z * self.levels[0], self.levels, labels)

    @torch.no_grad()
    def feature_gradients(self, features: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Take the features of this process into the populations; return the gradient of the loss for them.

        Args:
            features: [N, D] by feature network.
        Returns:
            float32 [N, D] by feature network, times the number of processes, over which gradients are
            averaged.
        """
        rank, world_size = distributed.get_rank(), distributed.get_world_size()
        gradients, loss = {}, 0.0
        for name, own in features.items():
            population, batch = self.populations[name], gather_rows(own)  # [N of all, D]
            if not batch.isfinite().all():  # it would never leave the population; the guard sees the NaN
                gradients[name] = torch.full_like(own, torch.nan)
                continue
            population.push(batch)
            terms = self.references[name].compare(*population.moments())
            scale = 1 / (terms.distance + SOFTENING)
            gradient = scale * population.gradient(batch, terms)  # [N of all, D]
            gradients[name] = (world_size * gradient[rank::world_size]).to(own.dtype)
            loss = loss + scale * terms.distance
            training_stats.report(f'Loss/fd/{name}', terms.distance)
            training_stats.report(f'Loss/fd_floored/{name}', terms.floored)
        training_stats.report('Loss/G/loss', loss)
        return gradients

    def begin(self) -> None:
        """Measure the training images, and fill the populations with images of the generator as it is."""
        config = self.config
        names, count = self.F.names, config['fd_queue']
        distributed.print0(
            f'Fréchet loss: features of {len(self.dataset):,} training and {count:,} generated images ...'
        )
        common = dict(seed=config['seed'], layout=self.layout, law=config['teacher_sigma'])
        for name, moments in real_moments(self.F, self.dataset, **common).items():
            self.references[name] = Reference(*moments)
        rows = generated_features(self.F, self.generate, self.dataset, count, **common)
        self.populations = {name: self._population(rows[name]) for name in names}

    # --------------------------------------------------------------------------------------------
    # What the loop asks for.

    def snapshot_entries(self) -> dict[str, Any]:
        """Return what to store beside the EMA."""
        return dict(net=self.G)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resume needs: also the populations, which the coming steps depend on."""
        return dict(
            G=self.G.state_dict(),
            g_optimizer=self.g_optimizer.state_dict(),
            references={name: reference.state_dict() for name, reference in self.references.items()},
            populations={name: population.state_dict() for name, population in self.populations.items()},
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.G.load_state_dict(state['G'])
        refresh_twin(self.computing_G, self.G)
        self.g_optimizer.load_state_dict(state['g_optimizer'])
        device = next(self.G.parameters()).device
        for name, tensors in state['references'].items():
            self.references[name] = Reference(**{key: value.to(device) for key, value in tensors.items()})
        for name, own in state['populations'].items():
            width = len(self.references[name].mean)
            rows = torch.zeros([self.config['fd_queue'], width], device=device)
            self.populations[name] = self._population(rows)
            self.populations[name].load_state_dict(own)

    def replicas(self) -> list[torch.nn.Module]:
        """Return the networks that are equal on all processes."""
        return [self.G]

    def summary(self) -> list[str]:
        """Return lines that describe what is trained and against what."""
        config, beta, batch = self.config, self.config['fd_beta'], self.config['batch_size']
        if beta:
            count = batch * (1 + beta) / (1 - beta)
            population = f'averages over the batches with weight {beta:g}, as good as {count:,.0f} images'
        else:
            population = f'the last {config["fd_queue"]:,} images'
        return [
            *freeze_table(self.G, config['freeze']),
            *describe_generator(self.G, config['precision'], config['transfer'], self.facts['teacher']),
            *self.F.weights_report,
            f'Loss: Fréchet distance in {", ".join(self.F.names)}; population: {population}',
        ]

    # --------------------------------------------------------------------------------------------
    # Construction.

    def _build_features(self, resolution: int, device: torch.device) -> None:
        config = self.config
        # The generator still has the teacher's weights.
        teacher = None if config['transfer'] == RANDOM_TEACHER else self.G
        features = build_features(
            config['feature_kwargs'],
            resolution,
            device,
            config['seed'],
            config['compat'],
            teacher,
            option='fd_features',
        )
        self.F = features.to(memory_format=self.layout)
        self.augment = InputAugment(None, False, self.F.names, device, config['teacher_sigma'])

    def _population(self, rows: torch.Tensor) -> Population:
        beta = self.config['fd_beta']
        return MovingMoments(rows, beta) if beta else FeatureQueue(rows)


def refuse_dropout_in_parts(config: dict, micro_batch: int) -> None:
    """Refuse dropout where a batch is computed in parts: each runs twice, and would drop other features.

    Raises:
        ArgumentError: One line for the user.
    """
    own_batch = config['batch_size'] // distributed.get_world_size()
    dropout = config['network_options']['dropout']
    if dropout and micro_batch < own_batch:
        raise ArgumentError(
            arg('dropout', dropout),
            ' with ',
            arg('loss', 'fd'),
            ' needs all images of a process in one forward pass; use ',
            arg('batch_gpu', own_batch),
            ' or ',
            arg('dropout', 0),
        )
