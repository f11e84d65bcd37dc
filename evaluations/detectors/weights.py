# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Where the weights of the detectors come from, and whether they are the published ones.

Search order: the pretrained folder, the caches of this project, of torch and of CLIP, then a
download. Hashes are those that several independent public projects state for the same file.
"""

import dataclasses
import glob
import hashlib
import os

import torch

from dnnlib.errors import ArgumentError, arg
from dnnlib.util import file_sha256, make_cache_dir_path, open_url

_DOWNLOAD_ATTEMPTS = 2


class DetectorWeightsError(ArgumentError):
    """Weights of a detector are missing, or are not the published ones."""


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A weights file as its authors publish it."""

    name: str  # file name looked for
    url: str
    sha256: str | None  # None: its authors state none


@dataclasses.dataclass(frozen=True)
class FoundFile:
    """A weights file on this machine."""

    path: str
    sha256: str
    published: bool  # it is known to be a published file, by hash or, where none is stated, by name
    notes: tuple = ()  # one-line remarks for the user


_INCEPTION_PTH = '6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2'
PUBLISHED = {
    'inception': (
        PublishedFile(
            'pt_inception-2015-12-05-6726825d.pth',
            'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/'
            'pt_inception-2015-12-05-6726825d.pth',
            _INCEPTION_PTH,
        ),
        PublishedFile(
            'weights-inception-2015-12-05-6726825d.pth',
            'https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/'
            'weights-inception-2015-12-05-6726825d.pth',
            _INCEPTION_PTH,
        ),
        PublishedFile(
            'inception-2015-12-05.pt',
            'https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/'
            'inception-2015-12-05.pt',
            'f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4',
        ),
        PublishedFile(
            'classify_image_graph_def.pb',
            'https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/'
            'classify_image_graph_def.pb',
            '009d6814d1bc560d4e7b236e170e9b2d5ca6f4b57bd8037f6db05776204415c6',
        ),
    ),
    'clip-vit-b-32': (
        PublishedFile(
            'ViT-B-32.pt',
            'https://openaipublic.azureedge.net/clip/models/'
            '40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt',
            '40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af',
        ),
    ),
    'clip-vit-l-14-336': (
        PublishedFile(
            'ViT-L-14-336px.pt',
            'https://openaipublic.azureedge.net/clip/models/'
            '3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02/ViT-L-14-336px.pt',
            '3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02',
        ),
    ),
    'dinov2-vit-l-14': (
        PublishedFile(
            'dinov2_vitl14_pretrain.pth',
            'https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth',
            None,
        ),
    ),
}


def find_weights(name: str, pretrained_dir: str, path: str | None = None) -> FoundFile:
    """Return the weights file of a detector, downloading it last of all.

    Args:
        name: Detector, a key of `PUBLISHED`.
        pretrained_dir: Folder searched first.
        path: File to use instead, whatever its hash; or a folder to search instead of `pretrained_dir`.
    Raises:
        DetectorWeightsError: Nothing found, or a file with a published name and another content.
    """
    if path is not None and not os.path.isdir(path):
        return _given_file(name, path)
    for file, candidate in _places(name, path or pretrained_dir):
        if os.path.isfile(candidate):
            return _checked(name, file, candidate)
    reasons = []
    for file in PUBLISHED[name]:
        try:
            return _checked(
                name, file, open_url(file.url, num_attempts=_DOWNLOAD_ATTEMPTS, return_filename=True)
            )
        except (ValueError, OSError) as err:
            reasons.append(str(err).split(';')[0])
    raise DetectorWeightsError(missing_message(name, path or pretrained_dir, reasons[0]))


def missing_message(name: str, folder: str, reason: str) -> str:
    """Return the line that says which file to fetch from where and where to put it."""
    file = PUBLISHED[name][0]
    others = ', '.join(f'{other.name} ({other.url})' for other in PUBLISHED[name][1:])
    return (
        f'detector {name}: no weights found and no download ({reason}); fetch {file.name} from {file.url} '
        f'(SHA-256 {file.sha256 or "not published"}) into {folder}'
        + (f'; or one of {others}' if others else '')
    )


def _places(name: str, folder: str) -> list[tuple[PublishedFile, str]]:
    """List (published file, path where it might be), in the order of the search."""
    files = PUBLISHED[name]
    # The caches of pytorch-fid, torch-fidelity and torch.hub, and that of OpenAI's CLIP package.
    folders = (
        folder,
        os.path.join(torch.hub.get_dir(), 'checkpoints'),
        os.path.join(os.path.expanduser('~'), '.cache', 'clip'),
    )
    places = [(file, os.path.join(folder, file.name)) for folder in folders for file in files]
    for file in files:  # downloads of `open_url`, which EDM's programs share
        key = hashlib.md5(file.url.encode(), usedforsecurity=False).hexdigest()
        places += [
            (file, path)
            for path in glob.glob(os.path.join(glob.escape(make_cache_dir_path('downloads')), key + '_*'))
        ]
    return places


def _given_file(name: str, path: str) -> FoundFile:
    """Accept a file that the user named, and say whether it is a published one."""
    try:
        sha256 = file_sha256(path)
    except ArgumentError as error:  # a pipe or a device
        raise error.renamed(path='detector_path') from error
    except OSError as error:
        file = PUBLISHED[name][0]
        raise DetectorWeightsError(
            arg('detector_path', path),
            f' cannot be read ({error.strerror}); give a weights file of {name}, '
            f'such as {file.name} from {file.url}',
        ) from error
    known = [file for file in PUBLISHED[name] if file.sha256 == sha256]
    stated = all(file.sha256 for file in PUBLISHED[name])
    note = f'{path} has SHA-256 {sha256}, which is not that of ' + (
        'a published file' if stated else 'any file known here; its authors state none'
    )
    return FoundFile(
        path, sha256, bool(known), () if known else (f'{note}. Numbers are named after the hash',)
    )


def _checked(name: str, file: PublishedFile, path: str) -> FoundFile:
    """Make sure that a file found under a published name is that file."""
    sha256 = file_sha256(path)
    if file.sha256 is None:
        return FoundFile(
            path, sha256, True, (f'{file.name}: its authors state no SHA-256 to check; it has {sha256}',)
        )
    if sha256 != file.sha256:
        raise DetectorWeightsError(
            f'{path} has SHA-256 {sha256}, but {file.name} as published has {file.sha256}; '
            f'fetch it again from {file.url}, or give it with ',
            arg('detector_path'),
            f', which accepts any {name} weights and names the numbers after them',
        )
    return FoundFile(path, sha256, True)


def state_sha256(state: dict[str, torch.Tensor]) -> str:
    """Hash the values of a network's weights, whatever file they came from.

    Two files of different formats with the same weights have the same hash: two detectors are
    the same if and only if this is.

    Args:
        state: dict name -> float tensor on the CPU.
    Returns:
        sha256, hexadecimal, over names, shapes and float32 values in the order of the names.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().to(torch.float32).contiguous()
        digest.update(f'{name} {tuple(tensor.shape)}\n'.encode())
        digest.update(memoryview(tensor.reshape(-1).numpy()).cast('B'))
    return digest.hexdigest()
