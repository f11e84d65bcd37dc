# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test that imports run one way: helpers, training, evaluations, commands; and in no circle. Only text is read."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LAYERS = ('dnnlib', 'torch_utils', 'training', 'evaluations')       # each may import those before it, and itself


def module_files():
    """Return module name -> path of all modules of the layers and of the commands beside them."""
    files = [path for layer in LAYERS for path in (ROOT / layer).glob('*.py')] + list(ROOT.glob('*.py'))
    return {'.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path for path in files}


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


def level(module):
    """Return the position of a module's layer; commands come last."""
    layer = module.split('.')[0]
    return LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def wrong_way(imports):
    return sorted(f'{module} imports {other}' for module, others in imports.items() for other in others if level(other) > level(module))


def find_circle(imports):
    """Return a list of modules that import each other in a circle, or None."""
    done = set()

    def visit(module, path):
        if module in path:
            return path[path.index(module):]
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


def test_no_layer_imports_a_later_one(files):
    """Also not inside a function. training/ reaches evaluations/ by the name of a class in the options of a run only."""
    imports = {module: imported(path.read_text(encoding='utf-8'), files) for module, path in files.items()}
    assert len(imports) > 80 and wrong_way(imports) == []
    assert 'training.samplers' in imports['evaluations.image_sources']      # the reader sees something


def test_no_circles(files):
    imports = {module: imported(path.read_text(encoding='utf-8'), files, top_level_only=True) - {module}
               for module, path in files.items()}
    # A package that gathers names of its modules is imported with each of them.
    imports = {module: {other for other in others if other not in LAYERS} for module, others in imports.items()}
    assert find_circle(imports) is None


def test_the_checks_notice():
    known = {'training.a', 'evaluations.b', 'fid', 'training.c'}
    source = 'def f():\n    from evaluations import b\nimport fid\nfrom training.c import x\n'
    assert imported(source, known) == {'evaluations.b', 'fid', 'training.c'}
    assert imported(source, known, top_level_only=True) == {'fid', 'training.c'}
    assert wrong_way({'training.a': imported(source, known)}) == ['training.a imports evaluations.b', 'training.a imports fid']
    assert find_circle({'a': {'b'}, 'b': {'c'}, 'c': {'b'}}) == ['b', 'c'] and find_circle({'a': {'b'}, 'b': set()}) is None
