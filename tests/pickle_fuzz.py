# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Damage valid snapshots in thousands of ways and read them, in a process of limited memory and time.

    python tests/pickle_fuzz.py --count=3000 --seed=0

Prints one JSON line: how many ended how, and a list of failures (empty is good). A failure is any
exception but a one-line PickleError, any audit event (Python reports imports, opened files,
executed code, started processes, ...) while a file is read, a case that takes long, or memory that
grows. Every case is a function of (seed, number), so a failure can be repeated alone: --only=N.
"""

import argparse
import collections
import json
import logging
import pathlib
import pickletools
import random
import resource
import signal
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dnnlib import EasyDict
from tests.support.upstream_files import TINY, edm_content, small_network, upstream_bytes
from torch_utils.pickle_machine import PickleError
from training import networks
from training.augment import AugmentPipe
from training.loss import EDMLoss
from training.snapshots.entries import describe_entry, plain_entry
from training.snapshots.network_builder import build_network
from training.snapshots.pickle_reader import read_snapshot

MEMORY_MARGIN = 512 << 20  # bytes beyond what Python and torch need
CASE_CPU_SEC = 20  # a case takes milliseconds
HARMLESS_EVENTS = ('object.__', 'sys._getframe', 'builtins.id', 'gc.')

HOSTILE_GLOBALS = [
    ('os', 'system'),
    ('posix', 'system'),
    ('builtins', 'eval'),
    ('builtins', 'exec'),
    ('builtins', 'getattr'),
    ('builtins', '__import__'),
    ('builtins', 'open'),
    ('__builtin__', 'apply'),
    ('subprocess', 'Popen'),
    ('torch', 'load'),
    ('torch', '_utils'),
    ('torch_utils.persistence', 'persistent_class'),
    ('numpy', 'load'),
    ('training.networks', 'EDMPrecond'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('collections', 'OrderedDict.__init__'),
    ('copyreg', '_reconstructor'),
    ('builtins', 'object'),
    ('functools', 'partial'),
    ('operator', 'attrgetter'),
    ('pickle', 'loads'),
    ('runpy', 'run_path'),
    ('torch.storage', '_load_from_bytes'),
    ('collections', 'OrderedDict'),
    ('dnnlib.util', 'EasyDict'),
    ('builtins', 'set'),
    ('_codecs', 'encode'),
    ('torch._utils', '_rebuild_tensor'),
    ('torch.nn.modules.container', 'ModuleDict'),
]
HOSTILE_CODECS = ['zlib', 'hex', 'punycode', 'idna', 'rot13', 'utf-7', 'unicode_escape']
SIZES = [0, 1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1]
CODES = [opcode.code.encode('latin1') for opcode in pickletools.opcodes]


class Hang(BaseException):
    """A case took too long. Not an Exception, so that nothing can catch it by mistake."""


def valid_files():
    """Make small files of several producers and protocols, each split into its operations."""
    layer = networks.Linear(3, 2)
    one_block = dict(TINY, num_blocks=0, img_resolution=4)
    content = dict(
        ema=layer,
        loss_fn=EDMLoss(),
        augment_pipe=AugmentPipe(p=0.1),
        dataset_kwargs=EasyDict(a=[1, (2,)]),
        numbers=[np.float64(0.5), np.int64(3), -7, 2**40, {1, 2}, b'abc', None],
    )
    files = [
        upstream_bytes(content, protocol=protocol, numpy1=numpy1, containers=containers)
        for protocol, numpy1, containers in [
            (2, True, collections.OrderedDict),
            (3, False, dict),
            (4, True, dict),
            (5, False, collections.OrderedDict),
        ]
    ]
    files.append(upstream_bytes(edm_content(small_network(networks.GDDPrecond, **one_block)), gdd=True))
    return [split(data) for data in files]


def split(data):
    """Cut a pickle into the bytes of its operations."""
    starts = [position for _opcode, _argument, position in pickletools.genops(data)] + [len(data)]
    return [data[begin:end] for begin, end in zip(starts, starts[1:])]


def flip_bits(ops, rng):
    data = bytearray(b''.join(ops))
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def set_bytes(ops, rng):
    data = bytearray(b''.join(ops))
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(data)


def truncate(ops, rng):
    data = b''.join(ops)
    return data[: rng.randrange(len(data))] + rng.choice([b'', b'', b'.', b'0.', b'R.'])


def insert_operations(ops, rng):
    ops = list(ops)
    for _ in range(rng.randint(1, 4)):
        argument = rng.choice(
            [b'', b'\x00', b'\x01', bytes(rng.randrange(256) for _ in range(rng.randint(1, 9)))]
        )
        ops.insert(rng.randrange(1, len(ops)), rng.choice(CODES) + argument)
    return b''.join(ops)


def shuffle_operations(ops, rng):
    ops = list(ops)
    begin = rng.randrange(1, len(ops) - 2)
    end = min(begin + rng.randint(1, 12), len(ops) - 1)
    part = ops[begin:end]
    kind = rng.randrange(4)
    if kind == 0:
        ops[begin:end] = []
    elif kind == 1:
        ops[begin:end] = part * rng.choice([2, 3, 1000])
    elif kind == 2:
        ops[begin:end] = part[::-1]
    else:
        position = rng.randrange(1, len(ops))
        ops[position:position] = part
    return b''.join(ops)


def edit_argument(ops, rng, sizes):
    # Lengths, counts, memo indices and numbers all stand directly behind the operation's code.
    ops = list(ops)
    for _ in range(rng.randint(1, 3)):
        index = rng.choice([i for i, op in enumerate(ops) if len(op) > 1 and i])
        op = ops[index]
        width = rng.choice([w for w in (1, 2, 4, 8) if w < len(op)])
        ops[index] = (
            op[:1] + (rng.choice(sizes) % (1 << 8 * width)).to_bytes(width, 'little') + op[1 + width :]
        )
    return b''.join(ops)


def edit_lengths(ops, rng):
    return edit_argument(ops, rng, SIZES)


def edit_values(ops, rng):
    """Change one or two numbers or names: most such files can be read,
    and must fail when the network is built.
    """
    ops = list(ops)
    indices = [i for i, op in enumerate(ops) if op[:1] in b'KMJG\x8cX\x88\x89N' and i]
    if rng.random() < 0.5:  # the constructor arguments of the whole network, which stand at the end
        indices = indices[-60:]
    for _ in range(rng.randint(1, 2)):
        index = rng.choice(indices)
        op, other = ops[index], ops[rng.choice(indices)]
        ops[index] = rng.choice(
            [
                other,
                op[:-1] + bytes([rng.randrange(256)]),
                b'K' + bytes([rng.randrange(20)]),
                b'J' + rng.choice(SIZES[:-3]).to_bytes(8, 'little')[:4],
                b'N',
                b'\x88',
                b'}',
                b']',
                b')',
            ]
        )
    return b''.join(ops)


def edit_memo(ops, rng):
    ops = list(ops)
    indices = [i for i, op in enumerate(ops) if op[:1] in (b'h', b'j', b'q', b'r', b'\x94')]
    for _ in range(rng.randint(1, 5)):
        ops[rng.choice(indices)] = rng.choice(
            [
                b'',
                b'\x94',
                b'h' + bytes([rng.randrange(256)]),
                b'q' + bytes([rng.randrange(256)]),
                b'j' + rng.choice(SIZES[:-3]).to_bytes(8, 'little')[:4],
                b'r' + rng.choice(SIZES).to_bytes(8, 'little')[:4],
            ]
        )
    return b''.join(ops)


def swap_globals(ops, rng):
    ops = list(ops)
    texts = {op[2:] for op in ops if op[:1] == b'\x8c' and len(op) > 2}
    for index, op in enumerate(ops):
        module, name = rng.choice(HOSTILE_GLOBALS)
        if op[:1] == b'c' and rng.random() < 0.3:
            ops[index] = f'c{module}\n{name}\n'.encode()
        if op[:1] == b'\x93' and rng.random() < 0.3:
            ops[index] = b'00' + b''.join(text_operation(text) for text in (module, name)) + b'\x93'
        if op[:1] == b'\x8c' and op[2:] in texts and rng.random() < 0.05:
            text = rng.choice([module, name]).encode()
            ops[index] = b'\x8c' + bytes([len(text)]) + text
        if op == text_operation('latin1') and rng.random() < 0.5:
            ops[index] = text_operation(rng.choice(HOSTILE_CODECS))
    return b''.join(ops)


def text_operation(text):
    return b'X' + len(text).to_bytes(4, 'little') + text.encode()


def nest(ops, rng):
    ops = list(ops)
    position, count = rng.randrange(1, len(ops)), rng.choice([10, 1000, 20_000])
    opening, closing = rng.choice(
        [
            (b']', b'a'),
            (b'}K\x00', b's'),
            (b'(', b't'),
            (b'(', b''),
            (b')', b'\x85'),
            (b'N', b'\x85'),
            (b'\x8f', b''),
            (b'ctorch.nn.modules.container\nModuleDict\n)\x81}K\x00', b'sb'),
        ]
    )
    ops[position:position] = [opening * count, b'N', closing * count]
    return b''.join(ops)


def repeat_call(ops, rng):
    # Call or extend with the same things from the memo, many times.
    ops = list(ops)
    position, count = rng.randrange(len(ops) // 2, len(ops)), rng.choice([10, 1000, 5000])
    first, second = (b'h' + bytes([rng.randrange(256)]) for _ in range(2))
    ops[position:position] = [
        rng.choice(
            [
                first + second + b'\x85R0',
                first + second + b'R0',
                first + second + b'a0',
                first + second + b'\x86' + b'\x94',
                first + first + second + b's0',
                first + second + b'b0',
            ]
        )
        * count
    ]
    return b''.join(ops)


MUTATIONS = [
    flip_bits,
    set_bytes,
    truncate,
    insert_operations,
    shuffle_operations,
    edit_lengths,
    edit_values,
    edit_memo,
    swap_globals,
    nest,
    repeat_call,
]


def make_case(files, seed, number):
    """Return the name and the bytes of one damaged file."""
    rng = random.Random(seed * 1_000_003 + number)
    mutation = MUTATIONS[number % len(MUTATIONS)]
    # The whole network is much longer than the others, and takes its turn less often.
    network_share = 0.5 if mutation is edit_values else 0.04
    ops = files[-1] if rng.random() < network_share else rng.choice(files[:-1])
    data = mutation(ops, rng)
    if rng.random() < 0.15:
        data = rng.choice(MUTATIONS[:2])(split_or_whole(data), rng)
    return mutation.__name__, data


def split_or_whole(data):
    return [data] if data else [b'\x80']


def read(data):
    """Read a file with all that load_network does; returns how it ended."""
    try:
        top = read_snapshot(data)
        for entry, value in top.items():
            describe_entry(entry, value)
        plain_entry(top, 'dataset_kwargs')
        build_network(top.get('ema'))
        return 'read'
    except PickleError as error:
        if '\n' in str(error) or not str(error) or len(str(error)) > 1000:
            raise AssertionError(f'not one short line: {error!s:.300}') from error
        cause = error
        while cause is not None:  # a clear message that comes after trying to fill the memory is no success
            if isinstance(cause, (MemoryError, RecursionError)):
                raise AssertionError(f'{type(cause).__name__} on the way') from error
            cause = cause.__cause__
        return type(error).__name__


class Watch:
    """Collect the audit events of Python while `on`, and raise Hang after some CPU time."""

    def __init__(self):
        self.on = False
        self.events = []
        sys.addaudithook(self._event)
        signal.signal(signal.SIGVTALRM, self._hang)

    def _event(self, name, _arguments):
        if self.on and not name.startswith(HARMLESS_EVENTS):
            self.events.append(name)

    def _hang(self, *_arguments):
        raise Hang('took too long')

    def __enter__(self):
        self.events.clear()
        signal.setitimer(signal.ITIMER_VIRTUAL, CASE_CPU_SEC)
        self.on = True

    def __exit__(self, *_exception):
        self.on = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def limit_memory():
    """Allow this process a little more memory than it has now; returns its peak so far in KiB."""
    with open('/proc/self/statm', encoding='ascii') as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_MARGIN, resource.RLIM_INFINITY))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fuzz(count, seed, numbers=None, reader=read):
    """Read `count` damaged files (or those with the given numbers); returns the report."""
    logging.disable()  # the reader warns of what it leaves out
    files = valid_files()
    for ops in files:  # what is imported on first use is imported now
        read(b''.join(ops))
    watch, results, failures = Watch(), collections.Counter(), []
    start = limit_memory()
    for number in range(count) if numbers is None else numbers:
        name, data = make_case(files, seed, number)
        try:
            with watch:
                results[reader(data)] += 1
        except (Exception, Hang) as error:
            failures.append(f'{number} {name}: {type(error).__name__}: {error!s:.200}')
        failures += [f'{number} {name}: audit event {event}' for event in watch.events]
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024
    return dict(count=sum(results.values()), results=results, growth_mib=growth, failures=failures[:20])


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--count', type=int, default=3000, help='number of damaged files')
    parser.add_argument('--seed', type=int, default=0, help='start of the random numbers')
    parser.add_argument('--only', type=int, action='append', help='read only the case of this number')
    options = parser.parse_args()
    print(json.dumps(fuzz(options.count, options.seed, options.only)))
