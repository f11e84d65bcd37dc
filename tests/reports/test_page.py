# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of reports/page.py: what the page says, and that a real browser shows it."""

import html.parser
import json
import os
import re

import numpy as np
import PIL.Image
import pytest

from reports import page
from reports.measurements import Measurement
from reports.run_folder import read_run
from tests.support import written_runs
from training.images.png import save_png

DARK = '--blink-settings=preferredColorScheme=0'
# Before the page: errors are collected. After it: what a reader would do, and what he would see then.
WATCH = '<script>const errors = []; addEventListener("error", event => errors.push(event.message))</script>'
ACT = """<script>
const state = () => {
  const shown = [...document.querySelectorAll('.samples img')].filter(image => image.offsetWidth > 0);
  return [shown.length, shown[0].dataset.kimg, document.querySelector('#kimg').value];
};
addEventListener('load', () => {
  const before = state();
  const slider = document.querySelector('#time');
  slider.value = 1;
  slider.dispatchEvent(new Event('input'));
  const drawing = document.querySelector('svg');
  const box = drawing.getBoundingClientRect();
  const middle = {clientX: box.left + box.width / 2, clientY: box.top};
  drawing.dispatchEvent(new PointerEvent('pointermove', middle));
  const size = element => element.getBoundingClientRect();
  const pre = document.createElement('pre');
  pre.id = 'found';
  pre.textContent = JSON.stringify({
    errors, before, after: state(),
    reading: drawing.parentElement.querySelector('.legend').textContent,
    images: [...document.images].filter(image => !image.hidden)
        .map(image => [image.naturalWidth, image.naturalHeight, Math.round(size(image).width)]),
    drawings: [...document.querySelectorAll('svg')].map(svg => Math.round(size(svg).height)),
    width: [document.documentElement.scrollWidth, innerWidth],
    back: getComputedStyle(document.body).backgroundColor,
  });
  document.body.append(pre);
});
</script>"""


@pytest.fixture
def run_dir(tmp_path):
    return written_runs.write_run(tmp_path / '00000-run', comparison=True, overlap={'backbone': True})


