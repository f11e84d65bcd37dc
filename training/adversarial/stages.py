# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The three stages of GDD training, from images and noise to a loss: generate, augment, look, judge.

Each method returns a loss; `backward` and the optimizer steps stand in training/tasks/distillation.py.

Letters in shape comments: N batch, C channels, H W pixels, K classes, L logits per image.
"""

from collections.abc import Mapping, Sequence

import torch

from dnnlib.errors import ArgumentError, arg
from torch_utils import training_stats
from torch_utils.batches import labels_or_none
from training.adversarial import losses
from training.adversarial.input_augment import InputAugment
from training.adversarial.precision import Arithmetic, ScaledGradient
from training.backbones.frozen_conv import FrozenConvolutions
from training.sampling.samplers import jump_chain

Draws = Mapping[str, Mapping]  # 'fake' or 'real' -> what `InputAugment.draw` has drawn for such images


class GDDLoss:
    """Compute the losses of the three stages on one micro-batch each.

    Networks are used in the mode they are in (official: G, D train, F eval).

    Args:
        G:         Generator, called as G(x, sigma, class_labels).
        D:         `ProjectedDiscriminator`.
        F:         `ProjectedFeatures`.
        loss_type: 'ns' or 'hinge'.
        r1_gamma:  R1 weight, >= 0.
        levels:    Decreasing noise levels at which the generator is called; one for a one-step generator.
        augment:   What happens to images in front of F, and learns from the logits of real ones; or None.
        arithmetic: Number types and shortcuts, training/adversarial/precision.py.
    Raises:
        ArgumentError: Unknown loss type or negative r1_gamma.
    """

    def __init__(
        self,
        G: torch.nn.Module,
        D: torch.nn.Module,
        F: torch.nn.Module,
        loss_type: str = 'ns',
        r1_gamma: float = 1e-4,
        levels: Sequence[float] = (80.0,),
        augment: InputAugment | None = None,
        arithmetic: Arithmetic = Arithmetic(),
    ) -> None:
        losses.require_known(loss_type)
        if r1_gamma < 0:
            raise ArgumentError(arg('r1_gamma', r1_gamma), ' must not be negative; 0 disables the penalty')
        self.G, self.D, self.F = G, D, F
        self.loss_type, self.r1_gamma, self.levels = loss_type, r1_gamma, levels
        self.augment, self.arithmetic = augment, arithmetic
        # Tensors in, tensors out, no statistics and no switches inside: each can be compiled to one graph.
        self._judge_fakes = arithmetic.maybe_compile(self._fakes_to_loss)
        self._judge_both = arithmetic.maybe_compile(self._both_to_loss)

    def generator_loss(
        self, images: torch.Tensor, labels: torch.Tensor, z: torch.Tensor, draws: Draws | None = None
    ) -> torch.Tensor:
        """Judge generated images. The graph holds the generator only; D's norms advance all the same.

        Args:
            images: Real images, [N, C, H, W]; only the shape is looked at.
            labels: One-hot labels [N, K]; [N, 0] = unconditional.
            z:      Standard normal noise, shape of `images`.
            draws:  Draws of the augmentation for 'fake' images; None for none.
        Returns:
            Scalar, summed over images.
        Raises:
            ValueError: `z` and `images` differ in shape.
        """
        _require_same_shape(images, z)
        self.D.requires_grad_(False)  # while the graph is made: it leads through D, not into its parameters
        try:
            judge = self._fakes_to_loss if draws else self._judge_fakes
            loss, logits = judge(z, labels, draws)
        finally:
            self.D.requires_grad_(True)
        for name, values in zip(self.D.names, logits):
            training_stats.report(f'Loss/logits/fake/{name}', values)
        _report_logits('fake', logits, signs=False)
        training_stats.report('Loss/G/loss', loss.detach() / len(z))
        return loss

    def discriminator_loss(
        self, images: torch.Tensor, labels: torch.Tensor, z: torch.Tensor, draws: Draws | None = None
    ) -> torch.Tensor:
        """Compare generated and real images.

        Fakes and reals pass through D separately, fakes first: each has batch-norm statistics of
        its own, and the spectral-norm vectors advance in between.

        Args:
            images: Real images, [N, C, H, W], -1..1.
            labels: One-hot labels [N, K], used for reals and fakes; [N, 0] = unconditional.
            z:      Standard normal noise, shape of `images`; not the generator stage's.
            draws:  Draws of the augmentation for 'fake' and for 'real' images; None for none.
        Returns:
            Scalar, summed over images.
        Raises:
            ValueError: `z` and `images` differ in shape.
        """
        _require_same_shape(images, z)
        judge = self._both_to_loss if draws else self._judge_both
        loss, real = judge(images, z, labels, draws)
        _report_logits('real', real, signs=True)
        if self.augment is not None:
            self.augment.observe(real)
        training_stats.report('Loss/D/loss', loss.detach() / len(z))
        return loss

    def r1_loss(self, images: torch.Tensor, labels: torch.Tensor, draws: Draws | None = None) -> torch.Tensor:
        """Compute the R1 penalty, mean(penalty * r1_gamma / 2).

        Args:
            images: Real images, [N, C, H, W], -1..1.
            labels: One-hot labels [N, K]; [N, 0] = unconditional.
            draws:  Draws for 'real' images (official: DiffAugment, but no ADA); None for none.
        Returns:
            Scalar, a mean over images; only its gradient for D's parameters is of use.
        """
        images = images.detach().requires_grad_(True)
        with FrozenConvolutions():  # the same bits, without derivatives that nobody uses
            features = self._features(images, labels, 'real', draws)
        exact = None if self.arithmetic.features is None else images.dtype  # D in float32
        logits = self.D(_in_type(features, exact), labels_or_none(labels))
        penalty = losses.r1_penalty(logits, images)  # [N]
        loss = penalty * (self.r1_gamma / 2)  # [N]
        training_stats.report('Loss/r1_penalty', penalty.detach())
        training_stats.report('Loss/D/r1_loss', loss.detach())
        return loss.mean()

    def generate(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Generate images as the samplers do: in one step G(80 z; 80), or by jumps through all levels.

        Gradients flow through every step.

        Args:
            z:      Standard normal noise, [N, C, H, W].
            labels: One-hot labels [N, K]; [N, 0] = unconditional.
        Returns:
            Images, [N, C, H, W], about -1..1, not clipped.
        """
        return jump_chain(self.G, z * self.levels[0], self.levels, labels_or_none(labels))

    def _fakes_to_loss(
        self, z: torch.Tensor, labels: torch.Tensor, draws: Draws | None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the generator's loss and the logits [N, L] per backbone of what it makes of `z`."""
        scale = self.arithmetic.gradient_scale  # of the gradients from here ..
        fakes = _scaled(self.generate(z, labels), 1 / scale)  # [N, C, H, W]
        features = _in_type(self._features(fakes, labels, 'fake', draws), self.arithmetic.heads)
        logits = self.D(features, labels_or_none(labels))  # [N, L] per backbone
        logits = [_scaled(x, scale) for x in logits]  # .. to here
        return losses.generator_loss(logits, self.loss_type), logits

    def _both_to_loss(
        self, images: torch.Tensor, z: torch.Tensor, labels: torch.Tensor, draws: Draws | None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the discriminator's loss and the logits [N, L] per backbone of the real images."""
        heads, own_labels = self.arithmetic.heads, labels_or_none(labels)
        with torch.no_grad():
            fakes = self.generate(z, labels)  # [N, C, H, W]
            if self.arithmetic.together and not draws:
                fake_features, real_features = _halves(self.F(torch.cat([fakes, images])))
            else:
                fake_features = self._features(fakes, labels, 'fake', draws)
                real_features = self._features(images, labels, 'real', draws)
        fake = self.D(_in_type(fake_features, heads), own_labels)  # [N, L] per backbone
        real = self.D(_in_type(real_features, heads), own_labels)  # [N, L] per backbone
        return losses.discriminator_loss(fake, real, self.loss_type), real

    def _features(
        self, images: torch.Tensor, labels: torch.Tensor, kind: str, draws: Draws | None
    ) -> dict[str, list[torch.Tensor]]:
        if not draws:
            return self.F(images)
        images, diffaug = self.augment.apply(images, draws[kind])
        return self.F(images, diffaug, draws[kind].get('noise'), labels_or_none(labels))


def _in_type(features: Mapping[str, Sequence[torch.Tensor]], dtype: torch.dtype | None) -> Mapping:
    # Features in another number type; None leaves them alone.
    if dtype is None:
        return features
    return {name: [x.to(dtype) for x in maps] for name, maps in features.items()}


def _halves(features: Mapping[str, Sequence[torch.Tensor]]) -> tuple[dict, dict]:
    # Features of a batch of 2N images -> those of the first and of the last N.
    pairs = {name: [x.chunk(2) for x in maps] for name, maps in features.items()}
    first, last = ({name: [pair[i] for pair in maps] for name, maps in pairs.items()} for i in (0, 1))
    return first, last


def _scaled(x: torch.Tensor, factor: float) -> torch.Tensor:
    return x if factor == 1 else ScaledGradient.apply(x, factor)


def _report_logits(kind: str, logits: Sequence[torch.Tensor], signs: bool) -> None:
    values = torch.cat([x.detach().flatten() for x in logits])
    training_stats.report(f'Loss/logits/{kind}', values)
    if signs:
        training_stats.report(f'Loss/signs/{kind}', values.sign())
    training_stats.report(f'Loss/probs/{kind}', values.sigmoid())


def _require_same_shape(images: torch.Tensor, z: torch.Tensor) -> None:
    if images.shape != z.shape:
        raise ValueError(f'noise of shape {list(z.shape)} does not fit images of shape {list(images.shape)}')
