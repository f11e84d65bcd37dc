# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The Inception network of 2015 that FID, sFID, IS, KID and precision/recall are defined with.

It is the frozen graph `classify_image_graph_def.pb`, not torchvision's Inception v3. What
differs: average pools leave the padding out of the mean, the pool of the last block is a maximum,
1008 classes, batch norm epsilon 0.001 and no scale, input (x - 128) / 128 after TensorFlow 1's
resize. Parameter names are torchvision's, so that pytorch-fid's and torch-fidelity's files fit.

Legend: N batch, C channels, H W pixels.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from evaluations.detectors.tf1_resize import resize_bilinear_tf1
from training.backbones.stages import fold_batch_norms

INPUT_SIZE = 299
FEATURE_DIM = 2048
NUM_CLASSES = 1008
SPATIAL_CHANNELS = 7
SPATIAL_DIM = 17 * 17 * SPATIAL_CHANNELS
BATCH_NORM_EPS = 1e-3


class ConvUnit(nn.Module):
    """Convolution without bias, batch normalisation, ReLU; 'same' padding unless `padding` says otherwise."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = tuple(k // 2 for k in kernel) if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv(x)), inplace=True)


def _avg_pool(x: torch.Tensor) -> torch.Tensor:
    """3x3 mean of the pixels that exist: the padding does not count."""
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Block35(nn.Module):
    """Mixed_5b to Mixed_5d, at 35x35 pixels."""

    def __init__(self, in_channels: int, pool_channels: int) -> None:
        super().__init__()
        self.branch1x1 = ConvUnit(in_channels, 64, 1)
        self.branch5x5_1 = ConvUnit(in_channels, 48, 1)
        self.branch5x5_2 = ConvUnit(48, 64, 5)
        self.branch3x3dbl_1 = ConvUnit(in_channels, 64, 1)
        self.branch3x3dbl_2 = ConvUnit(64, 96, 3)
        self.branch3x3dbl_3 = ConvUnit(96, 96, 3)
        self.branch_pool = ConvUnit(in_channels, pool_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.branch1x1(x)  # [N, 64, 35, 35]
        b = self.branch5x5_2(self.branch5x5_1(x))  # [N, 64, 35, 35]
        c = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))  # [N, 96, 35, 35]
        d = self.branch_pool(_avg_pool(x))  # [N, 32 or 64, 35, 35]
        return torch.cat([a, b, c, d], dim=1)


class Block35To17(nn.Module):
    """Mixed_6a, from 35x35 to 17x17 pixels."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = ConvUnit(in_channels, 384, 3, stride=2, padding=0)
        self.branch3x3dbl_1 = ConvUnit(in_channels, 64, 1)
        self.branch3x3dbl_2 = ConvUnit(64, 96, 3)
        self.branch3x3dbl_3 = ConvUnit(96, 96, 3, stride=2, padding=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.branch3x3(x)  # [N, 384, 17, 17]
        b = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))  # [N, 96, 17, 17]
        c = functional.max_pool2d(x, 3, stride=2)  # [N, 288, 17, 17]
        return torch.cat([a, b, c], dim=1)


