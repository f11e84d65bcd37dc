# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of export.py, export_formats.py and safetensors_file.py; ONNX is in test_export_onnx.py."""

import json
import math
import os
import struct
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import export
import generate
from dnnlib.files import claim
from tests.support.tiny_exports import (
    ARCHITECTURES,
    SMALLEST,
    draw,
    fail,
    invoke,
    need,
    one_step,
    run,
    write_snapshot,
)
from tests.support.upstream_files import module_state, persistent, small_network, upstream_bytes
from training import networks
from training.sampling import samplers
from training.snapshots import export_formats
from training.snapshots.pickle_records import SnapshotError
from training.snapshots.snapshot import load_network, save_snapshot

need('safetensors')


@pytest.fixture(scope='module')
def smallest(tmp_path_factory):
    """Snapshot of the smallest network, for tests that only look at options and errors."""
    return write_snapshot(tmp_path_factory.mktemp('smallest') / 'smallest.pkl', **SMALLEST)


def load_script(path):
    """Return the function of a TorchScript file and its configuration."""
    files = {'config.json': ''}
    with export_formats.quiet_export():
        module = torch.jit.load(str(path), _extra_files=files)
    return module, json.loads(files['config.json'])


# ------------------------------------------------------------------------------------------------
# Files that hold the network.


@pytest.mark.parametrize('form', ['safetensors', 'pkl'])
@pytest.mark.parametrize('arch', sorted(ARCHITECTURES))
def test_round_trip(arch, form, tmp_path):
    def edit(net):
        net.sigma_max = math.inf
        net.sigma_data = 0.25
        net.model.enc['4x4_down'].dropout = 0.5
        net.model.enc['4x4_down'].norm0.eps = 0.5

    network = write_snapshot(
        tmp_path / 'network.pkl',
        edit=edit,
        metadata=dict(nimg=5, note='x'),
        sigma_max=math.inf,
        **ARCHITECTURES[arch],
    )
    dest = tmp_path / 'new' / f'exported.{form}'
    output = run(network, form, '--dest', dest)
    assert 'largest difference to the network on random input: 0 ' in output
    random_state = torch.get_rng_state()
    (net, info), (loaded, new) = load_network(network), load_network(str(dest))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (
        type(loaded) is networks.GDDPrecond
        and not loaded.training
        and not any(p.requires_grad for p in loaded.parameters())
    )
    expected = net.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name]) and tensor.dtype == torch.float32
    for batch in (1, 5):
        assert torch.equal(one_step(str(dest), batch)[1], one_step(network, batch)[1])
    assert (loaded.sigma_data, loaded.sigma_max) == (0.25, math.inf) and loaded.model.enc[
        '4x4_down'
    ].dropout == 0.5
    for name in ('class_name', 'flavour', 'init_kwargs', 'dataset_kwargs'):
        assert new[name] == info[name], name
    assert {**new.metadata, 'source': None} == {**info.metadata, 'source': None}
    assert sorted(info) == sorted(new)  # The same facts, whatever the kind of file.
    if form == 'pkl':
        assert 'net' not in new.entries and new.metadata['source'] == dict(
            file='network.pkl', sha256=info.sha256
        )


def test_there_and_back_again(tmp_path):
    network = write_snapshot(
        tmp_path / 'a.pkl', metadata=dict(num_steps=2, middle_sigma=0.5), **ARCHITECTURES['ncsnpp']
    )
    run(network, 'safetensors')
    output = run(tmp_path / 'a.safetensors', 'pkl', '--dest', tmp_path / 'b.pkl')
    assert 'difference to the network on random input: 0 ' in output
    assert torch.equal(one_step(network, 3)[1], one_step(str(tmp_path / 'b.pkl'), 3)[1])
    assert load_network(str(tmp_path / 'b.pkl'))[1].metadata['middle_sigma'] == 0.5


