# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of benchmarks/layer_activation.py: shares by hand and by a block's arithmetic, spectra, table."""

import json

import pytest
import torch
from click.testing import CliRunner

from benchmarks import layer_activation
from benchmarks.layer_activation import (
    branch_share,
    describe_nearness,
    measure,
    nearness,
    radial_power,
    summarise,
    untrained,
)
from tests.support import tiny_runs
from training import networks


def make_net():
    arguments = dict(img_resolution=8, img_channels=3, label_dim=3, **tiny_runs.UNET)
    return untrained(networks.EDMPrecond(**arguments), arguments)


def test_share_by_hand():
    skip, branch = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 5.0])
    assert branch_share(branch, skip + branch) == pytest.approx(0.5270462767, abs=1e-9)
    assert branch_share(0 * branch, skip) == 0


@torch.no_grad()
def test_shares_of_a_block_without_and_with_attention():
    """The hooks see what the block adds: against the arithmetic of UNetBlock, written out once more."""
    net = make_net()
    x, labels = torch.randn(2, 3, 8, 8), torch.eye(3)[:2]
    inputs = {}
    for name in ('8x8_block0', '4x4_block0'):
        net.model.enc[name].register_forward_hook(
            lambda m, i, out, name=name: inputs.update({name: (*i, out)})
        )
    shares = measure(net, x, labels, [2.0])
    for name, module in net.model.enc.items():
        if name not in inputs:
            continue
        before, emb, after = inputs[name]
        h = module.conv0(torch.nn.functional.silu(module.norm0(before)))
        h = module.norm1(h + module.affine(emb)[:, :, None, None])
        branch = module.conv1(torch.nn.functional.silu(h))
        whole = branch + before
        assert shares[f'enc.{name}'] == pytest.approx([branch_share(branch, whole)], rel=1e-5)
        if module.num_heads:
            added = after / module.skip_scale - whole * module.skip_scale
            expected = branch_share(added, after / module.skip_scale)
            assert shares[f'enc.{name}.proj'] == pytest.approx([expected], rel=1e-3, abs=1e-7)
    assert inputs.keys() == {'8x8_block0', '4x4_block0'}
    assert min(values[0] for values in shares.values()) > 0.01  # branches of ordinary weights
    assert len(shares) == len([m for m in net.modules() if isinstance(m, networks.UNetBlock)]) + 3


def test_radial_power_of_waves():
    """A wave of 3 cycles lies in ring 3 alone; a constant in ring 0."""
    position = torch.arange(16) / 16
    wave = torch.cos(2 * torch.pi * 3 * position).expand(1, 1, 16, 16)
    power = radial_power(wave)
    assert power.argmax() == 3 and power[3] > 1e6 * power[[0, 1, 5, 8]].max()
    assert radial_power(torch.ones(2, 3, 16, 16))[0] == pytest.approx(256**2)


def test_summary():
    teacher = dict(a=[0.2, 0.4, 0.8], b=[0.5, 0.5, 0.25])
    first, second = summarise([80.0, 1.0, 0.1], teacher, dict(a=[0.9], b=[0.1]))
    assert (first.peak, first.swing, first.teacher, first.student) == (0.1, pytest.approx(4), 0.2, 0.9)
    assert (second.peak, second.teacher, second.student) == (80.0, 0.5, 0.1)
    assert summarise([80.0, 1.0, 0.1], teacher, None)[0].student is None


def test_level_at_which_the_teacher_works_like_the_student():
    teacher = dict(a=[0.2, 0.4, 0.8], b=[0.5, 0.5, 0.25])
    differences = nearness(teacher, dict(a=[0.5], b=[0.5]))
    assert differences == pytest.approx([0.15, 0.05, 0.275])
    said = describe_nearness([80.0, 1.0, 0.1], differences)
    assert 'does at 1: the shares differ by 0.050' in said and said.endswith('by 0.150 from those at 80')


def test_command(material, tmp_path, monkeypatch):
    pytest.importorskip('matplotlib')
    monkeypatch.setattr(layer_activation, 'LEVELS', 3)
    data, teacher = material
    outfile = tmp_path / 'figure.png'
    args = [
        f'--network={teacher}',
        f'--data={data}',
        f'--student={teacher}',
        '--images=5',
        f'--outfile={outfile}',
    ]
    result = CliRunner().invoke(layer_activation.main, args)
    assert result.exit_code == 0, result.output
    assert 'The student uses its layers as the teacher does at' in result.output
    assert '| enc.8x8_block0 |' in result.output and outfile.stat().st_size > 10_000
    numbers = json.loads(outfile.with_suffix('.json').read_text())
    assert numbers['levels'] == [80.0, pytest.approx(2.515, rel=1e-3), 0.002] and numbers['images'] == 5
    assert all(len(shares) == 3 for shares in numbers['teacher'].values())
    assert all(len(shares) == 1 for shares in numbers['student'].values())
