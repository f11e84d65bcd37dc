# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Adversarial losses, R1 and the three training stages of GDD.

Convention (official, distillation spec 4.6): a loss is the SUM over backbones and images of the
mean over an image's logits, while R1 is a MEAN over images. The optimizer is indifferent to the
scale of the first, but the balance between the two decides how strong R1 is.

Letters in shape comments: N batch, C channels, H W pixels, K classes, L logits per image.
"""

import torch
from torch.nn import functional

from torch_utils import training_stats
from training.sampling.samplers import jump_chain

LOSS_TYPES = ('ns', 'hinge')


def generator_loss(logits, kind):
    """Compute the generator's loss.

    Args:
        logits: Logits of generated images, one tensor [N, L] per backbone.
        kind:   'ns' (non-saturating, softplus(-x)) or 'hinge' (-x).
    Returns:
        Scalar: sum over backbones and images of the mean over L.
    Raises:
        ValueError: Unknown kind.
    """
    _require_known(kind)
    return _sum_of_means(logits, (lambda x: functional.softplus(-x)) if kind == 'ns' else torch.neg)


def discriminator_loss(fake, real, kind):
    """Compute the discriminator's main loss.

    Args:
        fake: Logits of generated images, one tensor [N, L] per backbone.
        real: Logits of real images, likewise.
        kind: 'ns' (softplus) or 'hinge' (relu(1 + fake), relu(1 - real)).
    Returns:
        Scalar: sum over backbones and images of the mean over L.
    Raises:
        ValueError: Unknown kind.
    """
    _require_known(kind)
    if kind == 'ns':
        return _sum_of_means(fake, functional.softplus) + _sum_of_means(
            real, lambda x: functional.softplus(-x)
        )
    return _sum_of_means(fake, lambda x: functional.relu(1 + x)) + _sum_of_means(
        real, lambda x: functional.relu(1 - x)
    )


def r1_penalty(logits, images):
    """Compute the squared gradient of the sum of all logits with respect to each image.

    Batch norm couples the images of a batch, and this coupling is part of the gradient.

    Args:
        logits: One tensor [N, L] per backbone, computed from `images`.
        images: [N, C, H, W], requires grad.
    Returns:
        Penalty per image, [N], differentiable.
    Raises:
        ValueError: `images` does not require grad.
    """
    if not images.requires_grad:
        raise ValueError(
            'images must require grad before the logits are computed; call images.requires_grad_(True)'
        )
    total = sum(x.sum() for x in logits)
    (gradient,) = torch.autograd.grad(total, [images], create_graph=True)  # [N, C, H, W]
    return gradient.square().sum(dim=[1, 2, 3])  # [N]


def _sum_of_means(logits, function):
    return sum(function(x).mean(dim=1).sum() for x in logits)


def _require_known(kind):
    if kind not in LOSS_TYPES:
        raise ValueError(f'loss type {kind!r} is unknown; use one of {", ".join(LOSS_TYPES)}')


class GDDLoss:
    """Run the three stages of GDD training on one micro-batch each, up to and including backward.

    Gradients are added to `.grad`; zeroing, averaging over processes and the optimizer steps
    are the caller's. Networks are used in the mode they are in (official: G, D train, F eval).

    Args:
        G:         Generator, called as G(x, sigma, class_labels); parameters that do not
                   require grad stay without gradient.
        D:         `ProjectedDiscriminator`.
        F:         `ProjectedFeatures`.
        loss_type: 'ns' or 'hinge'.
        r1_gamma:  R1 weight, >= 0.
        levels:    Decreasing noise levels at which the generator is called; one for a one-step generator.
        observe:   Function that gets the logits of real images in the discriminator stage, for ADA.
    Raises:
        ValueError: Unknown loss type or negative r1_gamma.
    """

    def __init__(self, G, D, F, loss_type='ns', r1_gamma=1e-4, levels=(80.0,), observe=None):
        _require_known(loss_type)
        if r1_gamma < 0:
            raise ValueError(f'r1_gamma={r1_gamma} must not be negative; 0 disables the penalty')
        self.G, self.D, self.F = G, D, F
        self.loss_type, self.r1_gamma, self.levels = loss_type, r1_gamma, levels
        self.observe = observe

    def generator_stage(self, images, labels, z, gain=1.0, augment=None):
        """Add the generator's gradients; D's batch-norm and spectral-norm state advances.

        Args:
            images: Real images of the batch, [N, C, H, W]; only the shape is used.
            labels: One-hot labels [N, K]; [N, 0] = unconditional.
            z:      Standard normal noise, shape of `images`.
            gain:   Factor on the summed loss.
            augment: Function (images, 'fake' or 'real') -> arguments of `ProjectedFeatures`, or None.
        Returns:
            Loss summed over images, before the gain; detached scalar.
        Raises:
            ValueError: `z` and `images` differ in shape.
        """
        _require_same_shape(images, z)
        self.D.requires_grad_(False)
        try:
            logits = self.D(self._features(self.generate(z, labels), 'fake', augment), self._classes(labels))
            loss = generator_loss(logits, self.loss_type)
            (loss * gain).backward()
        finally:
            self.D.requires_grad_(True)
        for name, values in zip(self.D.names, logits):
            training_stats.report(f'Loss/logits/fake/{name}', values)
        self._report_logits('fake', logits, signs=False)
        training_stats.report('Loss/G/loss', loss.detach() / len(z))
        return loss.detach()

    def discriminator_stage(self, images, labels, z, gain=1.0, augment=None):
        """Add the discriminator's main gradients.

        Fakes and reals pass through D separately, fakes first: each has batch-norm statistics of
        its own, and the spectral-norm vectors advance in between.

        Args:
            images: Real images, [N, C, H, W], -1..1.
            labels: One-hot labels [N, K], used for reals and fakes; [N, 0] = unconditional.
            z:      Standard normal noise, shape of `images`; not the generator stage's.
            gain:   Factor on the summed loss.
            augment: As for `generator_stage`.
        Returns:
            Loss summed over images, before the gain; detached scalar.
        Raises:
            ValueError: `z` and `images` differ in shape.
        """
        _require_same_shape(images, z)
        classes = self._classes(labels)
        with torch.no_grad():
            fake_features = self._features(self.generate(z, labels), 'fake', augment)
        fake = self.D(fake_features, classes)
        with torch.no_grad():
            real_features = self._features(images, 'real', augment)
        real = self.D(real_features, classes)
        loss = discriminator_loss(fake, real, self.loss_type)
        (loss * gain).backward()
        self._report_logits('real', real, signs=True)
        if self.observe is not None:
            self.observe(real)
        training_stats.report('Loss/D/loss', loss.detach() / len(z))
        return loss.detach()

    def r1_stage(self, images, labels, gain=16.0, fraction=1.0, augment=None):
        """Add the gradients of the R1 penalty, gain * fraction * mean(penalty * r1_gamma / 2).

        Args:
            images:   Real images, [N, C, H, W], -1..1, not augmented.
            labels:   One-hot labels [N, K]; [N, 0] = unconditional.
            gain:     Factor on the mean; the number of iterations between two R1 stages.
            fraction: Share of this micro-batch in the batch that the mean is taken over.
            augment:  As for `generator_stage`; the official code has no ADA here, but DiffAugment.
        Returns:
            Penalty per image, [N], detached.
        """
        images = images.detach().requires_grad_(True)
        logits = self.D(self._features(images, 'real', augment), self._classes(labels))
        penalty = r1_penalty(logits, images)  # [N]
        loss = penalty * (self.r1_gamma / 2)  # [N]
        # Only D's parameters: the second-order gradient for the images is not used, and takes an eighth of the time.
        (gain * fraction * loss.mean()).backward(inputs=list(self.D.parameters()))
        training_stats.report('Loss/r1_penalty', penalty.detach())
        training_stats.report('Loss/D/r1_loss', loss.detach())
        return penalty.detach()

    def generate(self, z, labels):
        """Generate images as the samplers do: in one step G(80 z; 80), or by jumps through all levels.

        Gradients flow through every step.

        Args:
            z:      Standard normal noise, [N, C, H, W].
            labels: One-hot labels [N, K]; [N, 0] = unconditional.
        Returns:
            Images, [N, C, H, W], about -1..1, not clipped.
        """
        return jump_chain(self.G, z * self.levels[0], self.levels, self._classes(labels))

    def _features(self, images, kind, augment):
        return self.F(images) if augment is None else self.F(*augment(images, kind))

    @staticmethod
    def _classes(labels):
        return labels if labels is not None and labels.shape[1] > 0 else None

    @staticmethod
    def _report_logits(kind, logits, signs):
        values = torch.cat([x.detach().flatten() for x in logits])
        training_stats.report(f'Loss/logits/{kind}', values)
        if signs:
            training_stats.report(f'Loss/signs/{kind}', values.sign())
        training_stats.report(f'Loss/probs/{kind}', values.sigmoid())


def _require_same_shape(images, z):
    if images.shape != z.shape:
        raise ValueError(f'noise of shape {list(z.shape)} does not fit images of shape {list(images.shape)}')
