# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
