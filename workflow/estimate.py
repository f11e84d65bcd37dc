# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run will cost, before it starts: counted operations and memory, and a measurement of seconds.

Networks, losses and optimizers are those of the run; images and weights are random, so that neither data nor
teacher is needed.
"""

import dataclasses
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.synthetic_data import SyntheticDataset
from training.choices import RANDOM_TEACHER, TEACHER_LOSSES
from training.training_loop import TrainingRun

COUNTED = 2  # images of the iteration that is counted
_NUMBERS = 64  # images of the synthetic data set; more would change nothing


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What was counted and measured, on one process.

    Attributes:
        operations:       Additions and multiplications of matrix products and convolutions, per image trained
                          on, forward and backward, R1 with its share; they do not depend on the machine.
        images_per_second: Measured.
        batch:            Images per iteration of that measurement.
        fixed_bytes:      Weights, gradients, moments and averages, in memory whatever the batch.
        bytes_per_image:  What one image of a forward pass keeps until its backward pass, at the most.
        snapshot_bytes:   Size of a network-snapshot-*.pkl.
        state_bytes:      Size of a training-state-*.pt.
    """

    operations: float
    images_per_second: float
    batch: int
    fixed_bytes: int
    bytes_per_image: int
    snapshot_bytes: int
    state_bytes: int


def estimate(
    config: dict[str, Any], image_shape: tuple[int, int, int], classes: int, seconds: float
) -> Estimate:
    """Count one small iteration of a run, and time iterations of the batch that fits into the time.

    Args:
        config:      Resolved options (training/config.py), with the share of one process as its batch.
        image_shape: (C, H, W) of the training images.
        classes:     Number of classes; 0 for none.
        seconds:     Time to measure, apart from the preparation.
    Raises:
        ValueError: The options do not fit together.
    """
    micro = min(config['batch_size'], config['batch_gpu'] or config['batch_size'])
    small = min(COUNTED, micro)
    run = _Trial(config, image_shape, classes, small)
    operations, activations = run.count()
    # The first iterations of a size take several times as long as the next, and small ones longer per image.
    fitting = min(micro, int(seconds / run.seconds_per_image(0)))
    if fitting > small:
        run = _Trial(config, image_shape, classes, fitting)
        run.seconds_per_image(0)
    seconds_per_image = run.seconds_per_image(seconds)
    return Estimate(
        operations=operations,
        images_per_second=1 / seconds_per_image,
        batch=run.batch,
        fixed_bytes=run.fixed_bytes(),
        bytes_per_image=activations,
        snapshot_bytes=run.snapshot_bytes(),
        state_bytes=tensor_bytes([run.run.state_dict()]),
    )


