# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Reference files of any origin: several metrics in one file (EDM2), and a description of what a file holds.

Formats: evaluation files of EDM and GDD (mu, sigma), of OpenAI (with mu_s, sigma_s and images), of EDM2
(a pickle with one mu and sigma per metric), and our own.

Legend: N images, D features, S spatial features.
"""

import os
import pickle
import re
import zipfile

import numpy as np

from dnnlib.util import file_sha256, open_url
from evaluations.metrics.moments import Reference, check_shapes, load_reference
from evaluations.metrics.names import DETECTOR_OF_WIDTH, metric_name

_DETECTOR_OF_METRIC = {'fid': 'inception', 'fd_dinov2': 'dinov2-vit-l-14'}  # EDM2's metric names
_MAX_NAMES = 16
# What is known about members of an .npz, by name.
_MEANINGS = {
    'mu': 'mean of the features',
    'sigma': 'covariance of the features',
    'mu_s': 'mean of the spatial features (sFID)',
    'sigma_s': 'covariance of the spatial features (sFID)',
    'features': 'features of a random subset of the images (KID, precision/recall, density/coverage)',
    'arr_0': 'images',
    'arr_1': 'class numbers of the images',
    'mu_clip': 'mean of CLIP features before the projection (not those of CLIP-FID; unused)',
    'sigma_clip': 'covariance of CLIP features before the projection (not those of CLIP-FID; unused)',
}


def load_references(path, option='--ref'):
    """Read all statistics of a reference file.

    Args:
        path: `.npz` or EDM2 `.pkl` file, or URL.
        option: Command-line option that gave it, for messages.
    Returns:
        list of `Reference`, one per detector.
    Raises:
        ValueError: Missing, unreadable, or not holding statistics.
    """
    if not str(path).lower().endswith('.pkl'):
        return [load_reference(path, option)]
    try:
        local = open_url(path, return_filename=True)
        sha256 = file_sha256(local)
        with open(local, 'rb') as f:
            content = _plain(_ArrayUnpickler(f).load())
    except OSError as err:
        raise ValueError(
            f'{option}={path} cannot be read: {err.strerror or err}; give an .npz or .pkl file'
        ) from err
    except Exception as err:  # damaged pickles raise nearly anything
        raise ValueError(
            f'{option}={path} is not a reference file of EDM2, a dict of arrays ({err}); give an .npz file'
        ) from err
    references = _edm2_references(content, str(path), sha256)
    if not references:
        raise ValueError(
            f'{option}={path} holds no statistics with mu and sigma under {" or ".join(_DETECTOR_OF_METRIC)}; '
            'give another file'
        )
    for ref in references:
        check_shapes(ref, f'{option}={path}')
    return references


def _edm2_references(content, path, sha256):
    """Return the statistics of EDM2's nested dict whose metric names are known."""
    if not isinstance(content, dict):
        return []
    count = content.get('num_images')
    return [
        Reference(
            mu=np.array(part['mu'], dtype=np.float64),
            sigma=np.array(part['sigma'], dtype=np.float64),
            num_images=int(count) if isinstance(count, (int, float, np.number)) else None,
            detector=_DETECTOR_OF_METRIC[name],
            path=path,
            sha256=sha256,
        )
        for name, part in content.items()
        if name in _DETECTOR_OF_METRIC
        and isinstance(part, dict)
        and {'mu', 'sigma'} <= part.keys()
        and isinstance(part['mu'], np.ndarray)
        and isinstance(part['sigma'], np.ndarray)
    ]


class _Dtype:
    """Stand-in for a NumPy number type in a pickle; NumPy's own would take over whatever state the file names."""

    def __init__(self, name, *_flags):
        if not isinstance(name, str) or not re.fullmatch(r'[fiu][1-8]', name):
            raise ValueError(f'the type {name!r} is no number type')
        self.name, self.order = name, '<'

    def __setstate__(self, state):
        self.order = '>' if state[1] == '>' else '<'

    def number_type(self):
        return np.dtype(self.order + self.name)


class _Array:
    """Stand-in for a NumPy array in a pickle."""

    def __init__(self, *_arguments):
        self.value = None

    def __setstate__(self, state):
        _version, shape, dtype, fortran, data = state
        self.value = np.frombuffer(data, dtype.number_type()).reshape(shape, order='F' if fortran else 'C')


def _from_buffer(data, dtype, shape, order):
    """An array as pickle protocol 5 stores it."""
    array = _Array()
    array.value = np.frombuffer(data, dtype.number_type()).reshape(shape, order='F' if order == 'F' else 'C')
    return array


def _scalar(dtype, data):
    return np.frombuffer(data, dtype.number_type())[0].item()


