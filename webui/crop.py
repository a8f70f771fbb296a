"""The widget in which each picture has a square that can be moved: with a finger, a mouse or the keyboard."""

from __future__ import annotations

import gradio as gr

TEMPLATE = """<div class="crops">{{#each value}}<figure data-index="{{@index}}">
<div class="frame" data-w="{{w}}" data-h="{{h}}"><img src="{{src}}" alt="{{name}}" draggable="false">
<div class="square" tabindex="0" role="group" aria-roledescription="square that is learned from"
 aria-label="{{name}}: arrow keys move the square, plus and minus change its size, Delete takes the picture away"
 data-left="{{left}}" data-upper="{{upper}}" data-side="{{side}}"
 style="left:{{x}}%;top:{{y}}%;width:{{across}}%;height:{{down}}%"><span class="corner"></span></div></div>
<figcaption><span>{{name}}</span><button type="button" aria-label="Take {{name}} away">&times;</button></figcaption>
</figure>{{/each}}</div>"""

# The square is in pixels of the picture, in the data of its element, and moved there; Python hears of it when it rests.
SCRIPT = """
const parts = target => {
  const square = target.closest('.square');
  return square && {square, frame: square.closest('.frame'), index: +square.closest('figure').dataset.index};
};
const place = (square, frame, left, upper, side) => {
  const w = +frame.dataset.w, h = +frame.dataset.h;
  side = Math.max(16, Math.min(side, w, h));
  left = Math.max(0, Math.min(left, w - side));
  upper = Math.max(0, Math.min(upper, h - side));
  Object.assign(square.dataset, {left, upper, side});
  Object.assign(square.style, {left: 100 * left / w + '%', top: 100 * upper / h + '%',
                               width: 100 * side / w + '%', height: 100 * side / h + '%'});
};
let rest = null;
const tell = (index, square) => {
  clearTimeout(rest);
  rest = setTimeout(() => trigger('square', {index, left: +square.dataset.left, upper: +square.dataset.upper,
                                             side: +square.dataset.side}), 250);
};
element.addEventListener('pointerdown', event => {
  const hit = parts(event.target);
  if (!hit) return;
  event.preventDefault();
  const {square, frame, index} = hit, resize = event.target.classList.contains('corner');
  square.focus();
  square.setPointerCapture(event.pointerId);
  const scale = +frame.dataset.w / frame.clientWidth, {left, upper, side} = square.dataset;
  const from = {x: event.clientX, y: event.clientY, left: +left, upper: +upper, side: +side};
  const move = e => {
    const dx = (e.clientX - from.x) * scale, dy = (e.clientY - from.y) * scale;
    const room = Math.min(+frame.dataset.w - from.left, +frame.dataset.h - from.upper);
    if (resize) place(square, frame, from.left, from.upper, Math.min(from.side + Math.max(dx, dy), room));
    else place(square, frame, from.left + dx, from.upper + dy, from.side);
  };
  const end = () => {
    square.removeEventListener('pointermove', move);
    tell(index, square);
  };
  square.addEventListener('pointermove', move);
  square.addEventListener('pointerup', end, {once: true});
  square.addEventListener('pointercancel', end, {once: true});
});
element.addEventListener('keydown', event => {
  const hit = parts(event.target);
  if (!hit) return;
  const {square, frame, index} = hit, step = Math.max(1, +frame.dataset.w / 50);
  let {left, upper, side} = square.dataset;
  left = +left; upper = +upper; side = +side;
  const moves = {ArrowLeft: [-step, 0, 0], ArrowRight: [step, 0, 0], ArrowUp: [0, -step, 0], ArrowDown: [0, step, 0],
                 '+': [-step / 2, -step / 2, step], '=': [-step / 2, -step / 2, step],
                 '-': [step / 2, step / 2, -step]};
  if (event.key === 'Delete') return trigger('away', {index});
  if (!(event.key in moves)) return;
  event.preventDefault();
  const [dx, dy, ds] = moves[event.key];
  place(square, frame, left + dx, upper + dy, side + ds);
  tell(index, square);
});
element.addEventListener('click', event => {
  const button = event.target.closest('figcaption button');
  if (button) trigger('away', {index: +button.closest('figure').dataset.index});
});
"""


def crop_widget() -> gr.HTML:
    """The widget; its value is a list of what `uploads.for_browser` makes, its events are `square` and `away`."""
    return gr.HTML([], html_template=TEMPLATE, js_on_load=SCRIPT, elem_id="crops")
