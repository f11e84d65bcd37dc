# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0

"""Read EDM2's reference files, pickled dicts of NumPy arrays, without executing anything in them."""

import io
import pickle
import re

import numpy as np


class Edm2Error(ValueError):
    """Why a pickle is no reference file, without its name."""


def read_edm2_pickle(data: bytes) -> object:
    """Return the content of a pickle: numbers, texts, containers and arrays of numbers.

    Raises:
        Edm2Error: Damaged, or it holds other things.
    """
    try:
        return _plain(_ArrayUnpickler(io.BytesIO(data)).load())
    except Exception as error:  # damaged pickles raise nearly anything
        raise Edm2Error(' '.join(str(error).split()) or type(error).__name__) from error


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
