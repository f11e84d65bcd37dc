# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test of tests/count_gpu_work.py on one configuration and on operations counted by hand."""

import torch

from tests import count_gpu_work


def test_operations_by_hand():
    x = torch.randn(2, 8, 4, 4)
    with count_gpu_work.Operations() as found:
        y = (x + 1).reshape(2, -1).t()  # one addition, two views
        torch.nn.functional.group_norm(x, 2)
        torch.nn.functional.group_norm(x.contiguous(memory_format=torch.channels_last), 2)  # and a copy
    assert y.shape == (128, 2) and (found.launches, found.copied_norms) == (4, 1)


def test_table(capsys):
    count_gpu_work.main(['teacher fp32'])
    header, _, row = capsys.readouterr().out.splitlines()
    _, name, calls, operations, waits, copies, norms, _ = (cell.strip() for cell in row.split('|'))
    assert header.startswith('| configuration') and name == 'teacher fp32'
    assert (waits, copies) == ('0', '2') and 0 < int(calls) < int(operations) and int(norms) > 0
