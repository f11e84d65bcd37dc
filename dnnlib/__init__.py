# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Small helpers without torch: attribute dictionaries, files, logs, downloads."""

from dnnlib.util import EasyDict, make_cache_dir_path

__all__ = ['EasyDict', 'make_cache_dir_path']
