# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Commands in documents: where they stand, and whether the programs understand them. Nothing is run."""

import importlib
import re
import shlex

import click

from training.recipes import RECIPES

SCRIPTS = {
    'train.py': 'train:main',
    'generate.py': 'generate:main',
    'fid.py': 'fid:main',
    'export.py': 'export:cmdline',
    'dataset_tool.py': 'dataset_tool:main',
    'plot.py': 'plot:cmdline',
    'report.py': 'report:cmdline',
    'evaluations.evaluator': 'evaluations.evaluator:main',
    'evaluations.teacher_and_student': 'evaluations.teacher_and_student:main',
    'benchmarks.throughput': 'benchmarks.throughput:main',
}
PLACEHOLDER = re.compile(r'[A-Z][A-Z_,.|=/*a-z0-9-]*|\.\.\.|N|<.*')
_ASSIGNMENT = re.compile(r'[A-Z_]+=\S*')


def commands(text):
    """Return the command lines of a Markdown text: indented or fenced blocks, continued lines joined."""
    text = re.sub(r'\\\n\s*', ' ', text)
    found = [line.strip() for line in text.splitlines() if line.startswith('    ')]
    found += re.findall(r'`((?:[A-Z_]+=\S+ )*(?:python|sh) [^`]+)`', text)
    return [line for line in found if re.match(r'(?:[A-Z_]+=\S+ )*(?:python|sh) ', line)]


def words_of(line):
    """Split a command line into words: without comment, variables, placeholders and what follows a pipe."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars='|&;')
    lexer.whitespace_split, lexer.commenters = True, '#'
    words = []
    for word in lexer:
        if set(word) <= set('|&;') or word == '>':
            break
        words.append(word)
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words.pop(0)
    return words


def load(name):
    """Return the Click command of a program, or None where it has none here."""
    module, _, attribute = SCRIPTS[name].partition(':')
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return None
    return found if isinstance(found, click.Command) else None


def complaint(line):
    """Return what a program would say against a documented command, or None."""
    words = words_of(line)
    if words[:2] == ['sh', 'train.sh']:
        return complaint_of_recipe(words[2:])
    if words[:1] != ['python']:
        return None
    words = words[1:]
    if words[:2] == ['-m', 'torch_utils.launch']:
        start = next((k for k, word in enumerate(words) if word.endswith('.py')), len(words))
        words = words[start:]
    name = words[1] if words[:1] == ['-m'] else words[0] if words else ''
    if name not in SCRIPTS:
        return None
    return complaint_of_command(load(name), words[2 if words[0] == '-m' else 1 :])


def complaint_of_recipe(words):
    """The same for train.sh."""
    if words == ['--list', '--json']:
        return None
    words = [word for word in words if not _ASSIGNMENT.fullmatch(word) and word not in ('--check', '--list')]
    if words[:1] == ['own']:
        from workflow.own import main

        return complaint_of_command(main, words[1:])
    if (
        words
        and not words[0].startswith('-')
        and words[0] not in RECIPES
        and not PLACEHOLDER.fullmatch(words[0])
    ):
        return f'{words[0]} is no recipe'
    options = [word for word in words if word.startswith('-')]
    return complaint_of_command(load('train.py'), options)


def complaint_of_command(command, words):
    """Parse options and their values as the command does; what is required may be missing."""
    if command is None:
        return None
    if isinstance(command, click.Group):
        if words and words[0] in command.commands:
            command, words = command.commands[words[0]], words[1:]
        elif 'convert' in command.commands:
            command = command.commands['convert']
        else:
            return None
    words = [word for word in words if word.startswith('-') and '...' not in word and word != '--help']
    ctx = click.Context(command)
    try:
        options, _, _ = command.make_parser(ctx).parse_args(list(words))
        for param in command.params:
            value = options.get(param.name)
            if isinstance(value, str) and not PLACEHOLDER.fullmatch(value):
                param.type_cast_value(ctx, value)
    except click.ClickException as error:
        return f'{" ".join(words)}: {error.format_message()}'
    return None
