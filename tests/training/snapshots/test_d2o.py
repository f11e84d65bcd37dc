# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test snapshots of the newer official repository, where GDDPrecond is called D2OPrecond."""

import json

import pytest
import torch
from click.testing import CliRunner

import export
import fid
import generate
from tests.support import ROOT, tiny_runs
from tests.support.tiny_exports import need
from tests.support.upstream_files import TINY, network_output, small_network, upstream_bytes
from training import networks
from training.sampling.options import build_sampler
from training.snapshots.pickle_records import UnknownClassError
from training.snapshots.snapshot import load_network, save_snapshot


def as_d2o(data):
    """Rename the class, in the records and in the program text."""
    assert b'GDDPrecond' in data
    return data.replace(b'GDDPrecond', b'D2OPrecond')


@pytest.fixture(params=['of the official code', 'of this project'])
def d2o(request, tmp_path):
    """Path of a D2O snapshot, and the network in it."""
    net = small_network(networks.GDDPrecond, **TINY)
    path = tmp_path / 'd2o.pkl'
    if request.param == 'of this project':
        save_snapshot(str(path), ema=net, net=net, dataset_kwargs={})
        path.write_bytes(as_d2o(path.read_bytes()))
    else:
        path.write_bytes(as_d2o(upstream_bytes(dict(net=net, ema=net, dataset_kwargs={}), gdd=True)))
    return str(path), net


def test_it_is_read_without_running_it(d2o, caplog, capsys):
    path, net = d2o
    for key in ('ema', 'net'):
        loaded, info = load_network(path, key=key)
        assert type(loaded) is networks.GDDPrecond
        assert torch.equal(network_output(loaded), network_output(net))
        assert (info.class_name, info.flavour, info.executed) == ('GDDPrecond', 'gdd', [])
    assert caplog.text == '' and capsys.readouterr().err == ''


def test_it_makes_images_in_one_step(d2o):
    assert build_sampler(load_network(d2o[0])[0], {}) == ('one_step', {})


class D2OPrecond(networks.GDDPrecond):
    """As it comes out of a file whose code runs: a class that nobody here knows."""


def test_the_preconditioning_decides_and_not_the_name():
    """So it does for classes out of a trusted pickle, and for a teacher that somebody calls GDDPrecond."""
    assert build_sampler(small_network(D2OPrecond, **TINY), {})[0] == 'one_step'
    teacher = type('GDDPrecond', (networks.EDMPrecond,), {})
    assert build_sampler(small_network(teacher, **TINY), {})[0] == 'edm'
    for cls in (networks.VPPrecond, networks.VEPrecond, networks.EDMPrecond):
        assert build_sampler(small_network(cls, **TINY), {})[0] == 'edm'


@pytest.mark.parametrize('form', ['pkl', 'safetensors', 'torchscript'])
def test_it_is_exported(d2o, form, tmp_path):
    """In EDM's format under the name whose text our snapshots carry, so that EDM opens them as well."""
    if form == 'safetensors':
        need('safetensors')
    path, net = d2o
    dest = tmp_path / ('new.pt' if form == 'torchscript' else f'new.{form}')
    result = CliRunner().invoke(export.cmdline, [f'--network={path}', f'--format={form}', f'--dest={dest}'])
    assert result.exit_code == 0, result.output
    assert 'GDDPrecond of d2o.pkl: generator at sigma 80' in result.output
    if form != 'torchscript':
        loaded, info = load_network(str(dest))
        assert info.class_name == 'GDDPrecond' and torch.equal(network_output(loaded), network_output(net))
        assert b'D2OPrecond' not in dest.read_bytes()


def test_other_names_stay_unknown(tmp_path):
    path = tmp_path / 'other.pkl'
    save_snapshot(str(path), ema=small_network(networks.GDDPrecond, **TINY))
    path.write_bytes(path.read_bytes().replace(b'GDDPrecond', b'XYZPrecond'))
    with pytest.raises(UnknownClassError, match='holds XYZPrecond where a network is expected'):
        load_network(str(path))


def test_it_is_measured(tmp_path):
    """`fid.py gen`, and `calc` of images of `generate.py`, as the same network by its old name."""
    net = small_network(networks.GDDPrecond, **dict(TINY, img_resolution=32))
    paths = [tmp_path / 'gdd.pkl', tmp_path / 'd2o.pkl']
    save_snapshot(str(paths[0]), ema=net, net=net, dataset_kwargs={})
    paths[1].write_bytes(as_d2o(paths[0].read_bytes()))
    reference = f'--ref={ROOT}/datasets/mnist-32x32-train-ref-mnist-classifier.npz'

    def invoke(command, *arguments):
        result = CliRunner().invoke(command, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        return result.output

    def measure(command, *arguments):
        path = tmp_path / 'result.json'
        invoke(fid.main, command, *arguments, reference, f'--json={path}')
        return json.loads(path.read_text())['value']

    values = [measure('gen', f'--network={path}', '--seeds=0-3', '--batch=4') for path in paths]
    folder = f'{tmp_path}/images'
    invoke(generate.cmdline, f'--network={paths[1]}', f'--outdir={folder}', '--seeds=0-3', '--device=cpu')
    values.append(measure('calc', f'--images={folder}', '--num=4', '--batch=4', '--workers=0'))
    assert values[0] == values[1] == pytest.approx(values[2], rel=1e-6)


def test_it_is_distilled_further(material, tmp_path, monkeypatch):
    """The student starts from its weights."""
    tiny_runs.use_random_backbones(monkeypatch.setattr)
    net = small_network(networks.GDDPrecond, **dict(TINY, img_channels=3, label_dim=3))
    path = tmp_path / 'd2o.pkl'
    save_snapshot(str(path), ema=net, net=net, dataset_kwargs={})
    path.write_bytes(as_d2o(path.read_bytes()))
    task = tiny_runs.make_task((material[0], str(path)))
    found, expected = task.G.state_dict(), net.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
