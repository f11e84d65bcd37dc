# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Pixels to files and files to pixels: archives, data sets, PNG files, image packs."""
