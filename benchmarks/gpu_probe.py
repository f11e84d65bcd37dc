# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a machine can do at best: rates of products by number type, of a copy, of launches.

python -m benchmarks.gpu_probe --device=cuda
"""

import sys
import time

import click
import torch

from benchmarks.instruments import copy_rate, matmul_peak, synchronize
from torch_utils import distributed

TYPES = dict(fp32=torch.float32, tf32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)


def product_rates(device: torch.device, seconds: float) -> dict[str, float]:
    """Return name of a number type -> operations per second of a large product; TF32 on a GPU only."""
    rates = {}
    for name, dtype in TYPES.items():
        if name == 'tf32' and device.type != 'cuda':
            continue
        torch.backends.cuda.matmul.allow_tf32 = name == 'tf32'
        rates[name] = matmul_peak(dtype, device, seconds=seconds)
    torch.backends.cuda.matmul.allow_tf32 = False
    return rates


def launch_seconds(device: torch.device, count: int = 1000) -> float:
    """Return the time of a small operation when many follow each other."""
    x = torch.zeros([8], device=device)
    x.add_(1)
    synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        x.add_(1)
    synchronize(device)
    return (time.perf_counter() - start) / count


@click.command(help=__doc__, context_settings=dict(show_default=True))
@click.option('--device', help='What to probe', type=click.Choice(['auto', 'cpu', 'cuda']), default='auto')
@click.option('--seconds', help='Time for each rate', type=click.FloatRange(min=0), default=1)
def main(device: str, seconds: float) -> None:
    distributed.init(None if device == 'auto' else device)
    device = distributed.get_device()
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'
    versions = f'torch {torch.__version__}, CUDA {torch.version.cuda}, Python {sys.version.split()[0]}'
    rates = ', '.join(f'{kind} {rate / 1e12:.4g}' for kind, rate in product_rates(device, seconds).items())
    print(
        f'{name}; {versions}; TFLOP/s: {rates}; copy {copy_rate(device, seconds) / 1e9:.4g} GB/s; '
        f'launch {1e6 * launch_seconds(device):.3g} us'
    )


if __name__ == '__main__':
    main()
