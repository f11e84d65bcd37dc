# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""The networks that turn images into features, under one interface.

A new detector is one loader function and one line in `_LOADERS`.

Legend: N batch, C channels, H W pixels, D features, K classes, S spatial features.
"""

import functools
import os
import pathlib
import re
import typing
from collections.abc import Callable, Sequence

import torch

from dnnlib.errors import Arg, ArgumentError, arg
from dnnlib.util import file_sha256
from evaluations.detectors import inception, vit
from evaluations.detectors.inception_weights import read_inception_weights
from evaluations.detectors.mnist_classifier import FEATURE_DIM, NUM_CLASSES, RESOLUTION, load_classifier
from evaluations.detectors.untrained.random_network import FEATURE_DIM as RANDOM_DIM
from evaluations.detectors.untrained.random_network import random_features, random_weights
from evaluations.detectors.vit_weights import clip_state, dinov2_state, read_vit_weights
from evaluations.detectors.weights import PUBLISHED, find_weights, state_sha256
from torch_utils import distributed as dist
from torch_utils.misc import full_precision
from torch_utils.randomness import to_device

PRETRAINED_DIR = str(pathlib.Path(__file__).resolve().parents[2] / 'pretrained')


class Measured(typing.NamedTuple):
    """What one pass of a detector gives; all float32, on the detector's device."""

    features: torch.Tensor  # [N, D]
    logits: torch.Tensor | None = None  # [N, K]
    spatial: torch.Tensor | None = None  # [N, S]


class Detector:
    """Turn uint8 images into features, and into class scores and spatial features where it has them.

    Args:
        name: Name under which numbers made with it are reported. Weights that are not the
            published ones add the start of their hash to it.
        run: Function of (uint8 images [N, C, H, W] on `device`, spatial: bool) giving a `Measured`.
        feature_dim: D.
        sha256: Hexadecimal hash of the weights; two detectors are the same if it is.
        device: Where `run` expects its images.
        image_shape: The only (C, H, W) it accepts, or None for any size with 1 or 3 channels.
        num_classes: K, or 0 if it has no logits.
        spatial_dim: S, or 0 if it has no spatial features.
        labels_comparable: The logits are scores of the data set's own classes.
        preprocessing: How images are resized and normalised, for reports.
        weights_path: File that the weights came from; its base name is kept.
        file_sha256: Hash of that file, where it is not `sha256`: the same weights in another format have
            the same `sha256` and another `file_sha256`.
        notes: One-line remarks about the weights that the user should see.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[torch.Tensor, bool], Measured],
        feature_dim: int,
        sha256: str,
        device: torch.device | str,
        image_shape: tuple[int, int, int] | None = None,
        num_classes: int = 0,
        spatial_dim: int = 0,
        labels_comparable: bool = False,
        preprocessing: str = '',
        weights_path: str = '',
        file_sha256: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.feature_dim = feature_dim
        self.sha256 = sha256
        self.device = torch.device(device)
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.spatial_dim = spatial_dim
        self.labels_comparable = labels_comparable
        self.preprocessing = preprocessing
        self.weights_path = os.path.basename(weights_path)
        self.file_sha256 = file_sha256 or sha256
        self.notes = tuple(notes)
        self._run = run

    def check_shape(self, shape: Sequence[int], *source: str | Arg) -> None:
        """Refuse images that cannot be measured.

        Args:
            shape: Their (C, H, W).
            source: Words for the images, parts of a message; 'images' without any.
        Raises:
            ArgumentError: Another size, or neither 1 nor 3 channels.
        """
        source = source or ('images',)
        if self.image_shape is not None and tuple(shape) != self.image_shape:
            raise ArgumentError(
                *source,
                f' of shape {tuple(shape)} (channels, height, width) cannot be measured with '
                f'detector {self.name}, which takes {self.image_shape}; '
                'choose another detector or images of that shape',
            )
        if shape[0] not in (1, 3):
            raise ArgumentError(
                *source,
                f' of shape {tuple(shape)} (channels, height, width) cannot be measured with detector '
                f'{self.name}; it takes RGB images, 3 channels, or grey ones, 1 channel',
            )

    def measure(self, images: torch.Tensor, spatial: bool = False) -> Measured:
        """Return features and class scores from one pass; TF32 is switched off meanwhile.

        Args:
            images: uint8 [N, C, H, W], 0..255, on any device.
            spatial: Also return the spatial features (sFID).
        Returns:
            The `Measured`; what the detector does not have is None.
        Raises:
            ValueError: Images of another type or shape, or no spatial features to return.
        """
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(
                f'detector {self.name} was given {images.dtype} {tuple(images.shape)}; it takes uint8 '
                '[N, C, H, W] with 0..255, as training.sampling.samplers.to_uint8 makes (then permuted)'
            )
        if spatial and not self.spatial_dim:
            raise ValueError(f'detector {self.name} has no spatial features; inception does')
        self.check_shape(images.shape[1:])
        with torch.no_grad(), full_precision():
            return self._run(to_device(images, self.device), spatial)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return features, float32 [N, D], of uint8 images [N, C, H, W]."""
        return self.measure(images).features

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return class scores, float32 [N, K], of uint8 images [N, C, H, W].

        Raises:
            ValueError: The detector does not classify.
        """
        scores = self.measure(images).logits
        if scores is None:
            raise ValueError(f'detector {self.name} does not classify; mnist-classifier does')
        return scores


def _to_rgb(images: torch.Tensor) -> torch.Tensor:
    """Return images with three channels: a grey one three times."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images  # [N, 3, H, W]


