# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The Fréchet distance of generated images as a loss, without a discriminator (arXiv 2604.28190)."""
