# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""generate.py on one, two and three gloo processes: the same files to the byte, one voice, one error.

Each process of a group runs all cases in turn.
"""

import contextlib
import io
import json
import os
import traceback

import click
import numpy as np
import pytest

import generate
from tests.golden import fill
from tests.support import processes
from tests.support.generated_images import TINY, read
from torch_utils import distributed
from training import networks
from training.snapshots.snapshot import save_snapshot

GROUPS = (1, 2, 3)
# Name -> (snapshot, options); {grid} is a file beside the output folder.
CASES = {
    'uneven': ('gdd', '--seeds=5,0-5', '--batch=2', '--grid={grid}'),  # 2, 2, 2 and 1 images
    'few': ('gdd', '--seeds=8', '--batch=2'),  # one image: the other processes have none
    'round': ('edm', '--seeds=0-3', '--batch=2', '--steps=2'),  # two full batches
    'lean': (
        'gdd',
        '--seeds=998-1002',
        '--batch=1',
        '--subdirs',
        '--no-pack',
        '--class=2',
        '--sampler=edm',
        '--steps=3',
        '--S_churn=20',
        '--grid={grid}',
    ),
    'class': ('gdd', '--seeds=0', '--class=4'),
    'damaged': ('nan', '--seeds=7-9', '--batch=1'),
}


# ------------------------------------------------------------------------------------------------
# What each process does.


def run_case(folder, case):
    """Run one case in this process; return [exit code, output]."""
    snapshot, *options = CASES[case]
    args = [
        f'--network={folder}/{snapshot}.pkl',
        f'--outdir={folder}/{os.environ["WORLD_SIZE"]}/{case}',
        '--device=cpu',
        *(option.format(grid=f'{folder}/{os.environ["WORLD_SIZE"]}/{case}.png') for option in options),
    ]
    output, code = io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            generate.cmdline(args, standalone_mode=False)
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except SystemExit as error:
            code = error.code
        except BaseException:
            traceback.print_exc()
            code = -1
    return [code, output.getvalue()]


def script(folder):
    """Be one process of a group: join it once, run all cases, leave a report."""
    distributed.init('cpu')
    leave, distributed.destroy = distributed.destroy, lambda: None
    report = {case: run_case(folder, case) for case in CASES}
    with open(f'{folder}/{os.environ["WORLD_SIZE"]}/report-{os.environ["RANK"]}.json', 'w') as file:
        json.dump(report, file)
    leave()


# ------------------------------------------------------------------------------------------------
# The tests.


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """(folder, reports): reports[world size][rank][case] is [exit code, output]."""
    folder = tmp_path_factory.mktemp('processes')
    nets = {
        'gdd': fill(networks.GDDPrecond(label_dim=4, **TINY)),
        'edm': fill(networks.EDMPrecond(**TINY)),
        'nan': fill(networks.GDDPrecond(**TINY)),
    }
    nets['nan'].model.dec['8x8_aux_conv'].bias.data.fill_(float('nan'))
    for name, net in nets.items():
        save_snapshot(str(folder / f'{name}.pkl'), ema=net)
    for n in GROUPS:
        (folder / str(n)).mkdir()
        ended = processes.run_group(script, [str(folder)], folder, n)
        assert [process.returncode for process in ended] == [0] * n, ended
    reports = {
        n: [json.loads((folder / str(n) / f'report-{rank}.json').read_text()) for rank in range(n)]
        for n in GROUPS
    }
    return folder, reports


def contents(folder):
    """Content of every file below a folder; the record without its number of processes."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()
    }
    record = json.loads(files.pop('generation.json'))
    return files, {key: value for key, value in record.items() if key != 'processes'}


@pytest.mark.parametrize('case', ['uneven', 'few', 'round', 'lean'])
def test_files_do_not_depend_on_the_number_of_processes(done, case):
    folder, reports = done
    for n in GROUPS:
        assert [report[case][0] for report in reports[n]] == [0] * n, [
            report[case][1] for report in reports[n]
        ]
    one = contents(folder / '1' / case)
    assert len(one[0]) > 1
    for n in GROUPS[1:]:
        assert contents(folder / str(n) / case) == one
        if '{grid}' in CASES[case][-1]:
            assert (folder / str(n) / f'{case}.png').read_bytes() == (
                folder / '1' / f'{case}.png'
            ).read_bytes()


def test_pack_is_in_the_order_of_the_seeds(done):
    for n in GROUPS:
        pack = np.load(done[0] / str(n) / 'uneven' / 'image_pack.npz')
        labels = dict(json.loads((done[0] / str(n) / 'uneven' / 'dataset.json').read_text())['labels'])
        for i, seed in enumerate([5, 0, 1, 2, 3, 4, 5]):
            assert np.array_equal(pack['arr_0'][i], read(done[0] / str(n) / 'uneven', f'{seed:06d}.png'))
            assert pack['arr_1'][i] == labels[f'{seed:06d}.png']
        assert len({image.tobytes() for image in pack['arr_0']}) == 6


def test_rank_0_alone_speaks(done):
    for n in GROUPS:
        for case in ('uneven', 'few', 'round', 'lean'):
            first, *others = [report[case][1] for report in done[1][n]]
            assert ' images, ' in first and '0s left' in first and others == [''] * (n - 1)
    assert '2 of 3 processes have nothing to do' in done[1][3][0]['few'][1]


@pytest.mark.parametrize(
    'case, text',
    [
        ('class', '--class=4: the network has 4 classes; choose 0 to 3'),
        ('damaged', 'the image of seed 7 is not finite'),
    ],
)
def test_an_error_ends_all_processes_with_one_line(done, case, text):
    folder, reports = done
    for n in GROUPS:
        assert [report[case][0] for report in reports[n]] == [1] * n
        errors = [line for report in reports[n] for line in report[case][1].splitlines() if 'Error' in line]
        assert len(errors) == 1 and errors[0].startswith(f'Error: {text}')
        files = [path.name for path in folder.glob(f'{n}/{case}/*')]
        assert files == (['generation.json'] if case == 'damaged' else [])
