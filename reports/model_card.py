# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A card for a network that is passed on: what it is, how to use it, and what was measured."""

import os
import shlex
from collections.abc import Sequence
from typing import Any

import jinja2

from dnnlib.errors import ArgumentError, arg
from reports.json_files import read_object, typed
from reports.measurements import Measurement, read_measurements, read_report

PAPER = 'Zheng & Yang, *Diffusion Models Are Innate One-Step Generators*, arXiv 2405.20750'
JSON = arg('json', 'FILE')  # the option that writes such files


def find_measurements(network: str, sha256: str, key: str, reports: Sequence[str] = ()) -> list[Measurement]:
    """Return what was measured of a network: in files of its folder, and in reports that a user names.

    Args:
        network: Path or URL of the network.
        sha256:  Hash of its file.
        key:     Which of its weights.
        reports: JSON files of `fid.py`.
    Raises:
        ArgumentError: A report holds no number, or is about another network.
    """
    folder = os.path.dirname(network) or '.'
    beside = read_measurements(folder) if os.path.isdir(folder) else []
    original = read_object(os.path.splitext(network)[0] + '.json') or {}  # best-NAME.json names the snapshot
    names = {os.path.basename(network), typed(original, 'snapshot', str, '')}
    found = [item for item in beside if item.key == key and _is_about(item, sha256, names)]
    for path in reports:
        items = read_report(path)
        if not items:
            raise ArgumentError(arg('metrics', path), ' holds no results; give a file of fid.py gen, ', JSON)
        if any(item.sha256 != sha256 or item.key != key for item in items):
            about = f' is not about {key} of {network}; measure it with fid.py gen, '
            raise ArgumentError(arg('metrics', path), about, JSON)
        found += [item for item in items if item not in found]
    return found


def _is_about(item: Measurement, sha256: str, names: set[str | None]) -> bool:
    return item.sha256 == sha256 if item.sha256 else item.network in names


def render_card(
    name: str, config: dict[str, Any], results: Sequence[Measurement], pipeline: bool, samples: int = 0
) -> str:
    """Return the card as Markdown, with metadata in front as model hubs read them.

    Args:
        name:     Name of the file or folder that the card describes.
        config:   Configuration of the network, as in the safetensors file.
        results:  What `find_measurements` returned.
        pipeline: The card describes a folder for diffusers, with samples.png.
        samples:  Images in samples.png.
    """
    loader = jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__)))
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters.update(cell=_cell, quoted=repr, shell=shlex.quote)
    return environment.get_template('model_card.md').render(
        name=name if pipeline else os.path.splitext(name)[0],
        file=name,
        about=describe(config),
        classes=config['label_dim'],
        facts=list_facts(config),
        results=results,
        dataset=dataset_name(config),
        source=config['source']['file'],
        pipeline=pipeline,
        samples=samples,
    )


def describe(config: dict[str, Any]) -> str:
    """Say in a sentence or two what a network makes."""
    side, classes = config['img_resolution'], config['label_dim']
    kind = 'grey' if config['img_channels'] == 1 else 'RGB'
    of_classes = f' of {classes} classes' if classes else ''
    images = f'{kind} images of {side}x{side} pixels{of_classes}, like those of {dataset_name(config)}'
    if config['function'] == 'denoiser':
        return f'A diffusion model (EDM) of {images}.'
    calls = len(config['levels'])
    steps = 'one network evaluation' if calls == 1 else f'{calls} network evaluations'
    return f'A generator of {images}: {steps} per image. For the method see {PAPER}.'


def list_facts(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of a network: label, text."""
    metadata = config.get('metadata') or {}
    facts = [
        ('class', f'{config["class_name"]}, {config["init_kwargs"].get("model_type", "")}'.rstrip(', ')),
        ('weights', config['key']),
        ('noise levels', ', '.join(f'{level:g}' for level in config['levels'])),
        ('training images', dataset_name(config)),
        ('images seen', f'{metadata["nimg"]:,}' if 'nimg' in metadata else ''),
        ('batch', str(metadata.get('batch_size', ''))),
        ('exported from', config['source']['file']),
        ('SHA-256 of that file', config['source']['sha256']),
    ]
    return [(label, text) for label, text in facts if text]


def _cell(text: str) -> str:
    # What comes out of files is text: no column of a table, and no HTML, which Markdown would pass on.
    return ' '.join(text.split()).replace('&', '&amp;').replace('<', '&lt;').replace('|', r'\|')


def dataset_name(config: dict[str, Any]) -> str:
    """Return the name of the training images, without the ending of the archive."""
    path = str((config.get('dataset_kwargs') or {}).get('path') or 'unknown images')
    return os.path.basename(path).removesuffix('.zip')
