# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Exponential moving averages of a network, with half-lives given in images."""

import copy
from collections.abc import Sequence

import torch

from dnnlib.errors import ArgumentError, arg

MAIN_KEY = 'ema'


def entry_name(halflife_nimg: float) -> str:
    """Name the snapshot entry of a further half-life: 'ema-0.05' for 50,000 images (in millions)."""
    return f'{MAIN_KEY}-{halflife_nimg / 1e6:g}'


class EMA:
    """Averages of the parameters of a network, one per half-life; buffers are copied.

    EDM and GDD: the half-life is min(halflife, rampup * images seen), so early on the average
    forgets the start of training; with rampup 0.05 a half-life of 0.5 million images is only
    reached after 10 million.

    Args:
        net:            Network to average; copied, eval mode, no gradients.
        halflife_nimg:  Half-life in images, >= 0; 0 copies the network.
        rampup:         Ratio above; 0 switches the ramp off.
        beta:           Fixed decay per iteration, 0 < beta < 1, instead of a half-life; 0 for none.
        extra_nimg:     Further half-lives, with the same ramp.
    Attributes:
        nets: Key of a snapshot -> averaged network: 'ema' for the first half-life, 'ema-0.05' and so on for
              others.
    """

    def __init__(
        self,
        net: torch.nn.Module,
        halflife_nimg: float,
        rampup: float = 0.05,
        beta: float = 0.0,
        extra_nimg: Sequence[float] = (),
    ) -> None:
        self.rampup, self.beta = rampup, beta
        self.halflives = {MAIN_KEY: halflife_nimg, **{entry_name(nimg): nimg for nimg in extra_nimg}}
        self.nets = {key: copy.deepcopy(net).eval().requires_grad_(False) for key in self.halflives}
        self._own = {key: _tensors(own) for key, own in self.nets.items()}
        self._source, self._source_tensors = None, None

    @property
    def net(self) -> torch.nn.Module:
        """The average of the first half-life, which grids and metrics are made of."""
        return self.nets[MAIN_KEY]

    @property
    def extra_nets(self) -> dict[str, torch.nn.Module]:
        """Key of a snapshot -> average, for all but the first half-life."""
        return {key: net for key, net in self.nets.items() if key != MAIN_KEY}

    def decay(self, nimg: int, batch: int, key: str = MAIN_KEY) -> float:
        """Return the weight kept by an average in one iteration.

        Args:
            nimg:  Images seen before the iteration.
            batch: Images of the iteration, all processes together.
            key:   Which average.
        """
        if self.beta:
            return self.beta
        halflife = self.halflives[key]
        halflife = min(halflife, nimg * self.rampup) if self.rampup else halflife
        return 0.5 ** (batch / max(halflife, 1e-8))

    @torch.no_grad()
    def update(self, net: torch.nn.Module, nimg: int, batch: int, skip: torch.Tensor | None = None) -> None:
        """Move the averages towards `net`, after the optimizer step of an iteration.

        Args:
            net:         The network; the same object at every call is fastest.
            nimg, batch: As for `decay`.
            skip:        1.0 to change nothing (the optimizer step was skipped) or 0.0, scalar tensor; None
                         for 0.
        """
        if net is not self._source:
            self._source, self._source_tensors = net, _tensors(net)
        if skip is not None and skip.device.type == 'cpu' and skip.item():
            return
        params, buffers = self._source_tensors
        for key, (own_params, own_buffers) in self._own.items():
            step = 1 - self.decay(nimg, batch, key)
            if skip is None or skip.device.type == 'cpu':
                torch._foreach_lerp_(own_params, params, step)
            else:
                _lerp_on_device(own_params, params, (1 - skip) * step)
            if buffers:
                torch._foreach_copy_(own_buffers, buffers)

    def state_dict(self) -> dict[str, dict]:
        """Return all averages: key -> state of the network."""
        return {key: net.state_dict() for key, net in self.nets.items()}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        """Continue from `state_dict()`.

        Raises:
            ArgumentError: The state holds other half-lives.
        """
        if set(state) != set(self.nets):
            raise ArgumentError(
                f'the averages of the state are {", ".join(state)}, those of ',
                arg('ema'),
                f' are {", ".join(self.nets)}',
            )
        for key, net in self.nets.items():
            net.load_state_dict(state[key])


def _tensors(net: torch.nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    # Parameters and buffers as two lists, collected once: walking the modules takes longer than the update.
    return [p.detach() for p in net.parameters()], list(net.buffers())


def _lerp_on_device(own: list[torch.Tensor], other: list[torch.Tensor], weight: torch.Tensor) -> None:
    # As foreach_lerp_, with a weight that the host does not know. This form is exact for weights of 0 and 1.
    torch._foreach_mul_(own, 1 - weight)
    torch._foreach_add_(own, torch._foreach_mul(other, weight))