def test_generate_takes_safetensors(tmp_path):
    network = write_snapshot(tmp_path / 'a.pkl', **ARCHITECTURES['ncsnpp'])
    run(network, 'safetensors')
    for name in ('a.pkl', 'a.safetensors'):
        arguments = [
            '--network',
            str(tmp_path / name),
            '--outdir',
            str(tmp_path / f'{name}-images'),
            '--seeds=0-2',
            '--device=cpu',
        ]
        assert CliRunner().invoke(generate.cmdline, arguments).exit_code == 0
    packs = [
        np.load(tmp_path / f'{name}-images' / 'image_pack.npz')['arr_0']
        for name in ('a.pkl', 'a.safetensors')
    ]
    assert np.array_equal(*packs)


def test_further_average(tmp_path):
    network = write_snapshot(tmp_path / 'a.pkl', **SMALLEST)
    ema, net = (load_network(network, key=key)[0] for key in ('ema', 'net'))
    save_snapshot(network, ema=ema, extra={'ema-0.05': net})
    run(network, 'safetensors', '--key=ema-0.05')
    found, info = load_network(str(tmp_path / 'a.safetensors'), key='ema-0.05')
    assert torch.equal(found.model.map_layer0.weight, net.model.map_layer0.weight) and info.entries == [
        'ema-0.05'
    ]
    assert '--key=loss_fn names no network' in fail(network, 'safetensors', '--key=loss_fn', '--overwrite')


def test_raw_weights(tmp_path):
    network = write_snapshot(tmp_path / 'a.pkl', **SMALLEST)
    run(network, 'safetensors', '--ema=False')
    raw = load_network(network, key='net')[0]
    dest = str(tmp_path / 'a.safetensors')
    assert torch.equal(load_network(dest, key='net')[0].model.map_layer0.weight, raw.model.map_layer0.weight)
    assert not torch.equal(load_network(network)[0].model.map_layer0.weight, raw.model.map_layer0.weight)
    with pytest.raises(SnapshotError, match=r"a.safetensors: has no entry 'ema' \(it holds net\)"):
        load_network(dest)
    assert 'no entry' in fail(dest, 'pkl', '--dest', tmp_path / 'b.pkl')
    run(dest, 'pkl', '--ema=False', '--dest', tmp_path / 'b.pkl')  # A pickle of one network has it under ema.
    assert torch.equal(
        load_network(str(tmp_path / 'b.pkl'))[0].model.map_layer0.weight, raw.model.map_layer0.weight
    )


def test_other_programs_can_read_the_file(smallest, tmp_path):
    run(smallest, 'safetensors', '--sigma_max=40', '--dest', tmp_path / 'a.safetensors')
    data = (tmp_path / 'a.safetensors').read_bytes()
    length = struct.unpack('<Q', data[:8])[0]  # The format's own rule, without the library.
    header = json.loads(data[8 : 8 + length])
    config = json.loads(header.pop('__metadata__')['config'])
    net, info = load_network(smallest)
    assert (
        config['class_name'] == 'GDDPrecond' and config['init_kwargs'] == SMALLEST and config['key'] == 'ema'
    )
    assert (config['img_resolution'], config['img_channels'], config['label_dim']) == (8, 1, 0)
    assert config['source'] == dict(file='smallest.pkl', sha256=info.sha256) and config['levels'] == [40.0]
    begin, end = header['model.map_layer0.bias']['data_offsets']
    bias = np.frombuffer(data[8 + length + begin : 8 + length + end], '<f4')
    assert np.array_equal(bias, net.model.map_layer0.bias.numpy())
    assert set(header) == set(net.state_dict())


# ------------------------------------------------------------------------------------------------
# TorchScript.


@pytest.mark.parametrize('arch', sorted(ARCHITECTURES))
def test_torchscript_generator(arch, tmp_path):
    network = write_snapshot(tmp_path / 'a.pkl', **ARCHITECTURES[arch])
    run(network, 'torchscript', '--batch=3')
    module, config = load_script(tmp_path / 'a.pt')
    assert config['inputs'] == (['noise'] if arch == 'ddpmpp' else ['noise', 'class_labels']) and config[
        'levels'
    ] == [80.0]
    for batch in (1, 6):
        inputs, expected = one_step(network, batch)
        images = module(*inputs)
        assert images.dtype == torch.float32 and (images - expected).abs().max() < 1e-5
        if len(inputs) == 2 and batch > 1:  # The labels matter: others give other images.
            assert (module(inputs[0], inputs[1].flip(0)) - expected).abs().max() > 1e-3
    # It can move to a GPU (no device is written into it), and does not tell where it was made.
    assert 'value="cpu"' not in str(module.inlined_graph)
    assert os.path.dirname(export_formats.__file__).encode() not in (tmp_path / 'a.pt').read_bytes()


