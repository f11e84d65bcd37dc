# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Several commands in one: one's own images from folder to table; a look at a run before it starts."""
