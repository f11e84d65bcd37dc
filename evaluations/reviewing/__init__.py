# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What a reviewer asks beyond a number: how independent it is, ratios to real images, pictures, tables."""
