# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Every option in --help of dataset_tool.py and export.py changes what comes out;
generate.py has its own table.

A row is (setting, option): the command with the option gives other files, exit status, or lines of output
than without it. A new option needs a row, or the last test fails.
"""

import io
import json
import pathlib
import re
import zipfile

import click
import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

import dataset_tool
import export
import generate
from dnnlib.files import file_sha256
from tests.scripts import test_generate
from tests.support import tiny_exports
from tests.support.image_files import encode, random_pixels, write_files
from tests.support.upstream_files import small_network, upstream_bytes
from torch_utils import persistence
from training import networks

TINY = tiny_exports.SMALLEST
COMMANDS = {
    'convert': dataset_tool.main.commands['convert'],
    'inspect': dataset_tool.main.commands['inspect'],
    'export': export.cmdline,
}

ONE = ['--source=images', '--dest=made.zip']
CROP = ['--source=wide', '--dest=made.zip', '--resolution=8x8']
GRID = ['--source=images', '--grid=grid.png']
SAFE = ['--network=network.pkl', '--format=safetensors']
SCRIPT = ['--network=network.pkl', '--format=torchscript']
EFFECTS = {
    'convert': [
        (ONE, '--source=others'),
        (ONE, '--dest=another.zip'),
        (ONE, '--max-images=3'),
        (CROP, '--transform=center-crop'),
        (ONE, '--resolution=8x8'),
        (ONE, '--labels=none'),
        (['--source=turned', '--dest=made.zip'], '--exif=apply'),
        (ONE, '--max-pixels=255'),
        (['--source=damaged', '--dest=made.zip'], '--skip-bad'),
        (ONE, '--png-compress=9'),
    ],
    'inspect': [
        (['--source=images'], '--source=others'),
        (['--source=images'], '--max-images=3'),
        (['--source=images'], '--grid=grid.png'),
        (['--source=images'], '--max-pixels=255'),
        (GRID, '--grid-size=1x2'),
        ([*GRID, '--grid-size=1x2'], '--seed=1'),
        (['--source=images'], '--json'),
    ],
    'export': [
        (SAFE, '--network=other.pkl'),
        (SAFE, '--format=pkl'),
        (SAFE, '--dest=elsewhere.safetensors'),
        ([*SCRIPT, '--dest=taken.pt'], '--overwrite'),
        (SAFE, '--metrics=numbers/measured.json'),
        (SAFE, '--ema=False'),
        (SAFE, '--key=net'),
        (['--network=foreign.pkl', *SCRIPT[1:]], '--trust-pickle'),
        (SCRIPT, '--function=denoiser'),
        (SCRIPT, '--sigma_max=5'),
        (SCRIPT, '--batch=2'),
        (SCRIPT, '--seed=1'),
        (SCRIPT, '--tolerance=0'),
        (['--network=network.pkl', '--format=onnx'], '--opset=19'),
    ],
}
# Options that do not change the result: how many processes work.
PROCESSES = {'convert': ['--workers'], 'inspect': ['--workers'], 'export': []}


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    """Files that the rows name: {path relative to the working folder: bytes}."""
    folder = tmp_path_factory.mktemp('inputs')
    images = {f'{k % 2}/{k}.png': encode(random_pixels(k, (16, 16, 3))) for k in range(4)}
    write_files(folder / 'images', images)
    write_files(folder / 'wide', {'a.png': encode(random_pixels(6, (16, 32, 3)))})
    write_files(folder / 'others', {'a.png': encode(random_pixels(5, (16, 16)))})
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    write_files(folder / 'turned', {'a.jpg': encode(random_pixels(7, (16, 16, 3)), 'jpeg', exif=turned)})
    write_files(folder / 'damaged', {'a.png': images['0/0.png'], 'b.png': b'no image'})
    tiny_exports.write_snapshot(folder / 'network.pkl', **TINY)
    tiny_exports.write_snapshot(folder / 'other.pkl', seed=5, **TINY)
    (folder / 'taken.pt').write_text('an earlier file')
    measured = dict(
        network_sha256=file_sha256(folder / 'network.pkl'), results=[dict(metric='fid5', value=1)]
    )
    write_files(folder / 'numbers', {'measured.json': json.dumps(measured).encode()})
    # A network that only its own text can build: an array among its attributes.
    net = small_network(networks.GDDPrecond, **TINY)
    text = persistence._module_sources['training.networks']
    (folder / 'foreign.pkl').write_bytes(
        upstream_bytes(
            dict(ema=net, augment_pipe=None),
            gdd=True,
            source=text,
            edit=lambda name, state: state.update(remark=np.zeros(3)) if name == 'GDDPrecond' else None,
        )
    )
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def outcome(command, arguments, inputs, folder, monkeypatch):
    """Run a command in its own folder; returns exit status, last line, and the files it has made."""
    for path, data in inputs.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    monkeypatch.chdir(folder)
    if PROCESSES[command]:
        arguments = [*arguments, '--workers=1']
    result = CliRunner().invoke(COMMANDS[command], arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}
    made = {path: content(path, data) for path, data in files.items() if inputs.get(path) != data}
    return result.exit_code, result.output.strip().splitlines()[-1], made


def content(path, data):
    """Return what a file holds: of exports only what does not depend on choices of libraries."""
    if path.suffix == '.safetensors':
        length = int.from_bytes(data[:8], 'little')
        return json.loads(data[8 : 8 + length]), data[8 + length :]
    if path.suffix == '.pt':
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return next(archive.read(name) for name in archive.namelist() if name.endswith('config.json'))
    return data


@pytest.fixture(scope='module')
def plain(inputs, tmp_path_factory):
    """Function (command, setting) -> outcome without further options; each is computed once."""
    known = {}

    def get(command, setting):
        if (command, *setting) not in known:
            with pytest.MonkeyPatch.context() as patch:
                known[(command, *setting)] = outcome(
                    command, setting, inputs, tmp_path_factory.mktemp('plain'), patch
                )
        return known[(command, *setting)]

    return get


def rows():
    return [
        pytest.param(command, setting, option, id=f'{command}{option}')
        for command, effects in EFFECTS.items()
        for setting, option in effects
    ]


def need_packages(setting):
    packages = {
        '--format=onnx': ('onnxscript', 'onnx', 'onnxruntime'),
        '--format=safetensors': ('safetensors',),
    }
    for package in (package for form in packages if form in setting for package in packages[form]):
        tiny_exports.need(package)


@pytest.mark.parametrize('command, setting, option', rows())
def test_option_changes_the_outcome(command, setting, option, inputs, plain, tmp_path, monkeypatch):
    need_packages(setting)
    without = plain(command, setting)
    given = outcome(command, [*setting, option], inputs, tmp_path, monkeypatch)
    assert given != without
    # Either call succeeds, so that it is not the error of a wrong row that differs.
    assert 0 in (given[0], without[0]), (without[1], given[1])


@pytest.mark.parametrize(
    'command, setting', [('convert', ONE), ('inspect', GRID), ('export', SAFE), ('export', SCRIPT)]
)
def test_the_outcome_is_always_the_same(command, setting, inputs, plain, tmp_path, monkeypatch):
    """Otherwise the test above could not fail."""
    need_packages(setting)
    assert outcome(command, setting, inputs, tmp_path, monkeypatch) == plain(command, setting)


@pytest.mark.parametrize('command, worker', [('convert', 'convert_source'), ('inspect', 'inspect_source')])
def test_workers_reach_their_users(command, worker, inputs, tmp_path, monkeypatch):
    seen = []
    original = getattr(dataset_tool, worker)
    monkeypatch.setattr(dataset_tool, worker, lambda *args: seen.append(args[-1]) or original(*args[:-1], 1))
    source = write_files(tmp_path / 'in', {'a.png': encode(random_pixels(0))})
    options = [f'--source={source}', *([f'--dest={tmp_path / "a.zip"}'] if command == 'convert' else [])]
    result = CliRunner().invoke(COMMANDS[command], [*options, '--workers=3'])
    assert result.exit_code == 0 and seen == [3], result.output


def test_transforms_are_those_of_the_help(tmp_path, inputs, monkeypatch):
    """`resize` is the name of what happens without --transform; like the crops it needs --resolution."""
    folder = ['--source=wide', '--dest=made', '--resolution=8x8']
    outcomes = [
        outcome('convert', [*folder, *more], inputs, tmp_path / str(number), monkeypatch)
        for number, more in enumerate(([], ['--transform=resize'], ['--transform=center-crop']))
    ]
    assert outcomes[0] == outcomes[1] and all(status == 0 for status, _line, _made in outcomes)
    for (_status, _line, made), left in zip(outcomes[1:], (0, 8)):
        expected = PIL.Image.fromarray(random_pixels(6, (16, 32, 3))[:, left : 32 - left]).resize(
            (8, 8), PIL.Image.Resampling.LANCZOS
        )
        with PIL.Image.open(io.BytesIO(made[pathlib.Path('made/00000/img00000000.png')])) as image:
            assert np.array_equal(np.asarray(image), np.asarray(expected))
    status, line, made = outcome(
        'convert', [*ONE, '--transform=resize'], inputs, tmp_path / 'none', monkeypatch
    )
    assert status == 1 and 'needs --resolution' in line and not made


@pytest.mark.parametrize('command', COMMANDS)
def test_every_option_of_the_help_has_a_row(command):
    text = CliRunner().invoke(COMMANDS[command], ['--help'], terminal_width=120).output
    shown = set(re.findall(r'^  (?:-\w, )?(--[\w-]+)', text, re.MULTILINE)) - {'--help'}
    assert shown == {name for param in COMMANDS[command].params for name in param.opts}
    assert shown == {option.split('=')[0] for _setting, option in EFFECTS[command]} | set(PROCESSES[command])
    for param in COMMANDS[command].params:
        assert param.help and len(param.help) <= 60, param.name
        assert param.metavar or param.is_flag or isinstance(param.type, click.Choice), param.name


def test_every_option_of_generate_has_a_test():
    """Its tests name an option where they give it; test_generate.py says what each does."""
    test_generate.test_list_of_options_is_deliberate()
    with open(test_generate.__file__, encoding='utf-8') as file:
        used = set(re.findall(r"'(--[\w-]+)", file.read()))
    shown = {name for param in generate.cmdline.params for name in (*param.opts, *param.secondary_opts)}
    assert shown - used == {'--pack'}  # the default