def _load_mnist_classifier(device: torch.device, pretrained_dir: str, path: str | None) -> Detector:
    """The classifier of `evaluations/detectors/mnist_classifier.py`."""
    own = os.path.join(pretrained_dir, _MNIST_FILE)
    model, sha256 = load_classifier(path or own)
    model.to(device)
    shipped = path is None or (os.path.isfile(own) and file_sha256(own) == sha256)

    def run(images: torch.Tensor, _spatial: bool) -> Measured:
        features = model.features(images)  # [N, D]
        return Measured(features, model.head(features))  # [N, D], [N, K]

    return Detector(
        _reported_name('mnist-classifier', sha256, shipped),
        run,
        FEATURE_DIM,
        sha256,
        device,
        image_shape=(1, RESOLUTION, RESOLUTION),
        num_classes=NUM_CLASSES,
        labels_comparable=True,
        preprocessing='x / 127.5 - 1',
        weights_path=path or own,
    )


def _load_efficientnet_lite(
    name: str, device: torch.device, pretrained_dir: str, path: str | None
) -> Detector:
    """ImageNet features: the mean of the last EfficientNet-Lite stage, of images resized to 224 pixels."""
    from training.adversarial.features import ProjectedFeatures
    from training.backbones.stages import get_spec
    from training.backbones.weights import find_weights as find_backbone  # late: needs timm
    from training.backbones.weights import read_weights

    file = path or find_backbone(get_spec(name), pretrained_dir)
    sha256 = file_sha256(file)
    with torch.random.fork_rng(devices=[]):  # its random projections are drawn but not used here
        network = ProjectedFeatures(
            [name], input_size=224, interpolate=True, weights={name: read_weights(file)}, fused=True
        )
    network.to(device, memory_format=torch.channels_last)

    def run(images: torch.Tensor, _spatial: bool) -> Measured:
        return Measured(network.pooled_features(images.to(torch.float32) / 127.5 - 1))  # [N, 320]

    return Detector(
        _reported_name(name, sha256, path is None),
        run,
        get_spec(name).channels[-1],
        sha256,
        device,
        preprocessing='bilinear to 224 pixels (half-pixel centres, not antialiased), x / 127.5 - 1',
        weights_path=file,
    )


