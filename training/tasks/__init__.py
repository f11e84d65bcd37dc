# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""What one iteration does: distillation by a discriminator, by a score network or by the Fréchet distance, or
training of a teacher."""
