# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests that compare a device with the CPU: `pytest --device=cuda tests/cuda` on a real GPU."""
