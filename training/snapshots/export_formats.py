# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks as ONNX and TorchScript files for programs without this project, and the check of what is written.

Both formats hold a function, not a network: the generator, from noise to images, or the denoiser D(x; sigma)
from which every other sampler can be built. Beside it they hold the JSON configuration of the network
(`safetensors_file`).
Legend: N batch (free in the files), C channels, H W pixels, K classes.
"""

import contextlib
import copy
import io
import logging
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg
from training import networks
from training.sampling import samplers
from training.sampling.noise_levels import SIGMA_MAX, SIGMA_MIN
from training.snapshots.safetensors_file import dump_config, is_own_class

INSTALL_HINT = 'pip install -r requirements/export.txt'
TRACE_BATCH = 2
MAX_BATCH = 1 << 20
FUNCTIONS = ('generator', 'denoiser')
INPUTS = {'generator': ('noise',), 'denoiser': ('noisy_images', 'sigma')}
OUTPUT = {'generator': 'images', 'denoiser': 'denoised_images'}
LABELS = 'class_labels'
BATCH_NAME = 'N'
EXPORTER_LOGGERS = ('torch.onnx', 'torch.fx', 'onnxscript', 'onnx_ir')
CONFIG_FILE = 'config.json'  # name of the configuration inside a TorchScript file


class Generator(torch.nn.Module):
    """The whole way from noise to images: one network call, or one per noise level of a few-step generator.

    Computes in float32, as all exported functions do; the samplers of this project hold the state between the
    calls in float64.

    Args:
        net:    Preconditioned network.
        levels: Decreasing noise levels, one per call (`samplers.jump_levels`).
    """

    def __init__(self, net: torch.nn.Module, levels: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.levels = [float(level) for level in levels]
        # Buffers move with the module; numbers made in forward would be tied to the device of the export.
        self.register_buffer('sigmas', torch.tensor(self.levels, dtype=torch.float32)[:, None])

    def forward(self, noise: torch.Tensor, class_labels: torch.Tensor | None = None) -> torch.Tensor:
        x = noise * self.levels[0]  # [N, C, H, W]
        for i, level in enumerate(self.levels):
            denoised = self.net(x, self.sigmas[i], class_labels, force_fp32=True)  # [N, C, H, W]
            if i + 1 < len(self.levels):
                x = x + (denoised - x) / level * (level - self.levels[i + 1])
        return denoised


class Denoiser(torch.nn.Module):
    """D(x; sigma): the network with its preconditioning, sigma one number per image, [N]."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, noisy_images: torch.Tensor, sigma: torch.Tensor, class_labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self.net(noisy_images, sigma, class_labels, force_fp32=True)  # [N, C, H, W]


class BufferedEmbedding(torch.nn.Module):
    """`networks.PositionalEmbedding` with its frequencies in a buffer: a trace can change its device."""

    def __init__(self, embedding: networks.PositionalEmbedding) -> None:
        super().__init__()
        half = embedding.num_channels // 2
        exponent = torch.arange(half, dtype=torch.float32) / (half - (1 if embedding.endpoint else 0))
        self.register_buffer('freqs', (1 / embedding.max_positions) ** exponent)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.outer(self.freqs.to(x.dtype))  # [N, S/2]
        return torch.cat([x.cos(), x.sin()], dim=1)  # [N, S]


def build_function(net: torch.nn.Module, function: str, levels: Sequence[float]) -> torch.nn.Module:
    """Wrap a copy of a network as a function that can be traced.

    Args:
        net:      Network on the CPU in eval mode.
        function: 'generator' or 'denoiser'.
        levels:   Noise levels of the generator.
    Returns:
        Module of tensors in, tensor out, without gradients.
    """
    net = copy.deepcopy(net)
    if is_own_class(net):
        net.model.map_augment = None  # Without augmentation labels this layer of a teacher does nothing.
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if type(child) is networks.PositionalEmbedding:
                setattr(parent, name, BufferedEmbedding(child))
    module = Generator(net, levels) if function == 'generator' else Denoiser(net)
    return module.eval().requires_grad_(False)


def input_names(net: torch.nn.Module, function: str) -> tuple[str, ...]:
    """Return the names of the inputs of an exported function, in order."""
    return (*INPUTS[function], *([LABELS] if net.label_dim else []))


