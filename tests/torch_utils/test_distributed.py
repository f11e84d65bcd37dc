# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/distributed.py, and of statistics and comparisons over two gloo processes."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from tests.support import ROOT
from tests.support.pretended_cuda import PretendedCuda
from torch_utils import distributed, misc

VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')

# Everything that needs two processes runs in one start of them, since starting takes seconds.
WORKER = """
import json, math, sys
import torch
from torch_utils import distributed, misc, training_stats
distributed.init('cpu')
rank = distributed.get_rank()
found = dict(rank=rank, world_size=distributed.get_world_size(), device=str(distributed.get_device()))
distributed.print0('printed by', rank)

value = torch.full([2], float(rank))
assert distributed.broadcast_(value, src=1) is value
found['broadcast'] = value.tolist()
strided = torch.full([3, 2], float(rank + 1)).t()
assert distributed.all_reduce_sum_(strided) is strided
found['sum'] = strided.tolist()
parameter = torch.nn.Parameter(torch.full([1], float(rank)))
distributed.broadcast_(parameter)
found['parameter'] = parameter.tolist()
found['gathered'] = distributed.gather_objects({'rank': rank})

collector = training_stats.Collector()
training_stats.report('x', torch.tensor([1.0, 2.0]) if rank == 0 else torch.tensor([6.0]))
training_stats.report0('only0', rank + 5)
collector.update()
found['stats'] = collector.as_dict()
collector.update()
found['kept'] = collector.mean('x')

module = torch.nn.BatchNorm1d(2)
misc.check_ddp_consistency(module)
module.running_mean.fill_(math.nan)
misc.check_ddp_consistency(module)
module.running_var += rank
errors = []
for action in (lambda: misc.check_ddp_consistency(module),
               lambda: misc.check_ddp_consistency(module, ignore_regex='BatchNorm1d.running_.*'),
               lambda: (training_stats.report(f'rank{rank}', 1), collector.update())):
    try:
        action()
        errors.append('')
    except ValueError as error:
        errors.append(str(error))
found['errors'] = errors
distributed.barrier()
with open(f'result{rank}.json', 'w') as f:
    json.dump(found, f)
distributed.destroy()
found = distributed.get_world_size()
assert found == 1
"""

RAISING = """
from torch_utils import distributed
distributed.init('cpu')
if distributed.get_rank() == 1:
    raise ValueError('rank 1 has had enough')
while True:
    distributed.barrier()
"""


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def environment(**variables):
    kept = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    return dict(kept, PYTHONPATH=ROOT, OMP_NUM_THREADS='1', **variables)


@pytest.fixture
def no_launcher(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield monkeypatch
    distributed.destroy()


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('two')
    (folder / 'worker.py').write_text(WORKER)
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, 'worker.py'],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE='2',
                MASTER_ADDR='127.0.0.1',
                MASTER_PORT=port,
            ),
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_out, err) in zip(processes, outputs):
        assert process.returncode == 0, err
    results = [json.loads((folder / f'result{rank}.json').read_text()) for rank in range(2)]
    return results, [out for out, _err in outputs]


def test_two_processes_know_each_other(two_processes):
    results, outputs = two_processes
    assert [r['rank'] for r in results] == [0, 1] and all(r['world_size'] == 2 for r in results)
    assert all(r['device'] == 'cpu' for r in results)
    assert outputs == ['printed by 0\n', '']


def test_two_processes_exchange_tensors(two_processes):
    results, _outputs = two_processes
    for found in results:
        assert (
            found['broadcast'] == [1.0, 1.0]
            and found['sum'] == [[3.0] * 3] * 2
            and found['parameter'] == [0.0]
        )
    assert results[0]['gathered'] == [{'rank': 0}, {'rank': 1}] and results[1]['gathered'] is None


def test_statistics_cover_both_processes(two_processes):
    results, _outputs = two_processes
    for found in results:
        # 1, 2 and 6: mean 3, variance 14/3; the mean of the two means would be 3.75.
        assert found['stats']['x'] == pytest.approx(dict(num=3, mean=3.0, std=(14 / 3) ** 0.5))
        assert found['stats']['only0'] == dict(num=1, mean=5.0, std=0.0) and found['kept'] == 3.0


def test_differences_between_processes_stop_both(two_processes):
    results, _outputs = two_processes
    for found in results:
        different, ignored, names = found['errors']
        assert different == (
            '1 tensor(s) differ between the processes, first BatchNorm1d.running_var; all ranks must '
            'start from the same weights and apply the same updates'
        )
        assert ignored == ''
        assert f'rank {found["rank"]}: statistics must be reported under the same names' in names


def test_a_rank_that_raises_ends_all_ranks(tmp_path):
    (tmp_path / 'raising.py').write_text(RAISING)
    command = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc_per_node=2',
        'raising.py',
    ]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment(), text=True, capture_output=True, timeout=120
    )
    assert run.returncode != 0 and 'rank 1 has had enough' in run.stderr


