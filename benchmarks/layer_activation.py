# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How strongly each layer of a diffusion model works at each noise level; a table of numbers and a figure.

    python -m benchmarks.layer_activation --network=pretrained/edm-mnist-32x32-cond-ve.pkl
    --data=datasets/mnist-32x32.zip \\
        --outfile=docs/layer_activation.png

The paper (arXiv 2405.20750) claims that the layers of a diffusion model are activated differently at
different time steps, which lets it generate in one step and makes freezing work. Its definition of
activation could not be read, so this is ours: a residual block is active as far as it changes what passes
through it, RMS(branch) / RMS(skip + branch), which does not depend on the scale of the stream. With
--student the same network after distillation is measured at its one noise level, with the noise that it gets.
"""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import click
import torch

from benchmarks.figures import new_figure, save_and_close
from dnnlib.cli import one_line_errors
from dnnlib.util import atomic_write
from torch_utils.batches import stack_items
from training.dataset import ImageFolderDataset
from training.networks import UNetBlock
from training.sampling.noise_levels import SIGMA_MAX, edm_levels
from training.snapshots.snapshot import load_network

LEVELS = 18  # of EDM's sampler on small images
BATCH = 64


def rms(x: torch.Tensor) -> float:
    """Return the root of the mean square of a tensor."""
    return float(x.double().square().mean().sqrt())


class Recorder:
    """Watch the residual blocks of a U-Net while it is called.

    Args:
        net: Preconditioned network.
    Attributes:
        found: Name of a layer -> list of values, one per call. 'enc.32x32_block0' is a block's branch,
               '....proj' its attention; each value is the share of the branch in what leaves the block.
    """

    def __init__(self, net: torch.nn.Module) -> None:
        self.found: dict[str, list[float]] = {}
        self._seen: dict[str, torch.Tensor] = {}
        for name, module in net.model.named_modules():
            if isinstance(module, UNetBlock):
                keep = functools.partial(self._keep, name)
                module.conv1.register_forward_hook(keep('branch'))
                if module.num_heads:
                    module.norm2.register_forward_hook(keep('middle', of_input=True))
                    module.proj.register_forward_hook(keep('attention'))
                module.register_forward_hook(functools.partial(self._block, name))

    def _keep(self, name: str, what: str, of_input: bool = False) -> Callable:
        def hook(_module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            self._seen[f'{name}/{what}'] = inputs[0] if of_input else output

        return hook

    def _block(self, name: str, block: UNetBlock, _inputs: tuple, output: torch.Tensor) -> None:
        middle = self._seen.get(f'{name}/middle', output) if block.num_heads else output
        share = branch_share(self._seen[f'{name}/branch'], middle / block.skip_scale)
        self.found.setdefault(name, []).append(share)
        if block.num_heads:
            share = branch_share(self._seen[f'{name}/attention'], output / block.skip_scale)
            self.found.setdefault(f'{name}.proj', []).append(share)
        self._seen.clear()


def branch_share(branch: torch.Tensor, whole: torch.Tensor) -> float:
    """Return RMS(branch) / RMS(skip + branch); 0 for an inactive block, about 1 where the skip hardly counts.

    Args:
        branch: What a block adds, any shape.
        whole:  The sum of the block's skip path and of `branch`, the same shape.
    """
    return rms(branch) / max(rms(whole), 1e-12)


@torch.no_grad()
def measure(net: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, levels: list[float]) -> dict:
    """Return the shares of all layers at each noise level: {layer: [share at each level]}.

    Args:
        net:    Preconditioned network, eval mode.
        images: Clean images [N, C, H, W], -1..1; zeros for a one-step generator.
        labels: One-hot labels [N, K].
        levels: Noise levels.
    """
    recorder = Recorder(net)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape, generator=generator)
    result = {}
    for sigma in levels:
        for begin in range(0, len(images), BATCH):
            part = slice(begin, begin + BATCH)
            net(images[part] + sigma * noise[part], torch.full([len(images[part])], sigma), labels[part])
        for name, values in recorder.found.items():
            result.setdefault(name, []).append(sum(values) / len(values))
        recorder.found.clear()
    return result


@torch.no_grad()
def spectra(net: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, levels: list[float]) -> list:
    """Return the power of D(x; sigma) by radial frequency, relative to that of the images, for each level."""
    generator = torch.Generator().manual_seed(0)
    noise, real = torch.randn(images.shape, generator=generator), radial_power(images)
    rows = []
    for sigma in levels:
        outputs = [
            net(
                images[k : k + BATCH] + sigma * noise[k : k + BATCH],
                torch.tensor([sigma]),
                labels[k : k + BATCH],
            )
            for k in range(0, len(images), BATCH)
        ]
        rows.append((radial_power(torch.cat(outputs)) / real).tolist())
    return rows


def radial_power(images: torch.Tensor) -> torch.Tensor:
    """Return the mean power of images [N, C, H, H] in rings of frequency 0, 1, .. H/2 cycles per image."""
    side = images.shape[-1]
    power = torch.fft.fft2(images.double()).abs().square().mean(dim=[0, 1])  # [H, H]
    frequency = torch.fft.fftfreq(side, d=1 / side)
    ring = (frequency[:, None].square() + frequency[None, :].square()).sqrt().round().long()
    sums = torch.zeros(side, dtype=torch.float64).index_add_(0, ring.flatten(), power.flatten())
    counts = torch.bincount(ring.flatten(), minlength=side)
    return sums[: side // 2 + 1] / counts[: side // 2 + 1]


@dataclasses.dataclass(frozen=True)
class Summary:
    """What the figure says about a layer, in numbers.

    Attributes:
        layer:   Name.
        peak:    Noise level at which its share is largest.
        swing:   Largest share / smallest share over the levels.
        teacher: Share at the highest level, 80.
        student: The same of the student, or None.
    """

    layer: str
    peak: float
    swing: float
    teacher: float
    student: float | None


def summarise(levels: list[float], teacher: dict, student: dict | None) -> list[Summary]:
    """Summarise each layer, in the order of execution."""
    return [
        Summary(
            layer,
            peak=levels[max(range(len(levels)), key=shares.__getitem__)],
            swing=max(shares) / max(min(shares), 1e-12),
            teacher=shares[levels.index(max(levels))],
            student=student[layer][0] if student else None,
        )
        for layer, shares in teacher.items()
    ]


def nearness(teacher: dict, student: dict) -> list[float]:
    """Return by how much the share of a layer differs on average, at each level of the teacher."""
    columns = zip(*teacher.values())  # level by level, the shares of all layers
    own = [shares[0] for shares in student.values()]
    return [sum(abs(a - b) for a, b in zip(column, own)) / len(own) for column in columns]


def describe_nearness(levels: list[float], differences: list[float]) -> str:
    """Say at which level the teacher uses its layers most as the student does."""
    best = min(range(len(levels)), key=differences.__getitem__)
    last = levels.index(max(levels))
    return (
        f'The student uses its layers as the teacher does at {levels[best]:.3g}: the shares differ by '
        f'{differences[best]:.3f} on average, and by {differences[last]:.3f} from those at {levels[last]:.3g}'
    )


def untrained(net: torch.nn.Module, init_kwargs: dict) -> torch.nn.Module:
    """Return a network of the same architecture with random weights, for comparison.

    The last convolutions of the branches, which training starts near 0, are drawn as the others are.
    """
    torch.manual_seed(0)
    twin = type(net)(**init_kwargs).eval()
    for block in twin.modules():
        if isinstance(block, UNetBlock):
            for layer in (block.conv1, block.proj) if block.num_heads else (block.conv1,):
                torch.nn.init.xavier_uniform_(layer.weight)
    return twin


def load_images(data: str, count: int, use_labels: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `count` images spread over a data set, [N, C, H, W] in -1..1, and their one-hot labels."""
    dataset = ImageFolderDataset(data, use_labels=use_labels)
    items = [dataset[k * len(dataset) // count] for k in range(min(count, len(dataset)))]
    return stack_items(items, torch.device('cpu'))


def collect(network: str, data: str, student: str | None, count: int) -> dict:
    """Measure everything; returns plain values."""
    net, info = load_network(network)
    images, labels = load_images(data, count, net.label_dim > 0)
    levels = edm_levels(LEVELS).tolist()
    result = dict(
        levels=levels,
        images=len(images),
        spectra=spectra(net, images, labels, levels),  # before the hooks
        teacher=measure(net, images, labels, levels),
        untrained=measure(untrained(net, info.init_kwargs), images, labels, levels),
        student=None,
    )
    if student:
        generator = load_network(student, option='student')[0]
        result['student'] = measure(generator, torch.zeros_like(images), labels, [SIGMA_MAX])
    return result


def save_figure(path: pathlib.Path, result: dict, title: str) -> None:
    """Draw shares by layer and level, of the teacher and of random weights, and the spectra.

    Args:
        path:   PNG file.
        result: From `collect`.
        title:  Above the figure.
    """
    figure, axes = new_figure(2, 2, figsize=(13, 9))
    for axis, (name, shares) in zip(
        axes[0], (('teacher', result['teacher']), ('random weights', result['untrained']))
    ):
        draw_map(figure, axis, name, result['levels'], shares)
    draw_shares(axes[1][0], result)
    draw_spectra(axes[1][1], result)
    figure.suptitle(title, fontsize=10)
    save_and_close(figure, path, dpi=90)


def draw_map(figure: Any, axis: Any, name: str, levels: list[float], shares: dict) -> None:
    """Draw share / largest share of the layer, by noise level (ascending) and layer."""
    order = sorted(range(len(levels)), key=levels.__getitem__)
    rows = [[values[k] / max(max(values), 1e-12) for k in order] for values in shares.values()]
    image = axis.imshow(rows, aspect='auto', vmin=0, vmax=1)
    axis.set_yticks(range(len(shares)), list(shares), fontsize=6)
    axis.set_xticks(range(0, len(order), 3), [f'{levels[k]:.2g}' for k in order[::3]])
    axis.set_xlabel('noise level')
    axis.set_title(f'{name}: share of the branch / its largest', fontsize=9)
    figure.colorbar(image, ax=axis)


def draw_shares(axis: Any, result: dict) -> None:
    """Draw the share of each layer at three levels, and of the student."""
    layers, levels = list(result['teacher']), result['levels']
    middle = min(range(len(levels)), key=lambda k: abs(math.log(levels[k] / 0.5)))
    lines = {
        f'teacher at {levels[k]:.2g}': [result['teacher'][name][k] for name in layers]
        for k in (levels.index(max(levels)), middle, levels.index(min(levels)))
    }
    if result['student']:
        lines['student at 80'] = [result['student'][name][0] for name in layers]
    for label, values in lines.items():
        axis.plot(values, marker='.', label=label)
    axis.set_xticks(range(len(layers)), layers, rotation=90, fontsize=6)
    axis.set_ylabel('RMS(branch) / RMS(skip + branch)')
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def draw_spectra(axis: Any, result: dict) -> None:
    """Draw the power of the denoised images relative to that of the images, for some noise levels."""
    for k in range(0, len(result['levels']), 3):
        axis.semilogy(result['spectra'][k], label=f'{result["levels"][k]:.2g}')
    axis.set_xlabel('cycles per image')
    axis.set_ylabel('power of D(x; sigma) / power of the images')
    axis.set_ylim(1e-4, 3)
    axis.grid(alpha=0.3)
    axis.legend(title='noise level', fontsize=8)


def format_table(summaries: list[Summary]) -> str:
    """Return a Markdown table."""
    lines = [
        '| layer | level of the largest share | largest / smallest share | teacher at 80 | student at 80 |',
        '|---|---:|---:|---:|---:|',
    ]
    for s in summaries:
        student = '-' if s.student is None else f'{s.student:.3f}'
        lines.append(f'| {s.layer} | {s.peak:.3g} | {s.swing:.1f} | {s.teacher:.3f} | {student} |')
    return '\n'.join(lines)


# fmt: off
@click.command()
@click.option('--network', help='Teacher',              metavar='PKL|URL', required=True)
@click.option('--data',    help='Training images',      metavar='ZIP|DIR', required=True)
@click.option('--student', help='One-step generator made of it', metavar='PKL|URL')
@click.option('--images',  help='Number of images',     metavar='INT', type=click.IntRange(min=1),
              default=256, show_default=True)
@click.option('--outfile', help='Figure; numbers go beside it, as .json', metavar='PNG', required=True)
# fmt: on
def main(network: str, data: str, student: str | None, images: int, outfile: str) -> None:
    """Measure the layers of a teacher at 18 noise levels."""
    with one_line_errors(path='data'):
        result = collect(network, data, student, images)
    path = pathlib.Path(outfile)
    summaries = summarise(result['levels'], result['teacher'], result['student'])
    with atomic_write(path.with_suffix('.json')) as file:
        file.write((json.dumps(rounded(result)) + '\n').encode())
    save_figure(path, result, f'{pathlib.Path(network).name}, {result["images"]} images')
    click.echo(format_table(summaries))
    if result['student']:
        differences = nearness(result['teacher'], result['student'])
        click.echo('\n' + describe_nearness(result['levels'], differences))


def rounded(value: object) -> object:
    """Keep four digits of every number, to keep the file small."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f'{value:.4g}') if isinstance(value, float) else value


if __name__ == '__main__':
    main()
