# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Follow one image through a distillation step and assert what docs/life_of_an_image.md says."""

import ast
import itertools
import re

import numpy as np
import pytest
import torch

from tests.support import ROOT, tiny_runs
from torch_utils.randomness import BatchRandom
from training.adversarial.discriminator import ProjectedDiscriminator
from training.adversarial.features import ProjectedFeatures
from training.adversarial.losses import discriminator_loss
from training.adversarial.stages import GDDLoss
from training.dataset import ImageFolderDataset, InfiniteSampler
from training.networks import GDDPrecond

N, K = 4, 10
PAGE = (ROOT / 'docs' / 'life_of_an_image.md').read_text(encoding='utf-8')
QUOTE = re.compile(r'^`(training/[\w/]+\.py)`, `(\w+)\.(\w+)`:\n\n((?: {4}.*\n)+)', re.MULTILINE)


def method_lines(file, class_name, name):
    """Return the lines of a method, without indentation, comments at their ends and empty lines."""
    text = (ROOT / file).read_text(encoding='utf-8')
    (owner,) = (node for node in ast.parse(text).body if getattr(node, 'name', None) == class_name)
    (method,) = (node for node in owner.body if getattr(node, 'name', None) == name)
    lines = text.splitlines()[method.lineno - 1 : method.end_lineno]
    return [re.sub(r'\s+#.*', '', line).strip() for line in lines if line.strip()]


def is_part(quoted, lines):
    """Tell whether the quoted lines stand in a text one after the other."""
    return any(lines[k : k + len(quoted)] == quoted for k in range(len(lines)))


@pytest.mark.parametrize('quote', QUOTE.findall(PAGE), ids=lambda quote: f'{quote[2]}-{len(quote[3])}')
def test_quoted_lines_stand_where_the_page_says(quote):
    *place, text = quote
    assert is_part([line.strip() for line in text.splitlines()], method_lines(*place))


def test_the_two_lines_stand_in_two_files():
    """The line where an image becomes a loss, and the line where a loss becomes a weight change."""
    quotes = QUOTE.findall(PAGE)
    assert len(quotes) >= 8
    assert {quote[0] for quote in quotes} == {
        'training/adversarial/stages.py',
        'training/tasks/distillation.py',
    }
    in_stages, in_task = (
        [quote[3] for quote in quotes if name in quote[0]] for name in ('stages', 'distillation')
    )
    assert any('losses.generator_loss(' in text for text in in_stages)
    assert any('.backward()' in text and 'self.guard.step(' in text for text in in_task)
    assert not is_part(['a', 'c'], ['a', 'b', 'c']) and is_part(['b', 'c'], ['a', 'b', 'c'])


def test_steps_change_the_weights_that_the_page_names(tmp_path, monkeypatch):
    """The generator's step changes G alone; those of the discriminator and of R1 change D alone."""
    tiny_runs.use_random_backbones(monkeypatch.setattr)
    material = tiny_runs.write_zip(tmp_path / 'data.zip'), tiny_runs.write_teacher(tmp_path / 'teacher.pkl')
    task = tiny_runs.make_task(material, '--freeze=1')
    images, labels = torch.randn(8, 3, 8, 8).clamp(-1, 1), torch.eye(3)[torch.arange(8) % 3]
    for stage, step, changed in (
        ('G', task.generator_step, 'G'),
        ('D', task.discriminator_step, 'D'),
        ('R1', task.r1_step, 'D'),
    ):
        before = {name: [p.clone() for p in getattr(task, name).parameters()] for name in 'GDF'}
        step(task.inputs(stage, images, labels, BatchRandom(0, nimg=0)))
        for name, values in before.items():
            same = all(torch.equal(a, b) for a, b in zip(values, getattr(task, name).parameters()))
            assert same == (name != changed), (stage, name)


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
    assert len(logits) == 1 and logits[0].shape[0] == N and logits[0].ndim == 2  # [N, L] per backbone

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
    stages = GDDLoss(G, D, F)
    fake = stages.generate(z, labels)
    assert fake.shape == real.shape and fake.dtype == torch.float32
    # At sigma 80 the skip weight is 3.9e-5: an untrained generator shows next to nothing of its noise.
    assert fake.abs().max() < 0.1 < (80 * z).abs().max()

    # Mean over L, sum over images.
    loss = discriminator_loss(logits, logits, 'ns')
    rows = [torch.nn.functional.softplus(sign * row).mean() for row in logits[0] for sign in (1, -1)]
    assert torch.allclose(loss, sum(rows), rtol=1e-5)
    assert stages.discriminator_loss(real, labels, z).shape == ()
