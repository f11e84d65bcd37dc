# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Training: networks, data, losses, distillation loop, samplers and checkpoints."""
