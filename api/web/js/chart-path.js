// From points to the paths of lines and areas.
//
// A point is {time, values}; values is null where nothing is known from that time on, which leaves a gap.

const STAIR = 8; // px: steps narrower than this would look like teeth, and are drawn as a slope

/** Cuts points into the runs between gaps, as {points, end}: what is known last holds until `end`. */
export function runs(points, to) {
  const found = [];
  let run = null;
  for (const point of points) {
    if (!point.values) {
      if (run) run.end = point.time;
      run = null;
    } else if (run) {
      run.points.push(point);
    } else {
      run = { points: [point], end: to };
      found.push(run);
    }
  }
  return found;
}

/**
 * The corners [x, y] of one run. With `step` a value holds until the next one, as stock does; without it the
 * points are joined, as measurements of a rate are.
 */
export function corners(run, { x, y, step }) {
  const out = [];
  let before = null;
  for (const point of run.points) {
    const at = [x(point.time), y(point.values)];
    if (step && before && at[0] - before[0] >= STAIR) out.push([at[0], before[1]]);
    out.push(at);
    before = at;
  }
  if (step && before) out.push([x(run.end), before[1]]);
  return out;
}

/** A path through the corners. A single one becomes a dot, given round line caps. */
export function linePath(points) {
  if (points.length === 1) return `M${at(points[0])}h0`;
  return `M${points.map(at).join("L")}`;
}

/** The closed area between two lines of the same run. */
export function areaPath(upper, lower) {
  return `M${upper.map(at).join("L")}L${[...lower].reverse().map(at).join("L")}Z`;
}

const at = ([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`;
