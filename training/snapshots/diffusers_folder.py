# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A generator as a folder that diffusers loads: weights, structure, and the code of network and pipeline.

    model_index.json        which pipeline, of which parts
    gdd_pipeline.py         the pipeline (for_diffusers/)
    unet/config.json        structure of the network, noise levels
    unet/diffusion_pytorch_model.safetensors
    unet/gdd_unet.py        the network for diffusers (for_diffusers/)
    unet/gdd_networks.py    the text of training/networks.py

Nothing of this project is needed to load it. diffusers runs code of a folder only for those who say
trust_remote_code=True; the three files are written here, and are the same for all networks.
"""

import importlib.util
import json
import os
import pathlib
from typing import Any

import torch

from dnnlib.errors import ArgumentError
from training import networks
from training.snapshots.safetensors_file import require_own_class, save_tensors

DIFFUSERS_VERSION = '0.35.0'  # 0.35.2 and 0.42.1 load the folder; older ones were not tried
WEIGHTS = 'diffusion_pytorch_model.safetensors'
PREFIX = 'net.'  # of the names of tensors: the network is an attribute of the model
CONFIGURED = ('class_name', 'init_kwargs', 'attributes', 'levels')  # arguments of `GDDUNet`
IMPORT = 'from torch_utils import persistence\n'
STAND_IN = '''
class persistence:
    """Stand-in for what lets the classes below travel in pickles, which nobody needs here."""

    @staticmethod
    def persistent_class(cls):
        return cls
'''


def write_folder(path: str, net: torch.nn.Module, config: dict[str, Any]) -> None:
    """Write the folder, without card and pictures.

    Args:
        path:   Folder to create; it must not exist.
        net:    Network of a class of `training.networks`.
        config: What `describe_network` returned, with `levels` of a generator.
    Raises:
        ArgumentError: The class is not ours, or the package safetensors is missing.
        OSError:       The folder cannot be written.
    """
    require_own_class(net)
    texts = pathlib.Path(__file__).parent / 'for_diffusers'
    unet = pathlib.Path(path) / 'unet'
    unet.mkdir(parents=True)
    index = dict(
        _class_name=['gdd_pipeline', 'GDDPipeline'],
        _diffusers_version=DIFFUSERS_VERSION,
        unet=['gdd_unet', 'GDDUNet'],
    )
    structure = {name: config[name] for name in CONFIGURED}
    structure = dict(_class_name='GDDUNet', _diffusers_version=DIFFUSERS_VERSION, **structure)
    files = {
        'model_index.json': json.dumps(index, indent=2) + '\n',
        'gdd_pipeline.py': (texts / 'gdd_pipeline.py').read_text('utf-8'),
        'unet/config.json': json.dumps(structure, indent=2, allow_nan=False) + '\n',
        'unet/gdd_unet.py': (texts / 'gdd_unet.py').read_text('utf-8'),
        'unet/gdd_networks.py': network_text(),
    }
    for name, text in files.items():
        (pathlib.Path(path) / name).write_text(text, 'utf-8')
    tensors = {PREFIX + name: tensor for name, tensor in net.state_dict().items()}
    save_tensors(str(unet / WEIGHTS), tensors, config)


def network_text() -> str:
    """Return the text of training/networks.py as a file that needs nothing of this project."""
    text = pathlib.Path(networks.__file__).read_text('utf-8')
    if text.count(IMPORT) != 1:
        raise ArgumentError(f'training/networks.py must hold the line {IMPORT.strip()!r} once')
    return text.replace(IMPORT, STAND_IN)


def read_folder(path: str) -> torch.nn.Module:
    """Build the network of a folder that was just written, from its own code: proof that it is complete.

    This runs unet/gdd_networks.py, so only for folders of `write_folder`.
    """
    import safetensors.torch

    unet = pathlib.Path(path) / 'unet'
    spec = importlib.util.spec_from_file_location('gdd_networks', unet / 'gdd_networks.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with open(unet / 'config.json', encoding='utf-8') as file:
        config = json.load(file)
    arguments = {
        name: float('inf') if value == 'Infinity' else value for name, value in config['init_kwargs'].items()
    }
    net = getattr(module, config['class_name'])(**arguments)
    modules = dict(net.named_modules())
    for name, values in config['attributes'].items():
        for key, value in values.items():
            setattr(modules[name], key, float('inf') if value == 'Infinity' else value)
    tensors = safetensors.torch.load_file(os.fspath(unet / WEIGHTS))
    net.load_state_dict({name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()})
    return net.eval().requires_grad_(False)
