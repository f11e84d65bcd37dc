# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Count what an iteration asks of a GPU, on one that is only pretended; no GPU is needed.

    python tests/count_gpu_work.py [CONFIGURATION ...]

Prints for tiny runs of every configuration of tests/support/pretended_runs.py, for one iteration with R1:
torch functions that Python calls on the GPU, operations (launches, about; views aside), waits of the host by
kind, copies that nothing waits for, and group norms that CUDA would first copy into another memory order.
"""

import collections
import os
import pathlib
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
os.environ.setdefault('OMP_NUM_THREADS', '1')

from tests.support import pretended_runs  # noqa: E402 - needs the path

NO_LAUNCH = ('detach', 'alias', 'empty', 'new_empty', 'empty_like', 'empty_strided', '_local_scalar_dense')


class Operations(TorchDispatchMode):
    """Count operations that launch something, and group norms of images in channels-last order."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.copied_norms = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket.__name__
        self.launches += not func.is_view and name not in NO_LAUNCH
        if name == 'native_group_norm' and args[0].ndim == 4:
            self.copied_norms += not args[0].is_contiguous()
        return func(*args, **(kwargs or {}))


def count(name: str) -> dict[str, object]:
    """Count one iteration with R1 of a configuration, after one that may make what is kept."""
    with pretended_runs.on_device('cuda') as gpu:
        run = pretended_runs.make_run(pretended_runs.CASES[name], 'cuda')
        batches = run.batches()
        run.train_step(*next(batches))
        for counter in (gpu.waits, gpu.calls):
            counter.clear()
        gpu.copies, run.iteration = 0, 16
        with Operations() as operations:
            run.train_step(*next(batches))
        waits = collections.Counter()
        for (kind, _where), times in gpu.waits.items():
            waits[kind.partition(',')[0]] += times
        return dict(
            calls=gpu.calls.total(),
            launches=operations.launches,
            waits=dict(waits),
            copies=gpu.copies,
            norms=operations.copied_norms,
        )


def main(names: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        pretended_runs.use_small_transformer(patch.setattr)
        print_table(names)


def print_table(names: list[str]) -> None:
    print('| configuration | calls | operations | waits of the host | copies | norms |')
    print('|---|---:|---:|---|---:|---:|')
    for name in names or pretended_runs.CASES:
        found = count(name)
        waits = ', '.join(f'{times} {kind}' for kind, times in found['waits'].items()) or '0'
        print(f'| {name} | {found["calls"]} | {found["launches"]} | {waits} | {found["copies"]} '
              f'| {found["norms"]} |', flush=True)  # fmt: skip


if __name__ == '__main__':
    torch.set_num_threads(1)
    main(sys.argv[1:])
