# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What several tests share: tiny data, networks and runs, and files as other programs write them."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]  # of the checkout
