# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Train a tiny teacher for 200 iterations beside a slow reference that shares no code with it.

The reference below is written from the formulas of EDM alone: images, order of the data, U-Net,
preconditioning, loss, Adam, learning rate and moving average, in float64, without torch's convolutions,
normalisations, attention or optimizers. Both start from the same weights and see the same noise, so that
their losses must agree step by step.
"""

import io
import json
import math
import zipfile

import numpy as np
import PIL.Image
import pytest
import torch

from tests.support import tiny_runs
from torch_utils import distributed, training_stats
from torch_utils.randomness import BatchRandom

SEED, BATCH, STEPS = 3, 8, 200
LR, RAMP_NIMG, HALFLIFE_NIMG, WARMUP = 1e-2, 1000, 500_000, 0.2
OPTIONS = (
    '--loss=edm',
    '--arch=ddpmpp',
    '--cbase=4',
    '--cres=1,2',
    '--num-blocks=1',
    '--attn-res=4',
    '--cond=1',
    '--augment=0',
    '--dropout=0',
    f'--lr={LR}',
    '--lr-rampup=1',
    f'--ema-warmup={WARMUP}',
    f'--batch={BATCH}',
    '--workers=0',
    f'--seed={SEED}',
    '--device=cpu',
    '--channels-last=0',
)


def write_data(path):
    """Twelve 8x8 images of two classes, bars across and bars down, so that there is something to learn."""
    with zipfile.ZipFile(path, 'w') as archive:
        labels = []
        for k in range(12):
            bars = np.sin(np.arange(8) * 0.8 + k)[None, :, None] * np.array([1.0, 0.5, -0.7])
            pixels = np.broadcast_to(bars if k % 2 else bars.transpose(1, 0, 2), [8, 8, 3])
            buffer = io.BytesIO()
            PIL.Image.fromarray((pixels * 100 + 128).astype(np.uint8)).save(buffer, format='png')
            archive.writestr(f'{k:02d}.png', buffer.getvalue())
            labels.append([f'{k:02d}.png', k % 2])
        archive.writestr('dataset.json', json.dumps({'labels': labels}))
    return str(path)


# ------------------------------------------------------------------------------------------------
# The reference.


def silu(x):
    return x / (1 + torch.exp(-x))


class Reference:
    """A teacher in float64; `wrong` names one mistake to make."""

    def __init__(self, path, state, wrong=None):
        self.p = {
            name: tensor.double().clone()
            for name, tensor in state.items()
            if not name.endswith('resample_filter')
        }
        self.average = {name: tensor.clone() for name, tensor in self.p.items()}
        self.moments = {
            name: (torch.zeros_like(tensor), torch.zeros_like(tensor)) for name, tensor in self.p.items()
        }
        self.wrong, self.steps = wrong, 0
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith('.png'))
            arrays = [np.asarray(PIL.Image.open(io.BytesIO(archive.read(name)))) for name in names]
            labels = dict(json.loads(archive.read('dataset.json'))['labels'])
        self.images = torch.tensor(np.stack(arrays)).permute(0, 3, 1, 2).double() / 127.5 - 1
        self.labels = torch.tensor(
            [[float(labels[name] == 0), float(labels[name] == 1)] for name in names]
        ).double()
        self.indices = self.endless_order(len(names))

    @staticmethod
    def endless_order(count):
        """Sliding-window shuffle of EDM: emit, then exchange with an earlier position."""
        random = np.random.RandomState(SEED)
        order, window = np.arange(count), count // 2
        random.shuffle(order)
        position = 0
        while True:
            i = position % count
            yield order[i]
            j = (i - random.randint(window)) % count
            order[i], order[j] = order[j], order[i]
            position += 1

    def linear(self, name, x):
        return x @ self.p[f'{name}.weight'].T + self.p[f'{name}.bias']

    def conv(self, name, x):
        w = self.p[f'{name}.weight']
        pad = w.shape[-1] // 2
        padded = torch.zeros([*x.shape[:2], x.shape[2] + 2 * pad, x.shape[3] + 2 * pad], dtype=x.dtype)
        padded[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]] = x
        windows = padded.unfold(2, w.shape[2], 1).unfold(3, w.shape[3], 1)
        return torch.einsum('nchwij,ocij->nohw', windows, w) + self.p[f'{name}.bias'][None, :, None, None]

    def norm(self, name, x):
        n, c = x.shape[:2]
        groups = x.reshape(n, min(32, c // 4), -1)
        centred = groups - groups.mean(dim=2, keepdim=True)
        scaled = centred / torch.sqrt((centred**2).mean(dim=2, keepdim=True) + 1e-6)
        return (
            scaled.reshape(x.shape) * self.p[f'{name}.weight'][:, None, None]
            + self.p[f'{name}.bias'][:, None, None]
        )

    def block(self, name, x, emb, size=None):
        """One residual block; `size` 2 doubles the image by repetition, 0.5 halves it by means over 2x2
        pixels."""

        def resize(y):
            if size == 2:
                return y.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            if size == 0.5:
                return (y[:, :, ::2, ::2] + y[:, :, 1::2, ::2] + y[:, :, ::2, 1::2] + y[:, :, 1::2, 1::2]) / 4
            return y

        h = self.conv(f'{name}.conv0', resize(silu(self.norm(f'{name}.norm0', x))))
        h = silu(self.norm(f'{name}.norm1', h + self.linear(f'{name}.affine', emb)[:, :, None, None]))
        h = self.conv(f'{name}.conv1', h)
        h = (
            h + (self.conv(f'{name}.skip', resize(x)) if f'{name}.skip.weight' in self.p else x)
        ) * math.sqrt(0.5)
        if f'{name}.qkv.weight' in self.p:
            q, k, v = (
                self.conv(f'{name}.qkv', self.norm(f'{name}.norm2', h))
                .reshape(len(h), h.shape[1], 3, -1)
                .unbind(2)
            )
            score = torch.exp(torch.einsum('ncq,nck->nqk', q, k) / math.sqrt(h.shape[1]))
            mixed = torch.einsum('nqk,nck->ncq', score / score.sum(dim=2, keepdim=True), v).reshape(h.shape)
            h = (self.conv(f'{name}.proj', mixed) + h) * math.sqrt(0.5)
        return h

    def unet(self, x, c_noise, labels):
        """DDPM++ with two resolutions and one block each."""
        frequencies = torch.tensor([1.0, 1e-4], dtype=torch.float64)
        angles = c_noise[:, None] * frequencies
        emb = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1) + self.linear(
            'model.map_label', labels * math.sqrt(2)
        )
        emb = silu(self.linear('model.map_layer1', silu(self.linear('model.map_layer0', emb))))
        skips = [self.conv('model.enc.8x8_conv', x)]
        for name, size in (('8x8_block0', None), ('4x4_down', 0.5), ('4x4_block0', None)):
            skips.append(self.block(f'model.enc.{name}', skips[-1], emb, size))
        h = self.block('model.dec.4x4_in1', self.block('model.dec.4x4_in0', skips[-1], emb), emb)
        for name in ('4x4_block0', '4x4_block1', '8x8_up', '8x8_block0', '8x8_block1'):
            if name == '8x8_up':
                h = self.block('model.dec.8x8_up', h, emb, 2)
            else:
                h = self.block(f'model.dec.{name}', torch.cat([h, skips.pop()], dim=1), emb)
        return self.conv('model.dec.8x8_aux_conv', silu(self.norm('model.dec.8x8_aux_norm', h)))

    def loss(self, y, labels, level, noise):
        """Return the weighted squared error per pixel; EDM, table 1 with P_mean -1.2, P_std 1.2, sigma_data
        0.5."""
        sigma = torch.exp(-1.2 + 1.2 * level)
        total = sigma**2 + 0.25
        x = y + sigma * noise
        c_noise = torch.log(sigma).flatten() / (1 if self.wrong == 'c_noise' else 4)
        f = self.unet(x / torch.sqrt(total), c_noise, labels)
        denoised = 0.25 / total * x + sigma * 0.5 / torch.sqrt(total) * f
        weight = 1 / sigma**2 if self.wrong == 'weight' else total / (sigma * 0.5) ** 2
        return weight * (denoised - y) ** 2

    def step(self):
        """Run one iteration; return the mean of the loss over images and pixels."""
        nimg = self.steps * BATCH
        random = BatchRandom(SEED, nimg)
        level, noise = (
            random.randn(shape, name).double()
            for shape, name in (([BATCH, 1, 1, 1], 'D'), ([BATCH, 3, 8, 8], 'noise'))
        )
        indices = [next(self.indices) for _ in range(BATCH)]
        for tensor in self.p.values():
            tensor.requires_grad_(True)
        loss = self.loss(self.images[indices], self.labels[indices], level, noise)
        gradients = torch.autograd.grad(loss.sum() / BATCH, list(self.p.values()))
        self.steps += 1
        lr = LR * min(nimg / RAMP_NIMG, 1)
        beta2 = 0.99 if self.wrong == 'beta2' else 0.999
        halflife = min(HALFLIFE_NIMG, WARMUP * nimg)
        keep = 0.5 ** (BATCH / halflife) if halflife else 0
        for (name, tensor), gradient in zip(self.p.items(), gradients):
            first, second = self.moments[name]
            first = 0.9 * first + 0.1 * gradient
            second = beta2 * second + (1 - beta2) * gradient**2
            self.moments[name] = first, second
            update = first / (1 - 0.9**self.steps) / (torch.sqrt(second / (1 - beta2**self.steps)) + 1e-8)
            self.p[name] = tensor.detach() - lr * update
            self.average[name] = keep * self.average[name] + (1 - keep) * self.p[name]
        return loss.detach().mean().item()


# ------------------------------------------------------------------------------------------------
# The comparison.


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The project's own training: (data, initial state, losses, final state, final average)."""
    path = write_data(tmp_path_factory.mktemp('data') / 'bars.zip')
    config = tiny_runs.make_config(f'--data={path}', *OPTIONS, tiny_runs.duration(STEPS * BATCH))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, '_device', torch.device('cpu'))
        patch.setattr(training_stats, '_counters', {})
        run = tiny_runs.make_run(config)
        start = {name: tensor.clone() for name, tensor in run.task.net.state_dict().items()}
        collector, losses = training_stats.Collector('Loss/loss'), []
        for images, labels in run.batches():
            run.train_step(images, labels)
            collector.update()
            losses.append(collector.mean('Loss/loss'))
            if run.nimg == STEPS * BATCH:
                break
    return path, start, np.array(losses), run.task.net.state_dict(), run.ema.net.state_dict()


