# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""TorchScript reader: equal to the state dict, and nothing but modules and tensors is accepted."""

import pickle
import warnings
import zipfile

import pytest
import torch

from evaluations.detectors.torchscript_reader import TorchScriptError, is_torchscript, read_torchscript


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.register_buffer('turned', torch.arange(6).reshape(2, 3).T)
        self.scale = torch.nn.Parameter(torch.randn(3).half())
        self.sizes = [1, 2]
        self.table = {'a': 1}

    def forward(self, x):
        return self.conv(x)


@pytest.fixture(scope='module')
def archive(tmp_path_factory):
    """A TorchScript file, and the module in it."""
    path, module = (
        tmp_path_factory.mktemp('script') / 'network.pt',
        torch.nn.Sequential(Inner(), torch.nn.ReLU()),
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        torch.jit.script(module).save(str(path))
    return path, module


def edited(archive, folder, edit_pickle=None, compress=False):
    """Copy an archive, with another data.pkl or with compressed tensors."""
    path = folder / 'edited.pt'
    with zipfile.ZipFile(archive[0]) as old, zipfile.ZipFile(path, 'w') as new:
        for info in old.infolist():
            data = old.read(info)
            if edit_pickle is not None and info.filename.endswith('/data.pkl'):
                data = edit_pickle(data)
            new.writestr(info.filename, data, zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED)
    return path


def test_tensors_are_those_of_the_state_dict(archive):
    path, module = archive
    found, expected = read_torchscript(path), module.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (
            torch.equal(found[name], tensor)
            and found[name].dtype == tensor.dtype
            and found[name].is_contiguous()
        ), name


def test_kinds_of_files_are_told_apart(archive, tmp_path):
    torch.save(archive[1].state_dict(), tmp_path / 'state.pt')
    (tmp_path / 'text.pt').write_text('no archive')
    assert is_torchscript(archive[0])
    assert not is_torchscript(tmp_path / 'state.pt') and not is_torchscript(tmp_path / 'text.pt')


class Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize(
    'edit, words',
    [
        (
            lambda data: pickle.dumps(Call(print, 'executed'), protocol=2),
            r'refers to __builtin__\.print|refers to builtins\.print',
        ),
        (lambda data: pickle.dumps(Call(getattr, 'x', 'y'), protocol=2), 'getattr'),
        (
            lambda data: data.replace(
                b'ctorch._utils\n_rebuild_tensor_v2', b'ctorch._utils\n_rebuild_tensor_v3'
            ),
            '_rebuild_tensor_v3',
        ),
        (lambda data: b"(S'x'\ni__main__\nf\n.", 'has no place in a module tree'),
        (
            lambda data: b'\x80\x02Nr\xff\xff\xff\x7f.',
            'does not hold a module',
        ),  # a memo of two billion entries takes no memory
        (
            lambda data: (
                b'\x80\x02N'
                + b''.join(b'q' + bytes([i]) + (b'h' + bytes([i])) * 2 + b'\x86' for i in range(60))
                + b'}h\x01Ns.'
            ),
            'a tuple is used as a key',
        ),  # nested tuples whose hash never ends
        (lambda data: data[: len(data) // 2], 'damaged'),
        (lambda data: pickle.dumps({'a': 1}, protocol=2), 'does not hold a module'),
        (lambda data: b'', 'truncated'),
    ],
)
def test_hostile_pickles_are_refused(archive, tmp_path, capsys, edit, words):
    with pytest.raises(TorchScriptError, match=words):
        read_torchscript(edited(archive, tmp_path, edit))
    assert capsys.readouterr().out == ''


def test_sizes_are_checked(archive, tmp_path):
    size = b'K\x04K\x03K\x03K\x03t'  # the shape of conv.weight
    with zipfile.ZipFile(archive[0]) as old:
        assert old.read('network/data.pkl').count(size) == 1
    with pytest.raises(TorchScriptError, match='does not fit into its storage'):
        read_torchscript(edited(archive, tmp_path, lambda data: data.replace(size, b'K\x05K\x03K\x03K\x03t')))
    with pytest.raises(TorchScriptError, match='compressed'):
        read_torchscript(edited(archive, tmp_path, compress=True))


def test_endless_modules_are_refused(archive, tmp_path):
    # A module that is its own child.
    loop = b'\x80\x02c__torch__\nM\nq\x00)\x81q\x01}X\x01\x00\x00\x00ah\x01sb.'
    with pytest.raises(TorchScriptError, match='nested without end'):
        read_torchscript(edited(archive, tmp_path, lambda data: loop))