class Block17(nn.Module):
    """Mixed_6b to Mixed_6e, at 17x17 pixels, with `width` channels inside."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.branch1x1 = ConvUnit(in_channels, 192, 1)
        self.branch7x7_1 = ConvUnit(in_channels, width, 1)
        self.branch7x7_2 = ConvUnit(width, width, (1, 7))
        self.branch7x7_3 = ConvUnit(width, 192, (7, 1))
        self.branch7x7dbl_1 = ConvUnit(in_channels, width, 1)
        self.branch7x7dbl_2 = ConvUnit(width, width, (7, 1))
        self.branch7x7dbl_3 = ConvUnit(width, width, (1, 7))
        self.branch7x7dbl_4 = ConvUnit(width, width, (7, 1))
        self.branch7x7dbl_5 = ConvUnit(width, 192, (1, 7))
        self.branch_pool = ConvUnit(in_channels, 192, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.branch1x1(x)  # [N, 192, 17, 17]
        b = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))  # [N, 192, 17, 17]
        c = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))  # [N, width, 17, 17]
        c = self.branch7x7dbl_5(self.branch7x7dbl_4(c))  # [N, 192, 17, 17]
        d = self.branch_pool(_avg_pool(x))  # [N, 192, 17, 17]
        return torch.cat([a, b, c, d], dim=1)


class Block17To8(nn.Module):
    """Mixed_7a, from 17x17 to 8x8 pixels."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = ConvUnit(in_channels, 192, 1)
        self.branch3x3_2 = ConvUnit(192, 320, 3, stride=2, padding=0)
        self.branch7x7x3_1 = ConvUnit(in_channels, 192, 1)
        self.branch7x7x3_2 = ConvUnit(192, 192, (1, 7))
        self.branch7x7x3_3 = ConvUnit(192, 192, (7, 1))
        self.branch7x7x3_4 = ConvUnit(192, 192, 3, stride=2, padding=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.branch3x3_2(self.branch3x3_1(x))  # [N, 320, 8, 8]
        b = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))  # [N, 192, 17, 17]
        b = self.branch7x7x3_4(b)  # [N, 192, 8, 8]
        c = functional.max_pool2d(x, 3, stride=2)  # [N, 768, 8, 8]
        return torch.cat([a, b, c], dim=1)


class Block8(nn.Module):
    """Mixed_7b and Mixed_7c, at 8x8 pixels; only the latter pools with a maximum."""

    def __init__(self, in_channels: int, max_pool: bool) -> None:
        super().__init__()
        self.max_pool = max_pool
        self.branch1x1 = ConvUnit(in_channels, 320, 1)
        self.branch3x3_1 = ConvUnit(in_channels, 384, 1)
        self.branch3x3_2a = ConvUnit(384, 384, (1, 3))
        self.branch3x3_2b = ConvUnit(384, 384, (3, 1))
        self.branch3x3dbl_1 = ConvUnit(in_channels, 448, 1)
        self.branch3x3dbl_2 = ConvUnit(448, 384, 3)
        self.branch3x3dbl_3a = ConvUnit(384, 384, (1, 3))
        self.branch3x3dbl_3b = ConvUnit(384, 384, (3, 1))
        self.branch_pool = ConvUnit(in_channels, 192, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.branch1x1(x)  # [N, 320, 8, 8]
        b = self.branch3x3_1(x)  # [N, 384, 8, 8]
        c = self.branch3x3dbl_2(self.branch3x3dbl_1(x))  # [N, 384, 8, 8]
        pooled = functional.max_pool2d(x, 3, stride=1, padding=1) if self.max_pool else _avg_pool(x)
        d = self.branch_pool(pooled)  # [N, 192, 8, 8]
        return torch.cat(
            [
                a,
                self.branch3x3_2a(b),
                self.branch3x3_2b(b),
                self.branch3x3dbl_3a(c),
                self.branch3x3dbl_3b(c),
                d,
            ],
            dim=1,
        )  # [N, 2048, 8, 8]


class InceptionV3FID(nn.Module):
    """Map images to pool_3 features, class scores and the spatial features of sFID."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(3, 32, 3, stride=2, padding=0)
        self.Conv2d_2a_3x3 = ConvUnit(32, 32, 3, padding=0)
        self.Conv2d_2b_3x3 = ConvUnit(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvUnit(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvUnit(80, 192, 3, padding=0)
        self.Mixed_5b = Block35(192, pool_channels=32)
        self.Mixed_5c = Block35(256, pool_channels=64)
        self.Mixed_5d = Block35(288, pool_channels=64)
        self.Mixed_6a = Block35To17(288)
        self.Mixed_6b = Block17(768, width=128)
        self.Mixed_6c = Block17(768, width=160)
        self.Mixed_6d = Block17(768, width=160)
        self.Mixed_6e = Block17(768, width=192)
        self.Mixed_7a = Block17To8(768)
        self.Mixed_7b = Block8(1280, max_pool=False)
        self.Mixed_7c = Block8(2048, max_pool=True)
        self.fc = nn.Linear(FEATURE_DIM, NUM_CLASSES)

    def forward(
        self, images: torch.Tensor, spatial: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return features of a batch.

        Args:
            images: uint8 or float [N, 3, H, W], 0..255, any size.
            spatial: Also return the spatial features.
        Returns:
            (pool_3 features float32 [N, 2048]; class scores without the bias, as the Inception Score
            takes them, float32 [N, 1008]; spatial features float32 [N, 2023] or None).
        """
        x = resize_bilinear_tf1(images, INPUT_SIZE)
        x = (x - 128) / 128
        x = x.contiguous(memory_format=torch.channels_last)  # [N, 3, 299, 299]
        x = self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))  # [N, 32, 147, 147]
        x = self.Conv2d_2b_3x3(x)  # [N, 64, 147, 147]
        x = functional.max_pool2d(x, 3, stride=2)  # [N, 64, 73, 73]
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # [N, 192, 71, 71]
        x = functional.max_pool2d(x, 3, stride=2)  # [N, 192, 35, 35]
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # [N, 288, 35, 35]
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))  # [N, 768, 17, 17]
        x = self.Mixed_6d(x)  # [N, 768, 17, 17]
        maps = flatten_spatial(x) if spatial else None  # [N, 2023]
        x = self.Mixed_7a(self.Mixed_6e(x))  # [N, 1280, 8, 8]
        x = self.Mixed_7c(self.Mixed_7b(x))  # [N, 2048, 8, 8]
        pooled = x.mean(dim=(2, 3))  # [N, 2048]
        return pooled, pooled @ self.fc.weight.T, maps


