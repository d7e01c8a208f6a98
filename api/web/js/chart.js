// Charts over time, drawn by hand in SVG: lines, or areas that stand on each other.
//
// One unit of the drawing is one pixel of the page, so text and lines stay crisp at any width. Colours and
// strokes are the style sheet's: the drawing carries classes only.

import { timeAxis, valueAxis } from "./chart-scale.js";
import { areaPath, corners, linePath, runs } from "./chart-path.js";
import { el, setAttribute, setText, svg } from "./dom.js";

const MARGIN = { top: 8, right: 12, bottom: 22, left: 46 };
const LABEL_EVERY = { x: 92, y: 34 }; // px that a label of an axis needs at least

let charts = 0;

/**
 * Makes a chart inside `figure`, which has a heading (.chart-title) and an empty .legend and .plot.
 *
 * @param series    [{label, name}], lowest area first; `name` ends the classes area-… and line-….
 * @param {boolean} stacked  areas on each other, else lines.
 * @param {boolean} step     a value holds until the next (states), else points are joined (measurements).
 * @param {boolean} whole    the values are counts.
 * @param {number}  least    the value axis reaches at least this far.
 * @param format(value)      a value in words, with its unit.
 * @param tick(value)        a label of the value axis.
 * @param clock(ms, exact)   a time of day in words, with its seconds where exact.
 */
export function chart({ figure, series, stacked = false, step = false, whole = false, least = 1, format, tick, clock }) {
  charts += 1;
  const plot = figure.querySelector(".plot");
  const title = figure.querySelector(".chart-title");
  title.id ||= `chart-${charts}-title`; // a <title> in the drawing would cover it with a tooltip
  const about = svg("desc", { id: `chart-${charts}-about` });
  const grid = svg("g", { class: "chart-grid" });
  const marks = series.map(({ name }) => svg("path", { class: stacked ? `area area-${name}` : `line line-${name}` }));
  const labels = svg("g", { class: "chart-labels" });
  const pointer = svg("line", { class: "chart-pointer", visibility: "hidden" });
  const named = { role: "img", "aria-labelledby": `${title.id} ${about.id}` };
  plot.append(svg("svg", named, about, grid, ...marks, labels, pointer));

  const legend = legendOf(figure.querySelector(".legend"), series, stacked);
  let shown = null; // what was drawn last, for the next size or pointer
  let hover = null; // px

  /** Draws points ({time, values}) of the time from … to; the axis ends at `top` where that is given. */
  function draw({ points, from, to, top = 0 }) {
    shown = { points, from, to };
    const { clientWidth: width, clientHeight: height } = plot;
    if (width === 0 || to <= from) return;
    shown = { points, from, to, top, right: width - MARGIN.right, bottom: height - MARGIN.bottom };
    const { right, bottom } = shown;
    const highest = Math.max(least, top, ...points.map(({ values }) => (values ? reach(values) : 0)));
    const most = Math.max(2, Math.floor((bottom - MARGIN.top) / LABEL_EVERY.y));
    const axis = valueAxis(highest, { most, whole, exact: top > 0 });
    const scale = {
      x: (time) => MARGIN.left + ((time - from) / (to - from)) * (right - MARGIN.left),
      y: (value) => bottom - (value / axis.top) * (bottom - MARGIN.top),
    };
    drawAxes(axis.ticks, timeAxis(from, to, (right - MARGIN.left) / LABEL_EVERY.x), scale);
    const known = runs(points, to).map((run) => clip(run, from));
    marks.forEach((mark, i) => mark.setAttribute("d", known.map((run) => path(run, i, scale)).join("")));
    figure.dataset.points = points.filter(({ values }) => values).length;
    readOut();
  }

  // reach is how high the values of one point go.
  const reach = (values) => (stacked ? sum(values) : Math.max(...values));

  function path(run, i, { x, y }) {
    if (!stacked) return linePath(corners(run, { x, y: (values) => y(values[i]), step }));
    const edge = (parts) => corners(run, { x, y: (values) => y(sum(values.slice(0, parts))), step });
    return areaPath(edge(i + 1), edge(i));
  }

  function drawAxes(values, times, { x, y }) {
    const { right, bottom } = shown;
    grid.replaceChildren(
      ...values.map((value) => rule(MARGIN.left, y(value), right, y(value), value === 0 ? "chart-base" : "chart-rule")),
      ...times.ticks.map((time) => rule(x(time), bottom, x(time), bottom + 4, "chart-base")),
    );
    labels.replaceChildren(
      ...values.map((value) => svg("text", { x: MARGIN.left - 8, y: y(value), dy: "0.32em", "text-anchor": "end" }, tick(value))),
      ...times.ticks
        .filter((time) => x(time) > MARGIN.left + 20 && x(time) < right - 14)
        .map((time) => svg("text", { x: x(time), y: bottom + 17, "text-anchor": "middle" }, clock(time, times.step % 60_000 !== 0))),
    );
  }

  // readOut says the newest values, or those under the pointer.
  function readOut() {
    const { points, from, to, right, bottom } = shown;
    const inside = hover >= MARGIN.left && hover <= right;
    const time = from + ((hover - MARGIN.left) / (right - MARGIN.left)) * (to - from);
    if (inside) place(pointer, hover, MARGIN.top, hover, bottom);
    setAttribute(pointer, "visibility", inside ? "visible" : "hidden");
    const newest = points.at(-1)?.values;
    const values = inside ? points.findLast((point) => point.time <= time)?.values : newest;
    legend.show(values?.map(format), inside ? `at ${clock(time, true)}` : "");
    setText(about, series.map(({ label }, i) => `${label} ${newest ? format(newest[i]) : "not known"}`).join(", "));
  }

  plot.addEventListener("pointermove", (event) => {
    hover = event.clientX - plot.getBoundingClientRect().left;
    if (shown) readOut();
  });
  plot.addEventListener("pointerleave", () => {
    hover = null;
    if (shown) readOut();
  });
  new ResizeObserver(() => shown && draw(shown)).observe(plot);
  return { draw };
}

