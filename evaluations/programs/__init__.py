# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Steps of the commands of fid.py, above everything else in evaluations/."""
