# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Frozen feature networks of the discriminator: how they are built, cut into stages, and weighted."""
