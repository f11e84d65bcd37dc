# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How a run was started, and every time it went on: launches.jsonl, for whoever wants to make it again."""

import json
import os
import platform
import shlex
import sys
import time
from importlib import metadata
from typing import Any

import torch

from dnnlib.files import atomic_write
from torch_utils import distributed

FILE_NAME = 'launches.jsonl'
VARIABLES = ('OUTDIR', 'DATA', 'TEACHER')  # what recipes take from the environment
PACKAGES = ('numpy', 'pillow', 'timm', 'torchvision')  # what can change results, besides torch


def record_launch(run_dir: str, nimg: int) -> None:
    """Append a line to launches.jsonl: the command of this process, and what it runs on. Rank 0 only.

    Args:
        run_dir: Folder of the run.
        nimg:    Images seen so far; 0 at the beginning of a run.
    """
    path, earlier = os.path.join(run_dir, FILE_NAME), b''
    if os.path.exists(path):
        with open(path, 'rb') as file:
            earlier = file.read()
    line = json.dumps(describe_launch(nimg)).encode() + b'\n'
    with atomic_write(path) as file:
        file.write(earlier + line)


def describe_launch(nimg: int) -> dict[str, Any]:
    """Return the command of this process, versions and devices, as plain values."""
    device = distributed.get_device()
    variables = [f'{name}={shlex.quote(os.environ[name])}' for name in VARIABLES if os.environ.get(name)]
    return dict(
        timestamp=time.time(),
        kimg=nimg / 1000,
        command=' '.join([*variables, shlex.join(['python', *sys.argv])]),
        processes=distributed.get_world_size(),
        device=torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu',
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        system=f'{platform.system()} {platform.machine()}',
        python=platform.python_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda if device.type == 'cuda' else None,
        **{name: _version(name) for name in PACKAGES},
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
