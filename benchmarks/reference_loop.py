# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""GDD written down the straightforward way: what `throughput --mode=reference` measures ours against.

The official algorithm without any of the shortcuts of this project, in float32 and NCHW:

- batch norms of the backbones and the random projection layer by layer, fakes and reals apart;
- PyTorch's default optimizers; gradients sanitised, and the average moved, in loops over the parameters;
- gradients also where nobody asks for them, as in the official code: of the frozen convolutions of
  up and down blocks in G's stage, and of the images in R1;
- noise drawn on the CPU and copied; images loaded by torch's DataLoader with its defaults.

Networks and losses are the same ones: equal work, one iteration for one iteration. No augmentation, no score
network, one process, which is all that the ten published recipes need of it.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg
from torch_utils import distributed
from training.adversarial.builders import build_discriminator, build_features
from training.adversarial.losses import discriminator_loss, generator_loss, r1_penalty
from training.student.freeze import freeze_layers
from training.student.generator import build_generator

# Official tokens by freeze level; the loss looks for them in blocks, but not in all.
TOKENS = {0: (), 1: ('conv', 'proj'), 2: ('conv', 'proj', 'qkv'), 3: ('conv', 'proj', 'qkv', 'skip')}
SIGMA = 80.0


class ReferenceLoop:
    """One run, with the attributes that the benchmark needs of a `TrainingRun`.

    Args:
        config:  Resolved options, from `throughput.synthetic_config`.
        dataset: Training images.
    Raises:
        ArgumentError: The options ask for what this loop does not do.
    """

    def __init__(self, config: dict[str, Any], dataset: Any) -> None:
        require_plain(config)
        self.config, self.dataset, self.iteration = config, dataset, 1
        self.device = device = distributed.get_device()
        self.G, _teacher, _facts = build_generator(
            dataset,
            device,
            torch.contiguous_format,
            data=config['dataset_kwargs']['path'],
            transfer=config['transfer'],
            trust_pickle=config['trust_pickle'],
            network_kwargs=config['network_kwargs'],
            network_options=dict(config['network_options'], use_fp16=False),
        )
        self.G.use_fp16 = False
        feature_kwargs = dict(config['feature_kwargs'], fused=False)
        self.F = build_features(feature_kwargs, dataset.resolution, device, config['seed'], config['compat'])
        self.D = build_discriminator(
            config['discriminator_kwargs'], self.F, dataset, device, config['seed'], config['compat']
        ).train()
        self.average = copy.deepcopy(self.G).eval().requires_grad_(False)
        applied = freeze_layers(self.G, config['freeze'])
        for name, parameter in self.G.named_parameters():
            parameter.requires_grad_(not frozen_by_the_loss(name, config['freeze']))
        self.g_optimizer = torch.optim.Adam(applied, **config['optimizer_kwargs'])
        self.d_optimizer = torch.optim.Adam(self.D.parameters(), **config['d_optimizer_kwargs'])
        self.task = self.ema = self  # the parts whose methods are timed

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (images -1..1, labels) without end."""
        while True:
            loader = torch.utils.data.DataLoader(
                self.dataset,
                self.config['batch_size'],
                shuffle=True,
                drop_last=True,
                num_workers=self.config['loader_kwargs']['num_workers'],
                pin_memory=self.device.type == 'cuda',
            )
            for images, labels in loader:
                yield images.to(self.device).to(torch.float32) / 127.5 - 1, labels.to(self.device)

    def train_step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Run one iteration: G, D, perhaps R1, and the average."""
        labels = labels if labels.shape[1] else None
        self.generator_step(images, labels)
        self.discriminator_step(images, labels)
        interval = self.config['r1_interval']
        if interval and self.iteration % interval == 0:
            self.r1_step(images, labels)
        self.update()

    def generate(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return as many images as `images`, from fresh noise in one step."""
        z = torch.randn(images.shape).to(self.device)
        return self.G(z * SIGMA, torch.tensor(SIGMA, device=self.device), labels)

    def generator_step(self, images: torch.Tensor, labels: torch.Tensor | None) -> None:
        """Let generated images look more real."""
        self.g_optimizer.zero_grad()
        self.D.requires_grad_(False)
        logits = self.D(self.F(self.generate(images, labels)), labels)
        generator_loss(logits, self.config['loss_kwargs']['loss_type']).backward()
        self.D.requires_grad_(True)
        sanitise(self.G)
        self.g_optimizer.step()

    def discriminator_step(self, images: torch.Tensor, labels: torch.Tensor | None) -> None:
        """Tell generated and real images apart."""
        self.d_optimizer.zero_grad()
        with torch.no_grad():
            fakes = self.generate(images, labels)
        fake = self.D(self.F(fakes), labels)
        real = self.D(self.F(images), labels)
        discriminator_loss(fake, real, self.config['loss_kwargs']['loss_type']).backward()
        sanitise(self.D)
        self.d_optimizer.step()

    def r1_step(self, images: torch.Tensor, labels: torch.Tensor | None) -> None:
        """Let the logits depend less on the real images."""
        self.d_optimizer.zero_grad()
        images = images.detach().requires_grad_(True)
        penalty = r1_penalty(self.D(self.F(images), labels), images)
        (penalty.mean() * self.config['loss_kwargs']['r1_gamma'] / 2 * self.config['r1_interval']).backward()
        sanitise(self.D)
        self.d_optimizer.step()

    def update(self) -> None:
        """Move the average towards the generator."""
        for own, other in zip(self.average.parameters(), self.G.parameters()):
            own.copy_(other.detach().lerp(own, 0.999))
        for own, other in zip(self.average.buffers(), self.G.buffers()):
            own.copy_(other)


def sanitise(module: torch.nn.Module) -> None:
    """Replace what is not finite in the gradients of a network, one parameter after the other."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            torch.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)


def frozen_by_the_loss(name: str, level: int) -> bool:
    """Tell whether the official loss computes no gradient for a parameter of the generator."""
    return ('block' in name or 'in' in name) and any(token in name for token in TOKENS[level])


def require_plain(config: dict[str, Any]) -> None:
    """Raise ArgumentError if the options ask for more than this loop does."""
    if config['loss'] != 'gdd' or config['teacher_only'] or config['instance_kwargs']:
        raise ArgumentError(
            'the reference is a loop of adversarial distillation, and this recipe is another thing; use ',
            arg('mode', 'faithful'),
        )
    if (
        config['ada_kwargs']
        or config['feature_kwargs']['diffaugment']
        or config['sampler_kwargs']['num_steps'] > 1
    ):
        raise ArgumentError('the reference has neither augmentation nor steps; use ', arg('mode', 'faithful'))
    if distributed.get_world_size() > 1 or config['batch_gpu']:
        raise ArgumentError(
            'the reference runs in one process without accumulation; use ', arg('mode', 'faithful')
        )
