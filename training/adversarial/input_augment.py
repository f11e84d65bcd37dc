# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What happens to images between generator or data set and the discriminator's backbones: ADA and DiffAugment.

Order (official): the ADA pipe once, then DiffAugment with draws of its own for every backbone. R1
goes without the pipe but with DiffAugment. All draws are functions of (seed, images seen, stage), and
in `clean` the same for any number of processes.
"""

from torch_utils import training_stats
from training.adversarial import ada, diffaugment


class InputAugment:
    """Augmentation of one run.

    Args:
        ada_kwargs:  Arguments of `AdaptiveStrength` (p, target, batch_size, limit), or None without ADA.
        diffaug:     Whether DiffAugment is on.
        backbones:   Names of the backbones, in order.
        device:      Device of the images.
    """

    def __init__(self, ada_kwargs, diffaug, backbones, device):
        self.strength = ada.AdaptiveStrength(**ada_kwargs, device=device) if ada_kwargs else None
        self.pipe = ada.AdaPipe(self.strength.p) if ada_kwargs else None
        self.backbones = list(backbones) if diffaug else []

    def stage(self, name, images, rng):
        """Draw for one stage of an iteration.

        Args:
            name:   'G', 'D' or 'R1'.
            images: Images of this process, [N, C, H, W]; only shape and type are read.
            rng:    BatchRandom of the iteration.
        Returns:
            Function (begin, end) -> what `GDDLoss` takes as `augment` for those images of the batch;
            it returns None if there is nothing to do.
        """
        kinds = dict(G=('fake',), D=('fake', 'real'), R1=('real',))[name]
        pipe = self.pipe if name != 'R1' else None

        def draw(count, generator):
            draws = _named('ada', ada.draw(count, generator)) if pipe else {}
            for backbone in self.backbones:
                draws.update(_named(backbone, diffaugment.draw(images, count, generator)))
            return draws

        if pipe is None and not self.backbones:
            return lambda begin, end: None
        drawn = {kind: rng.share(draw, len(images), f'{name}/{kind}') for kind in kinds}
        return lambda begin, end: _MicroBatch(
            pipe,
            self.backbones,
            {kind: {key: value[begin:end] for key, value in draws.items()} for kind, draws in drawn.items()},
        )

    def __str__(self):
        parts = ['DiffAugment'] if self.backbones else []
        if self.strength and self.strength.target:
            parts.append(
                f'ADA from p = {float(self.strength.p):g} towards a mean sign of {self.strength.target:g}'
            )
        elif self.strength:
            parts.append(f'ADA with p = {float(self.strength.p):g}')
        return ', '.join(parts) or 'none'

    def observe(self, logits):
        """Take in the logits of real images, which drive the probability."""
        if self.strength:
            self.strength.observe(logits)

    def finish_iteration(self, iteration):
        """Adapt the probability, and report it."""
        if self.strength:
            self.strength.finish_iteration(iteration)
            training_stats.report('Progress/augment', self.strength.p)

    def state_dict(self):
        """Return what a resume needs; {} without ADA."""
        return self.strength.state_dict() if self.strength else {}

    def load_state_dict(self, state):
        """Continue from `state_dict()`; a run without ADA may go on with it, and the other way round."""
        if self.strength and state:
            self.strength.load_state_dict(state)

    def description(self):
        """Return the snapshot entry `augment_pipe`: plain values, which need no code to be read; None without ADA."""
        return dict(class_name='AdaPipe', p=float(self.strength.p)) if self.strength else None


class _MicroBatch:
    """Augmentation of one micro-batch in one stage; see `GDDLoss`."""

    def __init__(self, pipe, backbones, draws):
        self.pipe, self.backbones, self.draws = pipe, backbones, draws

    def __call__(self, images, kind):
        """Augment images of a kind, 'fake' or 'real'.

        Returns:
            (images, {backbone: draws of DiffAugment} or None), the arguments of `ProjectedFeatures`.
        """
        draws = self.draws[kind]
        if self.pipe:
            images = self.pipe.apply(images, _of('ada', draws))
        return images, {name: _of(name, draws) for name in self.backbones} or None


def _named(owner, draws):
    # BatchRandom shares one flat dict between the processes.
    return {f'{owner}:{key}': value for key, value in draws.items()}


def _of(owner, draws):
    return {key.split(':', 1)[1]: value for key, value in draws.items() if key.startswith(f'{owner}:')}
