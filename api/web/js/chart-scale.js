// Round numbers for the axes of charts.

const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** The smallest of 1, 2, 2.5, 5, 10, 20, 25 … (or .5, .25 …) that cuts span into at most `most` parts. */
export function roundStep(span, most, whole = false) {
  const rough = Math.max(span / most, whole ? 1 : 0);
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = [1, 2, 2.5, 5, 10].map((factor) => factor * power);
  return steps.find((step) => step >= rough * 0.999999 && (!whole || Number.isInteger(step)));
}

/**
 * The ticks of a value axis that begins at 0, as {ticks, top}. Where `exact` is set, the axis ends at high and
 * the ticks stay below it, else it ends at the first tick that is not below high. Counts take whole = true, so
 * that no tick falls between two of them.
 */
export function valueAxis(high, { most = 4, whole = false, exact = false } = {}) {
  const step = roundStep(high, most, whole);
  const parts = exact ? Math.floor(high / step + 1e-9) : Math.ceil(high / step - 1e-9);
  // A product may be 0.30000000000000004; labels shall say 0.3.
  const ticks = Array.from({ length: parts + 1 }, (_, i) => Number((i * step).toPrecision(12)));
  return { ticks, top: exact ? high : ticks.at(-1) };
}

/** The round local times between two instants (ms), at most `most` or so, and the step between them in ms. */
export function timeAxis(from, to, most) {
  const seconds = (to - from) / 1000 / Math.max(1, most);
  const days = Math.ceil(seconds / 86400) * 86400;
  const step = (TIME_STEPS.find((s) => s >= seconds) ?? days) * 1000;
  // Steps of hours fall on round hours of the reader's own zone.
  const zone = new Date(to).getTimezoneOffset() * 60_000;
  const ticks = [];
  for (let t = Math.ceil((from - zone) / step) * step + zone; t <= to; t += step) ticks.push(t);
  return { ticks, step };
}
