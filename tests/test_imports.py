# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test that imports run one way, by a table of who may import whom; and in no circle. Only text is read."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
BELOW = {'dnnlib', 'torch_utils'}  # helpers, which everything may import
TRAINING = {
    'images',
    'sampling',
    'backbones',
    'update',
    'frechet',
    'networks',
    'augment',
    'loss',
    'choices',
    'recipes',
    'config',
    'options',
    'second_spellings',
    'dataset',
    'snapshots',
    'adversarial',
    'student',
    'instance',
    'run',
    'tasks',
    'training_loop',
}

# Room -> the rooms it may import besides itself and BELOW. Rooms of one floor never import each other.
# training/: a room is a package, or a file that lies beside the packages.
ALLOWED = {
    'dnnlib': set(),
    'torch_utils': {'dnnlib'},
    # The package itself: what `from training import load_generator` finds.
    'training': {'training.image_generator'},
    # Floor 1.
    'training.images': set(),
    'training.sampling': set(),
    'training.backbones': set(),
    'training.update': set(),
    'training.frechet': set(),
    'training.networks': set(),
    'training.augment': set(),
    'training.loss': set(),
    'training.choices': set(),
    'training.recipes': set(),
    # Floor 2.
    'training.config': {'training.choices'},
    'training.options': {'training.choices', 'training.recipes'},
    'training.second_spellings': {'training.choices'},
    'training.dataset': {'training.images'},
    'training.snapshots': {'training.networks', 'training.sampling'},
    'training.adversarial': {'training.backbones', 'training.augment', 'training.sampling'},
    # Floor 3.
    'training.image_generator': {'training.sampling', 'training.snapshots'},
    'training.student': {'training.networks', 'training.choices', 'training.snapshots'},
    'training.instance': {'training.sampling', 'training.backbones', 'training.choices'},
    'training.run': {
        'training.options',
        'training.second_spellings',
        'training.images',
        'training.sampling',
        'training.snapshots',
    },
    # Floor 4 and 5.
    'training.tasks': {f'training.{name}' for name in TRAINING - {'tasks', 'run', 'training_loop'}},
    'training.training_loop': {f'training.{name}' for name in TRAINING - {'training_loop'}},
    # evaluations/ stands above training/ and below the scripts.
    'evaluations.metrics': set(),
    'evaluations.detectors': {
        'training.adversarial',
        'training.backbones',
        'training.dataset',
        'training.snapshots',
    },
    'evaluations.inputs': {'training.dataset', 'training.sampling', 'evaluations.metrics'},
    'evaluations.reviewing': {'evaluations.inputs', 'evaluations.metrics', 'training.images'},
    'evaluations': {f'training.{name}' for name in TRAINING}
    | {f'evaluations.{name}' for name in ('detectors', 'inputs', 'metrics', 'reviewing')}
    | {'training.image_generator'},
    'evaluations.programs': {
        'evaluations',
        'evaluations.detectors',
        'evaluations.inputs',
        'evaluations.metrics',
        'evaluations.reviewing',
    },
    # reports/ reads files of runs, and needs next to nothing; only scripts import it.
    'reports': {'training.images'},
}


def module_files():
    """Return module name -> path of all modules below the packages, and of the scripts beside them."""
    files = [
        path
        for layer in ('dnnlib', 'torch_utils', 'training', 'evaluations', 'reports', 'workflow')
        for path in (ROOT / layer).rglob('*.py')
    ]
    return {
        '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
        for path in files + list(ROOT.glob('*.py'))
    }


def imported(source, known, top_level_only=False):
    """Return the names out of `known` that a program text imports, at any depth or at its top level."""
    tree = ast.parse(source)
    found = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module, *(f'{node.module}.{alias.name}' for alias in node.names)]
        else:
            continue
        found |= {name for name in names if name in known}
    return found


def room(module, packages):
    """Return the room of a module: its package, or itself if it lies flat in training/; scripts are None."""
    parts = module.split('.')
    if parts[0] in BELOW | {'reports'}:
        return parts[0]
    if parts[0] == 'evaluations':
        return '.'.join(parts[:2]) if '.'.join(parts[:2]) in packages else 'evaluations'
    return '.'.join(parts[:2]) if parts[0] == 'training' else None


