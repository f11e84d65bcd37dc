# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""From noise to images: noise levels, samplers, their options, seeds."""
