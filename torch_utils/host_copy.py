# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Results of a GPU on their way to the host, which gives the GPU more work instead of waiting for them."""

import torch


class HostCopy:
    """Copies of tensors in the memory of the host, complete when `wait` returns.

    From a GPU they go into pinned memory behind the work that was given to it so far. Whoever starts the next
    batch before waiting for the copy of the last one never lets the GPU run dry.

    Args:
        tensors: On any device, those of a GPU all on the same one; None stays None.
    """

    def __init__(self, *tensors: torch.Tensor | None) -> None:
        # To the host, `non_blocking` also means pinned memory.
        self._copies = [None if x is None else x.to('cpu', non_blocking=True) for x in tensors]
        self._arrival = None
        if any(x is not None and x.is_cuda for x in tensors):
            self._arrival = torch.cuda.Event(blocking=True)
            self._arrival.record()

    def wait(self) -> list[torch.Tensor | None]:
        """Return the copies; blocks until they have arrived, but not for work that was given later."""
        if self._arrival is not None:
            self._arrival.synchronize()
            self._arrival = None
        return self._copies