def draw_inputs(net: torch.nn.Module, function: str, batch: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Draw random inputs: standard normal noise, log-uniform noise levels where needed, one-hot labels.

    Returns:
        float32, in the order of `input_names`: noise or noisy images [N, C, H, W], sigma [N], labels [N, K].
    """
    rnd = torch.Generator().manual_seed(seed)
    noise = torch.randn([batch, net.img_channels, net.img_resolution, net.img_resolution], generator=rnd)
    inputs = (noise,)
    if function == 'denoiser':
        low, high = map(math.log, samplers.limit_range(net, SIGMA_MIN, SIGMA_MAX))
        sigma = (low + (high - low) * torch.rand([batch], generator=rnd)).exp()  # [N]
        inputs = (noise * sigma[:, None, None, None], sigma)
    if net.label_dim:
        inputs += (torch.eye(net.label_dim)[torch.randint(net.label_dim, [batch], generator=rnd)],)
    return inputs


@torch.no_grad()
def compute_original(
    net: torch.nn.Module, function: str, levels: Sequence[float], inputs: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    """Compute with the network itself, as `generate.py` does, what an exported function should return.

    Returns:
        float64 [N, C, H, W].
    """
    labels = inputs[-1] if net.label_dim else None
    if function == 'denoiser':
        return net(inputs[0], inputs[1], labels, force_fp32=True).to(torch.float64)
    x = inputs[0].to(torch.float64) * levels[0]
    return samplers.jump_chain(net, x, levels, labels, force_fp32=True).to(torch.float64)


def load_onnx_packages() -> ModuleType:
    """Import the packages that ONNX files need, and return onnxruntime.

    Raises:
        ArgumentError: one is missing; the message has the command that installs it.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            arg('format', 'onnx'), f' needs the package {error.name}; {INSTALL_HINT}'
        ) from error
    return onnxruntime


def check_opset(opset: int) -> None:
    """Refuse an operator set that the installed onnx does not know, before the export takes its seconds.

    Raises:
        ArgumentError: it is too new.
    """
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ArgumentError(
            arg('opset', opset),
            f' is not known to onnx {onnx.__version__}, whose newest operator set is {newest}; try ',
            arg('opset', 18),
        )


def to_onnx(module: torch.nn.Module, net: torch.nn.Module, function: str, config: dict, opset: int) -> bytes:
    """Export a function to ONNX.

    Args:
        module:   What `build_function` returned.
        net:      The network.
        function: 'generator' or 'denoiser'.
        config:   Configuration to store, under the key `config` of the metadata.
        opset:    ONNX operator set, >= 18.
    Returns:
        Content of the file, bytes.
    Raises:
        ArgumentError: a package is missing, or the exporter cannot do it.
    """
    load_onnx_packages()
    names = input_names(net, function)
    # Some versions of torch prove that all batch sizes work, and fail for the largest integer.
    batch = torch.export.Dim('batch', max=MAX_BATCH)
    try:
        with quiet_export():
            program = torch.export.export(
                module,
                draw_inputs(net, function, TRACE_BATCH, seed=0),
                strict=False,
                dynamic_shapes=({0: batch},) * len(names),
            )
            # torch 2.6 cannot work out the shape of addcmul when the batch size is free.
            program = program.run_decompositions({torch.ops.aten.addcmul.default: lambda a, b, c: a + b * c})
            program = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=opset,
                input_names=list(names),
                output_names=[OUTPUT[function]],
                verbose=False,
            )
        model = program.model_proto
        if [item.version for item in model.opset_import if not item.domain] != [opset]:
            raise ValueError('the installed packages do not know that operator set')
        name_batch_size(model.graph)
        for node in model.graph.node:  # Where in the source each came from, with the folders of this machine.
            node.ClearField('metadata_props')
            node.ClearField('doc_string')
        model.metadata_props.add(key='config', value=dump_config(config))
        return model.SerializeToString()
    except Exception as error:  # The exporter passes on errors of many kinds from the layers below it.
        while error.__cause__ is not None:
            error = error.__cause__
        reason = (str(error).splitlines() or [''])[0][:200]
        raise ArgumentError(
            arg('format', 'onnx'),
            ' ',
            arg('opset', opset),
            f': the exporter of torch {torch.__version__} failed ({type(error).__name__}: {reason}); try ',
            arg('opset', 18),
            ', or ',
            arg('format', 'torchscript'),
        ) from error