// clip lets a run begin at the left edge of the chart, where its first point is older than that.
function clip(run, from) {
  const [first, ...others] = run.points;
  return first.time >= from ? run : { ...run, points: [{ ...first, time: from }, ...others] };
}

function legendOf(list, series, stacked) {
  const values = series.map(({ label, name, testid }) => {
    const sample = stacked
      ? svg("rect", { class: `area-${name}`, x: 1, y: 1, width: 11, height: 10, rx: 2 })
      : svg("line", { class: `line line-${name}`, x1: 1, x2: 13, y1: 6, y2: 6 });
    const value = el("dd", testid ? { "data-testid": testid } : {});
    const swatch = svg("svg", { class: "swatch", "aria-hidden": "true", width: 14, height: 12 }, sample);
    const entry = el("div", {}, el("dt", {}, swatch, label), value);
    if (stacked) list.prepend(entry); // the highest area comes first
    else list.append(entry);
    return value;
  });
  const moment = el("span", { class: "legend-moment" });
  list.after(moment);
  return {
    show(words, when) {
      values.forEach((value, i) => setText(value, words ? words[i] : "–"));
      setText(moment, when);
    },
  };
}

const rule = (x1, y1, x2, y2, name) => place(svg("line", { class: name }), x1, y1, x2, y2);

// A line of one pixel is sharp in the middle of a pixel.
const crisp = (px) => Math.floor(px) + 0.5;

function place(line, x1, y1, x2, y2) {
  for (const [name, px] of Object.entries({ x1, y1, x2, y2 })) line.setAttribute(name, crisp(px));
  return line;
}

const sum = (values) => values.reduce((all, value) => all + value, 0);
