# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Measure images with the Frechet distance of detector features, or make reference statistics.

    python fid.py calc --images=out --ref=datasets/mnist-32x32-train-ref-mnist-classifier.npz --num=5000
    python -m torch_utils.launch --standalone --nproc_per_node=2 fid.py calc ...

Options and the choice of images are those of EDM's program of this name. The work is
done in evaluations/.
"""

import contextlib
import json
import os

import click
import torch

from dnnlib.util import atomic_write
from evaluations.detectors import detector_names, get_detector
from evaluations.measure import hash_dataset, measure_dataset
from evaluations.metrics import frechet_parts
from evaluations.statistics import Reference, load_reference, save_reference
from torch_utils import distributed as dist
from training.dataset import DatasetError, ImageFolderDataset


@contextlib.contextmanager
def _processes(data_option):
    """Join the other processes for one command, and turn bad input into a one-line error.

    The data set calls its path --data; the error has to name the option of this command.
    """
    try:
        dist.init()
        torch.backends.cudnn.allow_tf32 = False     # the features must not depend on the GPU's generation
        yield dist.get_device()
        dist.destroy()
    except ValueError as err:
        raise click.ClickException(str(err).replace('--data=', f'{data_option}=')) from err
    except OSError as err:
        raise click.ClickException(f'{err.filename or "a file"} cannot be used: {err.strerror or err}') from err


def _check_output(path, option, extension):
    """Make the parent folder of an output file, before any long work; refuse an unsuitable name."""
    if not path.lower().endswith(extension) or os.path.isdir(path):
        raise ValueError(f'{option}={path} must name a file ending in {extension}; try {option}=result{extension}')
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)


def _open_images(path, option, num=None, seed=0):
    """Open a folder or zip without its labels, which must not matter here."""
    dataset = ImageFolderDataset(path, max_size=num, random_seed=seed)
    if num is not None and len(dataset) < num:
        raise ValueError(f'{option}={path} holds {len(dataset)} images, but --num={num}; try --num={len(dataset)}')
    if len(dataset) < 2:
        raise ValueError(f'{option}={path} holds {len(dataset)} image; statistics need at least 2')
    return dataset


def _open_labelled(path, num, seed, detector):
    """Open the images with their classes; (None, reason) when the classes cannot be compared."""
    if not detector.num_classes:
        return None, f'detector {detector.name} does not classify'
    try:
        dataset = ImageFolderDataset(path, max_size=num, random_seed=seed, use_labels=True)
    except DatasetError as err:
        return None, str(err)
    if not dataset.has_labels:
        return None, 'the images have no dataset.json with labels'
    if not dataset.has_onehot_labels or dataset.label_dim > detector.num_classes:
        return None, f'the labels are not class numbers 0..{detector.num_classes - 1}'
    return dataset, None


@click.group()
def main():
    """Frechet distance between images and reference statistics.

    The number is named after its detector and number of images, for instance
    frechet-mnist-classifier-5000. It is comparable only to numbers of the same name
    and reference; the name FID is kept for Inception with 50000 images.
    """


@main.command()
@click.option('--images', help='Images to measure, folder or zip', metavar='ZIP|DIR', type=str, required=True)
@click.option('--ref', help='Reference statistics, from `fid.py ref`', metavar='NPZ|URL', type=str, required=True)
@click.option('--detector', help='Feature network  [default: that of --ref]', type=click.Choice(detector_names()))
@click.option('--num', help='Images to use', metavar='INT', type=click.IntRange(min=2), default=50000, show_default=True)
@click.option('--seed', help='Choice of images if there are more', metavar='INT', type=int, default=0, show_default=True)
@click.option('--batch', help='Largest batch per process', metavar='INT', type=click.IntRange(min=1), default=64, show_default=True)
@click.option('--workers', help='Decoding processes, 0 for none', metavar='INT', type=click.IntRange(min=0), default=2, show_default=True)
@click.option('--json', 'json_path', help='Also write the result here', metavar='JSON', type=str)
def calc(images, ref, detector, num, seed, batch, workers, json_path):
    """Measure a folder or zip of images against a reference."""
    with _processes('--images') as device:
        if json_path is not None:
            _check_output(json_path, '--json', '.json')
        reference = load_reference(ref)
        if detector is None and reference.detector is None:
            raise ValueError(f'--ref={ref} does not say which detector made it; give --detector, one of {", ".join(detector_names())}')
        network = get_detector(detector or reference.detector, device)
        dataset = _open_images(images, '--images', num, seed)
        network.check_shape(dataset.image_shape, what=f'images of --images={images}')
        notes = reference.check(network, dataset.image_shape)
        labelled, reason = _open_labelled(images, num, seed, network)
        if labelled is None:
            notes.append(f'no class accuracy: {reason}')
        if num <= network.feature_dim:
            notes.append(f'--num={num} is not more than the {network.feature_dim} features; the distance is dominated by chance')
        meter = measure_dataset(labelled or dataset, network, batch, workers)
        if dist.get_rank() == 0:
            result = _result(meter, reference, dataset, images=images, seed=seed)
            _print_result(result, reference, notes)
            if json_path is not None:
                with atomic_write(json_path) as f:
                    f.write((json.dumps(result, indent=2) + '\n').encode())


def _result(meter, reference, dataset, **facts):
    """Everything worth keeping about one measurement, as a plain dict."""
    mean_term, cov_term = frechet_parts(meter.stats.mean(), meter.stats.cov(), reference.mu, reference.sigma)
    name, num = meter.detector.name, meter.stats.num_images
    return dict(
        metric=f'frechet-{name}-{num}', value=mean_term + cov_term, mean_term=mean_term, cov_term=cov_term,
        class_accuracy=meter.accuracy, num_images=num, image_shape=dataset.image_shape, **facts,
        detector=name, detector_sha256=meter.detector.sha256, ref=reference.path, ref_sha256=reference.sha256,
        ref_dataset=reference.dataset, ref_num_images=reference.num_images,
    )


def _print_result(result, reference, notes):
    """Print notes, what was compared, and the numbers; the distance comes last."""
    for note in notes:
        click.echo(f'Note: {note}')
    made_from = f'{reference.num_images} images of {reference.dataset}' if reference.dataset else 'origin unknown'
    click.echo(f'Images:    {result["num_images"]} of {result["images"]}, seed {result["seed"]}')
    click.echo(f'Reference: {reference.path} ({made_from}), sha256 {reference.sha256[:12]}')
    click.echo(f'Terms:     means {result["mean_term"]:g}, covariances {result["cov_term"]:g}')
    if result['class_accuracy'] is not None:
        click.echo(f'class-accuracy-{result["detector"]}-{result["num_images"]}: {100 * result["class_accuracy"]:.2f} %')
    click.echo(f'{result["metric"]}: {result["value"]:g}')


@main.command()
@click.option('--data', help='All images of the data set, folder or zip', metavar='ZIP|DIR', type=str, required=True)
@click.option('--dest', help='Where to write the statistics', metavar='NPZ', type=str, required=True)
@click.option('--detector', help='Feature network', type=click.Choice(detector_names()), required=True)
@click.option('--batch', help='Largest batch per process', metavar='INT', type=click.IntRange(min=1), default=64, show_default=True)
@click.option('--workers', help='Decoding processes, 0 for none', metavar='INT', type=click.IntRange(min=0), default=2, show_default=True)
def ref(data, dest, detector, batch, workers):
    """Make reference statistics from all images of a data set."""
    with _processes('--data') as device:
        _check_output(dest, '--dest', '.npz')
        network = get_detector(detector, device)
        dataset = _open_images(data, '--data')
        network.check_shape(dataset.image_shape, what=f'images of --data={data}')
        stats = measure_dataset(dataset, network, batch, workers).stats
        if dist.get_rank() == 0:
            save_reference(dest, Reference(
                mu=stats.mean(), sigma=stats.cov(), num_images=stats.num_images, image_shape=tuple(dataset.image_shape),
                detector=network.name, detector_sha256=network.sha256, dataset=dataset.name, dataset_sha256=hash_dataset(data)))
            click.echo(f'Statistics of {stats.num_images} images of {dataset.name} with {network.name} are in {dest}')


if __name__ == '__main__':
    main()
