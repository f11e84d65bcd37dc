# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The loop of every run, teacher or distillation: setup, iterations, maintenance."""

import contextlib
import copy
import dataclasses
import json
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tqdm import tqdm

from dnnlib.errors import ArgumentError, arg, as_option
from dnnlib.files import naming
from dnnlib.util import Logger, atomic_write
from torch_utils import distributed, misc, training_stats
from torch_utils.allocator import keep_freed_memory
from torch_utils.batches import to_float
from torch_utils.randomness import BatchRandom, derive_seed
from training.config import plan_batch
from training.dataset import InfiniteSampler, load_batches
from training.run import artifacts, logs, resume, state
from training.run.facts import RunFacts
from training.run.launches import record_launch
from training.run.preemption import Interruption, Preempted, ignore_signals
from training.run.progress import Progress
from training.tasks.task import Task
from training.update.ema import EMA


class TrainingRun:
    """All parts of one run, checked against each other before anything is written.

    Args:
        config:  Resolved options (training/config.py); never changed.
        dataset: Training images, as `config['dataset_kwargs']` describes them.
        metrics: What measures the average at snapshots, such as evaluations/live_metrics.py; or None.
    Attributes:
        facts:  What was learnt since the options were resolved.
        config: Options and facts together, as in training_options.json.
    Raises:
        ValueError: The options, the data and the teacher do not fit; one line for the user.
    """

    def __init__(self, config: dict[str, Any], dataset: Any, metrics: Any = None) -> None:
        self.device = distributed.get_device()
        self.rank, self.world_size = distributed.get_rank(), distributed.get_world_size()
        self.local_batch, micro_batch = plan_batch(config['batch_size'], config['batch_gpu'], self.world_size)
        torch.backends.cudnn.benchmark = config['bench']
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        if self.device.type == 'cpu':
            keep_freed_memory()  # each iteration would else hand its maps back, and get them page by page

        path = config['resume'] if config['resume'] != 'auto' else None
        loaded = state.load_state(path) if path else None  # a wrong file is found before anything is built
        check_dataset(dataset, config)
        self.dataset, self.metrics = dataset, metrics
        self.reporters = logs.make_reporters(config)
        torch.manual_seed(derive_seed(config['seed'], 'init'))
        self.task = build_task(config, dataset, self.device, micro_batch)
        self.facts = RunFacts(
            micro_batch=micro_batch,
            processes=self.world_size,
            resolution=dataset.resolution,
            max_size=len(dataset) // (2 if config['dataset_kwargs']['xflip'] else 1),
            resume=config['resume'],
            **self.task.facts,
        )
        self.config = self.facts.complete(config)
        self.ema = EMA(self.task.trained, **config['ema_kwargs'])
        self.nimg, self.tick, self.iteration, self.last_tick_nimg = 0, 0, 0, 0
        self.progress = Progress(config['total_nimg'], visible=False)
        self.collector = training_stats.Collector()
        if loaded is not None:
            self.load_state_dict(loaded)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state of the run, tensors and plain values. All ranks call this; rank 0's counts.

        Random numbers and the position in the data follow from the seed and `nimg`.
        """
        return dict(
            nimg=self.nimg,
            tick=self.tick,
            iteration=self.iteration,
            last_tick_nimg=self.last_tick_nimg,
            task=self.task.state_dict(),
            ema=self.ema.state_dict(),
            nonfinite=self.task.guard.state_dict(),
            statistics=self.collector.state_dict(),
            progress=self.progress.state_dict(),
            run=resume.identity(self.config, self.world_size),
        )

    def load_state_dict(self, loaded: dict[str, Any]) -> None:
        """Continue from `state_dict()`, read from the file of `resume`.

        Raises:
            StateError: It belongs to another run, or does not fit; one line for the user.
        """
        where = arg('resume', self.config['resume'])
        own = resume.identity(self.config, self.world_size)
        with state.taking_over(self.config['resume']):
            resume.require_same_run(where, loaded['run'], own)
        if loaded['run']['processes'] != self.world_size:
            distributed.print0(
                f'Processes: {self.world_size}, before {loaded["run"]["processes"]}; the same data and '
                'noise, sums in another order (docs/training.md)'
            )
        self.nimg, self.tick, self.iteration = loaded['nimg'], loaded['tick'], loaded['iteration']
        with state.taking_over(self.config['resume']):
            self.last_tick_nimg = loaded['last_tick_nimg']
            self.task.load_state_dict(loaded['task'])
            state.check_optimizers(self.task)
            state.follow_memory_order(self.task)
            self.ema.load_state_dict(loaded['ema'])
            self.task.guard.load_state_dict(loaded['nonfinite'])
            self.collector.load_state_dict(loaded['statistics'])
            self.progress = Progress(self.config['total_nimg'], visible=False, state=loaded['progress'])

    def resume_from(self, path: str | None) -> None:
        """Continue from the state that `resume='auto'` has settled on, if any."""
        self.facts = dataclasses.replace(self.facts, resume=path)
        self.config = self.facts.complete(self.config)
        if path:
            self.load_state_dict(state.load_state(path))

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (images float32 -1..1, labels) of this process, from the current position on."""
        sampler = InfiniteSampler(
            self.dataset,
            rank=self.rank,
            num_replicas=self.world_size,
            seed=self.config['seed'],
            start_idx=self.nimg,
        )
        loader = load_batches(
            self.dataset,
            sampler=sampler,
            batch_size=self.local_batch,
            worker_init_fn=ignore_signals,
            pin_memory=self.device.type == 'cuda',
            **self.config['loader_kwargs'],
        )
        for images, labels in loader:
            images = to_float(images.to(self.device, non_blocking=True))
            if self.config['channels_last']:
                images = images.contiguous(memory_format=torch.channels_last)
            yield images, labels.to(self.device, non_blocking=True)

    def train_step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Run one iteration: the task's optimizer steps, then the moving average."""
        rng = BatchRandom(
            self.config['seed'], self.nimg, self.rank, self.world_size, self.device, self.config['compat']
        )
        rng.seed_global()
        skipped = self.task.step(images, labels, rng, self.iteration)
        self.ema.update(self.task.trained, self.nimg, self.config['batch_size'], skipped)
        self.nimg += self.config['batch_size']
        self.iteration += 1

    def run(self, run_dir: str) -> str | None:
        """Train to the end, leaving logs, snapshots and states in `run_dir`.

        Returns:
            Path of the last snapshot (on every rank).
        Raises:
            Preempted: SIGTERM or SIGUSR1 has stopped the run, and its state is written.
        """
        total, path = self.config['total_nimg'], None
        self.check_replicas()
        self.progress = Progress(total, self.nimg, visible=self.rank == 0, state=self.progress.state_dict())
        with Interruption(self.config['state_minutes'], self.device) as interruption:
            for images, labels in self.batches() if self.nimg < total else ():
                self.train_step(images, labels)
                self.progress.advance(self.config['batch_size'])
                done = self.nimg >= total
                stop, write_state = interruption.poll(self.iteration)
                due = done or self.tick == 0 or self.nimg >= self.last_tick_nimg + self.config['tick_nimg']
                if due or self.device.type == 'cpu':  # a GPU would be waited for: there once per tick
                    self.check_nonfinite(run_dir)
                if due:
                    write_state |= done or (self.tick > 0 and self.tick % self.config['state_ticks'] == 0)
                    path = self.end_of_tick(run_dir, done) or path
                if write_state:
                    state_path = self.save_state(run_dir)
                    interruption.state_written()
                if done or stop:
                    break
        self.progress.close()
        for reporter in self.reporters:
            reporter.close()
        if self.nimg < total:
            raise Preempted(
                f'{interruption.signal_name or "a signal"} after {self.nimg / 1000:g} kimg, '
                f'state in {state_path}; the same command with {as_option(arg("resume", "auto"))} goes on'
            )
        return path

    def end_of_tick(self, run_dir: str, done: bool) -> str | None:
        """Print the status line, save a snapshot when due, write statistics; return the snapshot's path."""
        self.progress.end_of_tick(self.tick, self.nimg, self.device)
        news = self.task.guard.news(self.config['nan_limit'])
        if news and self.rank == 0:
            tqdm.write(news)
        path = self.save_snapshot(run_dir) if done or self.tick % self.config['snapshot_ticks'] == 0 else None
        self.task.guard.report()
        self.collector.update()
        write_stats(run_dir, self.collector, self.rank, self.reporters)
        self.tick += 1
        self.last_tick_nimg = self.nimg
        self.progress.maintenance_done()
        return path

    def check_replicas(self) -> None:
        """Make sure that all processes hold the same networks."""
        for module in [*self.task.replicas(), *self.ema.nets.values()]:
            misc.check_ddp_consistency(module)

    def save_snapshot(self, run_dir: str) -> str | None:
        """Save a snapshot and measure it; returns its path on rank 0."""
        self.check_replicas()
        path = None
        if self.rank == 0:
            entries = {key: copy.deepcopy(value) for key, value in self.task.snapshot_entries().items()}
            path = artifacts.save_all(run_dir, self.nimg, self.ema, entries, self.config, self.device)
        if self.metrics is not None:
            self.metrics.measure(
                self.ema.net, *artifacts.trained_sampler(self.config), self.nimg, run_dir, path
            )
        return path

    def save_state(self, run_dir: str) -> str:
        """Write a training state and delete old ones; returns its path, once it is complete."""
        path = state.state_path(run_dir, self.nimg)
        contents = self.state_dict()
        if self.rank == 0:
            state.save_state(path, contents)
            state.remove_old_states(run_dir, self.config['keep_states'], path)
        distributed.barrier()
        return path

    def check_nonfinite(self, run_dir: str) -> None:
        """Stop a run with too many non-finite optimizer steps (NonFiniteError, on all ranks)."""
        if self.config['nan_limit']:
            self.task.guard.check(self.config['nan_limit'], self.nimg, lambda: logs.describe_files(run_dir))


