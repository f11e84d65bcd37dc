# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Write a network for other programs: diffusers, safetensors, ONNX, TorchScript, or a pickle in EDM's format.

    python export.py --network=network-snapshot-001000.pkl --format=diffusers --dest=my-generator
    python export.py --network=network-snapshot-001000.pkl --format=safetensors
    python export.py --network=network-snapshot-001000.pkl --format=onnx --dest=generator.onnx

The file or folder is read back and compared with the network before it appears under its name
(docs/checkpoints.md).
"""

import os
import re
import tempfile
from collections.abc import Callable
from typing import Any

import click
import torch

from dnnlib.cli import one_line_errors, run_script
from dnnlib.errors import ArgumentError, arg
from dnnlib.files import claim
from dnnlib.util import EasyDict, atomic_write, is_url
from reports.model_card import find_measurements, render_card
from training.images.png import save_grid
from training.sampling import samplers
from training.sampling.noise_levels import SIGMA_MAX
from training.sampling.options import add_key_options, build_sampler
from training.snapshots import diffusers_folder, export_formats
from training.snapshots.entries import choose_key
from training.snapshots.safetensors_file import describe_network, require_own_class, save_safetensors
from training.snapshots.snapshot import load_network, save_snapshot

SUFFIXES = {
    'diffusers': '-diffusers',  # of a folder; --dest may have any name
    'safetensors': '.safetensors',
    'onnx': '.onnx',
    'torchscript': '.pt',
    'pkl': '.pkl',
}
FUNCTION_FORMATS = ('onnx', 'torchscript')  # These hold a function, the others the network.
LEVEL_FORMATS = (*FUNCTION_FORMATS, 'diffusers')  # These hold noise levels.
CARD_FORMATS = ('diffusers', 'safetensors')  # These come with a card.
CARD_SAMPLES = 16  # images in the picture of the card
DEFAULT_OPSET = 18
SHAPES = {
    'noise': '[N, {C}, {R}, {R}]',
    'noisy_images': '[N, {C}, {R}, {R}]',
    'sigma': '[N]',
    'class_labels': '[N, {K}]',
}


def choose_dest(opts: EasyDict) -> str:
    """Return the file or folder to write: --dest, or the name of the network with the suffix of the format.

    Raises:
        ArgumentError: an unsuitable name, the network itself, or a file that exists (without --overwrite).
    """
    suffix, dest = SUFFIXES[opts.format], opts.dest
    if dest is None:  # Beside the network; a URL is kept in the current folder.
        path = os.path.basename(re.split('[?#]', opts.network)[0]) if is_url(opts.network) else opts.network
        dest = os.path.splitext(path)[0] + suffix
    is_folder = opts.format == 'diffusers'
    if not is_folder and (not dest.lower().endswith(suffix) or os.path.isdir(dest)):
        raise ArgumentError(
            arg('dest', dest),
            f' must name a file ending in {suffix} for ',
            arg('format', opts.format),
            '; try ',
            arg('dest', f'network{suffix}'),
        )
    if os.path.exists(opts.network) and os.path.exists(dest) and os.path.samefile(opts.network, dest):
        raise ArgumentError(
            arg('dest', dest), ' is the network itself; try ', arg('dest', f'network-export{suffix}')
        )
    refuse_existing(dest, opts)
    return dest


def refuse_existing(dest: str, opts: EasyDict) -> None:
    """Raise ArgumentError if a file is in the way that may not be replaced, or a folder that is no export."""
    if os.path.isdir(dest) and not os.path.exists(os.path.join(dest, 'model_index.json')):
        raise ArgumentError(
            arg('dest', dest), ' exists and is no folder of an earlier export; choose another name'
        )
    for path in (dest, card_path(dest, opts.format)):
        if path is not None and os.path.lexists(path) and not opts.overwrite:
            raise ArgumentError(
                arg('dest', path),
                ' exists already; add ',
                arg('overwrite'),
                ' to replace it, or choose another name',
            )


def card_path(dest: str, form: str) -> str | None:
    """Return where the card of a file goes: beside it; None for formats without one, or with one inside."""
    return os.path.splitext(dest)[0] + '.md' if form == 'safetensors' else None


def choose_function(opts: EasyDict, net: torch.nn.Module, metadata: dict) -> EasyDict:
    """Decide which function of the network is exported, or compared where the file holds the network.

    Returns:
        function ('generator' or 'denoiser') and levels (noise levels of the generator, [] for the denoiser).
    """
    if opts.function is not None and opts.format not in LEVEL_FORMATS:
        warn(f'--function={opts.function} has no effect with --format={opts.format}, which holds the network')
        opts.function = None
    given = dict(sigma_max=opts.sigma_max)
    name, kwargs = build_sampler(net, given, metadata, warn=warn)
    if name == 'edm' and opts.function == 'generator':  # A one-step generator in the class of a teacher.
        name, kwargs = build_sampler(net, dict(given, sampler='one_step'), metadata, warn=warn)
    if name == 'edm' or opts.function == 'denoiser':
        if opts.format == 'diffusers':
            raise ArgumentError(
                arg('format', 'diffusers'),
                ' needs a generator of one step or a few, and this is a denoiser, as teachers are; use ',
                arg('format', 'safetensors'),
            )
        if opts.sigma_max is not None:
            warn(f'--sigma_max={opts.sigma_max} has no effect on a denoiser, which gets sigma as an input')
        return EasyDict(function='denoiser', levels=[])
    kwargs.setdefault('sigma_max', SIGMA_MAX)
    if name == 'multi_step':
        return EasyDict(function='generator', levels=samplers.jump_levels(**kwargs))
    # As the one-step sampler: the official code holds the level in float32.
    return EasyDict(
        function='generator', levels=[torch.tensor(kwargs['sigma_max'], dtype=torch.float32).item()]
    )


def warn(text: str) -> None:
    """Print a warning to stderr."""
    click.echo(f'Warning: {text}', err=True)


def write_file(path: str, net: torch.nn.Module, info: EasyDict, plan: EasyDict, opts: EasyDict) -> Callable:
    """Write the file or folder and read it back.

    Returns:
        The function that it holds: tuple of input tensors -> tensor.
    """
    source = dict(file=os.path.basename(opts.network), sha256=info.sha256)
    if opts.format == 'pkl':
        require_own_class(net)
        save_snapshot(
            path, ema=net, dataset_kwargs=info.dataset_kwargs, metadata=dict(info.metadata, source=source)
        )
        return read_network(path, 'ema', net, plan)
    config = describe_network(net, info, key=opts.key, source=source, torch=str(torch.__version__), **plan)
    if opts.format == 'safetensors':
        save_safetensors(path, net, config)
        write_card(card_path(path, opts.format), config, opts)
        return read_network(path, opts.key, net, plan)
    if opts.format == 'diffusers':
        diffusers_folder.write_folder(path, net, config)
        write_samples(os.path.join(path, 'samples.png'), net, plan)
        write_card(os.path.join(path, 'README.md'), config, opts)
        loaded = diffusers_folder.read_folder(path)
        return lambda inputs: export_formats.compute_original(loaded, inputs=inputs, **plan)
    module = export_formats.build_function(net, **plan)
    names = export_formats.input_names(net, plan.function)
    config.update(inputs=list(names), outputs=[export_formats.OUTPUT[plan.function]])
    if opts.format == 'onnx':
        data = export_formats.to_onnx(module, net, plan.function, config, opts.opset)
    else:
        data = export_formats.to_torchscript(module, net, plan.function, config)
    with atomic_write(path) as file:
        file.write(data)
    return (
        export_formats.run_onnx(path, names)
        if opts.format == 'onnx'
        else export_formats.run_torchscript(path)
    )


def write_card(path: str, config: dict[str, Any], opts: EasyDict) -> None:
    """Write the card of a file or folder, with the numbers that `run` has found."""
    text = render_card(opts.name, config, opts.measurements, opts.format == 'diffusers', CARD_SAMPLES)
    with atomic_write(path) as file:
        file.write(text.encode())


def write_samples(path: str, net: torch.nn.Module, plan: EasyDict) -> None:
    """Write a picture of the first seeds, as generate.py makes them."""
    _rnd, noise, labels = samplers.draw_inputs(net, range(CARD_SAMPLES))
    inputs = (noise,) if labels is None else (noise, torch.eye(net.label_dim)[labels])
    images = export_formats.compute_original(net, inputs=inputs, **plan)  # [N, C, H, W]
    save_grid(path, samplers.to_uint8(images), columns=8)


def read_network(path: str, key: str, net: torch.nn.Module, plan: EasyDict) -> Callable:
    """Load the network that was written, make sure its tensors are the same bits; return its function."""
    loaded, _info = load_network(path, key=key, option='dest')
    expected, found = net.state_dict(), loaded.state_dict()
    if list(expected) != list(found) or not all(
        torch.equal(expected[name], found[name]) for name in expected
    ):
        raise ArgumentError('the tensors of the file differ from those of the network; nothing was written')
    return lambda inputs: export_formats.compute_original(loaded, inputs=inputs, **plan)


def check_network(net: torch.nn.Module, plan: EasyDict, opts: EasyDict) -> None:
    """Raise ArgumentError if the network gives no finite images: NaN can be compared with nothing."""
    inputs = export_formats.draw_inputs(net, plan.function, 1, opts.seed)
    if not export_formats.compute_original(net, inputs=inputs, **plan).isfinite().all():
        raise ArgumentError(
            arg('network', opts.network),
            ': the images of the network are not finite (NaN or infinite values); try an earlier snapshot',
        )


def check_file(run: Callable, net: torch.nn.Module, plan: EasyDict, opts: EasyDict) -> str:
    """Compare the function of the file with the network, and describe the result.

    Raises:
        ArgumentError: the difference is larger than --tolerance.
    """
    batches = sorted({1, opts.batch})
    difference, magnitude = export_formats.largest_difference(
        run, net, plan.function, plan.levels, batches, opts.seed
    )
    text = (
        f'largest difference to the network on random input: {difference:.3g} '
        f'(outputs up to {magnitude:.3g}; '
        f'{" and ".join(map(str, batches))} images, seed {opts.seed})'
    )
    if not difference <= opts.tolerance * max(1, magnitude):
        raise ArgumentError(
            f'{text}; ',
            arg('tolerance', opts.tolerance),
            ' allows less, so nothing was written; try ',
            arg('format', 'safetensors'),
            ', which is exact',
        )
    return text


def describe_inputs(net: torch.nn.Module, plan: EasyDict) -> str:
    """Return one line about the inputs and the output of the function."""
    numbers = dict(C=net.img_channels, R=net.img_resolution, K=net.label_dim)
    inputs = [
        f'{name} {SHAPES[name].format(**numbers)}' for name in export_formats.input_names(net, plan.function)
    ]
    image = SHAPES['noise'].format(**numbers)
    return f'inputs {", ".join(inputs)}; output {export_formats.OUTPUT[plan.function]} {image}; all float32'


def run(opts: EasyDict) -> None:
    """Export as the command line says; see the options of `cmdline`."""
    dest = choose_dest(opts)
    if opts.format == 'onnx':
        export_formats.load_onnx_packages()
        export_formats.check_opset(opts.opset or DEFAULT_OPSET)
    elif opts.opset is not None:
        warn(f'--opset={opts.opset} has no effect with --format={opts.format}')
    opts.opset = opts.opset or DEFAULT_OPSET
    opts.key = choose_key(opts.ema, opts.key)
    net, info = load_network(opts.network, key=opts.key, trust=opts.trust_pickle)
    opts.name, opts.measurements = os.path.basename(os.path.abspath(dest)), []
    if opts.format in CARD_FORMATS:
        opts.measurements = find_measurements(opts.network, info.sha256, opts.key, opts.metrics)
    elif opts.metrics:
        warn(f'--metrics has no effect with --format={opts.format}, which has no card')
    plan = choose_function(opts, net, info.metadata)
    check_network(net, plan, opts)
    at = f' at sigma {", ".join(f"{level:g}" for level in plan.levels)}' if plan.levels else ''
    click.echo(f'{info.class_name} of {os.path.basename(opts.network)}: {plan.function}{at}')
    result = write_checked(dest, net, info, plan, opts)
    click.echo(f'wrote {dest} ({size_of(dest) / 1e6:.1f} MB)')
    if opts.format in FUNCTION_FORMATS:
        click.echo(describe_inputs(net, plan))
    click.echo(result)


def size_of(path: str) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    return sum(map(os.path.getsize, files)) if os.path.isdir(path) else os.path.getsize(path)


def write_checked(dest: str, net: torch.nn.Module, info: EasyDict, plan: EasyDict, opts: EasyDict) -> str:
    """Write the file beside its name, compare it with the network, and rename it; return what was compared.

    Raises:
        ArgumentError: the folder cannot be written, the file differs, or another process is writing it.
    """
    folder = os.path.dirname(dest) or '.'
    try:
        os.makedirs(folder, exist_ok=True)
        with claim(dest, 'dest'), tempfile.TemporaryDirectory(prefix='.tmp-export-', dir=folder) as scratch:
            refuse_existing(dest, opts)  # another process may have written it in between
            path = os.path.join(scratch, os.path.basename(dest))
            result = check_file(write_file(path, net, info, plan, opts), net, plan, opts)
            if os.path.isdir(dest):  # an earlier export, which goes with the scratch folder
                os.replace(dest, os.path.join(scratch, 'earlier'))
            os.replace(path, dest)
            card = card_path(path, opts.format)
            if card is not None:
                os.replace(card, card_path(dest, opts.format))
            return result
    except OSError as error:
        raise ArgumentError(
            arg('dest', dest), f' cannot be written ({error.strerror or error}); choose a folder of your own'
        ) from error


# fmt: off
@click.command()
# Main options.
@click.option('--network',      help='Network snapshot: .pkl or .safetensors', metavar='PATH|URL',
              required=True)
@click.option('--format',       help='What to write', type=click.Choice(list(SUFFIXES)), required=True)
@click.option('--dest',         help='File or folder to write  [default: beside --network]', metavar='PATH')
@click.option('--overwrite',    help='Replace --dest if it exists', is_flag=True)
@click.option('--metrics',      help='For the card: file of fid.py --json; several: again', metavar='JSON',
              multiple=True)
@add_key_options
@click.option('--trust-pickle', help='Run the code inside --network; for files you trust', is_flag=True)
# What ONNX and TorchScript files, and folders for diffusers, compute.
@click.option('--function',     help='[default: generator for GDD, denoiser for others]',
              type=click.Choice(export_formats.FUNCTIONS))
@click.option('--sigma_max',    help=f'Noise level of the generator  [default: {SIGMA_MAX:g}]',
              metavar='FLOAT', type=click.FloatRange(min=0, min_open=True))
@click.option('--opset',        help=f'ONNX operator set  [default: {DEFAULT_OPSET}]', metavar='INT',
              type=click.IntRange(min=DEFAULT_OPSET))
# The comparison with the network.
@click.option('--batch',        help='Random images to compare, after a single one', metavar='INT',
              type=click.IntRange(min=1, max=64), default=5, show_default=True)
@click.option('--seed',         help='Seed of the random images', metavar='INT',
              type=click.IntRange(min=0, max=2 ** 32), default=0, show_default=True)
@click.option('--tolerance',    help='Largest difference, times outputs above 1', metavar='FLOAT',
              type=click.FloatRange(min=0), default=1e-4, show_default=True)
def cmdline(**options: Any) -> None:
    """Write a network for other programs, and print how far the file is from the network.

    diffusers is a folder for DiffusionPipeline.from_pretrained, with a card (README.md) of what was measured.
    safetensors and pkl hold the network and can be given to every --network option. onnx and torchscript hold
    a function of a free batch size N: for a distilled network the generator, from noise [N, C, H, W] (and
    one-hot class_labels [N, K]) to images in -1..1; for a teacher the denoiser, which gets sigma [N] as well.
    """
    with one_line_errors():
        run(EasyDict(options))
# fmt: on


if __name__ == '__main__':
    run_script(cmdline)