def distance(found, expected, start):
    """Distance of two sets of parameters, relative to how far training has moved them."""
    flat = [
        torch.cat([state[name].double().flatten() for name in expected]) for state in (found, expected, start)
    ]
    return ((flat[0] - flat[1]).norm() / (flat[1] - flat[2]).norm()).item()


# Largest relative difference of a step's loss. Both runs differ by the rounding of float32 alone, which
# training amplifies: below 1e-7 at first, about 1e-5 after 100 iterations, a few per cent for single steps
# after 200.
EARLY, EARLY_TOLERANCE, TOLERANCE, MEAN_TOLERANCE = 100, 2e-4, 0.15, 1e-2


def test_loss_falls_as_the_reference_says(trained):
    path, start, losses, state, average = trained
    reference = Reference(path, start)
    expected = np.array([reference.step() for _ in range(STEPS)])
    assert losses[:20].mean() > 0.8 and losses[-40:].mean() < 0.65 * losses[:20].mean()
    error = np.abs(losses / expected - 1)
    assert error[:12].max() < 5e-6 and error[:EARLY].max() < EARLY_TOLERANCE
    assert error.max() < TOLERANCE and error.mean() < MEAN_TOLERANCE
    assert distance(state, reference.p, start) < 0.15 and distance(average, reference.average, start) < 0.1
    # The average is not simply the last state.
    assert distance(state, reference.average, start) > 0.2


@pytest.mark.parametrize('wrong, steps', [('weight', 1), ('c_noise', 45), ('beta2', 12)])
def test_wrong_trainings_are_rejected(wrong, steps, trained):
    """One mistake each: the weight of VE, ln sigma instead of a fourth of it, another second moment of
    Adam."""
    path, start, losses, _state, _average = trained
    reference = Reference(path, start, wrong)
    expected = np.array([reference.step() for _ in range(steps)])
    error = np.abs(losses[:steps] / expected - 1)
    assert error.max() > 2e-5 if wrong != 'c_noise' else error.max() > 5 * EARLY_TOLERANCE
