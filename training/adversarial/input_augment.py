# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What happens to images in front of the discriminator's backbones: ADA, DiffAugment, noise for a teacher.

Order (official): the ADA pipe once, then DiffAugment with draws of its own for every backbone. R1
goes without the pipe but with DiffAugment. The noise of the teacher's encoder
(training/adversarial/teacher_noise.py) comes last, in every stage. All draws are functions of (seed, images
seen, stage), and in `clean` the same for any number of processes.
"""

from collections.abc import Mapping, Sequence

import torch

from torch_utils import training_stats
from torch_utils.misc import full_precision
from torch_utils.randomness import BatchRandom
from training.adversarial import ada, diffaugment, teacher_noise

KINDS = dict(
    G=('fake',), D=('fake', 'real'), R1=('real',)
)  # stage of an iteration -> images that it looks at


class InputAugment:
    """Augmentation of one run.

    Args:
        ada_kwargs:  Arguments of `AdaptiveStrength` (p, target, batch_size, limit), or None without ADA.
        diffaug:     Whether DiffAugment is on.
        backbones:   Names of the backbones, in order.
        device:      Device of the images.
        teacher_sigma: Law of the noise for the teacher's encoder, see `teacher_noise.draw_noise`; None
                       without it.
    """

    def __init__(
        self,
        ada_kwargs: Mapping | None,
        diffaug: bool,
        backbones: Sequence[str],
        device: torch.device,
        teacher_sigma: str | Sequence[float] | None = None,
    ) -> None:
        self.strength = ada.AdaptiveStrength(**ada_kwargs, device=device) if ada_kwargs else None
        self.pipe = ada.AdaPipe(self.strength.p) if ada_kwargs else None
        self.backbones = list(backbones) if diffaug else []
        self.teacher_sigma = teacher_sigma

    def draw(self, stage: str, images: torch.Tensor, rng: BatchRandom) -> dict[str, dict]:
        """Draw for one stage of an iteration.

        Args:
            stage:  'G', 'D' or 'R1'.
            images: Images of this process, [N, C, H, W]; only shape and type are read.
            rng:    BatchRandom of the iteration.
        Returns:
            Kind of images ('fake', 'real') -> `ada` (numbers of the pipe), `diffaug` (backbone ->
            numbers) and `noise` (sigma, noise), each only where it is on; all tensors [N, ...]. Empty if
            there is nothing to do.
        """

        def draw_all(count: int, generator: torch.Generator) -> dict[str, dict]:
            draws = {}
            if self.pipe and stage != 'R1':
                draws['ada'] = ada.draw(count, generator)
            if self.backbones:
                draws['diffaug'] = {
                    name: diffaugment.draw(images, count, generator) for name in self.backbones
                }
            if self.teacher_sigma:
                draws['noise'] = teacher_noise.draw_noise(self.teacher_sigma, images, count, generator)
            return draws

        if not self.backbones and not self.teacher_sigma and (self.pipe is None or stage == 'R1'):
            return {}
        return {kind: rng.share(draw_all, len(images), f'{stage}/{kind}') for kind in KINDS[stage]}

    def apply(self, images: torch.Tensor, draws: Mapping) -> tuple[torch.Tensor, dict | None]:
        """Augment images as drawn.

        Args:
            images: [N, C, H, W], -1..1.
            draws:  Draws of one kind, from `draw`.
        Returns:
            Images after ADA, and the numbers of DiffAugment by backbone or None: the first arguments of
            `ProjectedFeatures`.
        """
        if 'ada' in draws:
            with full_precision():  # in TF32 the positions of pixels would be off by a thousandth
                images = self.pipe.apply(images, draws['ada'])
        return images, draws.get('diffaug')

    def __str__(self) -> str:
        parts = ['DiffAugment'] if self.backbones else []
        if self.strength and self.strength.target:
            parts.append(
                f'ADA from p = {float(self.strength.p):g} towards a mean sign of {self.strength.target:g}'
            )
        elif self.strength:
            parts.append(f'ADA with p = {float(self.strength.p):g}')
        return ', '.join(parts) or 'none'

    def observe(self, logits: Sequence[torch.Tensor]) -> None:
        """Take in the logits of real images, which drive the probability."""
        if self.strength:
            self.strength.observe(logits)

    def finish_iteration(self, iteration: int) -> None:
        """Adapt the probability, and report it."""
        if self.strength:
            self.strength.finish_iteration(iteration)
            training_stats.report('Progress/augment', self.strength.p)

    def state_dict(self) -> dict:
        """Return what a resume needs; {} without ADA."""
        return self.strength.state_dict() if self.strength else {}

    def load_state_dict(self, state: Mapping) -> None:
        """Continue from `state_dict()`; a run without ADA may go on with it, and the other way round."""
        if self.strength and state:
            self.strength.load_state_dict(state)

    def description(self) -> dict | None:
        """Return the snapshot entry `augment_pipe`: plain values, readable without code; None without ADA."""
        return dict(class_name='AdaPipe', p=float(self.strength.p)) if self.strength else None
