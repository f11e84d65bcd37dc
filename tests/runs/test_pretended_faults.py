# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests that the pretended GPU (tests/support/pretended_cuda.py) behaves as one, and catches faults."""

import copy

import numpy as np
import pytest
import torch

from tests.support import pretended_runs
from tests.support.pretended_cuda import DeviceMismatch, HostWaits, PretendedCuda
from tests.support.pretended_runs import CASES, on_device
from torch_utils import loader, randomness
from training import augment
from training.adversarial import ada
from training.training_loop import TrainingRun
from training.update.gradients import StepGuard


@pytest.fixture
def gpu():
    with PretendedCuda() as gpu:
        yield gpu


# ------------------------------------------------------------------------------------------------
# Planted faults in an iteration.


def iterate(name):
    """Train two iterations on the pretended GPU; the second must not wait."""
    with on_device('cuda') as gpu:
        run = pretended_runs.make_run(CASES[name], 'cuda')
        batches = run.batches()
        run.train_step(*next(batches))
        with gpu.hot_loop():
            run.train_step(*next(batches))


def images_left_on_the_cpu(monkeypatch):
    original = TrainingRun.batches
    monkeypatch.setattr(
        TrainingRun, 'batches', lambda self: ((images.cpu(), labels) for images, labels in original(self))
    )


def noise_of_a_cpu_generator(monkeypatch):
    monkeypatch.setattr(
        randomness.BatchRandom,
        'randn',
        lambda self, shape, purpose: torch.randn(shape, generator=torch.Generator('cpu'), device=self.device),
    )


def norm_read_back(monkeypatch):
    original = StepGuard.step

    def step(self, name, optimizer, params, scaling=1.0):
        float(params[0].grad.norm())
        return original(self, name, optimizer, params, scaling)

    monkeypatch.setattr(StepGuard, 'step', step)


def decision_by_the_host(monkeypatch):
    original = StepGuard.step

    def step(self, *args, **kwargs):
        found = original(self, *args, **kwargs)
        return None if found == 1 else found

    monkeypatch.setattr(StepGuard, 'step', step)


def batches_in_ordinary_memory(monkeypatch):
    monkeypatch.setattr(loader, '_as_tensor', lambda array, pin_memory: torch.from_numpy(array))


def noise_copied_from_ordinary_memory(monkeypatch):
    monkeypatch.setattr(randomness, 'to_device', lambda tensor, device: tensor.to(device, non_blocking=True))


def waiting_for_a_pinned_copy(monkeypatch):
    monkeypatch.setattr(randomness, 'to_device', lambda tensor, device: tensor.pin_memory().to(device))


def matrices_of_host_numbers(monkeypatch):
    def stack(rows, like):
        entries = [torch.as_tensor(x, dtype=like.dtype, device=like.device) for row in rows for x in row]
        columns = [entry.expand_as(like) for entry in entries]
        return torch.stack(columns, dim=1).reshape(len(like), len(rows), len(rows))

    monkeypatch.setattr(augment, 'stack', stack)
    monkeypatch.setattr(ada, 'stack', stack)


def padding_as_needed(monkeypatch):
    monkeypatch.setattr(
        augment, 'padding', lambda matrix, height, width: [int(matrix.abs().amax().item())] * 4
    )


@pytest.mark.parametrize(
    'plant, name, error, words',
    [
        (images_left_on_the_cpu, 'teacher fp32', DeviceMismatch, 'same device'),
        (noise_of_a_cpu_generator, 'teacher fp32', DeviceMismatch, "'cuda:0' device type for generator"),
        (norm_read_back, 'teacher fp32', HostWaits, 'read, __float__'),
        (decision_by_the_host, 'teacher fp32', HostWaits, 'read, __bool__'),
        (batches_in_ordinary_memory, 'teacher fp32', HostWaits, 'ordinary memory, to, training/train'),
        (noise_copied_from_ordinary_memory, 'official', HostWaits, 'ordinary memory, to'),
        (waiting_for_a_pinned_copy, 'official', HostWaits, 'pinned memory that is waited for'),
        (matrices_of_host_numbers, 'ada, diffaug', HostWaits, 'ordinary memory, torch.as_tensor'),
        (padding_as_needed, 'ada, diffaug', HostWaits, 'read, item'),
    ],
)  # fmt: skip
def test_a_planted_fault_is_caught(plant, name, error, words, monkeypatch):
    plant(monkeypatch)
    with pytest.raises(error, match=words):
        iterate(name)


