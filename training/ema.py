# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of a network, with the half-life given in images."""
import copy

import torch


class EMA:
    """Average of the parameters of a network; buffers are copied.

    EDM and GDD: the half-life is min(halflife, rampup * images seen), so early on the average
    forgets the start of training; with rampup 0.05 a half-life of 0.5 million images is only
    reached after 10 million.

    Args:
        net:            Network to average; copied, eval mode, no gradients.
        halflife_nimg:  Half-life in images, >= 0; 0 copies the network.
        rampup:         Ratio above; 0 switches the ramp off.
        beta:           Fixed decay per iteration, 0 < beta < 1, instead of a half-life; 0 for none.
    """

    def __init__(self, net, halflife_nimg, rampup=0.05, beta=0.0):
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.halflife_nimg, self.rampup, self.beta = halflife_nimg, rampup, beta

    def decay(self, nimg, batch):
        """Return the weight kept by the average in one iteration.

        Args:
            nimg:  Images seen before the iteration.
            batch: Images of the iteration, all processes together.
        """
        if self.beta:
            return self.beta
        halflife = min(self.halflife_nimg, nimg * self.rampup) if self.rampup else self.halflife_nimg
        return 0.5 ** (batch / max(halflife, 1e-8))

    def state_dict(self):
        """Return everything a resume needs."""
        return self.net.state_dict()

    def load_state_dict(self, state):
        """Continue from `state_dict()`."""
        self.net.load_state_dict(state)

    @torch.no_grad()
    def update(self, net, nimg, batch):
        """Move the average towards `net`, after the optimizer step of an iteration."""
        ours, theirs = list(self.net.parameters()), [p.detach() for p in net.parameters()]
        torch._foreach_lerp_(ours, theirs, 1 - self.decay(nimg, batch))
        for own, other in zip(self.net.buffers(), net.buffers()):
            own.copy_(other)