class Reader(html.parser.HTMLParser):
    """Collect tags, and texts outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ('meta', 'img', 'input', 'line', 'circle', 'polyline'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ('line', 'circle', 'polyline'):
            assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ('script', 'style'):
            self.texts.append(' '.join(data.split()))


def test_the_page_says_everything(run_dir):
    reader = Reader(page.render_page(read_run(run_dir)))
    assert reader.open == []  # every tag is closed
    text = ' | '.join(filter(None, reader.texts))
    for expected in (
        '00000-run', 'Distillation of teacher.pkl on <digits>.zip', '4 kimg of 8', '5m 00s',
        'teacher, 18 steps | 0.250 | 97.00 % | 35 | 200 | 4.0', 'real images | 0.050 | - | - | 200 | -',
        f'{written_runs.NAME} | 4 | 4 | network-snapshot-000004.pkl | ref.npz | 0-199 | backbone: yes',
        'python | train.py | --recipe=demo', '1970-01-01 00:00 UTC', 'torch | 2.14', 'ema | 0.5',
        'target | default', 'G 1.6', 'D 1.4', 'penalty 10k',
    ):  # fmt: skip
        assert expected in text, expected
    images = [attributes for tag, attributes in reader.tags if tag == 'img']
    assert [image.get('data-kimg') for image in images] == ['0', '2', '4', None]
    assert [(image['width'], image['height']) for image in images] == [('24', '16')] * 3 + [('60', '20')]
    assert ['hidden' in image for image in images] == [True, True, False, False]


def test_the_page_asks_for_nothing(run_dir):
    """No address but data and the names of SVG; a policy forbids the rest."""
    text = page.render_page(read_run(run_dir))
    tags = Reader(text).tags
    assert all(tag not in ('link', 'iframe', 'object') and 'href' not in given for tag, given in tags)
    assert all(given['src'].startswith('data:image/png;base64,') for _, given in tags if 'src' in given)
    assert not re.search(r'https?:|//\w|url\(|@import|fetch\(|XMLHttp', re.sub(r'base64,[^"]*', '', text))
    assert "default-src 'none'" in text


def test_a_page_of_statistics_alone(tmp_path):
    """As of a run that was killed early, or of an earlier version."""
    written_runs.write_lines(f'{tmp_path}/stats.jsonl', [written_runs.stats_line(0)])
    text = page.render_page(read_run(str(tmp_path)))
    assert Reader(text).open == [] and page.UNKNOWN in re.sub('</?span>', '', text)
    for absent in ('<img', 'type="range"', 'Beside the teacher', '<h2>Metrics'):
        assert absent not in text


HOSTILE = '"><script>alert(1)</script>\'</pre>'


def test_whatever_a_folder_says_is_text(tmp_path):
    """Names, options, commands and metrics with tags in them stay texts."""
    folder = written_runs.write_run(tmp_path / '<script>alert(2)<', comparison=True)
    options = dict(
        transfer=HOSTILE, dataset_kwargs=dict(path=HOSTILE), options={HOSTILE: HOSTILE}, loss='gdd'
    )
    (tmp_path / folder / 'training_options.json').write_text(json.dumps(options))
    lines = [dict(timestamp=1, kimg=3, command=HOSTILE, **{HOSTILE: HOSTILE})]
    written_runs.write_lines(f'{folder}/launches.jsonl', lines)
    metrics = [written_runs.metric_line(k, 2.0, overlap=HOSTILE) | dict(name=HOSTILE) for k in range(3)]
    written_runs.write_lines(f'{folder}/metric-fd200.jsonl', metrics)
    comparison = dict(metric=HOSTILE, rows=[dict(name=HOSTILE)])
    (tmp_path / folder / 'comparison.json').write_text(json.dumps(comparison))
    reader = Reader(page.render_page(read_run(folder)))
    assert [tag for tag, _ in reader.tags].count('script') == 1 and reader.open == []
    assert ' '.join(reader.texts).count('alert(1)') > 10


def test_values_of_other_types(tmp_path):
    """Nothing of a damaged folder ends in a traceback, or as NaN in a picture."""
    folder = written_runs.write_run(tmp_path / 'a', comparison=True)
    odd = [1], {'a': 1}, None, 'x', float('nan'), 10**400, 1e300, True
    for value in odd:
        options = dict.fromkeys(('loss', 'total_nimg', 'grid_size', 'dataset_kwargs', 'options'), value)
        launch = dict(timestamp=value, kimg=value, command=value, torch=value)
        metric = dict(name=value, value=1.5, kimg=value, snapshot=value, seeds=value, reference=value)
        rows = [value, dict(name=value, frechet=value, accuracy=value, nfe=value)]
        comparison = dict(metric=value, rows=rows if value != 'x' else value)
        for name, content in (
            ('training_options.json', options),
            ('launches.jsonl', launch),
            ('metric-fd200.jsonl', metric),
            ('comparison.json', comparison),
            ('other.json', dict(results=[metric, value], network=value, key=value, images=value)),
        ):
            (tmp_path / 'a' / name).write_text(json.dumps(content))
        drawings = re.findall('<svg.*?</svg>', page.render_page(read_run(folder)))
        assert drawings and not any('nan' in text.lower() for text in drawings)


def test_names_with_other_bytes(tmp_path):
    folder = written_runs.write_run(os.fsdecode(os.fsencode(tmp_path) + b'/run\xff'))
    with open(page.write_page(folder), encoding='utf-8') as file:
        assert '<title>run\\udcff</title>' in file.read()


def test_best_and_last_of_every_number():
    series = [Measurement('fid5', v, kimg=k) for k, v in enumerate((9, 3, 5))]
    series += [Measurement('is5', v, kimg=k) for k, v in enumerate((1, 2, 3))]
    assert [(item.name, item.value) for item in page.notable(series)] == [
        ('fid5', 3),
        ('fid5', 5),
        ('is5', 3),
    ]


def test_large_pictures_are_made_smaller(tmp_path):
    noise = np.random.RandomState(0).randint(256, size=[900, 2000, 3], dtype=np.uint8)
    save_png(tmp_path / 'a.png', noise)
    found = page.picture(str(tmp_path / 'a.png'))
    assert (found['width'], found['height'], found['small']) == (1600, 720, False)
    assert found['url'].startswith('data:image/jpeg;base64,') and len(found['url']) < noise.size
    PIL.Image.new('L', (40, 30)).save(tmp_path / 'b.png')
    assert page.picture(str(tmp_path / 'b.png'))['small']


def test_few_of_many_grids(tmp_path, monkeypatch):
    monkeypatch.setattr(page, 'MOST_GRIDS', 2)
    text = page.render_page(read_run(written_runs.write_run(tmp_path)))
    assert text.count('data-kimg=') == 2 and '2 of 3 snapshots.' in text


@pytest.mark.skipif(written_runs.find_browser() is None, reason='no Chromium here (Debian: chromium)')
@pytest.mark.parametrize(
    'options', [(), ('--window-size=500,900', '--blink-settings=preferredColorScheme=0')]
)
def test_in_a_browser(options, run_dir, tmp_path):
    """Wide and light, narrow and dark: pictures have sizes, the slider moves, curves are read off."""
    text = page.render_page(read_run(run_dir))
    (tmp_path / 'a.html').write_text(
        text.replace('<style>', WATCH + '<style>', 1).replace('</body>', ACT + '</body>'), 'utf-8'
    )
    document, messages = written_runs.run_browser(
        tmp_path / 'a.html', tmp_path / 'profile', '--dump-dom', *options
    )
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', document, re.DOTALL)[1]))
    assert found['errors'] == [] and 'CONSOLE' not in messages, messages
    assert found['before'] == [1, '4', '4 kimg'] and found['after'] == [1, '2', '2 kimg']
    assert found['reading'] == 'value 22at 2 kimg'  # in the middle of 0..4 kimg: 40 - 9 * 2
    assert [image[:2] for image in found['images']] == [[24, 16], [60, 20]]
    assert all(image[2] >= 60 for image in found['images']) and min(found['drawings']) > 100
    assert found['width'][0] <= found['width'][1]  # nothing sticks out to the side
    assert found['back'] == ('rgb(20, 23, 27)' if options else 'rgb(255, 255, 255)')