def test_loader_processes_that_touch_the_gpu_are_caught():
    class OnTheGpu(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return (torch.full([2], index, device='cuda').cpu().numpy(),)

    with on_device('cuda'), pytest.raises(RuntimeError, match='Cannot re-initialize CUDA in forked'):
        list(loader.load_batches(OnTheGpu(), num_workers=1, batch_size=2))


# ------------------------------------------------------------------------------------------------
# What holds for a GPU.


def test_tensors_go_there_and_come_back(gpu):
    x = torch.arange(3.0)
    y = x.to('cuda')
    assert (y.device, y.is_cuda, x.device.type, x.is_cuda) == (torch.device('cuda', 0), True, 'cpu', False)
    assert y.to('cuda') is y and y.get_device() == 0 and (y * 2)[1:].reshape(-1).is_cuda
    assert y.cpu().device.type == 'cpu' and y.cpu().numpy().tolist() == [0, 1, 2]
    assert (
        torch.zeros(2, device='cuda').is_cuda and torch.zeros_like(y).is_cuda and not torch.zeros(2).is_cuda
    )
    assert torch.as_tensor(x, device='cuda').is_cuda and not x.is_cuda
    assert y.to(torch.float64).is_cuda and x.to(y).is_cuda
    with pytest.raises(TypeError, match='convert a cuda tensor to numpy'):
        y.numpy()


def test_modules_gradients_and_copies_stay_there(gpu):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).to('cuda')
    x = torch.randn(4, 2, device='cuda', requires_grad=True)
    (gradient,) = torch.autograd.grad(net(x).sum(), [x], create_graph=True)
    net(x).square().sum().backward()
    twin = copy.deepcopy(net)
    for each in (gradient, x.grad, *net.parameters(), *net.buffers(), *twin.parameters(), *twin.buffers()):
        assert each.device == torch.device('cuda', 0)
    assert all(p.grad.is_cuda for p in net.parameters())
    assert all(not value.is_cuda for value in net.cpu().state_dict().values())


@pytest.mark.parametrize('mix', [
    lambda x: x + torch.ones(3),
    lambda x: torch.cat([x, torch.ones(1)]),
    lambda x: torch.nn.functional.linear(x, torch.ones(2, 3)),
    lambda x: torch.ones(3).add_(x),
    lambda x: torch.tensor(1.0).add_(x.sum()),
    lambda x: x + torch.ones(3, device='cuda:1'),
    lambda x: torch.randn(3, device='cuda', generator=torch.Generator('cpu')),
    lambda x: torch.randn(3, generator=torch.Generator('cuda')),
    lambda x: torch.nn.Parameter(x).__setattr__('grad', torch.ones(3)),
])  # fmt: skip
def test_mixed_devices_are_refused(gpu, mix):
    with pytest.raises(DeviceMismatch):
        mix(torch.ones(3, device='cuda'))


def test_what_cuda_allows_is_allowed(gpu):
    x = torch.ones(3, device='cuda')
    with gpu.hot_loop():
        assert (x + torch.tensor(2.0)).is_cuda
        assert torch.randn(3, device='cuda', generator=torch.Generator('cuda')).is_cuda
        assert torch.ones(3).pin_memory().to('cuda', non_blocking=True).is_cuda
        x[0] = 2
        x[0:2].mul_(2)
        x.to('cpu', non_blocking=True)  # into pinned memory; read too early it raises, see test_host_copy.py
    assert gpu.copies == 2


@pytest.mark.parametrize('wait', [
    lambda x: x.sum().item(), lambda x: x.tolist(), lambda x: bool(x[0] > 0), lambda x: int(x[0]),
    lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: torch.where(x), lambda x: torch.equal(x, x),
    lambda x: f'{x[0]:g}', lambda x: x.cpu(), lambda x: x.to('cpu'),
    lambda x: torch.tensor([1.0], device='cuda'), lambda x: torch.as_tensor(1.0, device=x.device),
    lambda x: torch.ones(3).to('cuda', non_blocking=True), lambda x: torch.ones(3).pin_memory().cuda(),
    lambda x: x.copy_(torch.ones(3)), lambda x: x[torch.tensor([0, 2])], lambda x: torch.cuda.synchronize(),
    lambda x: 1.0 in x, lambda x: torch.from_numpy(np.ones(3)).to(x.device),
])  # fmt: skip
def test_waits_of_the_host_are_noticed(gpu, wait):
    with pytest.raises(HostWaits, match=r'tests/runs/test_pretended_faults.py:\d+ <lambda>'), gpu.hot_loop():
        wait(torch.ones(3, device='cuda'))


def test_a_fused_optimizer_leaves_a_step_out_without_the_host(gpu):
    param = torch.nn.Parameter(torch.ones(2, device='cuda'))
    optimizer = torch.optim.Adam([param], fused=True)
    param.grad = torch.ones(2, device='cuda')
    with gpu.hot_loop():
        optimizer.found_inf = torch.ones([], device='cuda')
        optimizer.step()
    assert param.tolist() == [1, 1]


def test_nothing_of_it_is_left_afterwards():
    with PretendedCuda():
        assert torch.cuda.is_available() and torch.cuda.device_count() == 1
    assert torch.cuda.get_device_name.__module__ == 'torch.cuda' and torch.zeros(1).device.type == 'cpu'
    assert torch.Generator is torch._C.Generator or torch.Generator.__module__.startswith('torch')
