# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""One page per run, report.html: a single file that asks nothing of the network and can be passed on.

The layout is page.html, with page.css and page.js put inside. Curves are SVG of our own (`svg`), not
pictures of a plotting library: a training run writes its page without one, they follow the light or dark
colours of the reader, and stay sharp on a telephone.
"""

import base64
import datetime
import io
import json
import os
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe

from dnnlib.files import atomic_write
from dnnlib.util import format_time
from reports.axes import short
from reports.json_files import number, read_object, typed
from reports.measurements import Measurement
from reports.panels import Panel, make_panels
from reports.run_folder import RunFolder, open_picture, read_run, spread
from reports.svg import draw_panel

FILE_NAME = 'report.html'
MOST_GRIDS = 24  # in the slider, evenly from the first to the last
LARGEST_PNG = 300_000  # bytes; larger pictures are kept as JPEG
LARGEST_SIDE = 1600  # pixels; larger pictures are made smaller
YEAR_9999 = 253_370_764_800  # in seconds since 1970; the last that dates know
SMALL_SIDE = 700  # pixels; smaller pictures are enlarged in whole pixels, not smoothed


def write_page(run_dir: str, path: str | None = None) -> str:
    """Write the page of a run, atomically.

    Args:
        run_dir: Folder of the run.
        path:    File to write; None for report.html in the folder.
    Returns:
        The path.
    Raises:
        ArgumentError: `run_dir` is not the folder of a run.
    """
    path = path or os.path.join(run_dir, FILE_NAME)
    text = render_page(read_run(run_dir))
    with atomic_write(path) as file:
        file.write(text.encode('utf-8', 'backslashreplace'))  # a name may have bytes that are no UTF-8
    return path


def render_page(run: RunFolder) -> str:
    """Return the page of a run as HTML."""
    loader = jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__)))
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    shown = spread(run.grids, MOST_GRIDS)
    few = f'{len(shown)} of {len(run.grids)} snapshots.' if len(shown) < len(run.grids) else ''
    return environment.get_template('page.html').render(
        name=run.name,
        about=describe_run(run.options),
        facts=list_facts(run),
        grids=[dict(picture(path), kimg=kimg) for kimg, path in shown],
        grids_note=few,
        comparison=read_comparison(run.path),
        panels=[_panel(panel) for panel in make_panels([run])],
        metrics=[_metric(item) for item in notable(run.measurements)],
        launches=[_launch(entry) for entry in run.launches or [{}]],
        options=[(name, _text(value)) for name, value in _given(run.options).items()],
        settings=json.dumps(run.options, indent=1),
    )


UNKNOWN = 'This run has not recorded its command (launches.jsonl); the options below are complete.'


def describe_run(options: dict[str, Any]) -> str:
    """Say in one line what a run does."""
    data = os.path.basename(str(typed(options, 'dataset_kwargs', dict, {}).get('path', 'unknown data')))
    if options.get('loss') == 'gdd':
        teacher = os.path.basename(str(options.get('transfer') or 'an unknown teacher'))
        return f'Distillation of {teacher} on {data}'
    return f'Training of a teacher on {data}' if options else 'A training run'


def list_facts(run: RunFolder) -> list[tuple[str, str]]:
    """Return the few numbers that come first: label, text."""
    total = (number(run.options.get('total_nimg')) or 0) / 1000
    seconds, rates = run.curve('Timing/total_sec')[1], run.curve('Timing/img_per_sec')[1]
    facts = [('images seen', f'{short(run.kimg)} kimg' + (f' of {short(total)}' if total > run.kimg else ''))]
    if seconds:
        facts.append(('time', format_time(seconds[-1])))
    if rates:
        facts.append(('images/s, last', short(rates[-1])))
    last = {item.name: item for item in run.measurements if item.kimg is not None}
    facts += [(f'{item.name}, last', item.text) for item in last.values()]
    skipped = run.curve('Progress/nonfinite_steps')[1]
    if skipped and skipped[-1]:
        facts.append(('non-finite steps', short(skipped[-1])))
    return facts


def picture(path: str) -> dict[str, Any]:
    """Return a picture for the page: url with its data, width, height, small (shown in whole pixels)."""
    (data, image), kind = open_picture(path), 'png'
    if len(data) > LARGEST_PNG or max(image.size) > LARGEST_SIDE:
        image = image.convert('RGB')
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, format='JPEG', quality=88)
        data, kind = buffer.getvalue(), 'jpeg'
    width, height = image.size
    url = f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
    return dict(url=url, width=width, height=height, small=max(width, height) < SMALL_SIDE)


def read_comparison(folder: str) -> dict[str, Any] | None:
    """Return what evaluations/teacher_and_student.py has left: picture, metric, rows; None for nothing."""
    path = os.path.join(folder, 'comparison.png')
    table = read_object(os.path.join(folder, 'comparison.json')) or {}
    image = picture(path) if os.path.isfile(path) else None
    if image is None and not table:
        return None
    rows = [_comparison_row(row) for row in typed(table, 'rows', list, []) if isinstance(row, dict)]
    return dict(picture=image, metric=table.get('metric', 'distance'), rows=rows)


def _comparison_row(row: dict[str, Any]) -> list[str]:
    def cell(name: str, form: str, factor: float = 1, unit: str = '') -> str:
        value = number(row.get(name))
        return '-' if value is None else format(factor * value, form) + unit

    return [
        str(row.get('name', '')),
        cell('frechet', '.3f'),
        cell('accuracy', '.2f', 100, ' %'),
        cell('nfe', '.0f'),
        cell('num_images', '.0f'),
        cell('images_per_sec', '.1f'),
    ]


def notable(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return of every name the last number, and the best one before it where that is another."""
    chosen = []
    for name in dict.fromkeys(item.name for item in measurements):
        series = [item for item in measurements if item.name == name]
        chosen += [item for item in series if item is series[-1] or item is best_of(series)]
    return chosen