def name_batch_size(graph: Any) -> None:
    """Call the batch size N in the shapes of an ONNX graph; the exporter numbers its symbols as it likes."""
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == symbol:
                dim.dim_param = BATCH_NAME


def to_torchscript(module: torch.nn.Module, net: torch.nn.Module, function: str, config: dict) -> bytes:
    """Trace a function to TorchScript.

    Args: as for `to_onnx`.
    Returns:
        Content of the file, bytes; the configuration is the extra file `config.json` in it.
    """
    with quiet_export(), torch.no_grad():
        # torch's own check repeats the same batch; ours uses others, see `largest_difference`.
        traced = torch.jit.trace(module, draw_inputs(net, function, TRACE_BATCH, seed=0), check_trace=False)
        file = io.BytesIO()
        torch.jit.save(traced, file, _extra_files={CONFIG_FILE: dump_config(config)})
    # Without the parts that tell where in the source each operation came from: folders of this machine.
    result = io.BytesIO()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(result, 'w') as target:
        for item in source.infolist():
            if not item.filename.endswith('.debug_pkl'):
                target.writestr(
                    zipfile.ZipInfo(item.filename), source.read(item)
                )  # without the time of the export
    return result.getvalue()


@contextlib.contextmanager
def quiet_export() -> Iterator[None]:
    """Silence the exporters.

    They warn about every decision that depends on a shape: here these are channel counts and resolutions,
    which the architecture fixes; that the batch is not among them is what the check with other batches shows.
    torch 2.15 calls TorchScript deprecated; programs without Python still need it, and torch.export has no
    such reader.
    """
    loggers = [logging.getLogger(name) for name in EXPORTER_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def run_onnx(path: str, names: Sequence[str]) -> Callable:
    """Return a function that runs an ONNX file with onnxruntime: tuple of tensors -> tensor.

    Raises:
        ArgumentError: onnxruntime refuses the file.
    """
    runtime = load_onnx_packages()
    try:
        session = runtime.InferenceSession(path, providers=['CPUExecutionProvider'])
    except Exception as error:  # Its exceptions have no common base.
        raise ArgumentError(
            f'onnxruntime {runtime.__version__} cannot load the file ({str(error)[:200]}); try ',
            arg('opset', 18),
            ', or install other versions of the packages',
        ) from error

    def run(inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


def run_torchscript(path: str) -> Callable:
    """Return a function that runs a TorchScript file: tuple of tensors -> tensor."""
    with quiet_export():
        module = torch.jit.load(path, map_location='cpu')

    @torch.no_grad()
    def run(inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        with quiet_export():
            return module(*inputs)

    return run


def largest_difference(
    run: Callable,
    net: torch.nn.Module,
    function: str,
    levels: Sequence[float],
    batches: Sequence[int],
    seed: int,
) -> tuple[float, float]:
    """Compare a function from a file with the network it was made of, on random inputs.

    Args:
        run:      Tuple of tensors -> tensor [N, C, H, W].
        net, function, levels: What was exported.
        batches:  Batch sizes to try; the noise and the labels differ among them.
        seed:     Seed of the inputs.
    Returns:
        (largest absolute difference, largest absolute output of the network); NaN if an output is not finite.
    Raises:
        ArgumentError: the file fails, or gives another number of images.
    """
    difference = magnitude = torch.zeros([], dtype=torch.float64)
    for i, batch in enumerate(batches):
        inputs = draw_inputs(net, function, batch, seed + i)
        expected = compute_original(net, function, levels, inputs)  # [N, C, H, W]
        try:
            found = run(inputs).to(torch.float64)
        except Exception as error:  # A graph that is tied to one batch size fails deep inside its runtime.
            reason = (str(error).strip().splitlines() or [''])[-1][:200]
            raise ArgumentError(
                f'the file fails on {batch} images ({type(error).__name__}: {reason}); nothing was written'
            ) from error
        if found.shape != expected.shape:
            raise ArgumentError(
                f'the file gives images of shape {list(found.shape)} where the network gives '
                f'{list(expected.shape)}; nothing was written'
            )
        difference = torch.maximum(difference, (found - expected).abs().max())  # NaN stays NaN
        magnitude = torch.maximum(magnitude, expected.abs().max())
    return difference.item(), magnitude.item()
