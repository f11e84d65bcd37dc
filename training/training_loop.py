# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The loop of every run, teacher or distillation: setup, iterations, maintenance."""
import copy
import json
import os
import time

import torch
from tqdm import tqdm

from dnnlib.util import Logger, atomic_write, construct_class_by_name
from torch_utils import distributed, misc, training_stats
from training import config as config_lib
from training import snapshots, training_state
from training.dataset import InfiniteSampler, load_batches
from training.ema import EMA
from training.progress import Progress
from training.randomness import BatchRandom, derive_seed


class TrainingRun:
    """All parts of one run, checked against each other before anything is written.

    Args:
        config: Resolved options (training/config.py).
    Raises:
        ValueError: The options, the data and the teacher do not fit; one line for the user.
    """

    def __init__(self, config):
        self.config = config
        self.device = distributed.get_device()
        self.rank, self.world_size = distributed.get_rank(), distributed.get_world_size()
        self.local_batch, config['micro_batch'] = config_lib.plan_batch(
            config['batch_size'], config['batch_gpu'], self.world_size)
        torch.backends.cudnn.benchmark = config['bench']
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False

        state = training_state.load_state(config['resume']) if config['resume'] else None
        self.dataset = construct_class_by_name(**config['dataset_kwargs'])
        check_dataset(self.dataset, config)
        # Snapshots name the data as used, with all defaults filled in (EDM).
        copies = 2 if config['dataset_kwargs']['xflip'] else 1
        config['dataset_kwargs'].update(resolution=self.dataset.resolution, max_size=len(self.dataset) // copies)
        torch.manual_seed(derive_seed(config['seed'], 'init'))
        self.task = build_task(config, self.dataset, self.device)
        self.ema = EMA(self.task.trained, **config['ema_kwargs'])
        self.nimg, self.tick, self.iteration = 0, 0, 0
        if state is not None:
            self.load_state(state)

    def state_dict(self):
        """Return the whole state of the run as tensors and plain values."""
        return dict(nimg=self.nimg, tick=self.tick, iteration=self.iteration, task=self.task.state_dict(),
                    ema=self.ema.net.state_dict(), batch_size=self.config['batch_size'], loss=self.config['loss'])

    def load_state(self, state):
        """Continue from `state_dict()`."""
        for key in ('loss', 'batch_size'):
            if state[key] != self.config[key]:
                raise training_state.StateError(
                    f"--resume={self.config['resume']} was written with {key}={state[key]}, this run has "
                    f"{self.config[key]}; give the options of the interrupted run")
        self.nimg, self.tick, self.iteration = state['nimg'], state['tick'], state['iteration']
        try:
            self.task.load_state_dict(state['task'])
            self.ema.net.load_state_dict(state['ema'])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = ' '.join(str(error).split())[:200]
            raise training_state.StateError(f"--resume={self.config['resume']} does not fit the networks of this run "
                                            f'({reason}); give the options of the interrupted run') from error

    def batches(self):
        """Yield (images float32 -1..1, labels) of this process, from the current position on."""
        sampler = InfiniteSampler(self.dataset, rank=self.rank, num_replicas=self.world_size,
                                  seed=self.config['seed'], start_idx=self.nimg)
        loader = load_batches(self.dataset, sampler=sampler, batch_size=self.local_batch,
                              pin_memory=self.device.type == 'cuda', **self.config['loader_kwargs'])
        for images, labels in loader:
            images = images.to(self.device, non_blocking=True).to(torch.float32) / 127.5 - 1
            if self.config['channels_last']:
                images = images.contiguous(memory_format=torch.channels_last)
            yield images, labels.to(self.device, non_blocking=True)

    def train_step(self, images, labels):
        """Run one iteration: the task's optimizer steps, then the moving average."""
        rng = BatchRandom(self.config['seed'], self.nimg, self.rank, self.world_size, self.device,
                          self.config['compat'])
        rng.seed_global()
        self.task.step(images, labels, rng, self.iteration)
        self.ema.update(self.task.trained, self.nimg, self.config['batch_size'])
        self.nimg += self.config['batch_size']
        self.iteration += 1

    def run(self, run_dir):
        """Train to the end, leaving logs, snapshots and states in `run_dir`.

        Returns:
            Path of the last snapshot (on every rank).
        """
        total = self.config['total_nimg']
        progress = Progress(total, self.nimg, visible=self.rank == 0)
        collector = training_stats.Collector()
        last_tick_nimg, path = self.nimg, None
        misc.check_ddp_consistency(self.task.trained)
        for images, labels in self.batches() if self.nimg < total else ():
            self.train_step(images, labels)
            progress.advance(self.config['batch_size'])
            done = self.nimg >= total
            if done or self.tick == 0 or self.nimg >= last_tick_nimg + self.config['tick_nimg']:
                progress.end_of_tick(self.tick, self.nimg, self.device)
                path = self.maintenance(run_dir, done) or path
                collector.update()
                write_stats(run_dir, collector, self.rank)
                self.tick += 1
                last_tick_nimg = self.nimg
                progress.maintenance_done()
            if done:
                break
        progress.close()
        return path

    def maintenance(self, run_dir, done):
        """Save a snapshot and a state when they are due; returns the path of a snapshot."""
        path = None
        if done or self.tick % self.config['snapshot_ticks'] == 0:
            misc.check_ddp_consistency(self.task.trained)
            if self.rank == 0:
                entries = {key: copy.deepcopy(value) for key, value in self.task.snapshot_entries().items()}
                path = snapshots.save_all(run_dir, self.nimg, self.ema.net, entries, self.config, self.device)
        if (done or self.tick % self.config['state_ticks'] == 0) and self.tick and self.rank == 0:
            state = dict(self.state_dict(), tick=self.tick + 1)
            state_path = training_state.state_path(run_dir, self.nimg)
            training_state.save_state(state_path, state)
            training_state.remove_old_states(run_dir, self.config['keep_states'], state_path)
        return path


def build_task(config, dataset, device):
    """Construct what the run trains, with the architecture completed from the data."""
    if config['loss'] == 'gdd' and config['teacher_only']:
        from training.instance_distillation import InstanceTask
        return InstanceTask(config, dataset, device)
    if config['loss'] == 'gdd':
        from training.distillation import DistillationTask
        return DistillationTask(config, dataset, device)
    from training.teacher import TeacherTask
    return TeacherTask(config, dataset, device)


def check_dataset(dataset, config):
    """Refuse a conditional run on data without labels.

    Raises:
        ConfigError: One line for the user.
    """
    path = config['dataset_kwargs']['path']
    if config['dataset_kwargs']['use_labels'] and not dataset.has_labels:
        raise config_lib.ConfigError(f'--cond=True needs labels, but --data={path} has no dataset.json with labels; '
                                     'make one with dataset_tool.py, or use --cond=False')


def write_stats(run_dir, collector, rank):
    """Append one line of statistics to stats.jsonl (strict JSON: missing values are null)."""
    if rank != 0:
        return
    stats = {name: {key: (value if value == value and abs(value) != float('inf') else None)
                    for key, value in entry.items()} for name, entry in collector.as_dict().items()}
    with open(os.path.join(run_dir, 'stats.jsonl'), 'at', encoding='utf-8') as file:
        file.write(json.dumps(dict(stats, timestamp=time.time())) + '\n')


def make_run_dir(run_dir, config, rank):
    """Create the run folder with training_options.json, on rank 0."""
    if rank == 0:
        os.makedirs(run_dir, exist_ok=True)
        with atomic_write(os.path.join(run_dir, 'training_options.json')) as file:
            file.write(json.dumps(config, indent=2).encode() + b'\n')
    distributed.barrier()


def run_training(run, run_dir):
    """Run a prepared TrainingRun in `run_dir`, with everything printed copied to log.txt.

    Returns:
        Path of the last snapshot, on rank 0.
    """
    make_run_dir(run_dir, run.config, run.rank)
    logger = Logger(os.path.join(run_dir, 'log.txt'), 'a') if run.rank == 0 else None
    try:
        for line in run.task.summary():
            distributed.print0(line)
        path = run.run(run_dir)
        if run.rank == 0:
            tqdm.write(f'Finished after {run.nimg / 1000:g} kimg: {path}' if path else
                       f'Nothing to do: {run.nimg / 1000:g} kimg are done; raise --duration to go on')
        return path
    finally:
        if logger is not None:
            logger.close()