def test_one_process_needs_no_group(no_launcher, capsys):
    for size in (None, '1'):
        if size is not None:
            no_launcher.setenv('WORLD_SIZE', size)
        distributed.init('cpu')
        assert not torch.distributed.is_initialized()
        assert (distributed.get_rank(), distributed.get_world_size()) == (0, 1)
        assert distributed.get_device() == torch.device('cpu')
    tensor = torch.ones(2)
    assert distributed.broadcast_(tensor) is tensor and distributed.all_reduce_sum_(tensor) is tensor
    assert tensor.tolist() == [1.0, 1.0] and distributed.gather_objects('a') == ['a']
    distributed.barrier()
    distributed.print0('text', 3)
    assert capsys.readouterr().out == 'text 3\n'
    misc.check_ddp_consistency(torch.nn.Linear(1, 1))
    distributed.destroy()


@pytest.mark.parametrize(
    'variables, text',
    [
        (dict(WORLD_SIZE='two'), "WORLD_SIZE='two' must be a non-negative integer, such as 1"),
        (dict(WORLD_SIZE='2', RANK='2'), 'RANK=2 must lie in 0..1'),
        (
            dict(WORLD_SIZE='2', RANK='0'),
            'WORLD_SIZE=2 needs MASTER_ADDR, MASTER_PORT as well; start with: torchrun',
        ),
        (dict(WORLD_SIZE='0'), 'RANK=0 must lie in'),
    ],
)
def test_contradicting_variables_are_explained(variables, text, no_launcher):
    for name, value in variables.items():
        no_launcher.setenv(name, value)
    with pytest.raises(ValueError, match=text):
        distributed.init('cpu')


def test_port_in_use_is_explained(no_launcher):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        for name, value in dict(
            WORLD_SIZE='2', RANK='0', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(s.getsockname()[1])
        ).items():
            no_launcher.setenv(name, value)
        with pytest.raises(ValueError, match='port in use.*torchrun --standalone picks a free port'):
            distributed.init('cpu')


def test_device_choice(no_launcher):
    no_launcher.setattr(torch.cuda, 'is_available', lambda: True)
    no_launcher.setattr(torch.cuda, 'device_count', lambda: 2)
    chosen = []
    no_launcher.setattr(torch.cuda, 'set_device', chosen.append)
    no_launcher.setenv('LOCAL_RANK', '1')
    assert distributed.get_device() == torch.device('cuda', 1)
    distributed.init('cpu')
    assert distributed.get_device() == torch.device('cpu')
    distributed.init()
    assert distributed.get_device() == torch.device('cuda', 1) and chosen == [1, 1]
    no_launcher.setenv('LOCAL_RANK', '2')
    with pytest.raises(
        ValueError, match='LOCAL_RANK=2 needs GPU number 2, but this machine shows 2; start at most 2'
    ):
        distributed.init('cuda')
    with pytest.raises(ValueError, match="device='tpu' must be 'cpu' or 'cuda'"):
        distributed.init('tpu')


def test_named_params_and_buffers():
    names = [name for name, _tensor in misc.named_params_and_buffers(torch.nn.BatchNorm1d(2))]
    assert names == ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']


def test_group_of_one_on_demand(no_launcher):
    """Without a launcher and without a port; on a GPU it is how nccl runs in one process."""
    distributed.init('cpu')
    assert not torch.distributed.is_initialized()
    distributed.destroy()
    no_launcher.setenv('FORCE_PROCESS_GROUP', '1')
    distributed.init('cpu')
    assert torch.distributed.is_initialized() and torch.distributed.get_backend() == 'gloo'
    assert (distributed.get_rank(), distributed.get_world_size()) == (0, 1)
    distributed.barrier()
    assert distributed.all_reduce_sum_(torch.tensor([3.0])).item() == 3
    assert distributed.gather_objects('x') == ['x'] and distributed.broadcast_object(5) == 5


def test_group_is_bound_to_the_gpu_of_nccl(no_launcher):
    calls = []
    no_launcher.setattr(torch.distributed, 'init_process_group', lambda **given: calls.append(given))
    no_launcher.setenv('FORCE_PROCESS_GROUP', '1')
    with PretendedCuda():
        distributed.init('cuda')
    assert calls[0]['backend'] == 'cpu:gloo,cuda:nccl' and calls[0]['device_id'] == torch.device('cuda', 0)


def test_replicas_are_compared_with_one_look_at_the_gpu(monkeypatch):
    with PretendedCuda() as gpu:
        module = torch.nn.BatchNorm1d(2).to('cuda')
        gpu.waits.clear()
        with gpu.hot_loop():
            misc.check_ddp_consistency(module)  # one process: nothing to compare
        monkeypatch.setattr(distributed, 'get_world_size', lambda: 2)
        misc.check_ddp_consistency(module)
        assert gpu.waits.total() == 1
