# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Training on a device against the CPU, with the same random numbers: losses, gradients, weights, resume."""

import pytest
import torch

from tests.support import devices, pretended_runs
from tests.support.devices import distance, lasting_tensors, trained, weights
from tests.support.pretended_runs import CASES
from torch_utils import loader

LOSSES = ('Loss/', 'Grad/')
ONE_OF_EACH_KIND = ('clean', 'teacher fp32')
ALL = (*ONE_OF_EACH_KIND, 'bf16', 'ada, diffaug', 'teacher bf16', 'teacher adm, augmented')


@pytest.fixture(autouse=True)
def same_numbers(monkeypatch):
    devices.draw_on_the_cpu(monkeypatch.setattr)
    pretended_runs.pad_as_on_cuda(monkeypatch.setattr)


def pytest_generate_tests(metafunc):
    """On a GPU that is only pretended tests/runs/test_pretended_gpu.py compares all cases, bit for bit."""
    if metafunc.function is test_losses_gradients_and_weights:
        pretended = metafunc.config.getoption('device') == 'pretended'
        metafunc.parametrize('name', ONE_OF_EACH_KIND if pretended else ALL)


def test_losses_gradients_and_weights(name, device):
    """After one iteration (with R1): later ones drift apart, as every difference is fed back."""
    (run, found), (reference, expected) = (
        trained(CASES[name], where, [16]) for where in (device.type, 'cpu')
    )
    assert found.keys() == expected.keys()
    for key in found:
        if key.startswith(LOSSES) and 'signs' not in key:
            assert found[key] == pytest.approx(expected[key], rel=0.05, abs=1e-3), key
    # Adam's first step is the sign of a gradient, which rounding decides where the gradient is nearly 0.
    ends = [torch.cat([p.flatten() for p in weights(each)]) for each in (run, reference)]
    assert distance(*ends) < 0.02


@pytest.mark.parametrize('name', ONE_OF_EACH_KIND)
def test_a_resumed_run_ends_where_the_undivided_one_does(name, device, tmp_path):
    """Up to rounding: on CUDA some kernels add in any order (docs/development.md)."""
    whole, _ = trained(CASES[name], device.type, [0, 1, 2])
    first, _ = trained(CASES[name], device.type, [0, 1])
    torch.save(first.state_dict(), tmp_path / 'state.pt')
    state = torch.load(tmp_path / 'state.pt', map_location='cpu', weights_only=True)
    second = pretended_runs.make_run((*CASES[name], *devices.NO_DROPOUT), device.type)
    second.load_state_dict(state)
    batches = second.batches()
    second.train_step(*next(batches))
    ends = [lasting_tensors(run.state_dict()['task']) for run in (second, whole)]
    assert distance(*(torch.cat([x.flatten() for x in end]) for end in ends)) < 1e-3


def test_batches_come_from_pinned_memory(device):
    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return (torch.full([3], index).numpy(),)

    on_gpu = device.type == 'cuda'
    ((batch,),) = loader.load_batches(Numbers(), batch_size=2, pin_memory=on_gpu)
    assert batch.is_pinned() == on_gpu
