# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks to files and files to networks; nothing that a file holds is executed."""