def _load_random_network(device: torch.device, _pretrained_dir: str, path: str | None) -> Detector:
    """The network of `evaluations/detectors/untrained/random_network.py`."""
    if path is not None:
        raise ArgumentError(
            arg('detector_path', path),
            ': detector random-conv reads no file; leave ',
            arg('detector_path'),
            ' out',
        )
    state = random_weights()
    sha256 = state_sha256(state)
    weights = {name: tensor.to(device) for name, tensor in state.items()}

    def run(images: torch.Tensor, _spatial: bool) -> Measured:
        return Measured(random_features(weights, _to_rgb(images)))  # [N, 128]

    return Detector(
        'random-conv',
        run,
        RANDOM_DIM,
        sha256,
        device,
        preprocessing='bilinear to 64 pixels (half-pixel centres, not antialiased), x / 127.5 - 1',
    )


def _load_inception(device: torch.device, pretrained_dir: str, path: str | None) -> Detector:
    """The network of FID: pool_3 features, unbiased logits, and spatial features on request."""
    found = find_weights('inception', pretrained_dir, path)
    state, notes = read_inception_weights(found.path)
    sha256 = state_sha256(state)
    network = inception.build_inception(state).to(device)

    def run(images: torch.Tensor, spatial: bool) -> Measured:
        return Measured(*network(_to_rgb(images), spatial))  # [N, 2048], [N, 1008], [N, 2023]

    return Detector(
        _reported_name('inception', sha256, found.published),
        run,
        inception.FEATURE_DIM,
        sha256,
        device,
        num_classes=inception.NUM_CLASSES,
        spatial_dim=inception.SPATIAL_DIM,
        preprocessing='TensorFlow 1 bilinear to 299 pixels, (x - 128) / 128',
        weights_path=found.path,
        file_sha256=found.sha256,
        notes=(*found.notes, *notes),
    )


def _load_clip(name: str, *where: typing.Any) -> Detector:
    """One of OpenAI's CLIPs, image embedding."""
    _timm_name, width, size = vit.CLIPS[name]
    return _load_transformer(
        name,
        functools.partial(vit.create_clip, name),
        clip_state,
        vit.fill_clip,
        vit.clip_features,
        *where,
        feature_dim=width,
        preprocessing=f'Pillow bicubic (antialiased, 8 bits) of the shorter side to {size} pixels, '
        'centre crop, CLIP mean and std',
    )


def _load_dinov2(*where: typing.Any) -> Detector:
    """Meta's DINOv2 ViT-L/14 without registers, class token."""
    return _load_transformer(
        'dinov2-vit-l-14',
        vit.create_dinov2,
        dinov2_state,
        vit.fill_dinov2,
        vit.dinov2_features,
        *where,
        feature_dim=vit.DINOV2_DIM,
        preprocessing='bicubic (antialiased, float32, not clipped) to 224x224 pixels, ImageNet mean and std',
    )


def _load_transformer(
    name: str,
    create: Callable[..., torch.nn.Module],
    read_state: Callable[..., dict[str, torch.Tensor]],
    fill: Callable[..., torch.nn.Module],
    features: Callable[..., torch.Tensor],
    device: torch.device,
    pretrained_dir: str,
    path: str | None,
    **facts: typing.Any,
) -> Detector:
    """A network of `evaluations/detectors/vit.py`, by the functions that make, read, fill and run it."""
    found = find_weights(name, pretrained_dir, path)
    model = create()
    state = read_state(read_vit_weights(found.path), model, found.path)
    sha256 = state_sha256(state)
    network = fill(model, state).to(device)

    def run(images: torch.Tensor, _spatial: bool) -> Measured:
        return Measured(features(network, _to_rgb(images)))  # [N, D]

    return Detector(
        _reported_name(name, sha256, found.published),
        run,
        sha256=sha256,
        device=device,
        weights_path=found.path,
        file_sha256=found.sha256,
        notes=found.notes,
        **facts,
    )


_MNIST_FILE = 'mnist-classifier.pt'
_LITES = [f'tf_efficientnet_lite{i}' for i in range(3)]
_LOADERS = {
    'inception': _load_inception,
    **{name: functools.partial(_load_clip, name) for name in vit.CLIPS},
    'dinov2-vit-l-14': _load_dinov2,
    **{name: functools.partial(_load_efficientnet_lite, name) for name in _LITES},
    'random-conv': _load_random_network,
    'mnist-classifier': _load_mnist_classifier,
}


