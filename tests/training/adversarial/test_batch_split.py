# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of training/adversarial/batch_split.py in one process: accumulated gradients against those of the
undivided batch.

tests/runs/test_two_processes.py compares one process with two.
"""

import pytest
import torch

from tests.support import tiny_runs
from torch_utils.randomness import BatchRandom
from training.adversarial import batch_split
from training.adversarial.discriminator import SpectralNormConv2d
from training.dataset import ImageFolderDataset
from training.tasks.distillation import DistillationTask

N = 8


@pytest.fixture(scope='module')
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp('material')
    with pytest.MonkeyPatch.context() as patch:
        tiny_runs.use_random_backbones(patch.setattr)
        config = tiny_runs.make_config(
            f'--data={tiny_runs.write_zip(folder / "data.zip")}',
            '--cond=1',
            *tiny_runs.GAN_ARGS,
            f'--transfer={tiny_runs.write_teacher(folder / "teacher.pkl")}',
            '--channels-last=0',
        )
        return DistillationTask(
            dict(config, r1_interval=1),
            ImageFolderDataset(config['dataset_kwargs']['path'], use_labels=True),
            torch.device('cpu'),
            N,
        )


def gradients(task, monkeypatch, micro_batch):
    """Gradients of the three stages from the same start, flattened, and the spectral-norm vectors after
    them."""
    found = []
    monkeypatch.setattr(
        task.guard,
        'step',
        lambda _name, _optimizer, params: found.append(
            torch.cat([p.grad.flatten() for p in params if p.grad is not None])
        ),
    )  # and no step is taken
    state = {name: tensor.clone() for name, tensor in task.D.state_dict().items()}
    task.micro_batch = micro_batch
    images = torch.rand([N, 3, 8, 8], generator=torch.Generator().manual_seed(1)) * 2 - 1
    task.step(images, torch.eye(3)[torch.arange(N) % 3], BatchRandom(0, 0), 1)
    vectors = torch.cat(
        [layer.u.clone() for layer in task.D.modules() if isinstance(layer, SpectralNormConv2d)]
    )
    task.D.load_state_dict(state)
    return dict(zip(('G', 'D', 'R1'), found, strict=True)), vectors


def distances(task, monkeypatch, micro_batch):
    """Relative distance of each stage's gradient from that of the undivided batch, and that of the
    vectors."""
    (whole, u), (split, v) = (gradients(task, monkeypatch, size) for size in (N, micro_batch))
    return {name: ((whole[name] - split[name]).norm() / whole[name].norm()).item() for name in whole}, (
        u - v
    ).abs().max().item()


@pytest.mark.parametrize('micro_batch', [4, 2, 1])
def test_accumulated_gradients_are_those_of_the_undivided_batch(micro_batch, task, monkeypatch):
    """Batch norm taken out, as it looks at one forward pass. Rounding flips single ReLUs of the backbones."""
    tiny_runs.remove_normalisation(task.D, monkeypatch.setattr)
    found, moved = distances(task, monkeypatch, micro_batch)
    assert max(found.values()) < 1e-4 and moved == 0, found


def test_vectors_that_advance_with_every_micro_batch_are_noticed(task, monkeypatch):
    tiny_runs.remove_normalisation(task.D, monkeypatch.setattr)
    monkeypatch.setattr(task.spectral_vectors, '_vectors', [])
    found, moved = distances(task, monkeypatch, 2)
    assert min(found.values()) > 1e-3 and moved > 1e-3, found


def test_batch_norm_looks_at_one_forward_pass(task, monkeypatch):
    """What accumulation cannot hide: gradients differ with the real batch norm; the spectral norms still do
    not."""
    found, moved = distances(task, monkeypatch, 4)
    assert min(found.values()) > 1e-2 and moved == 0, found


def test_global_batch_norm_of_one_process_is_the_ordinary_one():
    norm = batch_split.synchronise_batch_norms(torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.ReLU()))[
        0
    ]
    x, other = torch.randn(4, 3, 5, 5), torch.nn.BatchNorm2d(3)
    assert type(norm) is batch_split.GlobalBatchNorm2d and torch.equal(norm(x), other(x))
    assert not tiny_runs.differences(norm.state_dict(), other.state_dict())


def test_global_batch_norm_of_two_emulated_processes(monkeypatch):
    """Both halves of a batch in turn, with sums over both: outputs and running statistics of the whole
    batch."""
    x = torch.randn(6, 3, 4, 4) * 2 + 5
    halves = x[:3], x[3:]
    whole = torch.nn.BatchNorm2d(3)
    expected = whole(x)
    moments = torch.stack(
        [torch.stack([h.mean(dim=[0, 2, 3]), h.var(dim=[0, 2, 3], unbiased=False)]) for h in halves]
    )
    monkeypatch.setattr(batch_split.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(batch_split.distributed, 'all_reduce_sum_', lambda _own: moments.clone())
    for rank in (0, 1):
        monkeypatch.setattr(batch_split.distributed, 'get_rank', lambda rank=rank: rank)
        norm = batch_split.GlobalBatchNorm2d(3)
        assert torch.allclose(norm(halves[rank]), expected[3 * rank : 3 * rank + 3], atol=1e-5)
        for name, tensor in norm.state_dict().items():
            assert torch.allclose(tensor, whole.state_dict()[name], atol=1e-5), name
        assert not torch.allclose(
            torch.nn.BatchNorm2d(3)(halves[rank]), expected[3 * rank : 3 * rank + 3], atol=1e-3
        )


def test_spectral_vectors_become_those_of_rank_0(monkeypatch):
    layers = torch.nn.ModuleList([SpectralNormConv2d(2, 3, 1), SpectralNormConv2d(3, 2, 3)])
    vectors = batch_split.SpectralVectors(layers)
    before = [x.clone() for layer in layers for x in (layer.u, layer.v)]
    vectors.take_those_of_rank_0()  # one process
    assert all(map(torch.equal, before, [x for layer in layers for x in (layer.u, layer.v)]))
    monkeypatch.setattr(batch_split.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(
        batch_split.distributed, 'broadcast_', lambda flat: flat.copy_(torch.arange(float(len(flat))))
    )
    vectors.take_those_of_rank_0()
    assert layers[0].u.tolist() == [0, 1, 2] and layers[0].v.tolist() == [3, 4]
    assert layers[1].u.tolist() == [5, 6] and layers[1].v.tolist() == list(range(7, 34))