def _latin1_bytes(text, encoding):
    if encoding != 'latin1':
        raise ValueError(f'bytes are encoded as {encoding!r}')
    return text.encode('latin1')


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickle numbers, texts, containers and arrays of numbers; nothing of the file can be executed."""

    _NAMES = {
        ('multiarray', '_reconstruct'): _Array,
        ('multiarray', 'scalar'): _scalar,
        ('numeric', '_frombuffer'): _from_buffer,
    }
    _FIXED = {
        ('numpy', 'ndarray'): 'ndarray',
        ('numpy', 'dtype'): _Dtype,
        ('_codecs', 'encode'): _latin1_bytes,
    }

    def find_class(self, module, name):
        match = re.fullmatch(r'numpy\._?core\.(\w+)', module)
        found = self._NAMES.get((match[1], name)) if match else self._FIXED.get((module, name))
        if found is None:
            raise ValueError(f'it refers to {module}.{name}, which statistics have no use for')
        return found


def _plain(value):
    """Return a value with its array stand-ins replaced by arrays."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.value if isinstance(value, _Array) else value


def describe_file(path):
    """Explain a reference file or an image pack.

    Args:
        path: `.npz` or `.pkl` file, or URL.
    Returns:
        list of lines.
    Raises:
        ValueError: Unreadable, or of another kind.
    """
    if str(path).lower().endswith('.pkl'):
        references = load_references(path, 'FILE')
        lines = [f'{path}: statistics of EDM2, sha256 {references[0].sha256}']
        for ref in references:
            lines += _describe_statistics(ref)
        return lines
    members = _read_headers(path)
    if not {'mu', 'sigma'} <= members.keys() and 'arr_0' not in members:
        raise ValueError(
            f'FILE={path} holds neither statistics (mu, sigma) nor images (arr_0), but '
            f'{", ".join(list(members)[:_MAX_NAMES]) or "nothing"}; give a reference file or an image pack'
        )
    lines = [f'{path}: {_kind(members)}']
    for name, (dtype, shape) in members.items():
        if shape or name in _MEANINGS:
            lines.append(
                f'  {name:<12s} {dtype} {list(shape)}: {_MEANINGS.get(name, "unused" if name != "image_shape" else "see below")}'
            )
    if 'mu' in members:
        lines += _describe_statistics(load_reference(path, 'FILE'))
    if 'arr_0' in members:
        lines.append(
            f'  its {members["arr_0"][1][0]} images serve fid.py calc --images='
            + (
                ', and as the reference of kid, pr and dc'
                if 'mu' in members
                else ', and evaluations.evaluator'
            )
        )
    return lines


def _kind(members):
    if 'format_version' in members or 'detector' in members:
        return 'reference statistics of this project'
    if 'arr_0' not in members:
        return 'statistics as EDM, GDD and pytorch-fid write them; the file does not say of which images and detector'
    return (
        'reference batch as OpenAI publishes it' if 'mu' in members else 'image pack (samples, no statistics)'
    )


def _read_headers(path):
    """Return name -> (type, shape) of the arrays in an .npz file, without reading the arrays."""
    members = {}
    try:
        with zipfile.ZipFile(open_url(path, return_filename=True)) as archive:
            for name in archive.namelist():
                with archive.open(name) as f:
                    version = np.lib.format.read_magic(f)
                    read = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _fortran, dtype = read(f)
                members[name.removesuffix('.npy')] = (dtype, shape)
    except OSError as err:
        raise ValueError(
            f'FILE={path} cannot be read: {err.strerror or err}; give a reference file or an image pack'
        ) from err
    except (ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as err:
        raise ValueError(
            f'FILE={path} is not an .npz file ({err}); give a reference file or an image pack'
        ) from err
    return members


def _describe_statistics(ref):
    """Lines about one `Reference`."""
    detector = ref.detector or DETECTOR_OF_WIDTH.get(ref.mu.size)
    named = ref.detector or (
        f'not named; {ref.mu.size} features suggest {detector}' if detector else 'not named'
    )
    facts = [
        ('detector', named),
        ('weights', ref.detector_sha256 and f'sha256 {ref.detector_sha256}'),
        ('preprocessing', ref.preprocessing),
        (
            'features',
            f'{ref.mu.size}, |mean| {np.linalg.norm(ref.mu):g}, trace of covariance {np.trace(ref.sigma):g}',
        ),
        ('images', ref.num_images),
        ('image shape', ref.image_shape and '{} channels, {} x {} pixels'.format(*ref.image_shape)),
        ('data set', ref.dataset and f'{ref.dataset}, sha256 {ref.dataset_sha256}'),
        (
            'subset',
            None if ref.features is None else f'{len(ref.features)} features, seed {ref.features_seed}',
        ),
        ('made with', ref.software),
        ('format', ref.format_version),
        ('file', f'sha256 {ref.sha256}'),
    ]
    lines = [f'  {name + ":":<15s} {value}' for name, value in facts if value is not None]
    return lines + (
        [f'  {"serves for:":<15s} {metric_name(detector, "fid", 50000)} and the like'] if detector else []
    )


def resolution_in_name(path):
    """Return the side in pixels that a file name such as ffhq-64x64.npz states, or None."""
    match = re.search(r'(?<!\d)(\d{2,4})x\1(?!\d)', os.path.basename(str(path)))
    return int(match[1]) if match else None
