# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test that every module has a test of its name in the mirrored place, and that lists of files are true."""

import ast
import re

from tests import marks
from tests.support import ROOT

TESTS = ROOT / 'tests'
PACKAGES = ('training', 'evaluations', 'reports', 'dnnlib', 'torch_utils', 'benchmarks', 'workflow')
# Module -> why there is no test of its name. Shorten it, do not extend it.
WITHOUT_TEST = {
    'evaluations/published.py': 'tests/scripts/test_validation_scripts.py',
    'training/recipes.py': 'tests/scripts/test_recipes.py',
}


def modules():
    """Return the modules of the packages by their path from the root, __init__ files aside."""
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob('*.py')
        if path.name != '__init__.py'
    }


def test_path(module):
    """Return where the test of a module stands, from the root."""
    folder, _, name = module.rpartition('/')
    return f'tests/{folder}/test_{name}'


test_path.__test__ = False  # a helper, although its name begins like a test's


def without_test(names, exists=lambda path: (ROOT / path).is_file()):
    """List the modules that have no test of their name."""
    return sorted(name for name in names if not exists(test_path(name)))


def test_every_module_has_a_test_of_its_name():
    assert sorted(set(without_test(modules())) - set(WITHOUT_TEST)) == [], (
        'write the test, or name the reason'
    )


def test_every_exception_is_needed():
    assert sorted(set(WITHOUT_TEST) - set(without_test(modules()))) == []


def test_the_check_notices_a_missing_test():
    names = {'training/a/b.py', 'dnnlib/c.py'}
    assert without_test(names, exists=lambda path: path == 'tests/dnnlib/test_c.py') == ['training/a/b.py']


def functions_of(path):
    return {node.name for node in ast.parse(path.read_text(encoding='utf-8')).body if hasattr(node, 'name')}


def unknown(names):
    """List entries FILE or FILE::TEST that belong to no test."""
    found = []
    for name in names:
        file, _, test = name.partition('::')
        if not (TESTS / file).is_file() or (test and test not in functions_of(TESTS / file)):
            found.append(name)
    return found


def test_marked_tests_exist():
    assert unknown([name for names in marks.MARKED.values() for name in names]) == []
    assert unknown(marks.FIRST) == []
    assert unknown(['none.py', 'test_layout.py::test_none', 'test_layout.py']) == [
        'none.py',
        'test_layout.py::test_none',
    ]


def test_marks_of_files_and_of_single_tests():
    assert marks.marks_of('torch_utils/test_launch.py', 'test_any') == ['processes']
    assert marks.marks_of('test_golden.py', 'test_golden_file') == ['slow']
    assert marks.marks_of('test_golden.py', 'test_filling_rule') == []
    assert marks.whole_file('torch_utils/test_launch.py') and not marks.whole_file('test_golden.py')


def mentioned_requirements(text):
    """Return the requirements files that a text names."""
    return set(re.findall(r'requirements[\w/-]*\.txt', text))


def test_requirements_files_are_where_texts_say():
    texts = [
        path
        for pattern in ('*.sh', '*.md', '*.py', '.ci/run')
        for path in ROOT.rglob(pattern)
        if not {'.venv', 'training-runs', 'tests'} & set(path.relative_to(ROOT).parts)
    ]
    named = {name for path in texts for name in mentioned_requirements(path.read_text(encoding='utf-8'))}
    assert {'requirements.txt', 'requirements/test.txt'} <= named
    assert sorted(name for name in named if not (ROOT / name).is_file()) == []
    assert mentioned_requirements('pip install -r requirements_lost.txt') == {'requirements_lost.txt'}
