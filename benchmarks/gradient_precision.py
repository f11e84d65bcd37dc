# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What number types do to gradients: cosines to those of float32, for features and D in 16 bits.

    python -m benchmarks.gradient_precision --data=datasets/mnist-32x32.zip

EfficientNet-Lite0, and a discriminator that has been trained for ten steps; generated images are real ones
with noise. The gradients are those for generated images (G's stage), and for D's parameters (D's stage, R1).
"""

import copy

import click
import torch

from dnnlib.cli import one_line_errors
from torch_utils import distributed
from training.adversarial.discriminator import ProjectedDiscriminator
from training.adversarial.features import ProjectedFeatures
from training.adversarial.losses import discriminator_loss
from training.adversarial.precision import Arithmetic, features_in_type, largest_value
from training.adversarial.stages import GDDLoss
from training.dataset import ImageFolderDataset

FP16, BF16, FP32 = torch.float16, torch.bfloat16, torch.float32
VARIANTS = {
    'F float16, D float32': Arithmetic(FP16, FP32),
    'F float16, D bfloat16 (fast)': Arithmetic(FP16, BF16),
    'F float16, D float16': Arithmetic(FP16, FP16),
    'F bfloat16, D bfloat16': Arithmetic(BF16, BF16),
    'F float32, D bfloat16': Arithmetic(FP32, BF16),
}


class Identity(torch.nn.Module):
    """A generator whose only parameters are the images."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.images = torch.nn.Parameter(images.clone())

    def forward(
        self, _x: torch.Tensor, _sigma: torch.Tensor, _labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self.images


def trained_discriminator(
    features: ProjectedFeatures, fakes: torch.Tensor, reals: torch.Tensor, width: int
) -> ProjectedDiscriminator:
    """Return a discriminator after ten steps, so that its gradients mean something."""
    D = ProjectedDiscriminator(features.names, features.channels, features.resolutions, channel_max=width)
    D = D.to(fakes.device).train()
    optimizer = torch.optim.Adam(D.parameters(), lr=5e-4, betas=(0.0, 0.99))
    with torch.no_grad():
        fake_features, real_features = features(fakes), features(reals)
    for _ in range(10):
        optimizer.zero_grad()
        discriminator_loss(D(fake_features), D(real_features), 'ns').backward()
        optimizer.step()
    return D


def gradients(
    features: ProjectedFeatures,
    D: ProjectedDiscriminator,
    fakes: torch.Tensor,
    reals: torch.Tensor,
    arithmetic: Arithmetic,
) -> dict[str, torch.Tensor]:
    """Return the gradients of the three stages, {name: vector}."""
    G = Identity(fakes)
    F = features if arithmetic.features is None else features_in_type(features, arithmetic.features)
    loss = GDDLoss(G, D, F, r1_gamma=1.0, arithmetic=arithmetic)
    state, labels = copy.deepcopy(D.state_dict()), torch.zeros([len(reals), 0], device=reals.device)
    found = {}
    for name, make, params in (
        ('image', lambda: loss.generator_loss(reals, labels, fakes), [G.images]),
        ('D', lambda: loss.discriminator_loss(reals, labels, fakes), list(D.parameters())),
        ('R1', lambda: loss.r1_loss(reals, labels), list(D.parameters())),
    ):
        D.load_state_dict(state)  # every stage advances the spectral vectors
        grads = torch.autograd.grad(make(), params, allow_unused=True)
        found[name] = torch.cat([grad.flatten() for grad in grads if grad is not None])
    D.load_state_dict(state)
    return found


@click.command(help=__doc__, context_settings=dict(show_default=True))
@click.option('--data', help='Real images', default='datasets/mnist-32x32.zip', metavar='ZIP|DIR')
@click.option('--images', 'count', help='Images per gradient', type=click.IntRange(2), default=16)
@click.option('--size', help='Input size of the backbone', type=click.IntRange(32), default=64)
@click.option('--random', 'untrained', help='Random weights in the backbone', is_flag=True)
@click.option('--device', help='Where', type=click.Choice(['auto', 'cpu', 'cuda']), default='auto')
def main(data: str, count: int, size: int, untrained: bool, device: str) -> None:
    with one_line_errors(path='data'):
        distributed.init(None if device == 'auto' else device)
        dataset = ImageFolderDataset(data)
        features = ProjectedFeatures(
            ['tf_efficientnet_lite0'], size, dataset.resolution < size, fused=True,
            weights='random' if untrained else 'pretrained',
        ).to(distributed.get_device())  # fmt: skip
    torch.manual_seed(0)
    pixels = torch.stack([torch.as_tensor(dataset[i][0]) for i in range(2 * count)])
    reals, fakes = (pixels.to(distributed.get_device(), torch.float32) / 127.5 - 1).split(count)
    fakes = fakes + 0.3 * torch.randn_like(fakes)
    D = trained_discriminator(features, fakes, reals, 128)
    exact = gradients(features, D, fakes, reals, Arithmetic())
    print(f'largest value inside the backbone {largest_value(features, reals):.3g}')
    print('| number types | image | D | R1 |\n|---|---:|---:|---:|')
    for name, arithmetic in VARIANTS.items():
        found = gradients(features, D, fakes, reals, arithmetic)
        cosines = [torch.cosine_similarity(found[key].double(), exact[key].double(), dim=0) for key in exact]
        print(f'| {name} | {" | ".join(f"{value:.5f}" for value in cosines)} |', flush=True)


if __name__ == '__main__':
    main()
