# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Snapshot streams as other programs write them, for the tests of the readers.

`UpstreamPickler` lets torch and NumPy pickle themselves, as upstream's programs do, so the result
differs from our own writer in hooks, containers, tensors and NumPy scalars. The slot of the
embedded source text holds a harmless stand-in: readers must never look at it.
"""

import copyreg
import io
import pickle
from collections import OrderedDict

import numpy as np
import torch

from torch_utils import persistence
from training import networks

STAND_IN_SOURCE = 'raise RuntimeError("text of a snapshot was executed")\n'
SMALL = dict(
    img_resolution=16,
    img_channels=3,
    label_dim=4,
    channel_mult=[1, 2],
    num_blocks=1,
    attn_resolutions=[8],
    dropout=0,
)
S1 = dict(
    SMALL,
    model_type='SongUNet',
    model_channels=8,
    embedding_type='fourier',
    encoder_type='residual',
    decoder_type='standard',
    channel_mult_noise=2,
    resample_filter=[1, 3, 3, 1],
    augment_dim=9,
)
S2 = dict(SMALL, model_type='SongUNet', model_channels=8, augment_dim=9)
S3 = dict(SMALL, model_type='SongUNet', model_channels=8, encoder_type='skip', decoder_type='skip')
A1 = dict(SMALL, model_type='DhariwalUNet', model_channels=32, augment_dim=9)
TINY = dict(
    img_resolution=8,
    img_channels=1,
    model_type='SongUNet',
    model_channels=4,
    channel_mult=[1],
    num_blocks=1,
    attn_resolutions=[],
)


# Bookkeeping of a module that torch 1.12 did not have yet.
NEW_HOOKS = (
    '_backward_pre_hooks',
    '_forward_hooks_with_kwargs',
    '_forward_hooks_always_called',
    '_forward_pre_hooks_with_kwargs',
    '_state_dict_pre_hooks',
)


class Call:
    """An object that pickles as the call of any function, with or without a state."""

    def __init__(self, function, *args, state=None):
        self.function, self.args, self.state = function, args, state

    def __reduce__(self):
        return (self.function, self.args) if self.state is None else (self.function, self.args, self.state)


class UpstreamPickler(pickle._Pickler):
    """Pickle networks as upstream does.

    Args:
        file:       Where to.
        protocol:   2 to 5.
        gdd:        Add the attributes only GDD has.
        numpy1:     Spell NumPy's names as NumPy 1.x does.
        containers: Type of the dictionaries of parameters, buffers and children.
        torch1:     Write the state of modules as torch 1.12 does.
        edit:       Function (class name, state dict) that may change a state.
        source:     Program text to embed.
    """

    def __init__(
        self,
        file,
        protocol=4,
        gdd=False,
        numpy1=False,
        containers=dict,
        torch1=False,
        edit=None,
        source=STAND_IN_SOURCE,
    ):
        super().__init__(file, protocol=protocol)
        self.gdd, self.numpy1, self.torch1, self.edit, self.source = gdd, numpy1, torch1, edit, source
        self.containers = OrderedDict if torch1 else containers

    def reducer_override(self, obj):
        if type(obj) is torch.nn.ModuleDict:
            return copyreg.__newobj__, (torch.nn.ModuleDict,), self._state(obj)
        if not persistence.is_persistent(obj):
            return NotImplemented
        name = type(obj).__name__
        state = self._state(obj)
        if 'skip_scale' in state:
            state['skip_scale'] = np.float64(state['skip_scale'])
        if self.gdd and name == 'Conv2d':
            state['groups'] = 1
        if self.gdd and name == 'SongUNet':
            state['augment_dim'] = 0
        if self.edit is not None:
            self.edit(name, state)
        meta = dict(type='class', version=6, module_src=self.source, class_name=name, state=state)
        return persistence._reconstruct_persistent_obj, (meta,)

    def _state(self, obj):
        state = {key: value for key, value in obj.__dict__.items() if not (self.torch1 and key in NEW_HOOKS)}
        for key in {'_parameters', '_buffers', '_modules'} & set(state):
            state[key] = self.containers(state[key])
        return state

    def save_global(self, obj, name=None):
        # Whatever NumPy is installed, the spelling is the one asked for.
        if getattr(obj, '__module__', None) in ('numpy._core.multiarray', 'numpy.core.multiarray'):
            module = 'numpy.core.multiarray' if self.numpy1 else 'numpy._core.multiarray'
            if self.proto >= 4:
                self.save(module)
                self.save(obj.__name__)
                self.write(pickle.STACK_GLOBAL)
            else:
                self.write(pickle.GLOBAL + f'{module}\n{obj.__name__}\n'.encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    # numpy's scalar function is a builtin, which the dispatch table sends elsewhere.
    dispatch = dict(pickle._Pickler.dispatch)
    dispatch[type(np.float64(0).__reduce__()[0])] = save_global


def upstream_bytes(content, **options):
    """Return the pickle of a snapshot dict as upstream would write it."""
    file = io.BytesIO()
    UpstreamPickler(file, **options).dump(content)
    return file.getvalue()


def edm_content(net, **more):
    """Return the top-level dict of an EDM snapshot around a network."""
    return dict(
        ema=net,
        loss_fn=None,
        augment_pipe=None,
        dataset_kwargs=dict(
            class_name='training.dataset.ImageFolderDataset',
            path='cifar10.zip',
            use_labels=True,
            xflip=False,
            cache=True,
            resolution=16,
            max_size=50000,
        ),
        **more,
    )


def small_network(cls=networks.EDMPrecond, seed=0, **kwargs):
    """Return a network in the state of a snapshot, with all weights far from zero."""
    net = cls(**kwargs).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in list(net.named_parameters()) + list(net.named_buffers()):
        if 'resample_filter' not in name and name != 'u':
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2 + (tensor.ndim == 1) * 0.5)
    return net


def network_output(net):
    """Run a network on fixed inputs, float32 [2, C, H, W]."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn([2, net.img_channels, net.img_resolution, net.img_resolution], generator=generator)
    labels = torch.eye(net.label_dim)[:2] if net.label_dim else None
    return net(x, torch.tensor([2.0, 0.5]), labels)


def empty_hooks():
    """Return an empty hook dictionary, as tensors carry it."""
    return OrderedDict()


def persistent(source, class_name, state):
    """An object that pickles as one of a persistent class whose text is `source`."""
    meta = dict(type='class', version=6, module_src=source, class_name=class_name, state=state)
    return Call(persistence._reconstruct_persistent_obj, meta)


def module_state(**attributes):
    """State of a bare torch.nn.Module with further attributes; `modules` are its children by name."""
    modules = attributes.pop('modules', {})
    return dict(torch.nn.Module().__dict__, training=True, _modules=modules, **attributes)
