# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Options of the official GDD / D2O command line that stay accepted, so that its shell scripts run here unchanged.

The newer official repository calls the method D2O and changed nothing else.
"""

from training.config import ConfigError

# Names of the method in the newer official repository -> ours.
LOSS_ALIASES = {'d2o': 'gdd'}

# What else only distillation reads.
OFFICIAL_OPTIONS = ('d_pretrained', 'd_type', 'interp224', 'use_gp', 'optimizer_type', 'weight_decay')

# Option -> its one value here, and why another cannot be had.
ONE_VALUE = {
    'd_type': (
        'xl',
        'the other discriminators of the official command line, its default among them, do not exist',
    ),
    'persistent_workers': (
        True,
        'loader processes live as long as the run, since its one pass over the data never ends',
    ),
}


def check_official_options(opts):
    """Refuse values that would do nothing.

    Args:
        opts: Dict of option values of train.py, with the loss settled.
    Raises:
        ConfigError: An option has a value that has no meaning here.
    """
    for name, (value, reason) in ONE_VALUE.items():
        if opts[name] != value:
            option = '--' + name.replace('_', '-')
            raise ConfigError(
                f'{option}={opts[name]} is not available: {reason}; use {option}={value}, or leave it out'
            )
    if opts['loss'] == 'gdd' and opts['ls'] != 1:
        raise ConfigError(
            f'--ls={opts["ls"]:g} needs --loss=edm or vp or ve: bfloat16 has the exponents of float32, so '
            'distillation scales no loss (the official code ignores the option); use --ls=1, or leave it out'
        )
    if not opts['interp224'] and opts['d_resolution'] != 224:
        raise ConfigError(
            f'--interp224=False says that images are not resized, --d-resolution={opts["d_resolution"]} to what; '
            'leave one of them out'
        )
