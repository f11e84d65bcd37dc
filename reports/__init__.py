# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a run has left, to look at: curves, strips of samples, a page, a card for its network."""
