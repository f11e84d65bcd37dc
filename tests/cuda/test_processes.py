# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A process group of one, and two processes on one GPU with gloo: collectives, replicas, an iteration."""

import contextlib
import json

import pytest
import torch

from tests.support import devices, pretended_runs, processes
from tests.support.pretended_cuda import PretendedCuda
from tests.support.pretended_runs import CASES
from torch_utils import distributed, misc


def collectives(device):
    """Use every collective; returns plain values."""
    rank = distributed.get_rank()
    net = torch.nn.BatchNorm1d(2).to(device)
    misc.check_ddp_consistency(net)
    distributed.barrier()
    return dict(
        sum=distributed.all_reduce_sum_(torch.full([2, 3], rank + 1.0, device=device).t()).tolist(),
        broadcast=distributed.broadcast_(torch.full([2], rank + 5.0, device=device)).tolist(),
        gathered=distributed.gather_objects(rank),
        object=distributed.broadcast_object({'rank': rank}),
    )


def test_forced_group_of_one(device, kind, monkeypatch):
    """On a GPU all of this goes through nccl."""
    expected, _ = devices.trained(CASES['clean'], device.type, [16])
    distributed.destroy()
    monkeypatch.setenv('FORCE_PROCESS_GROUP', '1')
    if kind == 'pretended':
        monkeypatch.setitem(distributed.BACKENDS, 'cuda', 'gloo')
    distributed.init(device.type)
    assert torch.distributed.is_initialized() and distributed.get_world_size() == 1
    assert collectives(device) == dict(
        sum=[[1.0, 1.0]] * 3, broadcast=[5.0, 5.0], gathered=[0], object={'rank': 0}
    )
    reduced = []
    original = torch.distributed.all_reduce
    monkeypatch.setattr(
        torch.distributed,
        'all_reduce',
        lambda x, **kwargs: reduced.append(x.numel()) or original(x, **kwargs),
    )
    run, _ = devices.trained(CASES['clean'], device.type, [16])
    gradients = [sum(p.numel() for p in params) for params in (run.task.g_params, run.task.d_params)]
    assert set(gradients) <= set(reduced)
    # Sums on a GPU come out in any order, and Adam's first step is the sign of a gradient, near 0 too.
    ends = [torch.cat([p.flatten() for p in devices.weights(each)]) for each in (run, expected)]
    assert devices.distance(*ends) < devices.GRADIENT


def share_one_gpu(kind, result):
    """What each of two processes does; all ranks use the same GPU, which nccl refuses and gloo does not."""
    distributed.BACKENDS['cuda'] = 'gloo'
    device = torch.device('cpu' if kind == 'cpu' else 'cuda:0')
    distributed._select_device = lambda _device: device
    with PretendedCuda() if kind == 'pretended' else contextlib.nullcontext():
        distributed.init(device.type)
        found = collectives(device)
        run = pretended_runs.make_run((*CASES['clean'], '--batch=8'), device.type)
        run.train_step(*next(run.batches()))
        run.check_replicas()
        found['device'] = str(next(run.task.D.parameters()).device)
        with open(f'{result}-{distributed.get_rank()}.json', 'w', encoding='utf-8') as file:
            json.dump(found, file)
        distributed.destroy()


def test_two_processes_on_one_gpu(kind, device, tmp_path):
    ended = processes.run_group(share_one_gpu, (kind, str(tmp_path / 'found')), tmp_path, 2)
    assert [each.returncode for each in ended] == [0, 0], ended[0].stderr + ended[1].stderr
    first, second = (json.loads((tmp_path / f'found-{rank}.json').read_text()) for rank in range(2))
    assert first['sum'] == second['sum'] == [[3.0, 3.0]] * 3
    assert first['broadcast'] == second['broadcast'] == [5.0, 5.0]
    assert (first['gathered'], second['gathered']) == ([0, 1], None)
    assert first['device'] == ('cpu' if kind == 'cpu' else 'cuda:0')


@pytest.fixture(autouse=True)
def same_numbers(monkeypatch):
    devices.draw_on_the_cpu(monkeypatch.setattr)