def build_task(config: dict[str, Any], dataset: Any, device: torch.device, micro_batch: int) -> Task:
    """Construct what the run trains; each task imports only what it needs."""
    if config['loss'] == 'gdd' and config['teacher_only']:
        from training.tasks.instance import InstanceTask

        return InstanceTask(config, dataset, device, micro_batch)
    if config['loss'] == 'fd':
        from training.tasks.frechet import FrechetTask

        return FrechetTask(config, dataset, device, micro_batch)
    if config['loss'] == 'gdd':
        from training.tasks.distillation import DistillationTask

        return DistillationTask(config, dataset, device, micro_batch)
    from training.tasks.teacher import TeacherTask

    return TeacherTask(config, dataset, device, micro_batch)


def check_dataset(dataset: Any, config: dict[str, Any]) -> None:
    """Refuse a conditional run on data without labels.

    Raises:
        ArgumentError: One line for the user.
    """
    if config['dataset_kwargs']['use_labels'] and not dataset.has_labels:
        raise ArgumentError(
            arg('cond', True),
            ' needs labels, but ',
            arg('data', config['dataset_kwargs']['path']),
            ' has no dataset.json with labels; make one with dataset_tool.py, or use ',
            arg('cond', False),
        )


def write_stats(
    run_dir: str, collector: training_stats.Collector, rank: int, reporters: Sequence[Any] = ()
) -> None:
    """Append a line to stats.jsonl (strict JSON: missing values are null), and tell the reporters."""
    if rank != 0:
        return
    stats = {
        name: {
            key: (value if value == value and abs(value) != float('inf') else None)
            for key, value in entry.items()
        }
        for name, entry in collector.as_dict().items()
    }
    path = os.path.join(run_dir, 'stats.jsonl')
    with naming(path), open(path, 'a', encoding='utf-8') as file:
        file.write(json.dumps(dict(stats, timestamp=time.time())) + '\n')
    for reporter in reporters:
        reporter.write(run_dir, stats)


