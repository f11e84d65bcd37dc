# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/svg.py."""

import json
import xml.etree.ElementTree as ET

from reports.panels import Curve, Panel
from reports.svg import HEIGHT, WIDTH, draw_panel


def parse(panel):
    return ET.fromstring(draw_panel(panel))


def test_places_by_hand():
    """The frame is 52..468 x 10..212; y reaches 5 % beyond 0..10 above, and not below 0."""
    tree = parse(Panel('title', '', [Curve('a', [0, 2, 4], [0.0, 5.0, 10.0])]))
    assert tree.find('polyline').get('points') == '52.0,212.0 260.0,115.8 468.0,19.6'
    assert len(tree.findall('circle')) == 3 and tree.get('aria-label') == 'title'


def test_all_points_are_inside():
    curves = [Curve('a', [1, 500], [1e-3, 1e3]), Curve('b', list(range(1, 900)), [7.0] * 899)]
    tree = parse(Panel('t', '', curves, log=True))
    for line in tree.findall('polyline'):
        for point in line.get('points').split():
            x, y = map(float, point.split(','))
            assert 0 < x < WIDTH and 0 < y < HEIGHT
    assert [circle.get('class') for circle in tree.findall('circle')] == ['c0', 'c0']  # b has too many points
    assert [text.text for text in tree.findall('text')[:3]] == ['0.001', '0.1', '10']


def test_data_for_the_script_and_texts_are_escaped():
    tree = parse(Panel('a "b" <c>', '', [Curve('<d> & "e"', [0, 1], [1.234567, 2.0])]))
    assert json.loads(tree.get('data-curves')) == [['<d> & "e"', [[0, 1.2346], [1, 2]]]]
    assert json.loads(tree.get('data-frame')) == [52, 10, 468, 212, 0, 1]
    assert tree.get('aria-label') == 'a "b" <c>'


def test_a_single_point_can_be_drawn():
    tree = parse(Panel('t', '', [Curve('a', [0], [0.0])]))
    assert len(tree.findall('circle')) == 1
