# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What judges the student: features, discriminator, losses, augmentation."""
