# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks that no data have trained, so that no pretraining can favour what they measure."""
