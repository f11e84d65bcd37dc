# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Helpers around torch: processes, statistics, weight copies and the snapshot format."""
