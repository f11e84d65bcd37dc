# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Folders of runs that nobody has trained: statistics, metrics, grids and options as training writes them."""

import json
import os
import shutil
import subprocess

import numpy as np

from training.images.png import save_png

LINES = 5  # ticks at 0, 1, ..., 4 kimg
NAME = 'frechet-mnist-classifier-200'


def entry(value):
    """Return a statistic as a line of stats.jsonl holds it."""
    return dict(num=1, mean=value, std=0.0)


def stats_line(kimg, **more):
    """Return a line of stats.jsonl of a distillation; R1 is missing in the first tick."""
    values = {
        'Progress/kimg': kimg,
        'Loss/G/loss': 2 - 0.1 * kimg,
        'Loss/D/loss': 1 + 0.1 * kimg,
        'Loss/logits/real': 0.5 * kimg,
        'Loss/logits/fake': -0.25 * kimg,
        'Loss/signs/real': 0.2 * kimg,
        'Loss/r1_penalty': 10.0**kimg if kimg else None,
        'Grad/G/norm': 3.0,
        'Grad/D/norm': 200.0,
        'Progress/nonfinite_steps': 0,
        'Timing/img_per_sec': 30.0,
        'Timing/total_sec': 60.0 * (kimg + 1),
    }
    return {**{name: entry(value) for name, value in {**values, **more}.items()}, 'timestamp': 1.0}


def metric_line(kimg, value, **more):
    """Return a line of metric-fd200.jsonl."""
    return dict(
        metric='fd200',
        name=NAME,
        value=value,
        detector='mnist-classifier',
        reference='datasets/ref.npz',
        kimg=kimg,
        seeds='0-199',
        sampler='one_step',
        snapshot=f'network-snapshot-{kimg:06d}.pkl',
        **more,
    )


def write_run(folder, grids=True, comparison=False, overlap=None):
    """Write the folder of a run; returns its path as text. The last lines of its files are cut off."""
    os.makedirs(folder, exist_ok=True)
    more = {} if overlap is None else dict(overlap=overlap)
    write_lines(f'{folder}/stats.jsonl', [stats_line(k) for k in range(LINES)], cut=True)
    write_lines(f'{folder}/metric-fd200.jsonl', [metric_line(k, 40 - 9 * k, **more) for k in range(LINES)])
    options = dict(
        loss='gdd',
        total_nimg=8000,
        grid_size=[2, 3],
        transfer='pretrained/teacher.pkl',
        dataset_kwargs=dict(path='datasets/<digits>.zip'),
        options=dict(batch=32, lr=5e-4, ema=[0.5], cond=True, target=None),
    )
    with open(f'{folder}/training_options.json', 'w', encoding='utf-8') as file:
        json.dump(options, file)
    launch = dict(timestamp=0.0, kimg=0.0, command='python train.py --recipe=demo', torch='2.14', threads=1)
    write_lines(f'{folder}/launches.jsonl', [launch])
    if grids:
        for kimg in range(0, LINES, 2):
            save_png(f'{folder}/fakes-{kimg:06d}.png', grid(kimg))
    if comparison:
        write_comparison(folder)
    return str(folder)


def grid(kimg):
    """Return a grid of 2 x 3 grey images of 8 x 8 pixels: image i has the value 10 i + kimg."""
    images = np.arange(6).reshape(2, 3) * 10 + kimg
    return np.kron(images, np.ones([8, 8], int)).astype(np.uint8)[:, :, np.newaxis]


def write_comparison(folder):
    """Write what evaluations/teacher_and_student.py leaves."""
    rows = [
        dict(
            name='teacher, 18 steps', frechet=0.25, accuracy=0.97, images_per_sec=4.0, nfe=35, num_images=200
        ),
        dict(name='real images', frechet=0.05, accuracy=None, images_per_sec=None, nfe=None, num_images=200),
    ]
    with open(f'{folder}/comparison.json', 'w', encoding='utf-8') as file:
        json.dump(dict(metric=NAME, rows=rows), file)
    save_png(f'{folder}/comparison.png', np.full([20, 60, 3], 200, np.uint8))


def write_lines(path, entries, cut=False):
    """Write JSON lines; with `cut` half of another one as well."""
    with open(path, 'w', encoding='utf-8') as file:
        file.write(''.join(json.dumps(item) + '\n' for item in entries))
        file.write(json.dumps(entries[-1])[: len(json.dumps(entries[-1])) // 2] if cut else '')


def find_browser():
    """Return the path of a Chromium, or None."""
    names = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
    return next((path for name in names if (path := shutil.which(name))), None)


def run_browser(page, folder, *options):
    """Open a page without a window; returns (the document after its scripts, messages).

    Args:
        page:    File to open.
        folder:  Where the browser may keep its files.
        options: Further options of the browser.
    """
    command = [
        find_browser(),
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--no-first-run',
        '--enable-logging=stderr',
        f'--user-data-dir={folder}',
        *options,
        f'file://{page}',
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return result.stdout, result.stderr
