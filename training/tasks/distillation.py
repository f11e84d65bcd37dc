# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Adversarial distillation of a teacher: what one iteration does with loss='gdd' (GDD, section 4).

Per iteration, on one batch of real images: G main, D main and, every `r1_interval` iterations, R1.
"""

from collections.abc import Iterator
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg, as_option
from torch_utils import distributed, misc
from torch_utils.batches import stack_items
from torch_utils.randomness import BatchRandom
from training.adversarial.batch_split import RunningStatistics, SpectralVectors, synchronise_batch_norms
from training.adversarial.builders import build_discriminator, build_features
from training.adversarial.input_augment import InputAugment
from training.adversarial.precision import choose_arithmetic, settle_features
from training.adversarial.stages import GDDLoss
from training.choices import FAR_FROM_WORKING, RANDOM_TEACHER, REFERENCE_PROCESSES, WORKING_GAMMAS
from training.sampling.samplers import jump_levels
from training.student.bias_inside import with_bias_inside
from training.student.freeze import freeze_layers, freeze_table
from training.student.frozen_cast import refresh_twin
from training.student.generator import computing_generator, describe_generator
from training.tasks.inputs import StageInputs
from training.tasks.score_network import describe_instance_loss
from training.tasks.students import build_student, instance_loss_from_config
from training.update.gradients import StepGuard
from training.update.optimizers import make_optimizer


class DistillationTask:
    """Generator, discriminator, frozen features and their optimizers. A `Task` (training/tasks/task.py).

    Args:
        config:      Resolved options (training/config.py); read, never changed.
        dataset:     Training images.
        device:      Device to train on.
        micro_batch: Images of one forward pass.
    Raises:
        ValueError: Teacher, data and options do not fit.
    """

    def __init__(self, config: dict, dataset: Any, device: torch.device, micro_batch: int) -> None:
        self.config, self.micro_batch, self.r1_interval = config, micro_batch, config['r1_interval']
        self.layout = torch.channels_last if config['channels_last'] else torch.contiguous_format
        self.G, teacher, self.facts = build_student(config, dataset, device, self.layout)
        self.trained, self.g_params = self.G, freeze_layers(self.G, config['freeze'])
        self._build_judges(dataset, device)
        misc.take_over_from_rank0(self.G, self.D, self.F if config['compat'] == 'clean' else self.F.backbones)
        self._build_computing_networks(dataset, device)
        self.loss = GDDLoss(
            self.computing_G,
            self.D,
            self.computing_F,
            arithmetic=self.arithmetic,
            levels=jump_levels(**config['sampler_kwargs']),
            augment=self.augment,
            **config['loss_kwargs'],
        )
        self.instance = None
        if config['instance_kwargs']:
            self.instance, facts = instance_loss_from_config(
                config, self.computing_G, teacher, device, self.layout
            )
            self.facts.update(facts)
        self.guard = StepGuard(config['nan'], config['reduce'])
        self.d_params = list(self.D.parameters())
        kind = config['optimizer_type']
        self.g_optimizer = make_optimizer(kind, self.g_params, **config['optimizer_kwargs'])
        self.d_optimizer = make_optimizer(kind, self.d_params, **config['d_optimizer_kwargs'])

    # --------------------------------------------------------------------------------------------
    # One iteration.

    def step(
        self, images: torch.Tensor, labels: torch.Tensor, rng: BatchRandom, iteration: int
    ) -> torch.Tensor | None:
        """Run one iteration, as `Task.step`."""
        with self.arithmetic.tf32_setting():
            return self._stages(images, labels, rng, iteration)

    def _stages(
        self, images: torch.Tensor, labels: torch.Tensor, rng: BatchRandom, iteration: int
    ) -> torch.Tensor | None:
        skipped = self.generator_step(self.inputs('G', images, labels, rng))
        self.discriminator_step(self.inputs('D', images, labels, rng))
        if self.r1_interval and iteration and iteration % self.r1_interval == 0:
            self.r1_step(self.inputs('R1', images, labels, rng))
        self.augment.finish_iteration(iteration)
        self.running_statistics.average()
        self.spectral_vectors.take_those_of_rank_0()
        return skipped

    def generator_step(self, inputs: StageInputs) -> torch.Tensor | None:
        """Let the generator's images look more real, and with a score network lie nearer to its targets."""
        self.g_optimizer.zero_grad(set_to_none=True)
        for part in self.spectral_vectors.same_for_each(inputs.micro_batches(self.micro_batch)):
            for loss in self.generator_losses(part):  # one graph at a time
                loss.backward()
        return self.guard.step('G', self.g_optimizer, self.g_params)

    def generator_losses(self, part: StageInputs) -> Iterator[torch.Tensor]:
        """Yield the losses of a micro-batch: adversarial, a sum; then the distance, a mean over the batch."""
        yield self.loss.generator_loss(part.images, part.labels, part.z, part.draws) * self.gain(part.batch)
        if self.instance:
            yield self.instance.mean_distance(part.images, part.labels, part.z, part.indices) * part.share

    def discriminator_step(self, inputs: StageInputs) -> None:
        """Tell generated and real images apart."""
        self.d_optimizer.zero_grad(set_to_none=True)
        for part in self.spectral_vectors.same_for_each(inputs.micro_batches(self.micro_batch)):
            self.discriminator_loss(part).backward()
        self.guard.step('D', self.d_optimizer, self.d_params)

    def discriminator_loss(self, part: StageInputs) -> torch.Tensor:
        """Return the main loss of a micro-batch, a sum over images."""
        loss = self.loss.discriminator_loss(part.images, part.labels, part.z, part.draws)
        return loss * self.gain(part.batch)

    def r1_step(self, inputs: StageInputs) -> None:
        """Let the logits depend less on the real images; as strong as if it were done in every iteration.

        As in the official code there is no such step in iteration 0.
        """
        self.d_optimizer.zero_grad(set_to_none=True)
        for part in self.spectral_vectors.same_for_each(inputs.micro_batches(self.micro_batch)):
            # Only these gradients: those for the images are of second order, too, and an eighth of the time.
            # The loss has no name, so it is gone before the next, with all of its graph that was not needed.
            self.r1_loss(part).backward(inputs=self.d_params)
        self.guard.step('R1', self.d_optimizer, self.d_params)

    def r1_loss(self, part: StageInputs) -> torch.Tensor:
        """Return the penalty of a micro-batch, a mean over the batch, for all iterations up to the next."""
        loss = self.loss.r1_loss(part.images, part.labels, part.draws)
        return float(self.r1_interval) * part.share * loss

    def inputs(self, stage: str, images: torch.Tensor, labels: torch.Tensor, rng: BatchRandom) -> StageInputs:
        """Draw what a stage ('G', 'D' or 'R1') needs beside the images; stages share no random numbers."""
        z = None
        if stage != 'R1':
            z = rng.randn(images.shape, stage).contiguous(memory_format=self.layout)
        draws = self.augment.draw(stage, images, rng)
        indices = self.instance.draw(rng, len(images)) if self.instance and stage == 'G' else {}
        return StageInputs(images, labels, z, draws, indices, len(images))

    def gain(self, batch: int) -> float:
        """Return the factor on the summed main losses, before gradients are averaged over the processes.

        The official loss is a sum over the images of one process, so R1 (a mean) weighs more the
        more processes share a batch. `clean` gives any number of processes the balance of four.

        Args:
            batch: Images of this process in the undivided batch.
        """
        processes = self.config['batch_size'] // batch
        return images_of_loss(self.config['compat'], self.config['batch_size'], processes) / batch

    # --------------------------------------------------------------------------------------------
    # What the loop asks for.

    def snapshot_entries(self) -> dict[str, Any]:
        """Return what to store beside the EMA."""
        return dict(net=self.G, augment_pipe=self.augment.description())

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resume needs. All ranks call this: each may have a projection of its own."""
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

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.G.load_state_dict(state['G'])
        refresh_twin(self.computing_G, self.G)
        self.D.load_state_dict(state['D'])
        self.g_optimizer.load_state_dict(state['g_optimizer'])
        self.d_optimizer.load_state_dict(state['d_optimizer'])
        self.augment.load_state_dict(state['augment'])
        if self.config['compat'] == 'clean':
            self.F.load_projection_state(state['projection'])
        else:  # every process has redrawn its own from the seed
            rank = distributed.get_rank()
            if misc.checksum(self.F.projection_state()) != state['projection_digests'][rank]:
                raise ArgumentError(
                    arg('compat', 'official'),
                    f' draws the random projection of process {rank} from ',
                    arg('seed'),
                    ', and here the draw differs from that of the interrupted run; another version of torch?',
                )
        refresh_twin(self.computing_F, self.F)

    def replicas(self) -> list[torch.nn.Module]:
        """Return the networks that are equal on all processes."""
        return [self.G, self.D]

    def summary(self) -> list[str]:
        """Return lines that describe what is trained and against what."""
        config, levels = self.config, self.loss.levels
        lines = [
            *freeze_table(self.G, config['freeze']),
            *describe_generator(self.G, config['precision'], config['transfer'], self.facts['teacher']),
        ]
        if len(levels) > 1:
            lines.append(
                f'Generator: {len(levels)} steps, at {", ".join(f"{level:.4g}" for level in levels)}'
            )
        if self.instance:
            lines.append(describe_instance_loss(self.instance, config['instance_kwargs'], config['target']))
        lines += [
            *self.F.weights_report,
            self.arithmetic_note,
            f'Discriminator: {sum(p.numel() for p in self.D.parameters()):,} parameters on '
            f'{", ".join(self.F.names)} at {self.F.input_size} pixels',
            f'Augmentation: {self.augment}',
        ]
        if config['augment_notice']:
            lines.append(config['augment_notice'])
        gamma, processes = config['loss_kwargs']['r1_gamma'], distributed.get_world_size()
        strength = (config['compat'], config['batch_size'], self.r1_interval, gamma, processes)
        return [*lines, *warn_of_r1(*strength), describe_r1(*strength)]

    # --------------------------------------------------------------------------------------------
    # Construction.

    def _build_judges(self, dataset: Any, device: torch.device) -> None:
        """Build what judges the student, and what keeps it independent of how a batch is divided."""
        config, seed, compat = self.config, self.config['seed'], self.config['compat']
        # The generator still has the teacher's weights.
        teacher = None if config['transfer'] == RANDOM_TEACHER else self.G
        features = build_features(config['feature_kwargs'], dataset.resolution, device, seed, compat, teacher)
        self.F = features.to(memory_format=self.layout)
        D = build_discriminator(config['discriminator_kwargs'], self.F, dataset, device, seed, compat)
        self.D = D.to(memory_format=self.layout).train()
        if config['sync_bn']:
            synchronise_batch_norms(self.D)
        self.spectral_vectors, self.running_statistics = SpectralVectors(self.D), RunningStatistics(self.D)
        self.augment = InputAugment(
            config['ada_kwargs'], self.F.diffaugment, self.F.names, device, config['teacher_sigma']
        )

    def _build_computing_networks(self, dataset: Any, device: torch.device) -> None:
        """Choose the arithmetic, and make what computes in place of G and F, which are what is saved."""
        synchronised = self.config['sync_bn'] and distributed.get_world_size() > 1
        wanted = choose_arithmetic(self.config['perf'], device, synchronised)
        self.computing_F, self.arithmetic, self.arithmetic_note = settle_features(
            self.F, wanted, lambda: some_images(dataset, device)
        )
        self.computing_G = computing_generator(self.G)
        if self.arithmetic.bias_inside:
            self.computing_G = with_bias_inside(self.computing_G)


def some_images(dataset: Any, device: torch.device, count: int = 4) -> torch.Tensor:
    """Return the first images of the data, float32 [N, C, H, W], -1..1."""
    return stack_items([dataset[i] for i in range(min(count, len(dataset)))], device)[0]


def describe_r1(compat: str, batch_size: int, interval: int, gamma: float, processes: int) -> str:
    """Say in one line how strong R1 is with so many processes, and how to get the published strength.

    The main losses are sums over the images of one process, R1 is a mean over them, however they are
    accumulated.

    Args:
        compat:     'clean' or 'official'.
        batch_size: Images per iteration, all processes together.
        interval:   Iterations from one R1 to the next; 0 for none.
        gamma:      Its weight.
        processes:  Number of processes.
    """
    if not interval:
        return 'R1: off'
    official, share = compat == 'official', images_of_loss(compat, batch_size, processes)
    line = (
        f'R1: {as_option(arg("r1_gamma", float(gamma)))} against the loss of {share:g} images '
        f'({as_option(arg("compat", compat))}): effective gamma {gamma / share:.3g}'
    )
    if official and processes != REFERENCE_PROCESSES:
        same = as_option(arg('r1_gamma', gamma * REFERENCE_PROCESSES / processes))
        line += (
            f'; {gamma * REFERENCE_PROCESSES / batch_size:.3g} with {REFERENCE_PROCESSES} processes, '
            f'which {same} gives here'
        )
    return line


def images_of_loss(compat: str, batch_size: int, processes: int) -> float:
    """Return how many images the loss sums over that R1 is added to; arguments as for `describe_r1`."""
    return batch_size / (processes if compat == 'official' else REFERENCE_PROCESSES)


def warn_of_r1(compat: str, batch_size: int, interval: int, gamma: float, processes: int) -> list[str]:
    """Warn in one line if R1 is far stronger or weaker than where training was seen working, else not at all.

    Args: as for `describe_r1`.
    """
    share = images_of_loss(compat, batch_size, processes)
    least, most = WORKING_GAMMAS[0] / FAR_FROM_WORKING, WORKING_GAMMAS[1] * FAR_FROM_WORKING
    if not interval or not gamma or least <= gamma / share <= most:
        return []
    known = ' and '.join(f'{value:.2g}' for value in WORKING_GAMMAS)
    works = as_option(arg('r1_gamma', float(f'{WORKING_GAMMAS[1] * share:.3g}')))
    return [
        f'Warning: effective gamma {gamma / share:.3g} is far from {known}, which were seen working; too '
        f'strong an R1 lets the student collapse (docs/tuning.md). {works} gives {WORKING_GAMMAS[1]:.2g}'
    ]
