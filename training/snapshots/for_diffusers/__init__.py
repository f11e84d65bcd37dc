# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Texts of the two files that travel in a folder for diffusers, and need nothing else of this project."""
