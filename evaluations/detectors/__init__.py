# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Feature networks of the metrics, and the readers of their weights."""
