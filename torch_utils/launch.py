# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""torchrun with quiet failures: `python -m torch_utils.launch [torchrun options] SCRIPT [options]`.

When a process fails, torchrun stops the others and adds a report and a traceback of its own. The
failing process has already said what is wrong, so here the report is replaced by its exit code.
"""
import logging
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def protect_script(args):
    """Put `--` before the script, or torchrun takes the script's options for abbreviations of its own.

    Current torchrun stops at `fid.py calc --num=300`, which "could match --numa-binding".

    Args:
        args: Command line, a list of texts.
    Returns:
        The same with `--` before the first Python file.
    """
    for index, arg in enumerate(args):
        if arg == '--':
            break
        if arg.endswith('.py') and not arg.startswith('-'):
            return [*args[:index], '--', *args[index:]]
    return list(args)


def main(args=None):
    """Launch processes like torchrun and return the exit code of the first one that failed, or 0."""
    args = protect_script(sys.argv[1:] if args is None else args)
    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    try:
        run.main(args)
    except ChildFailedError as error:
        _rank, failure = error.get_first_failure()
        return failure.exitcode if 0 < failure.exitcode < 128 else 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
