# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test that the files, modules and options that documents and comments name exist, and that
commands in documents parse. Nothing is run."""

import pathlib
import re
import subprocess

import pytest

from tests.support import documented_commands
from tests.support.documented_commands import complaint

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = 'training|evaluations|reports|torch_utils|dnnlib|benchmarks|workflow|tests'
DOCUMENTS = [*ROOT.glob('*.md'), *ROOT.glob('docs/*.md'), *ROOT.glob('*/README.md')]
CODE = [
    path
    for pattern in ('*.py', '*.sh', *(f'{name}/**/*.py' for name in PACKAGES.split('|')[:-1]))
    for path in ROOT.glob(pattern)
]
# Files that programs write, and modules of EDM's.
OUTPUTS = {'comparison.md', 'evaluation.md', 'study.md', 'throughput.md', 'OUT.md', 'NAME.md'}
OUTPUTS |= {'gdd_networks.py', 'unet/gdd_networks.py', 'unet/gdd_unet.py'}
FOREIGN = {'torch_utils.ops'}


def files_named(text):
    """Return what looks like a program, a script or a document: 'train.py', 'docs/training.md'."""
    return set(re.findall(r'(?<![\w/.@:-])[\w][\w./*-]*\.(?:py|sh|md)\b(?![\w(])', text)) - OUTPUTS


def folders_named(text):
    """Return what looks like a folder of the packages: 'training/images/'."""
    return set(re.findall(rf'(?<![\w/.-])((?:{PACKAGES}|docs)(?:/\w+)*)/(?![\w*.{{<])', text))


def modules_named(text):
    """Return what looks like a module of the packages or something in it: 'training.networks.EDMPrecond'."""
    return set(re.findall(rf'(?<![\w/.-])((?:{PACKAGES})(?:\.\w+)+)(?![\w/-])', text)) - FOREIGN


def links(text):
    """Return the targets of links to files, without anchors."""
    return {
        target.split('#')[0] for target in re.findall(r'\]\(([^)\s]+)\)', text) if '://' not in target
    } - {''}


def exists(name, folder):
    """Look for a file from the root, from the folder of who names it, or from any folder of the packages."""
    bases = [ROOT, folder, *(ROOT / package for package in PACKAGES.split('|'))]
    return any(next(base.glob(pattern), None) for base in bases for pattern in (name, f'*/**/{name}'))


def module_exists(name):
    """Look for a module, or for something that a module defines or imports."""
    parts = name.split('.')
    for count in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:count])
        file = path.with_suffix('.py') if path.with_suffix('.py').exists() else path / '__init__.py'
        if file.exists():
            rest = parts[count:]
            return not rest or re.search(rf'\b{rest[0]}\b', file.read_text(encoding='utf-8')) is not None
    return False


def missing(text, folder):
    """List what a text names and the checkout does not have."""
    found = [name for name in files_named(text) if not exists(name, folder)]
    found += [f'{name}/' for name in folders_named(text) if not (ROOT / name).is_dir()]
    return sorted(
        found + [name for name in modules_named(text) if not files_named(name) and not module_exists(name)]
    )


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_what_exists(path):
    text = path.read_text(encoding='utf-8')
    assert missing(text, path.parent) == []
    assert [target for target in links(text) if not (path.parent / target).exists()] == []


def test_code_names_what_exists():
    found = {
        str(path.relative_to(ROOT)): names
        for path in CODE
        if path != pathlib.Path(__file__)
        and (names := missing(path.read_text(encoding='utf-8'), path.parent))
    }
    assert found == {}


def test_the_checks_notice(tmp_path):
    text = (
        'See `training/gan_loss.py`, gan_loss.py, docs/none.md; training/images/, training/nowhere/, '
        'training.networks.EDMPrecond, training.networks.None1, training.checkpoint; fid.py gen, X.zip'
    )
    assert missing(text, tmp_path) == [
        'docs/none.md',
        'gan_loss.py',
        'training.checkpoint',
        'training.networks.None1',
        'training/gan_loss.py',
        'training/nowhere/',
    ]
    assert links('[a](docs/a.md#b), [c](https://x.org/d.md), ![e](f.png), [g](#h)') == {'docs/a.md', 'f.png'}


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_documents_are_understood(path):
    text = path.read_text(encoding='utf-8')
    found = {line: words for line in documented_commands.commands(text) if (words := complaint(line))}
    assert found == {}


def test_scripts_of_shells_parse():
    for path in [*ROOT.glob('*.sh'), ROOT / 'torch_utils/venv.sh', ROOT / 'scripts/slurm.sbatch']:
        done = subprocess.run(['sh', '-n', str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_check_of_commands_notices():
    text = 'Text `sh train.sh demo --durationn=1`\n\n    python train.py --batch=x \\\n      --lr=1  # a\n'
    first, second = documented_commands.commands(text)
    assert 'No such option' in complaint(second)
    assert "'x' is not a whole number" in complaint(first)
    assert complaint('sh train.sh dmeo') == 'dmeo is no recipe'
    assert complaint('NPROC=2 sh train.sh NAME --resume=auto') is None
    assert complaint('python fid.py calc --images=DIR --ref=X.npz --num=N | cat --none') is None
    assert complaint('python dataset_tool.py --source=a --grid=b') is not None
