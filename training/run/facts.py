# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run learns after its options are resolved: from the data, the teacher's file, the processes."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """The second record of a run, beside its resolved options, which stay as they are.

    Attributes:
        micro_batch:    Images of one forward pass.
        processes:      Number of processes.
        resolution:     Side of the images in pixels.
        max_size:       Number of images, without mirrored ones.
        network_kwargs: All constructor arguments of the network.
        resume:         State that the run goes on from; None at its beginning.
        teacher:        sha256 and class_name of the file of the teacher; None without one.
        target_sha256:  The same of another score network; None without one.
    """

    micro_batch: int
    processes: int
    resolution: int
    max_size: int
    network_kwargs: dict[str, Any]
    resume: str | None = None
    teacher: dict[str, str] | None = None
    target_sha256: str | None = None

    def complete(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return options and facts as one dict, as training_options.json holds it."""
        data = dict(config['dataset_kwargs'], resolution=self.resolution, max_size=self.max_size)
        learnt = dict(micro_batch=self.micro_batch)
        if self.teacher is not None:
            learnt['teacher'] = self.teacher
        if self.target_sha256 is not None:
            learnt['target_sha256'] = self.target_sha256
        return {
            **config,
            'dataset_kwargs': data,
            'network_kwargs': self.network_kwargs,
            'resume': self.resume,
            **learnt,
            'processes': self.processes,
        }
