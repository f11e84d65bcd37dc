# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""How much faster `fid.py calc` is than the straightforward way to measure a folder or zip of images.

    python -m benchmarks.fid_calc compare       # both, alternating, as fresh processes; prints the ratio
    python -m benchmarks.fid_calc straightforward --images=datasets/mnist-32x32.zip --ref=REF.npz
    python fid.py calc --images=datasets/mnist-32x32.zip --ref=REF.npz --detector=tf_efficientnet_lite0 \\
        --num=10000

`straightforward` is a complete program of its own, as one would write it first: Pillow decodes each PNG in
the loop, PyTorch runs the detector as timm builds it, the sums are updated in float64 after every batch, and
SciPy takes the matrix square root. It shares no code with evaluations/ but the file format of the weights,
and gives the same number.

Two detectors work offline. tf_efficientnet_lite0 at 224 pixels is the case that matters: like Inception, it
takes nearly all of the time. With mnist-classifier both programs mostly wait for `import torch`.
"""

import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator

import click
import numpy as np

DETECTORS = ('tf_efficientnet_lite0', 'mnist-classifier')
BATCH = 64


# ------------------------------------------------------------------------------------------------
# The straightforward way.


def build_lite0(device: str = 'cpu') -> Callable:
    """Return a function of uint8 [N, C, 32, 32] giving features [N, 320]: timm's network at 224 pixels."""
    import timm
    import torch

    from training.backbones.stages import get_spec
    from training.backbones.weights import find_weights, read_weights, rename_in_order

    model = timm.create_model('tf_efficientnet_lite0', pretrained=False).eval()
    state = read_weights(find_weights(get_spec('tf_efficientnet_lite0'), 'pretrained'))
    if '_conv_stem.weight' in state:  # the package's names; timm's own file needs nothing
        state = rename_in_order(
            state, {name: tuple(t.shape) for name, t in model.state_dict().items()}, 'weights'
        )
    model.load_state_dict(state)
    model.to(device)

    def features(images: torch.Tensor) -> torch.Tensor:
        x = images.expand(-1, 3, -1, -1) / 127.5 - 1
        x = torch.nn.functional.interpolate(x, size=(224, 224), mode='bilinear')
        return model.blocks(model.bn1(model.conv_stem(x))).mean(dim=[2, 3])

    return features


def build_mnist_classifier(device: str = 'cpu') -> Callable:
    """Return a function of uint8 [N, 1, 32, 32] giving features [N, 64]."""
    from evaluations.detectors.mnist_classifier import load_classifier

    return load_classifier('pretrained/mnist-classifier.pt')[0].to(device).features


