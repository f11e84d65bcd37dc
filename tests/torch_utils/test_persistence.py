# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of torch_utils/persistence.py: recording of constructor arguments, and the writer's reductions."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch

from torch_utils import persistence


@persistence.persistent_class
class Inner(torch.nn.Module):
    def __init__(self, width, bias=True):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(float(width)))
        self.bias = torch.nn.Parameter(torch.zeros(width)) if bias else None
        self.register_buffer('nothing', None)


@persistence.persistent_class
class Outer(torch.nn.Module):
    def __init__(self, width, options=None, *, scale=1.0):
        super().__init__()
        self.scale = scale
        self.children_by_name = None
        self.inner = Inner(width, bias=False)
        self.blocks = torch.nn.ModuleDict({'a': Inner(width)})
        if options is not None:
            options.append('changed by the constructor')


@persistence.persistent_class
class Derived(Outer):
    def __init__(self, extra, **kwargs):
        super().__init__(width=3, **kwargs)
        self.extra = extra


class Undecorated(Outer):
    pass


@persistence.persistent_class
class Loss:
    def __init__(self, mean=-1.2):
        self.mean = mean


class Restorer(pickle.Unpickler):
    """Unpickle trusted bytes of this test, with persistent objects as their meta dict."""

    def find_class(self, module, name):
        if name == '_reconstruct_persistent_obj':
            return lambda meta: meta
        return super().find_class(module, name)


def dumped(obj):
    file = io.BytesIO()
    persistence.dump(obj, file)
    file.seek(0)
    return Restorer(file).load()


def test_arguments_are_recorded_by_name_without_defaults():
    assert Outer(2)._init_kwargs == {'width': 2} and Outer(2)._init_args == ()
    assert Outer(2, None, scale=3.0)._init_kwargs == {'width': 2, 'options': None, 'scale': 3.0}
    assert Outer(2).inner._init_kwargs == {'width': 2, 'bias': False}
    assert Loss()._init_kwargs == {} and Loss(mean=1)._init_kwargs == {'mean': 1}
    assert (
        Outer(2).init_kwargs == {'width': 2}
        and Outer(2).init_args == ()
        and Loss(mean=1).init_kwargs == {'mean': 1}
    )


def test_arguments_are_copies():
    options = ['given']
    net = Outer(2, options)
    assert net._init_kwargs['options'] == ['given'] and len(options) == 2
    net.init_kwargs['options'].append('changed by the caller')
    assert net.init_kwargs['options'] == ['given']


def test_only_the_outermost_constructor_is_recorded():
    net = Derived(7, scale=2.0)
    assert net._init_kwargs == {'extra': 7, 'scale': 2.0}
    assert isinstance(net, Outer) and isinstance(net.inner, Inner)
    assert not hasattr(Undecorated(2), '_init_kwargs')


def test_is_persistent():
    assert persistence.is_persistent(Outer(1)) and persistence.is_persistent(Loss())
    assert not persistence.is_persistent(Undecorated(1)) and not persistence.is_persistent(
        torch.nn.Linear(1, 1)
    )
    assert not persistence.is_persistent(Outer)


def test_deepcopy_and_plain_pickle_work_as_usual():
    net = Outer(2)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(twin) is Outer and twin._init_kwargs == {'width': 2}
        assert torch.equal(twin.inner.weight, net.inner.weight) and twin.inner.weight is not net.inner.weight
    assert Outer.__init__.__name__ == '__init__' and Outer.__name__ == 'Outer'


def test_meta_of_a_network():
    net = Outer(2, scale=np.float64(0.5)).train()
    meta = dumped({'ema': net})['ema']
    assert list(meta) == ['type', 'version', 'module_src', 'class_name', 'state']
    assert (meta['type'], meta['version'], meta['class_name']) == ('class', 6, 'Outer')
    state = meta['state']
    with open(__file__, encoding='utf-8') as file:
        assert meta['module_src'] == file.read()
    assert list(state) == [
        'training',
        '_parameters',
        '_buffers',
        '_non_persistent_buffers_set',
        *persistence.HOOK_KEYS,
        '_modules',
        'scale',
        'children_by_name',
        '_init_args',
        '_init_kwargs',
    ]
    assert state['training'] is False and type(state['scale']) is float
    assert type(state['_init_kwargs']['scale']) is float
    assert all(
        type(state[key]).__name__ == 'OrderedDict' for key in persistence.HOOK_KEYS if key.endswith('hooks')
    )
    inner = state['_modules']['inner']
    assert inner['module_src'] is meta['module_src']  # stored once
    assert inner['state']['bias'] is None and inner['state']['_buffers'] == {'nothing': None}
    assert type(state['_modules']['blocks']) is torch.nn.ModuleDict
    assert dumped(Loss())['state'] == {'mean': -1.2, '_init_args': (), '_init_kwargs': {}}


@pytest.mark.parametrize(
    'tensor',
    [
        torch.arange(6.0).reshape(2, 3).t(),
        torch.arange(10.0)[2:5],
        torch.ones(3, dtype=torch.float16),
        torch.zeros(0),
        torch.tensor(3.0),
        torch.ones(2, requires_grad=True) * 2,
        torch.arange(3),
        torch.zeros(1).expand(3),
        torch.rand(4, 3, 1, 1).to(memory_format=torch.channels_last),
        torch.rand(2, 3, 2, 2).to(memory_format=torch.channels_last),
    ],
)
def test_tensors_get_their_own_contiguous_storage(tensor):
    found = dumped(tensor)
    assert (
        torch.equal(found, tensor.detach().to(found.dtype))
        and found.is_contiguous()
        and not found.requires_grad
    )
    assert found.untyped_storage().nbytes() == found.numel() * found.element_size()
    assert found.stride() == torch.empty(tensor.shape).stride()
    assert found.dtype == (torch.float32 if tensor.is_floating_point() else torch.int64)


def test_shared_parameters_stay_shared():
    net = Outer(2)
    net.blocks['a'].weight = net.inner.weight
    state = dumped(net)['state']
    twin = state['_modules']['blocks']
    assert (
        twin['a']['state']['_parameters']['weight']
        is state['_modules']['inner']['state']['_parameters']['weight']
    )


def test_what_cannot_be_written_is_named():
    net = Outer(2)
    net.odd = {'a': [torch.float32]}
    with pytest.raises(ValueError, match=r"Outer.odd\['a'\] is a dtype, which a snapshot cannot hold"):
        dumped(net)
    net = Outer(2)
    net.blocks['b'] = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match='cannot hold the module Linear'):
        dumped(net)
    namespace = {'__name__': 'made_up', 'persistence': persistence}
    exec('@persistence.persistent_class\nclass Nowhere:\n    pass', namespace)
    with pytest.raises(
        ValueError, match='Nowhere cannot be saved: the source file of module made_up cannot be read'
    ):
        dumped(namespace['Nowhere']())


def test_plain_value():
    value = persistence.plain_value({'a': (np.float32(0.5), [np.int64(1)]), 'b': {np.bool_(True)}})
    assert value == {'a': (0.5, [1]), 'b': {True}}
    assert type(value['a'][0]) is float and type(value['a'][1][0]) is int


def test_reconstruction_is_refused():
    file = io.BytesIO()
    persistence.dump(Loss(), file)
    with pytest.raises(pickle.UnpicklingError, match='load_network'):
        pickle.loads(file.getvalue())
