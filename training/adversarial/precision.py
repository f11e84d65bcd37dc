# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""In which numbers the adversarial stages compute, and by which shortcuts: all that perf decides.

`faithful` is the arithmetic that golden numbers and published results refer to. `fast` computes the same
functions up to rounding, by what is faster on the device at hand:

- frozen features with folded batch norms, on a GPU in float16. bfloat16 has as many bits in memory, but its
  rounding turns the gradient for the image (cosine 0.925 to float32's on EfficientNet-Lite0), and float16
  moves it no more than another composition of the batch does (0.990). Where values come near the end of
  float16's range, bfloat16 takes over, and the log says so;
- convolutions of D in bfloat16 on a GPU, with float32 master weights; its statistics, spectral norms, logits
  and losses are float32. R1 goes through D in float32 (TF32);
- fakes and reals pass the backbones together in D's stage, on a GPU: half of the launches;
- on a GPU what runs from noise to loss is one graph of torch.compile, without R1, whose second derivatives it
  cannot take;
- on a CPU the generator's convolutions add their biases themselves, which elsewhere a compiler does, and D's
  are in bfloat16 where the CPU has instructions for it (elsewhere that is ten times slower).

`fast-16bit` is `fast` with the number types of a GPU on any device; slow on a CPU, to compare quality. TF32
and the generator's own bfloat16 (precision) exist on a GPU only.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from dnnlib.errors import ArgumentError, arg
from torch_utils import distributed, misc
from training.adversarial.features import ProjectedFeatures
from training.backbones.teacher import TEACHER

# Factor on gradients while they are in float16: the smallest of large maps would else lose bits (below 6e-5).
GRADIENT_SCALE = 1024.0
# float16 ends at 65504; images that the generator makes later may give larger features than those looked at.
HEADROOM = 16
LARGEST = torch.finfo(torch.float16).max / HEADROOM
NAMES = {None: 'float32', torch.float16: 'float16', torch.bfloat16: 'bfloat16'}


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """Number types and shortcuts of one run; without arguments those of `faithful`.

    Attributes:
        features: Type of the frozen networks; None for that of the images.
        heads:    Type of D's convolutions, except for R1; None for that of the features.
        together: Whether fakes and reals pass the frozen networks at once in D's stage.
        tf32:     Whether float32 products may be rounded to TF32.
        compiled: Whether the main stages are compiled.
        bias_inside: Whether the generator's convolutions add their biases, training/student/bias_inside.py.
    """

    features: torch.dtype | None = None
    heads: torch.dtype | None = None
    together: bool = False
    tf32: bool = False
    compiled: bool = False
    bias_inside: bool = False

    @property
    def gradient_scale(self) -> float:
        """Factor on gradients inside the frozen networks and D, in G's stage."""
        return GRADIENT_SCALE if self.features == torch.float16 else 1.0

    def tf32_setting(self) -> contextlib.AbstractContextManager[None]:
        """Set whether float32 products may be TF32 to what this arithmetic says while inside."""
        return misc.tf32(self.tf32)

    def maybe_compile(self, function: Callable) -> Callable:
        """Return a pure function of tensors under torch.compile if `compiled`, else as it is."""
        return torch.compile(function, fullgraph=True, dynamic=False) if self.compiled else function

    def __str__(self) -> str:
        parts = [f'features {NAMES[self.features]}', f'D {NAMES[self.heads]}']
        parts += ['TF32'] if self.tf32 else []
        parts += ['one pass for fakes and reals'] if self.together else []
        parts += ['bias inside convolutions'] if self.bias_inside else []
        return ', '.join([*parts, 'compiled' if self.compiled else 'eager'])


def choose_arithmetic(perf: str, device: torch.device, synchronised: bool = False) -> Arithmetic:
    """Return what a mode means on a device.

    Args:
        perf:         'faithful', 'fast' or 'fast-16bit'.
        device:       Where the run trains.
        synchronised: Whether D's batch norms talk to other processes, which no compiled graph can.
    Raises:
        ArgumentError: Unknown mode.
    """
    on_gpu = device.type == 'cuda'
    if perf == 'faithful':
        return Arithmetic()
    if perf == 'fast' and not on_gpu:  # float16, and one pass of a larger batch, are slower there
        return Arithmetic(heads=torch.bfloat16 if multiplies_bfloat16() else None, bias_inside=True)
    if perf in ('fast', 'fast-16bit'):
        return Arithmetic(
            features=torch.float16,
            heads=torch.bfloat16,
            together=True,
            tf32=on_gpu,
            compiled=on_gpu and not synchronised,
        )
    raise ArgumentError(arg('perf', perf), ' is unknown; use ', arg('perf', 'faithful'), ' or fast')


def multiplies_bfloat16() -> bool:
    """Tell whether the CPU has products of bfloat16, and the library of convolutions may use them."""
    # torch has no public name for either question.
    instructions = getattr(torch.cpu, '_is_avx512_bf16_supported', lambda: False)()
    return (
        instructions and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def settle_features(
    features: ProjectedFeatures, arithmetic: Arithmetic, look: Callable[[], torch.Tensor]
) -> tuple[ProjectedFeatures, Arithmetic, str]:
    """Make the frozen networks that a run computes with.

    Args:
        features:   In float32, on the device.
        arithmetic: What is wanted.
        look:       Function that returns a few real images, [N, C, H, W], -1..1, to see how large values are.
    Returns:
        The networks (`features` itself, or a twin in another type); the arithmetic with the type that was
        taken; one line for the log.
    """
    if arithmetic.features is None:
        return features, arithmetic, f'Arithmetic: {arithmetic}'
    if TEACHER in features.names:  # its encoder, the teacher's own arithmetic, sees noise as well as images
        arithmetic = dataclasses.replace(arithmetic, features=None)
        return features, arithmetic, f"Arithmetic: {arithmetic}; the teacher's encoder stays in float32"
    images = look()
    largest = largest_value(features, images)
    twin = features_in_type(features, arithmetic.features)
    fits = arithmetic.features != torch.float16 or (
        largest <= LARGEST and all(map_.isfinite().all() for maps in twin(images).values() for map_ in maps)
    )
    if all(distributed.broadcast_object(distributed.gather_objects(fits))):
        return twin, arithmetic, f'Arithmetic: {arithmetic}; largest value of the features {largest:.3g}'
    arithmetic = dataclasses.replace(arithmetic, features=torch.bfloat16)
    note = f'largest value of the features {largest:.3g}, too near the 65504 where float16 ends'
    return features_in_type(features, torch.bfloat16), arithmetic, f'Arithmetic: {arithmetic}; {note}'


def features_in_type(features: ProjectedFeatures, dtype: torch.dtype) -> ProjectedFeatures:
    """Return a twin of the frozen networks that computes in another type.

    Images are normalised and resized in float32 as before. The twin is no part of a state: after loading one
    into `features`, call `refresh_twin` (training/student/frozen_cast.py).

    Args:
        features: In float32.
        dtype:    Type of weights and maps.
    """
    twin = copy.deepcopy(features)
    for part in (twin.backbones, twin.readouts, twin.projections):
        part.to(dtype)
    twin.map_type = dtype
    return twin


@torch.no_grad()
def largest_value(features: ProjectedFeatures, images: torch.Tensor) -> float:
    """Return the largest magnitude of any map or weight inside the frozen networks.

    Args:
        features: In float32.
        images:   [N, C, H, W], -1..1.
    """
    found = [tensor.abs().max() for tensor in features.parameters()]

    def look(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        found.extend(x.abs().max() for x in ([output] if isinstance(output, torch.Tensor) else output))

    leaves = [m for m in features.modules() if not list(m.children())]
    handles = [leaf.register_forward_hook(look) for leaf in leaves]
    try:
        features(images)
    finally:
        for handle in handles:
            handle.remove()
    return float(torch.stack(found).max())


class ScaledGradient(torch.autograd.Function):
    """Pass a tensor on, and its gradient times a factor."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad * ctx.factor, None