class _Trial:
    """A run of few images, whose iterations are counted and timed."""

    def __init__(
        self, config: dict[str, Any], image_shape: tuple[int, int, int], classes: int, batch: int
    ) -> None:
        self.batch, self.interval = batch, config.get('r1_interval', 0)
        channels, _, resolution = image_shape
        dataset = dict(resolution=resolution, channels=channels, classes=classes, max_size=_NUMBERS)
        config = dict(config, batch_size=batch, batch_gpu=None, resume=None, tensorboard=False, wandb=None)
        config['loader_kwargs'] = dict(config['loader_kwargs'], num_workers=0)
        config['dataset_kwargs'] = dict(
            path='synthetic',
            xflip=False,
            use_labels=config['dataset_kwargs']['use_labels'] and classes > 0,
            **dataset,
        )
        if config.get('feature_kwargs'):
            config['feature_kwargs'] = dict(config['feature_kwargs'], weights='random')
        if config.get('discriminator_kwargs'):
            config['discriminator_kwargs'] = dict(config['discriminator_kwargs'], class_embed='random')
        if config['loss'] not in TEACHER_LOSSES:
            config['transfer'] = RANDOM_TEACHER if config['arch'] else config['transfer']
        self.run = TrainingRun(config, SyntheticDataset(**config['dataset_kwargs']))
        self.batches = self.run.batches()

    def iterate(self, with_r1: bool = False) -> None:
        """Run one iteration, with R1 or without."""
        self.run.iteration = 0 if with_r1 else 1
        self.run.train_step(*next(self.batches))

    def count(self) -> tuple[float, int]:
        """Return, per image: operations, and bytes that wait for a backward pass at the most."""
        counts = []
        saved = _SavedBytes(self.run)
        with saved:
            for with_r1 in (False, True) if self.interval else (False,):
                with FlopCounterMode(display=False) as counter:
                    self.iterate(with_r1)
                counts.append(counter.get_total_flops())
        return self._mean(*counts) / self.batch, saved.most // self.batch

    def seconds_per_image(self, seconds: float) -> float:
        """Run iterations for so long, at least one of each kind; returns the mean over those of a run."""
        kinds = [(False, seconds)] if not self.interval else [(False, 0.75 * seconds), (True, 0.25 * seconds)]
        return self._mean(*(self._time(*kind) for kind in kinds)) / self.batch

    def _time(self, with_r1: bool, seconds: float) -> float:
        count, start = 0, time.perf_counter()
        while count == 0 or time.perf_counter() - start < seconds:
            self.iterate(with_r1)
            count += 1
            if self.run.device.type == 'cuda':
                torch.cuda.synchronize(self.run.device)
        return (time.perf_counter() - start) / count

    def _mean(self, plain: float, with_r1: float | None = None) -> float:
        return plain if with_r1 is None else plain + (with_r1 - plain) / self.interval

    def fixed_bytes(self) -> int:
        """Return the bytes of everything that stays in memory from one iteration to the next."""
        modules = [value for value in vars(self.run.task).values() if isinstance(value, torch.nn.Module)]
        tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
        return tensor_bytes([self.run.state_dict(), tensors, gradients])

    def snapshot_bytes(self) -> int:
        """Return the bytes of all networks of a snapshot, which holds little else."""
        networks = [*self.run.ema.nets.values(), *self.run.task.snapshot_entries().values()]
        return sum(
            tensor_bytes([list(net.state_dict().values())])
            for net in networks
            if isinstance(net, torch.nn.Module)
        )


class _SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Count the bytes that forward passes keep for their backward passes; `most` is the most at any time."""

    def __init__(self, run: TrainingRun) -> None:
        super().__init__(self._keep, lambda kept: kept.tensor)
        modules = [value for value in vars(run.task).values() if isinstance(value, torch.nn.Module)]
        self._lasting = {tensor.data_ptr() for module in modules for tensor in module.parameters()}
        self._users: dict[int, int] = {}  # address -> how often it is kept
        self._sizes: dict[int, int] = {}
        self.now = self.most = 0

    def _keep(self, tensor: torch.Tensor) -> '_Kept':
        address = tensor.untyped_storage().data_ptr()
        if tensor.data_ptr() not in self._lasting:
            self._users[address] = self._users.get(address, 0) + 1
            if self._users[address] == 1:
                self._sizes[address] = tensor.untyped_storage().nbytes()
                self.now += self._sizes[address]
                self.most = max(self.most, self.now)
        return _Kept(tensor, address, self)

    def drop(self, address: int) -> None:
        """Forget a tensor that its backward pass has used."""
        if address in self._users:
            self._users[address] -= 1
            if not self._users[address]:
                self.now -= self._sizes[address]
                del self._users[address]


class _Kept:
    """A tensor that waits for its backward pass; its end is counted."""

    def __init__(self, tensor: torch.Tensor, address: int, counter: _SavedBytes) -> None:
        self.tensor, self._address, self._counter = tensor, address, counter

    def __del__(self) -> None:
        self._counter.drop(self._address)


def tensor_bytes(trees: Iterable[Any]) -> int:
    """Return the bytes of all tensors in nested dicts and lists; what several share counts once."""
    storages: dict[int, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        if isinstance(value, dict):
            value = list(value.values())
        for item in value if isinstance(value, (list, tuple)) else ():
            visit(item)

    for tree in trees:
        visit(tree)
    return sum(storages.values())
