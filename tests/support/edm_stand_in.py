# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for an EDM checkout: a folder with only what its sampling script needs to load a snapshot.

Written from the documented rules of the format (how a persistent object is reduced and revived),
not from EDM's source. `write_checkout` puts `torch_utils.persistence`, `dnnlib.util` and a script
into a folder; `run` starts the script there, in a process that can import nothing of this project.
"""

import os
import subprocess
import sys

PERSISTENCE = """
import copy, inspect, io, pickle, sys, types, uuid
import dnnlib

_hooks = []
_sources = {}       # module name -> text
_modules = {}       # text -> module


def persistent_class(cls):
    home = sys.modules[cls.__module__]
    text = _sources[home.__name__] if home.__name__ in _sources else inspect.getsource(home)

    class Recorder(cls):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._init_args, self._init_kwargs = copy.deepcopy(args), copy.deepcopy(kwargs)
            assert cls.__name__ in home.__dict__
            pickle.dump(self.__reduce__()[1], io.BytesIO())

        @property
        def init_args(self):
            return copy.deepcopy(self._init_args)

        @property
        def init_kwargs(self):
            return dnnlib.EasyDict(copy.deepcopy(self._init_kwargs))

        def __reduce__(self):
            names = dict(module_src=text, class_name=cls.__name__)
            meta = dict(type='class', version=6, **names, state=dict(self.__dict__))
            return _reconstruct_persistent_obj, (meta,)

    Recorder.__name__, Recorder.__module__ = cls.__name__, cls.__module__
    return Recorder


def import_hook(hook):
    _hooks.append(hook)


def _reconstruct_persistent_obj(meta):
    meta = dnnlib.EasyDict(meta)
    meta.state = dnnlib.EasyDict(meta.state)
    for hook in _hooks:
        meta = hook(meta)
        assert meta is not None
    assert meta.version == 6 and meta.type == 'class'
    if meta.module_src not in _modules:
        name = '_imported_module_' + uuid.uuid4().hex
        module = types.ModuleType(name)
        sys.modules[name], _modules[meta.module_src], _sources[name] = module, module, meta.module_src
        exec(meta.module_src, module.__dict__)
    cls = _modules[meta.module_src].__dict__[meta.class_name]
    obj = cls.__new__(cls)
    if callable(getattr(obj, '__setstate__', None)):
        obj.__setstate__(meta.state)
    else:
        obj.__dict__.update(meta.state)
    return obj
"""

DNNLIB_UTIL = """
class EasyDict(dict):
    def __getattr__(self, name):
        if name not in self:
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name, value):
        self[name] = value

    def __delattr__(self, name):
        del self[name]


def open_url(path):
    return open(path, 'rb')
"""

FILES = {
    'torch_utils/__init__.py': '',
    'torch_utils/persistence.py': PERSISTENCE,
    'dnnlib/__init__.py': 'from .util import EasyDict\nfrom . import util\n',
    'dnnlib/util.py': DNNLIB_UTIL,
}


def write_checkout(folder, script):
    """Write the stand-in and a script `main.py` into a folder (pathlib.Path)."""
    for name, text in {**FILES, 'main.py': script}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def run(folder):
    """Run main.py of a folder in a process of its own and return its stdout; fails with its stderr."""
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', 'main.py'],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