@contextlib.contextmanager
def prepared_run_dir(run: TrainingRun, run_dir: str) -> Iterator[None]:
    """Create or tidy up the run folder, hold it, and copy what is printed to its log.txt, all on rank 0."""
    if run.rank != 0:
        yield
        return
    os.makedirs(run_dir, exist_ok=True)
    with state.lock(run_dir):
        with atomic_write(os.path.join(run_dir, 'training_options.json')) as file:
            file.write(json.dumps(run.config, indent=2).encode() + b'\n')
        if run.nimg < run.config['total_nimg']:
            record_launch(run_dir, run.nimg)
        with Logger(os.path.join(run_dir, 'log.txt'), 'a'):
            for line in resume.tidy_run_dir(run_dir, run.nimg):
                print(line)
            if run.nimg:
                print(f'Going on at {run.nimg / 1000:g} kimg from {run.config["resume"]}')
            yield


def run_training(run: TrainingRun, run_dir: str) -> str | None:
    """Run a prepared TrainingRun in `run_dir`, with everything printed copied to log.txt.

    Returns:
        Path of the last snapshot, on rank 0.
    Raises:
        Preempted: A signal has stopped the run, and its state is written.
        StateError: Another process trains in the folder.
    """
    with prepared_run_dir(run, run_dir):
        for line in [*run.task.summary(), *(run.metrics.notes if run.metrics is not None else ())]:
            distributed.print0(line)
        path = run.run(run_dir)
        if run.rank == 0:
            tqdm.write(
                f'Finished after {run.nimg / 1000:g} kimg: {path}'
                if path
                else f'Nothing to do: {run.nimg / 1000:g} kimg are done; '
                f'raise {as_option(arg("duration"))} to go on'
            )
        return path
