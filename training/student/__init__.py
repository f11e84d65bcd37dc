# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""The network that learns: built from its teacher, partly frozen."""