def flatten_spatial(x: torch.Tensor, channels: int = SPATIAL_CHANNELS) -> torch.Tensor:
    """Return the first channels of a map as vectors, in TensorFlow's order: row, column, channel.

    The first 192 channels of Mixed_6d are its branch1x1, the node `mixed_6/conv` that sFID is
    defined with; of these the first 7 are used. Published `mu_s` and `sigma_s` are in this order.

    Args:
        x: Feature map, float32 [N, C, H, W].
        channels: Channels to keep.
    Returns:
        float32 [N, H * W * channels].
    """
    return x[:, :channels].permute(0, 2, 3, 1).flatten(1)  # [N, H * W * channels]


def empty_inception() -> InceptionV3FID:
    """Return the network without memory for its weights, to look at names and shapes."""
    with torch.device('meta'):
        return InceptionV3FID()


def build_inception(state: dict[str, torch.Tensor], fold: bool = True) -> InceptionV3FID:
    """Make the network from complete weights, ready to measure.

    Args:
        state: All weights under torchvision's names, as `evaluations.detectors.inception_weights` reads them.
        fold: Merge each batch normalisation into its convolution: the same function up to rounding
            (features agree to about 1e-6), one pass over each map less.
    Returns:
        `InceptionV3FID` on the CPU, in eval mode, channels_last, without gradients.
    """
    net = empty_inception()
    counters = {
        name: torch.zeros([], dtype=torch.int64)
        for name, _ in net.named_buffers()
        if name.endswith('num_batches_tracked')
    }
    # Copies: folding must not change the tensors of the caller.
    net.load_state_dict({**counters, **{name: tensor.clone() for name, tensor in state.items()}}, assign=True)
    net.eval().requires_grad_(False)
    if fold:
        fold_batch_norms(net)
    return net.to(memory_format=torch.channels_last)


def random_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Draw weights for tests: every activation has the size that trained weights would give.

    Args:
        seed: Fixes the weights.
    Returns:
        dict of float32 tensors under torchvision's names, without the step counters.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in empty_inception().state_dict().items():
        if name.endswith('num_batches_tracked'):
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim == 1:
            offset = 1 if name.endswith(('bn.weight', 'running_var')) else 0
            spread = 0 if name.endswith('bn.weight') else 0.1
            state[name] = offset + spread * noise
        else:
            gain = 1 if name.startswith('fc.') else 2
            state[name] = noise * math.sqrt(gain / tensor[0].numel())
    return state