def test_teacher_gives_denoiser(tmp_path):
    network = write_snapshot(tmp_path / 'a.pkl', networks.EDMPrecond, **ARCHITECTURES['ncsnpp'])
    output = run(network, 'torchscript')
    assert (
        'inputs noisy_images [N, 3, 8, 8], sigma [N], class_labels [N, 4]; output denoised_images' in output
    )
    module, config = load_script(tmp_path / 'a.pt')
    net, _info = load_network(network)
    noise, labels = draw(net, 4)
    sigma = torch.tensor([0.002, 0.5, 3.0, 80.0])
    x = noise * sigma[:, None, None, None]
    with torch.no_grad():
        expected = torch.cat([net(x[i : i + 1], sigma[i], labels[i : i + 1]) for i in range(4)])
    assert config['function'] == 'denoiser' and config['levels'] == []
    assert (module(x, sigma, labels) - expected).abs().max() < 1e-5
    assert (module(x, sigma.flip(0), labels) - expected).abs().max() > 1e-2  # One noise level per image.
    run(network, 'torchscript', '--function=generator', '--overwrite')  # A generator in a teacher's class.
    inputs, images = one_step(network, 3)
    assert (load_script(tmp_path / 'a.pt')[0](*inputs) - images).abs().max() < 1e-5


@pytest.mark.parametrize('cls', [networks.VPPrecond, networks.VEPrecond, networks.iDDPMPrecond])
def test_other_teachers(cls, tmp_path):
    network = write_snapshot(tmp_path / 'a.pkl', cls, **SMALLEST)
    for form in ('torchscript', 'safetensors'):
        run(network, form)
    net, module = load_network(str(tmp_path / 'a.safetensors'))[0], load_script(tmp_path / 'a.pt')[0]
    x, sigma = draw(net, 3)[0], torch.tensor([0.3, 1.0, 20.0])
    assert (module(x, sigma) - load_network(network)[0](x, sigma)).abs().max() < 1e-5


def test_few_step_generator(tmp_path):
    for steps, options in ((2, dict(middle_sigma=0.5)), (3, {})):
        network = write_snapshot(
            tmp_path / f'{steps}.pkl', metadata=dict(num_steps=steps, **options), **SMALLEST
        )
        run(network, 'torchscript')
        module, config = load_script(tmp_path / f'{steps}.pt')
        net, _info = load_network(network)
        noise, labels = draw(net, 4)
        expected = samplers.multi_step_sampler(net, noise, labels, num_steps=steps, **options)
        assert len(config['levels']) == steps and (module(noise) - expected).abs().max() < 1e-5
        assert (one_step(network, 4)[1] - expected).abs().max() > 1e-3


def test_sigma_max(smallest, tmp_path):
    for form, name in (('torchscript', 'a.pt'), ('pkl', 'a.pkl')):
        output = run(smallest, form, '--sigma_max=2.5', '--dest', tmp_path / name)
        assert 'generator at sigma 2.5' in output
    inputs, expected = one_step(smallest, 3, sigma_max=2.5)
    assert (load_script(tmp_path / 'a.pt')[0](*inputs) - expected).abs().max() < 1e-5
    assert (one_step(smallest, 3)[1] - expected).abs().max() > 1e-3


