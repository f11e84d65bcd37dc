# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""TensorFlow 1's resize: vectors of the specification, a slow reference, today's rule as the wrong one."""

import numpy as np
import pytest
import torch

from evaluations.detectors.tf1_resize import resize_bilinear_tf1


def slow_resize(image, size):
    """Resize one channel, float32 [H, W], pixel by pixel in float32 arithmetic."""
    height, width = image.shape
    f32 = np.float32
    scale_y, scale_x = f32(height) / f32(size), f32(width) / f32(size)
    out = np.zeros([size, size], np.float32)
    for y in range(size):
        for x in range(size):
            sy, sx = f32(y) * scale_y, f32(x) * scale_x
            y0, x0 = int(np.floor(sy)), int(np.floor(sx))
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            fy, fx = sy - f32(y0), sx - f32(x0)
            top = image[y0, x0] + (image[y0, x1] - image[y0, x0]) * fx
            bottom = image[y1, x0] + (image[y1, x1] - image[y1, x0]) * fx
            out[y, x] = top + (bottom - top) * fy
    return out


def ramp():
    return torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)


def image_r3():
    return torch.from_numpy(np.random.RandomState(9).randint(0, 256, size=(3, 32, 32)).astype(np.uint8))[None]


def test_ramp_enlarged():
    out = resize_bilinear_tf1(ramp(), 6)[0, 0]
    assert torch.allclose(out[0], torch.tensor([0, 2 / 3, 4 / 3, 2, 8 / 3, 3]), atol=1e-6)
    assert torch.allclose(out[5], torch.tensor([0, 2 / 3, 4 / 3, 2, 8 / 3, 3]) + 12, atol=1e-5)
    assert torch.allclose(out[:, 5], torch.tensor([3, 17 / 3, 25 / 3, 11, 41 / 3, 15]), atol=1e-5)
    assert float(out.sum()) == pytest.approx(290, abs=1e-3)


def test_ramp_reduced():
    out = resize_bilinear_tf1(ramp(), 3).flatten()
    expected = [0, 4 / 3, 8 / 3, 16 / 3, 20 / 3, 8, 32 / 3, 12, 40 / 3]
    assert torch.allclose(out, torch.tensor(expected), atol=1e-5)


def test_random_image_of_the_specification():
    images = image_r3()
    assert images.flatten()[:4].tolist() == [126, 92, 126, 245] and int(images[0, 2, 31, 31]) == 48
    out = resize_bilinear_tf1(images, 299)[0]
    assert out.shape == (3, 299, 299) and out.dtype == torch.float32
    assert torch.allclose(out[0, 0, :4], torch.tensor([126, 122.361206, 118.72241, 115.08361]), atol=1e-4)
    assert float(out[0, 150, 150]) == pytest.approx(121.35644, abs=1e-4) and float(out[2, 298, 298]) == 48
    assert float(out.double().mean()) == pytest.approx(126.2331050965, abs=1e-3)
    assert float(((out.double() - 128) / 128).mean()) == pytest.approx(-0.0138038664, abs=1e-5)


@pytest.mark.parametrize('height, width, size', [(5, 7, 11), (13, 9, 6), (1, 3, 4), (32, 32, 37)])
def test_equal_to_the_slow_form_bit_by_bit(height, width, size):
    image = np.random.RandomState(height).randint(0, 256, size=(height, width)).astype(np.float32)
    out = resize_bilinear_tf1(torch.from_numpy(image)[None, None], size)[0, 0]
    assert np.array_equal(out.numpy(), slow_resize(image, size))


def test_right_size_is_left_alone():
    images = torch.randint(0, 256, [1, 3, 299, 299], dtype=torch.uint8)
    assert torch.equal(resize_bilinear_tf1(images, 299), images.float())
    # Only one side fits: the other is still resized.
    assert resize_bilinear_tf1(images[:, :, :, :100], 299).shape == (1, 3, 299, 299)


def test_input_is_not_changed():
    images = torch.rand(1, 1, 6, 6)
    before = images.clone()
    resize_bilinear_tf1(images, 9)
    assert torch.equal(images, before)


def test_todays_bilinear_rule_is_far_off():
    ours = resize_bilinear_tf1(image_r3(), 299)
    wrong = torch.nn.functional.interpolate(
        image_r3().float(), size=(299, 299), mode='bilinear', align_corners=False
    )
    assert float((ours - wrong).abs().max()) == pytest.approx(158.65, abs=0.01)
    assert float(wrong.double().mean()) == pytest.approx(126.5875, abs=1e-3)