def best_of(series: Sequence[Measurement]) -> Measurement:
    """Return the best of some numbers of the same name: the lowest distance, or the highest of all others."""
    choose = min if series[0].is_distance else max
    return choose(series, key=lambda item: item.value)


def _metric(item: Measurement) -> dict[str, Any]:
    return dict(
        name=item.name,
        value=item.text,
        kimg='' if item.kimg is None else short(item.kimg),
        network=item.network,
        ref=item.ref,
        seeds=item.seeds,
        overlap=item.overlap_text,
    )


def _panel(panel: Panel) -> dict[str, Any]:
    legend = [f'{curve.label} {short(curve.y[-1])}' for curve in panel.curves]
    svg = markupsafe.Markup(draw_panel(panel))  # its texts are escaped
    return dict(title=panel.title, about=panel.about, svg=svg, legend=legend)


def _launch(entry: dict[str, Any]) -> dict[str, Any]:
    seconds, kimg = number(entry.get('timestamp')), number(entry.get('kimg'))
    known = seconds is not None and 0 <= seconds < YEAR_9999
    when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc) if known else None
    facts = {name: value for name, value in entry.items() if name not in ('command', 'timestamp', 'kimg')}
    begin = f', from {short(kimg)} kimg on' if kimg else ''
    return dict(
        when=f'{when:%Y-%m-%d %H:%M} UTC{begin}' if when else '',
        command=typed(entry, 'command', str, UNKNOWN),
        environment=[(name, _text(value)) for name, value in facts.items()],
    )


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return typed(options, 'options', dict, {})


def _text(value: Any) -> str:
    if value is None:
        return 'default'
    if isinstance(value, (list, tuple)):
        return ','.join(map(_text, value))
    if isinstance(value, dict):
        return ', '.join(f'{name}: {_text(item)}' for name, item in value.items())
    return f'{value:g}' if isinstance(value, float) else str(value)
