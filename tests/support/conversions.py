# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Calls of dataset_tool.py, and what they have made."""

import json
import zipfile

import numpy as np
from click.testing import CliRunner

import dataset_tool
from training.dataset import ImageFolderDataset


def invoke(*args):
    """Call the command line, in one process unless --workers is given."""
    workers = [] if any(str(arg).startswith('--workers') for arg in args) else ['--workers=1']
    return CliRunner().invoke(dataset_tool.main, [str(arg) for arg in args] + workers)


def run(*args):
    """Output of a successful call of the command line."""
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    return result.output


def run_error(*args):
    """Message of a failing call, which must not be a traceback."""
    result = invoke(*args)
    assert result.exit_code != 0 and isinstance(result.exception, SystemExit), result.exception
    assert 'Error: ' in result.output
    return result.output.split('Error: ')[1].strip()


def convert(tmp_path, source, *args):
    """Dataset made from `source`, with labels."""
    dest = tmp_path / 'out' / 'made.zip'
    run(f'--source={source}', f'--dest={dest}', *args)
    return ImageFolderDataset(dest, use_labels=True)


def stored_json(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read('dataset.json'))


def stored_labels(path):
    return stored_json(path)['labels']


def images_of(dataset):
    return np.stack([image for image, _label in dataset])  # [N, C, H, W]