def read_images(path: str) -> Iterator[np.ndarray]:
    """Yield the images of a zip or folder, uint8 [C, H, W]."""
    import PIL.Image

    if path.endswith('.zip'):
        archive = zipfile.ZipFile(path)
        files = ((name, archive.read(name)) for name in sorted(archive.namelist()))
    else:
        names = sorted(os.path.join(root, name) for root, _, names in os.walk(path) for name in names)
        files = ((name, open(name, 'rb').read()) for name in names)
    for name, data in files:
        if name.endswith('.png'):
            pixels = np.array(PIL.Image.open(io.BytesIO(data)))
            yield pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def accumulate(
    path: str, features: Callable, num: int, size: int = BATCH, device: str = 'cpu'
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the features of the first `num` images, `size` at a time."""
    import torch

    count, total, outer, batch = 0, 0, 0, []

    def finish() -> None:
        nonlocal count, total, outer
        with torch.no_grad():
            x = features(torch.from_numpy(np.stack(batch)).to(device)).double()
        count, total, outer = count + len(x), total + x.sum(dim=0), outer + x.T @ x
        batch.clear()

    for number, image in enumerate(read_images(path)):
        if number == num:
            break
        batch.append(image)
        if len(batch) == size:
            finish()
    if batch:
        finish()
    mu = total / count
    return mu.cpu().numpy(), ((outer - count * torch.outer(mu, mu)) / (count - 1)).cpu().numpy()


def measure_straightforward(images: str, ref: str, detector: str, num: int) -> float:
    """Return the Frechet distance of the first `num` images to a reference."""
    import scipy.linalg

    features = build_lite0() if detector == DETECTORS[0] else build_mnist_classifier()
    mu, sigma = accumulate(images, features, num)
    with np.load(ref) as npz:
        mu_ref, sigma_ref = npz['mu'], npz['sigma']
    root = scipy.linalg.sqrtm(sigma @ sigma_ref)
    return float(np.square(mu - mu_ref).sum() + np.trace(sigma + sigma_ref - 2 * np.real(root)))


# ------------------------------------------------------------------------------------------------
# The comparison.


def make_reference(path: str, images: str, detector: str, num: int) -> None:
    """Write a plain reference, of the first images, so that the distance is an ordinary number."""
    features = build_lite0() if detector == DETECTORS[0] else build_mnist_classifier()
    mu, sigma = accumulate(images, features, min(1000, num // 2))
    np.savez(path, mu=mu, sigma=sigma)


def commands(images: str, ref: str, detector: str, num: int, processes: list[int]) -> dict[str, list[str]]:
    """Return label -> command line of the programs to compare; the first is the straightforward one."""
    common = [f'--images={images}', f'--ref={ref}', f'--detector={detector}', f'--num={num}']
    found = {'straightforward': [sys.executable, '-m', 'benchmarks.fid_calc', 'straightforward', *common]}
    for count in processes:
        launch = (
            ['-m', 'torch_utils.launch', '--standalone', f'--nproc_per_node={count}'] if count > 1 else []
        )
        found[f'fid.py calc, {count} process{"es" if count > 1 else ""}'] = [
            sys.executable,
            *launch,
            'fid.py',
            'calc',
            *common,
        ]
    return found


def run(command: list[str]) -> tuple[float, float, float]:
    """Run a program from start to end; return (seconds, CPU seconds, the number in its last line)."""
    start, start_cpu = time.perf_counter(), sum(os.times()[2:4])
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, cpu = time.perf_counter() - start, sum(os.times()[2:4]) - start_cpu
    return seconds, cpu, float(re.split(r'\s', output.strip())[-1])


@click.group()
def main() -> None:
    """Compare `fid.py calc` with the straightforward way."""


def parse_processes(_context: click.Context, _param: click.Parameter, text: str) -> list[int]:
    """Return the numbers of a comma-separated list, each at least 1."""
    counts = [int(part) if part.isdecimal() else 0 for part in text.split(',')]
    if min(counts) < 1:
        raise click.BadParameter(f"'{text}' must list numbers of processes from 1 on, such as 1,2")
    return counts


_detector = click.option(
    '--detector',
    help='Feature network',
    type=click.Choice(DETECTORS),
    default=DETECTORS[0],
    show_default=True,
)
_num = click.option(
    '--num', help='Images to use', metavar='INT', type=click.IntRange(min=2), default=10000, show_default=True
)


_images = click.option(
    '--images',
    help='Folder or zip of PNG images',
    metavar='DIR|ZIP',
    type=click.Path(exists=True),
    default='datasets/mnist-32x32.zip',
    show_default=True,
)
_runs = click.option(
    '--runs',
    help='Runs of each program',
    metavar='INT',
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
)
_processes = click.option(
    '--processes',
    help='Processes of fid.py, comma-separated',
    metavar='LIST',
    callback=parse_processes,
    default='1,2',
    show_default=True,
)


@main.command()
@_images
@click.option(
    '--ref', help='Statistics, mu and sigma', metavar='NPZ', type=click.Path(exists=True), required=True
)
@_detector
@_num
def straightforward(images: str, ref: str, detector: str, num: int) -> None:
    """Measure images the straightforward way."""
    click.echo(f'{measure_straightforward(images, ref, detector, num):g}')


@main.command()
@_images
@_detector
@_num
@_processes
@_runs
def compare(images: str, detector: str, num: int, processes: list[int], runs: int) -> None:
    """Run both programs in turns, and print seconds, ratio and the numbers they give."""
    with tempfile.TemporaryDirectory() as folder:
        ref = os.path.join(folder, 'ref.npz')
        make_reference(ref, images, detector, num)
        programs = commands(images, ref, detector, num, processes)
        results = {label: [] for label in programs}
        for _ in range(runs):
            for label, command in programs.items():
                results[label].append(run(command))
    print(
        f'{num} images of {images}, {detector}, {os.cpu_count()} cores; medians of {runs} runs, '
        'from start to end of the process'
    )
    print('| program | seconds | CPU seconds | ratio | distance |\n|---|---:|---:|---:|---:|')
    medians = {label: [statistics.median(column) for column in zip(*rows)] for label, rows in results.items()}
    slowest = medians['straightforward'][0]
    for label, (seconds, cpu, value) in medians.items():
        print(f'| {label} | {seconds:.1f} | {cpu:.1f} | {slowest / seconds:.2f} | {value:g} |')
    values = [value for _, _, value in medians.values()]
    if not np.allclose(values, values[0], rtol=1e-3):
        raise click.ClickException('the programs give different numbers')


if __name__ == '__main__':
    main()