def _reported_name(name: str, sha256: str, published: bool) -> str:
    """Return the name for reports: with the start of the hash unless the weights are the published ones."""
    return name if published else f'{name}-{sha256[:8]}'


def _base_name(name: str) -> str:
    """Return the name without the hash that `_reported_name` may have added."""
    return re.sub(r'-[0-9a-f]{8}$', '', name)


def detector_names() -> list[str]:
    """Return the names that `get_detector` accepts, in order."""
    return list(_LOADERS)


def find_missing(
    names: Sequence[str], path: str | None = None, pretrained_dir: str = PRETRAINED_DIR
) -> list[ArgumentError]:
    """Look for the weights of detectors, downloading them if need be, before any other work.

    All processes must call it: rank 0 goes first, so that a download happens once.

    Args:
        names: Detector names.
        path: As in `get_detector`; a file serves one detector only.
        pretrained_dir: Folder of the weights files.
    Returns:
        One error with file, URL and folder for each detector without weights.
    """
    if path is not None and len(names) > 1 and not os.path.isdir(path):
        return [
            ArgumentError(
                arg('detector_path', path),
                f' is one file, but the weights of {len(names)} detectors are needed ({", ".join(names)}); '
                'give a folder that holds the files of all',
            )
        ]
    return dist.rank0_first(
        lambda: [error for name in names if (error := _missing(name, path, pretrained_dir))]
    )


def _missing(name: str, path: str | None, pretrained_dir: str) -> ArgumentError | None:
    """Return why the weights of one detector cannot be had, or None."""
    folder, file = _split_path(path, pretrained_dir)
    try:
        if _base_name(name) in PUBLISHED:
            find_weights(_base_name(name), folder, file)
        elif file is None and _base_name(name) in _LITES:
            from training.backbones.stages import get_spec
            from training.backbones.weights import find_weights as find_backbone  # late: needs timm

            find_backbone(get_spec(_base_name(name)), folder)
        elif _base_name(name) != 'random-conv' and not os.path.isfile(
            file or os.path.join(folder, _MNIST_FILE)
        ):
            return ArgumentError(
                f'detector {name}: there is no file {file or os.path.join(folder, _MNIST_FILE)}'
            )
    except ArgumentError as error:
        return error
    except (ValueError, ImportError) as error:
        return ArgumentError(str(error))
    return None


def _split_path(path: str | None, pretrained_dir: str) -> tuple[str, str | None]:
    """Return (folder to search, file to use or None) for the `path` that the user gave."""
    if path is not None and os.path.isdir(path):
        return path, None
    return pretrained_dir, path


def get_detector(
    name: str,
    device: torch.device | str = 'cpu',
    pretrained_dir: str = PRETRAINED_DIR,
    path: str | None = None,
) -> Detector:
    """Return a detector by its name, ready to measure.

    Args:
        name: One of `detector_names()`; or the name that a detector with other weights was reported
            under, which asks for these weights.
        device: Device to run on.
        pretrained_dir: Folder of the weights files.
        path: Weights file to use instead, published or not; or a folder to search instead.
    Returns:
        The detector; its name ends in the start of its hash unless the weights are published ones.
    Raises:
        ValueError: Unknown name, or weights that are missing, broken or not those asked for.
    """
    base = _base_name(name)
    if base not in _LOADERS:
        raise ArgumentError(arg('detector', name), f' is not known; choose one of {", ".join(_LOADERS)}')
    folder, file = _split_path(path, pretrained_dir)
    detector = _LOADERS[base](torch.device(device), folder, file)
    if name not in (base, detector.name):
        raise ArgumentError(
            arg('detector', name),
            f' asks for weights whose hash starts with {name[-8:]}, but those of {detector.weights_path} '
            f'start with {detector.sha256[:8]}; give the file of these weights with ',
            arg('detector_path'),
        )
    return detector
