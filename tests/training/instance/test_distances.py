# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/instance/distances.py: values by hand, LPIPS against a slow second program, weights that
are missing or wrong."""

import math
import os

import numpy as np
import pytest
import torch

from dnnlib.errors import ArgumentError
from training.backbones.weights import WeightsError
from training.instance import distances
from training.instance.distances import LPIPSDistance, build_distance, find_vgg, huber_distance, l2_distance

# VGG16: output channels of the 3x3 convolutions up to relu5_3; M halves the size. LPIPS looks at the last of
# each group.
VGG = [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512]


def test_l2_and_huber_by_hand():
    a, b = torch.zeros([2, 1, 2, 2]), torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]]).reshape(2, 1, 2, 2)
    assert l2_distance(a, b).tolist() == [1, 0] and l2_distance(a, 2 * b).tolist() == [4, 0]
    c = 0.00054 * 2
    assert huber_distance(a.double(), b.double()).tolist() == pytest.approx([math.sqrt(4 + c * c) - c, 0])
    assert huber_distance(a, 100 * b).tolist() == pytest.approx(
        [200, 0], abs=2e-3
    )  # linear far away: not 4e4


def test_gradient_of_huber_is_finite_at_zero():
    x = torch.zeros([1, 1, 2, 2], requires_grad=True)
    huber_distance(x, torch.zeros([1, 1, 2, 2])).sum().backward()
    assert not x.grad.any()  # the Euclidean norm would give NaN


@pytest.mark.parametrize(
    'name, channels, text',
    [
        ('l1', 3, 'distance=l1 is unknown; use one of lpips, l2, huber'),
        ('lpips', 4, '1 or 3 channels, not 4; use distance=huber'),
    ],
)
def test_impossible_distances(name, channels, text):
    with pytest.raises(ValueError, match=text):
        build_distance(name, 'cpu', channels)


# ------------------------------------------------------------------------------------------------
# LPIPS.


@pytest.fixture(scope='module')
def vgg():
    """Random weights under torchvision's names, of a size that keeps the signal alive through 13 layers."""
    rng, weights, channels, index = torch.Generator().manual_seed(0), {}, 3, 0
    for width in VGG:
        if width == 'M':
            index += 1
            continue
        weights[f'features.{index}.weight'] = torch.randn([width, channels, 3, 3], generator=rng) * math.sqrt(
            2 / 9 / channels
        )
        weights[f'features.{index}.bias'] = torch.randn([width], generator=rng) * 0.1
        channels, index = width, index + 2
    return weights


@pytest.fixture(scope='module')
def lpips_distance(vgg):
    pytest.importorskip('lpips')
    return LPIPSDistance(vgg)


def slow_resize(image, size):
    """Bilinear with half-pixel centres (align_corners False), pixel by pixel; [C, H, W]."""
    result = np.zeros([image.shape[0], size, size])
    scale, last = image.shape[1] / size, image.shape[1] - 1
    for i in range(size):
        for j in range(size):
            y, x = max((i + 0.5) * scale - 0.5, 0), max((j + 0.5) * scale - 0.5, 0)
            top, left = int(y), int(x)
            below, right, fy, fx = min(top + 1, last), min(left + 1, last), y - int(y), x - int(x)
            result[:, i, j] = (1 - fy) * ((1 - fx) * image[:, top, left] + fx * image[:, top, right]) + fy * (
                (1 - fx) * image[:, below, left] + fx * image[:, below, right]
            )
    return result


def slow_lpips(a, b, weights, size, linear):
    """Zhang et al. 2018, Eq. 1, from the paper; images [3, H, W], every layer in float64."""
    stacks = []
    for image in (a, b):
        mean, spread = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
        x = torch.tensor((slow_resize(image, size) - mean[:, None, None]) / spread[:, None, None])[None]
        index, taps = 0, []
        for width in [*VGG, 'M']:
            if width == 'M':
                taps.append(x[0].numpy())
                x, index = x.reshape(1, x.shape[1], x.shape[2] // 2, 2, -1, 2).amax(dim=[3, 5]), index + 1
            else:
                kernel, bias = (weights[f'features.{index}.{part}'].double() for part in ('weight', 'bias'))
                x = torch.nn.functional.conv2d(x, kernel, bias, padding=1).clamp(min=0)
                index += 2
        stacks.append(taps)
    total = 0.0
    for layer, (u, v) in enumerate(zip(*stacks)):
        u, v = (y / np.sqrt((y**2).sum(axis=0, keepdims=True)) for y in (u, v))
        total += (linear[layer][:, None, None] * (u - v) ** 2).sum(axis=0).mean()
    return total


@pytest.mark.parametrize('channels', [1, 3])
def test_lpips_against_a_slow_program(channels, lpips_distance, vgg, monkeypatch):
    import lpips

    monkeypatch.setattr(distances, 'LPIPS_SIZE', 32)
    file = os.path.join(os.path.dirname(lpips.__file__), 'weights/v0.1/vgg.pth')
    linear = [
        tensor.flatten().numpy()
        for tensor in torch.load(file, map_location='cpu', weights_only=True).values()
    ]
    rng = torch.Generator().manual_seed(1)
    a, b = (torch.rand([2, channels, 12, 12], generator=rng) * 2 - 1 for _ in range(2))
    found = lpips_distance(a, b)
    slow = [slow_lpips(*(x[i].expand(3, -1, -1).numpy() for x in (a, b)), vgg, 32, linear) for i in range(2)]
    assert found.tolist() == pytest.approx(slow, rel=1e-4) and found.shape == (2,)
    halves = lpips_distance((a + 1) / 2, (b + 1) / 2).tolist()
    assert halves != pytest.approx(slow, rel=1e-2)  # images in 0..1 are a mistake


def test_lpips_works_at_224_pixels_and_trains_the_image_alone(lpips_distance, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        lpips_distance.net,
        'forward',
        lambda x, y: sizes.append((x.shape, y.shape)) or (x - y).square().mean(dim=[1, 2, 3], keepdim=True),
    )
    x = torch.zeros([2, 1, 8, 8], requires_grad=True)
    lpips_distance(x, torch.ones([2, 1, 8, 8])).sum().backward()
    assert sizes == [((2, 3, 224, 224),) * 2] and x.grad.abs().min() > 0
    assert not lpips_distance.training and not any(p.requires_grad for p in lpips_distance.parameters())


def test_other_weights_are_refused(lpips_distance, vgg):
    for wrong in ({}, {**vgg, 'features.5.weight': torch.zeros([1])}):
        with pytest.raises(
            WeightsError, match='not the weights of torchvision.s vgg16 .*another distance, such as huber'
        ):
            distances.load_vgg(lpips_distance.net.net, wrong)


def test_weights_are_looked_for_in_three_places(tmp_path, monkeypatch):
    downloads = []

    def download(url, path, **_options):
        downloads.append(url)
        raise OSError('no network')

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    with pytest.raises(
        ArgumentError, match=r'lpips=1\) needs the file vgg16-397923af.pth, .* use distance=huber'
    ) as caught:
        find_vgg(str(tmp_path))
    assert '\n' not in str(caught.value) and downloads == [distances.VGG_URL]
    cached, own = tmp_path / 'hub' / 'checkpoints' / distances.VGG_FILE, tmp_path / distances.VGG_FILE
    for path in (cached, own):
        path.write_bytes(b'')
        assert find_vgg(str(tmp_path)) == str(path) and len(downloads) == 1


def test_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'lpips', None)
    with pytest.raises(
        ValueError, match='needs the package lpips: run `pip install lpips`, or use distance=huber'
    ):
        LPIPSDistance(None)
