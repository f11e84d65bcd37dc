# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A damaged image that a run meets on its way: one line for the user, from whichever process decodes it."""

import itertools
import os
import subprocess
import sys
import zipfile

import pytest

from tests.support import ROOT, tiny_runs
from training.dataset import DatasetError, ImageFolderDataset, InfiniteSampler, load_batches

BATCH = 8
POSITION = 11  # of the damaged image in the order of the run: in the second batch


def damage(path):
    """Cut off the PNG at POSITION of the sampler's order; returns its name."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    images = [name for name in sorted(files) if name.endswith('.png')]
    index = next(itertools.islice(InfiniteSampler(images, seed=3), POSITION, None))
    assert index > 0  # the first image is read at the start
    files[images[index]] = files[images[index]][:60]
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return images[index]


@pytest.fixture(scope='module')
def damaged(tmp_path_factory):
    path = tiny_runs.write_zip(tmp_path_factory.mktemp('data') / 'data.zip')
    return path, damage(path)


@pytest.mark.parametrize('workers', [0, 1])
def test_loader_gives_good_batches_then_the_error_itself(damaged, workers):
    path, name = damaged
    dataset = ImageFolderDataset(path, use_labels=True)
    order = list(itertools.islice(InfiniteSampler(dataset, seed=3), BATCH))
    kwargs = dict(prefetch_factor=2, multiprocessing_context='spawn') if workers else {}
    batches = load_batches(
        dataset, sampler=InfiniteSampler(dataset, seed=3), batch_size=BATCH, num_workers=workers, **kwargs
    )
    images, labels = next(batches)
    assert images.shape == (BATCH, 3, 8, 8) and labels.shape == (BATCH, 3)
    for image, label, index in zip(images, labels, order):
        assert (image.numpy() == dataset[index][0]).all() and label.argmax() == index % 3
    with pytest.raises(DatasetError) as caught:
        next(batches)
    assert str(caught.value).startswith(f'file {name} in --data={path} is not a readable image')
    assert '\n' not in str(caught.value) and 'worker' not in str(caught.value)


def test_run_ends_with_one_line(damaged, tmp_path):
    path, name = damaged
    run = subprocess.run(
        [
            sys.executable,
            str(ROOT / 'train.py'),
            '--outdir=runs',
            '--nosubdir',
            f'--data={path}',
            '--cond=1',
            *tiny_runs.TEACHER_ARGS,
            '--workers=1',
            tiny_runs.duration(48),
        ],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=300,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    assert run.returncode == 1 and 'Traceback' not in run.stderr + run.stdout
    lines = [text for text in run.stderr.splitlines() if text.startswith('Error: ')]
    assert len(lines) == 1 and lines[0].startswith(
        f'Error: file {name} in --data={path} is not a readable image'
    )
    assert run.stderr.endswith(lines[0] + '\n') and 'replace or remove it' in lines[0]
    assert (tmp_path / 'runs' / 'stats.jsonl').exists()  # what the run had done until then stays
