# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Test the benchmark of conversions: its photos, and the table of one process."""

import PIL.Image
from click.testing import CliRunner

from benchmarks import dataset_tool


def test_photos_are_jpeg_of_the_size_and_differ(tmp_path):
    dataset_tool.write_photos(tmp_path, 2, 48)
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ['000000.jpg', '000001.jpg']
    for path in files:
        with PIL.Image.open(path) as image:
            assert image.size == (48, 48) and image.format == 'JPEG'
    assert files[0].read_bytes() != files[1].read_bytes()


def test_table_of_one_process():
    result = CliRunner().invoke(
        dataset_tool.main, ['--images=3', '--size=32', '--resolution=16', '--workers=1']
    )
    assert result.exit_code == 0, result.output
    title, *_, row = result.stdout.splitlines()  # progress goes to stderr
    assert title.startswith('3 JPEG images of 32x32 -> PNG 16x16')
    assert row.startswith('| 1 |') and row.endswith('| 1.00 |')
