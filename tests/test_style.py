# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test what ruff does not see: long functions and files, options in library code, annotations."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

MAX_FUNCTION, P90_FUNCTION, MAX_COLUMNS, MAX_FILE = 60, 25, 110, 450
LIBRARY = ('dnnlib', 'torch_utils', 'training', 'evaluations', 'reports')
# Where options are declared: the shell's spelling is at home there.
DECLARATIONS = {
    'training/options.py',
    'training/sampling/options.py',
    'evaluations/evaluator.py',
    'evaluations/detectors/train_mnist_classifier.py',
    'evaluations/teacher_and_student.py',
    'torch_utils/launch.py',
}
# File -> (number of strings that spell an option, why they stay). Shorten it, do not extend it.
SPELLED = {
    'dnnlib/parallel.py': (1, 'a command of docker'),
    'evaluations/comparison.py': (4, 'a command of fid.py, whichever program speaks'),
    'evaluations/inputs/inspection.py': (1, 'a command of fid.py'),
    'torch_utils/distributed.py': (3, 'commands of torchrun'),
    'torch_utils/loader.py': (1, 'a command of docker'),
    'training/recipes.py': (
        12,
        'commands of dataset_tool.py; reads what train.sh was given, before Click is there',
    ),
}
LONG_FILES = {'training/networks.py': 'its text travels in every snapshot, so it is one file'}


def python_files(*folders: str) -> list[Path]:
    """Return the Python files of folders; without any, all of the project."""
    if folders:
        return sorted(path for folder in folders for path in (ROOT / folder).rglob('*.py'))
    return sorted([*ROOT.glob('*.py'), *python_files(*LIBRARY, 'benchmarks', 'workflow', 'tests')])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


@functools.cache
def lengths(source: str) -> dict[str, int]:
    """Return 'name:line' -> lines of every function, from its `def` to its end, docstring included."""
    return {
        f'{node.name}:{node.lineno}': node.end_lineno - node.lineno + 1
        for node in functions(ast.parse(source))
    }


def percentile(values: list[int], share: float) -> int:
    """Return the smallest value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def docstrings(tree: ast.AST) -> set[int]:
    """Return the ids of the nodes that are docstrings."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, owners) and node.body and isinstance(node.body[0], ast.Expr)
    }


def spelled_options(source: str) -> list[int]:
    """Return the lines of strings that spell an option, such as '--batch'; docstrings do not count."""
    tree = ast.parse(source)
    skipped = docstrings(tree)
    return sorted(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in skipped
        and re.search(r'(?<![\w-])--[a-z]', node.value)
    )


def not_annotated(source: str) -> list[str]:
    """Return 'name:line' of public functions and methods of public classes that lack an annotation."""
    found = []

    def visit(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
                visit(node.body)
            elif isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
                given = node.args
                named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
                named = [a for a in named if a is not None and a.arg not in ('self', 'cls')]
                if node.returns is None or any(a.annotation is None for a in named):
                    found.append(f'{node.name}:{node.lineno}')

    visit(ast.parse(source).body)
    return found


def of_all(check, paths) -> list[str]:
    """Return 'file: finding' for what a check finds in the text of each file."""
    return [f'{name_of(path)}: {item}' for path in paths for item in check(path.read_text(encoding='utf-8'))]


def too_long(source: str) -> list[str]:
    return [f'{name} has {count} lines' for name, count in lengths(source).items() if count > MAX_FUNCTION]


def wide_lines(source: str) -> list[int]:
    return [number for number, line in enumerate(source.splitlines(), 1) if len(line) > MAX_COLUMNS]


def test_functions_fit_a_screen():
    assert of_all(too_long, python_files()) == []
    ours = [path for path in python_files() if not name_of(path).startswith('tests/')]
    for paths in (ours, python_files()):
        counts = [count for path in paths for count in lengths(path.read_text('utf-8')).values()]
        assert len(counts) > 1000 and percentile(counts, 0.9) <= P90_FUNCTION


def test_lines_fit_the_columns():
    assert of_all(wide_lines, python_files()) == []


def test_files_are_short():
    counts = {name_of(path): len(path.read_text('utf-8').splitlines()) for path in python_files()}
    ours = {name: count for name, count in counts.items() if not name.startswith('tests/')}
    assert {name for name, count in ours.items() if count > MAX_FILE} == set(LONG_FILES)


def test_library_code_spells_no_options():
    """Options belong to scripts and declarations; library code names arguments (dnnlib/errors.py)."""
    counts = {name_of(path): len(spelled_options(path.read_text('utf-8'))) for path in python_files(*LIBRARY)}
    found = {name: count for name, count in counts.items() if count and name not in DECLARATIONS}
    assert found == {name: count for name, (count, _why) in SPELLED.items()}


def test_public_signatures_are_annotated():
    paths = [*python_files(*LIBRARY, 'benchmarks', 'workflow'), *ROOT.glob('*.py')]
    assert of_all(not_annotated, [path for path in paths if name_of(path) not in LONG_FILES]) == []


def test_length_is_counted_from_def_to_end():
    source = 'def f():\n    """Doc."""\n    def g():\n        return 1\n\n    return g\n'
    assert lengths(source) == {'f:1': 6, 'g:3': 2}
    assert too_long(source) == []
    assert too_long('def f():\n' + '    x = 1\n' * 60) == ['f:1 has 61 lines']


def test_percentile_by_hand():
    assert percentile(list(range(1, 11)), 0.9) == 9 and percentile([5], 0.9) == 5
    assert percentile([1, 1, 1, 30], 0.9) == 30


def test_wide_lines_are_noticed():
    assert wide_lines('x' * 110 + '\n' + 'y' * 111 + '\n') == [2]


def test_options_in_texts_are_noticed():
    source = (
        '"""--doc."""\nx = f"--batch={n} is odd"\ny = "a --b"\nz = "--- x--y -- ->"\ndef f():\n    "--doc"\n'
    )
    assert spelled_options(source) == [2, 3]


def test_missing_annotations_are_noticed():
    source = (
        'def a(x: int) -> int: ...\ndef b(x) -> int: ...\ndef c(x: int): ...\ndef _d(x): ...\n'
        'class E:\n    def f(self, *g) -> None: ...\n    def h(self) -> None: ...\n'
        '    def __len__(self): ...\n'
        'class _I:\n    def j(self): ...\n'
    )
    assert not_annotated(source) == ['b:2', 'c:3', 'f:6']