def wrong_way(imports, packages):
    """List the imports that ALLOWED does not have;
    packages are names of folders below training and evaluations.
    """
    found = []
    for module, others in imports.items():
        own = room(module, packages)
        for other in others if own else ():
            target = room(other, packages)
            if target is None or target not in ALLOWED.get(own, set()) | {own, 'training'} | (
                BELOW - {own} if own not in BELOW else set()
            ):
                found.append(f'{module} imports {other}')
    return sorted(found)


def find_circle(imports):
    """Return a list of modules that import each other in a circle, or None."""
    done = set()

    def visit(module, path):
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return None
        for other in sorted(imports.get(module, ())):
            circle = visit(other, [*path, module])
            if circle:
                return circle
        done.add(module)
        return None

    return next((circle for module in sorted(imports) if (circle := visit(module, []))), None)


@pytest.fixture(scope='module')
def files():
    return module_files()


@pytest.fixture(scope='module')
def packages():
    return {'.'.join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob('*/*/__init__.py')}


def test_nothing_imports_upwards(files, packages):
    """Also not inside a function."""
    imports = {module: imported(path.read_text(encoding='utf-8'), files) for module, path in files.items()}
    assert len(imports) > 100 and wrong_way(imports, packages) == []
    assert (
        'training.sampling.samplers' in imports['evaluations.inputs.image_sources']
    )  # the reader sees something


def test_every_room_stands_in_the_table(files, packages):
    rooms = {room(module, packages) for module in files} - {None}
    assert rooms == set(ALLOWED)


def test_networks_are_one_file_that_needs_nothing(files):
    """Its text travels in every snapshot."""
    tree = ast.parse(files['training.networks'].read_text(encoding='utf-8'))
    roots = {
        alias.name.split('.')[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    roots |= {node.module.split('.')[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert roots == {'numpy', 'torch', 'torch_utils'}
    assert imported(files['training.networks'].read_text(encoding='utf-8'), files) <= {
        'torch_utils',
        'torch_utils.persistence',
    }


def test_no_circles(files):
    imports = {
        module: imported(path.read_text(encoding='utf-8'), files, top_level_only=True) - {module}
        for module, path in files.items()
    }
    # A package that gathers names of its modules is imported with each of them.
    gatherers = {module for module in imports if files[module].name == '__init__.py'}
    imports = {
        module: {other for other in others if other not in gatherers} for module, others in imports.items()
    }
    assert find_circle(imports) is None


@pytest.mark.parametrize('folder', ['training', 'evaluations', 'reports'])
def test_no_folder_is_crowded(folder):
    counts = {
        path.parent: len(list(path.parent.glob('*.py'))) for path in (ROOT / folder).rglob('__init__.py')
    }
    assert max(counts.values()) <= 13, counts


def test_the_checks_notice():
    known = {'training.images.files', 'training.run.state', 'evaluations.b', 'fid', 'training.tasks.c'}
    source = 'def f():\n    from evaluations import b\nimport fid\nfrom training.tasks.c import x\n'
    assert imported(source, known) == {'evaluations.b', 'fid', 'training.tasks.c'}
    assert imported(source, known, top_level_only=True) == {'fid', 'training.tasks.c'}
    packages = {'training.images', 'training.run', 'training.tasks'}
    imports = {
        'training.images.files': {'training.run.state', 'fid', 'dnnlib.util'},
        'dnnlib.util': {'torch_utils.misc'},
        'training.run.state': {'training.images.files', 'training.run.logs', 'training.student.freeze'},
    }
    assert wrong_way(imports, packages) == [
        'dnnlib.util imports torch_utils.misc',
        'training.images.files imports fid',
        'training.images.files imports training.run.state',
        'training.run.state imports training.student.freeze',
    ]
    assert (
        find_circle({'a': {'b'}, 'b': {'c'}, 'c': {'b'}}) == ['b', 'c']
        and find_circle({'a': {'b'}, 'b': set()}) is None
    )
