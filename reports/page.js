// Copyright 2026 The GDD-1S authors.
// SPDX-License-Identifier: Apache-2.0
'use strict';
// The slider of the sample grids: all pictures are in the page, one is shown.
const slider = document.querySelector('#time');
if (slider) {
  const grids = [...document.querySelectorAll('.samples img')];
  const show = () => {
    grids.forEach((grid, number) => { grid.hidden = number !== Number(slider.value); });
    document.querySelector('#kimg').value = grids[slider.value].dataset.kimg + ' kimg';
  };
  slider.addEventListener('input', show);
  show();
}

// Reading values off the curves: the point of each curve nearest to the pointer.
const written = value => {
  const [size, suffix] = Math.abs(value) >= 1e6 ? [1e6, 'M'] : Math.abs(value) >= 1e3 ? [1e3, 'k'] : [1, ''];
  return Number((value / size).toPrecision(4)) + suffix;
};
for (const drawing of document.querySelectorAll('svg[data-curves]')) {
  const curves = JSON.parse(drawing.dataset.curves);
  const [left, , right, , low, high] = JSON.parse(drawing.dataset.frame);
  const texts = [...drawing.parentElement.querySelectorAll('.legend span')];
  const at = drawing.parentElement.querySelector('.at');
  const cursor = drawing.querySelector('.cursor');
  const ends = texts.map(text => text.textContent);
  const nearest = (points, x) => points.reduce((best, p) => Math.abs(p[0] - x) < Math.abs(best[0] - x) ? p : best);
  drawing.addEventListener('pointermove', event => {
    const box = drawing.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width * drawing.viewBox.baseVal.width;
    const x = nearest(curves[0][1], low + (place - left) / (right - left) * (high - low))[0];
    curves.forEach(([label, points], number) => {
      texts[number].textContent = label + ' ' + written(nearest(points, x)[1]);
    });
    at.textContent = 'at ' + written(x) + ' kimg';
    const line = left + (x - low) / (high - low) * (right - left);
    cursor.setAttribute('x1', line);
    cursor.setAttribute('x2', line);
    cursor.style.visibility = 'visible';
  });
  drawing.addEventListener('pointerleave', () => {
    texts.forEach((text, number) => { text.textContent = ends[number]; });
    at.textContent = '';
    cursor.style.visibility = 'hidden';
  });
}
