# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Follow one image through a distillation step and assert what docs/life_of_an_image.md says about each
station.
"""

import itertools

import numpy as np
import torch

from torch_utils.randomness import BatchRandom
from training.adversarial.discriminator import ProjectedDiscriminator
from training.adversarial.features import ProjectedFeatures
from training.adversarial.losses import GDDLoss, discriminator_loss
from training.dataset import ImageFolderDataset, InfiniteSampler
from training.networks import GDDPrecond

N, K = 4, 10


def test_life_of_an_image():
    dataset = ImageFolderDataset('datasets/mnist-32x32.zip', use_labels=True)
    image, label = dataset[0]
    assert image.shape == (1, 32, 32) and image.dtype == np.uint8 and image.max() > 200
    assert label.shape == (K,) and label.sum() == 1

    # Position b of rank r is image b * W + r of the one sequence.
    order = list(itertools.islice(InfiniteSampler(dataset, seed=0), 2 * N))
    shares = [
        list(itertools.islice(InfiniteSampler(dataset, rank=r, num_replicas=2, seed=0), N)) for r in (0, 1)
    ]
    assert [shares[i % 2][i // 2] for i in range(2 * N)] == order

    items = [dataset[i] for i in order[:N]]
    real = torch.stack([torch.from_numpy(x) for x, _ in items]).to(torch.float32) / 127.5 - 1
    labels = torch.stack([torch.from_numpy(y) for _, y in items])
    assert real.shape == (N, 1, 32, 32) and real.min() == -1 and 0.5 < real.max() <= 1

    torch.manual_seed(0)
    F = ProjectedFeatures(['tf_efficientnet_lite0'], 64, True, weights='random', fused=True)
    features = F(real)['tf_efficientnet_lite0']
    assert [tuple(x.shape) for x in features] == [
        (N, c, s, s) for c, s in zip((64, 64, 128, 256), (32, 16, 8, 4))
    ]

    D = ProjectedDiscriminator(
        F.names, F.channels, F.resolutions, label_dim=K, class_table=torch.randn(K, 320), channel_max=16
    )
    logits = D(F(real), labels)
    assert (
        len(logits) == 1 and logits[0].shape[0] == N and logits[0].ndim == 2
    )  # [N, L], one tensor per backbone

    G = GDDPrecond(
        32,
        1,
        label_dim=K,
        model_type='SongUNet',
        model_channels=8,
        channel_mult=[1],
        num_blocks=1,
        attn_resolutions=[],
        dropout=0,
    )
    z = BatchRandom(0, nimg=0).randn(real.shape, 'G')
    fake = GDDLoss(G, D, F).generate(z, labels)
    assert fake.shape == real.shape and fake.dtype == torch.float32
    # At sigma 80 the skip weight is 3.9e-5: an untrained generator shows next to nothing of its noise.
    assert fake.abs().max() < 0.1 < (80 * z).abs().max()

    # Mean over L, sum over images.
    loss = discriminator_loss(logits, logits, 'ns')
    rows = [torch.nn.functional.softplus(sign * row).mean() for row in logits[0] for sign in (1, -1)]
    assert torch.allclose(loss, sum(rows), rtol=1e-5)