def test_class_out_of_a_trusted_pickle(tmp_path):
    source = (
        'import torch\nfrom torch_utils import persistence\n\n@persistence.persistent_class\n'
        'class Odd(torch.nn.Module):\n    def forward(self, x, sigma, class_labels=None, force_fp32=False):\n'
        '        return x * 0.01 * self.gain\n    def round_sigma(self, sigma):\n'
        '        return torch.as_tensor(sigma)\n'
    )
    net = persistent(
        source,
        'Odd',
        module_state(img_resolution=4, img_channels=2, label_dim=0, sigma_min=0, sigma_max=1e9, gain=3.0),
    )
    (tmp_path / 'a.pkl').write_bytes(upstream_bytes(dict(ema=net)))
    assert '--trust-pickle' in fail(tmp_path / 'a.pkl', 'torchscript')
    run(tmp_path / 'a.pkl', 'torchscript', '--trust-pickle', '--function=generator')
    noise = torch.randn([3, 2, 4, 4])
    assert torch.allclose(load_script(tmp_path / 'a.pt')[0](noise), noise * 80 * 0.01 * 3)
    for form, dest in (('safetensors', 'b.safetensors'), ('pkl', 'b.pkl')):
        assert 'use --format=onnx or torchscript' in fail(
            tmp_path / 'a.pkl', form, '--trust-pickle', '--dest', tmp_path / dest
        )


# ------------------------------------------------------------------------------------------------
# The check of the file, and bad input.


def test_wrong_file_is_refused(smallest, tmp_path, monkeypatch):
    message = fail(smallest, 'torchscript', '--tolerance=0', '--dest', tmp_path / 'a.pt')
    assert (
        'largest difference' in message
        and '--tolerance=0 allows less' in message
        and not list(tmp_path.iterdir())
    )

    (tmp_path / 'a.pt').write_text('earlier')
    build = export_formats.build_function
    other = small_network(networks.GDDPrecond, seed=9, **SMALLEST)
    monkeypatch.setattr(
        export_formats, 'build_function', lambda net, function, levels: build(other, function, levels)
    )
    assert 'nothing was written' in fail(smallest, 'torchscript', '--overwrite', '--dest', tmp_path / 'a.pt')
    assert [path.name for path in tmp_path.iterdir()] == ['a.pt'] and (
        tmp_path / 'a.pt'
    ).read_text() == 'earlier'

    save = export.save_safetensors
    monkeypatch.setattr(export, 'save_safetensors', lambda path, net, config: save(path, other, config))
    assert 'tensors of the file differ' in fail(smallest, 'safetensors', '--dest', tmp_path / 'a.safetensors')
    assert [path.name for path in tmp_path.iterdir()] == ['a.pt']


def test_batch_baked_into_the_file_is_noticed(smallest, tmp_path, monkeypatch):
    class OneBatch(export_formats.Generator):
        def forward(self, noise, class_labels=None):
            return super().forward(noise[:2])  # Two images, like the trace.

    class OneShape(export_formats.Generator):
        def forward(self, noise, class_labels=None):
            return super().forward(noise.reshape(2, 1, 8, 8))

    for cls, message in ((OneBatch, 'where the network gives [5, 1, 8, 8]'), (OneShape, 'fails on 1 images')):
        monkeypatch.setattr(export_formats, 'Generator', cls)
        assert message in fail(smallest, 'torchscript', '--dest', tmp_path / 'a.pt') and not list(
            tmp_path.iterdir()
        )


def test_check_uses_the_seed_and_the_batch(smallest, tmp_path):
    outputs = [
        run(smallest, 'torchscript', '--overwrite', '--dest', tmp_path / 'a.pt', *options).splitlines()[-1]
        for options in (['--batch=4'], ['--batch=4'], ['--batch=4', '--seed=1'], ['--batch=1'])
    ]
    assert outputs[0] == outputs[1] and '1 and 4 images, seed 0' in outputs[0]
    assert 'seed 1' in outputs[2] and outputs[2].split('seed')[0] != outputs[0].split('seed')[0]
    assert '; 1 images' in outputs[3]


def test_network_that_diverged(tmp_path):
    network = write_snapshot(
        tmp_path / 'a.pkl', edit=lambda net: net.model.map_layer0.bias.fill_(math.nan), **SMALLEST
    )
    for form in ('safetensors', 'torchscript'):
        assert 'not finite' in fail(network, form)
    assert [path.name for path in tmp_path.iterdir()] == ['a.pkl']


