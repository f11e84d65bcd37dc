# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What several commands come to: one's own images from folder to table, and a look at a run before it starts."""
