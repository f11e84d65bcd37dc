# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""A run and its folder: states, resume, signals, status lines, logs, artifacts."""