def test_destination(smallest, tmp_path):
    assert 'smallest.pkl is the network itself' in fail(smallest, 'pkl')
    assert 'must name a file ending in .safetensors' in fail(
        smallest, 'safetensors', '--dest', tmp_path / 'a.pkl'
    )
    (tmp_path / 'a.pt').write_text('earlier')
    assert 'add --overwrite' in fail(smallest, 'torchscript', '--dest', tmp_path / 'a.pt')
    assert (tmp_path / 'a.pt').read_text() == 'earlier'
    assert 'cannot be written' in fail(smallest, 'torchscript', '--dest', tmp_path / 'a.pt' / 'b.pt')
    run(smallest, 'torchscript', '--dest', tmp_path / 'a.pt', '--overwrite')
    assert (
        export.choose_dest(
            export.EasyDict(
                network='https://host.example/x/net.pkl?a=1', format='onnx', dest=None, overwrite=False
            )
        )
        == 'net.onnx'
    )


@pytest.mark.parametrize(
    'network, message',
    [
        ('absent.pkl', 'there is no such file'),
        ('absent.safetensors', 'there is no such file'),
        ('folder', 'this is not a file'),
    ],
)
def test_missing_network(network, message, tmp_path):
    (tmp_path / 'folder').mkdir()
    assert message in fail(tmp_path / network, 'pkl', '--dest', tmp_path / 'new.pkl')
    assert [path.name for path in tmp_path.iterdir()] == ['folder']


@pytest.mark.parametrize(
    'package, form', [('onnxscript', 'onnx'), ('onnxruntime', 'onnx'), ('safetensors.torch', 'safetensors')]
)
def test_missing_package(package, form, smallest, tmp_path, monkeypatch):
    for name in ('onnx', 'onnxruntime', 'onnxscript'):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setitem(sys.modules, package, None)
    message = fail(smallest, form, '--dest', tmp_path / f'a.{form}')
    assert package.split('.')[0] in message and 'pip install' in message
    if form == 'safetensors':
        (tmp_path / 'b.safetensors').touch()
        assert 'pip install' in fail(tmp_path / 'b.safetensors', 'pkl')


def test_options_without_effect(smallest, tmp_path):
    output = run(
        smallest, 'safetensors', '--dest', tmp_path / 'a.safetensors', '--function=denoiser', '--opset=18'
    )
    assert (
        'Warning: --function=denoiser has no effect' in output
        and 'Warning: --opset=18 has no effect' in output
    )
    output = run(smallest, 'torchscript', '--dest', tmp_path / 'a.pt', '--function=denoiser', '--sigma_max=9')
    assert 'Warning: --sigma_max=9.0 has no effect' in output
    for options in (
        ['--opset=17'],
        ['--sigma_max=0'],
        ['--batch=0'],
        ['--tolerance=-1'],
        ['--seed=-1'],
        ['--function=x'],
        ['--batch=65'],
    ):
        assert invoke(smallest, 'onnx', *options).exit_code == 2
    assert 'a finite number' in fail(smallest, 'torchscript', '--sigma_max=nan', '--dest', tmp_path / 'b.pt')


# ------------------------------------------------------------------------------------------------
# Two writers of one file.


def test_a_file_has_one_writer(smallest, tmp_path):
    """The second one is told, and what the first one writes stays."""
    dest = tmp_path / 'a.safetensors'
    with claim(str(dest), 'dest'):
        output = fail(smallest, 'safetensors', '--dest', dest)
        assert f'--dest={dest} is being written by another process' in output and not dest.exists()
    run(smallest, 'safetensors', '--dest', dest)
    assert sorted(os.listdir(tmp_path)) == ['a.md', 'a.safetensors']  # with its card; no lock is left


def test_a_file_that_appears_meanwhile_is_not_replaced(smallest, tmp_path, monkeypatch):
    """Another process has written it while this one read the network."""
    dest = tmp_path / 'a.safetensors'

    def slow(*args):
        dest.write_text('of the other')
        return check_network(*args)

    check_network = export.check_network
    monkeypatch.setattr(export, 'check_network', slow)
    output = fail(smallest, 'safetensors', '--dest', dest)
    assert f'--dest={dest} exists already; add --overwrite' in output
    assert dest.read_text() == 'of the other'
