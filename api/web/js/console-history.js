// What a chart remembers. Memory is bounded, and the resolution of the past is proportional to its age: the
// last seconds are kept as they came, an hour ago a point a minute or so. Drawn over any window, from the last
// two minutes to a whole day, the picture has the same fineness.

const MOST = 600; // points held; going beyond it thins them out to …
const AFTER_THINNING = 480;
const FINENESS = 80; // points an age apart: at most age/FINENESS between neighbours is given up

/** For states: a value holds until the next one, and equal ones need no point. */
export const newest = (_, newer) => newer.values;

/** For rates, each measured over the time before its point. */
export const mean = (older, newer) =>
  newer.values.map((value, i) => (value * newer.weight + older.values[i] * older.weight) / (newer.weight + older.weight));

/** For delays: the worst is what matters later. */
export const greatest = (older, newer) => newer.values.map((value, i) => Math.max(value, older.values[i]));

export class History {
  /**
   * @param merge(older, newer)  what becomes of two points that are brought together: newest, mean or greatest.
   * @param {number} nearest     the least time between points, in ms.
   */
  constructor(merge = newest, nearest = 200) {
    this.points = []; // {time, values, weight}, oldest first; values null: unknown from here on
    this.merge = merge;
    this.nearest = nearest;
  }

  /** Adds the values at a time in ms; null where they are not known from now on. */
  push(time, values) {
    const last = this.points.at(-1);
    if (last && time < last.time) time = last.time; // clocks get corrected; the past stays as it is
    if (values === null) {
      if (last?.values) this.#add({ time, values: null, weight: 1 });
      return;
    }
    if (this.merge === newest && last?.values && values.every((value, i) => value === last.values[i])) return;
    this.#add({ time, values, weight: 1 });
  }

  /** The points of the time from `from` on, beginning with the one that still held then. */
  since(from) {
    let first = this.points.findIndex((point) => point.time > from);
    if (first < 0) first = this.points.length;
    return this.points.slice(Math.max(0, first - 1));
  }

  #add(point) {
    this.#keep(this.points, point, this.nearest);
    if (this.points.length <= MOST) return;
    for (let fineness = FINENESS; fineness > 5 && this.points.length > AFTER_THINNING; fineness *= 0.8) {
      const kept = [];
      for (const old of this.points) this.#keep(kept, old, Math.max(this.nearest, (point.time - old.time) / fineness));
      this.points = kept;
    }
    // A connection that comes and goes leaves gaps, which are not brought together: then the oldest part goes.
    this.points = this.points.slice(-AFTER_THINNING);
  }

  // keep appends a point, in place of the last one where that lies between two points closer than `gap`. The
  // last point before a change thus stays, and so does the moment at which the change began.
  #keep(points, point, gap) {
    const last = points.at(-1);
    const before = points.at(-2);
    if (!before || !last.values || !point.values || point.time - before.time >= gap) {
      points.push(point);
      return;
    }
    const values = this.merge(last, point);
    points[points.length - 1] = { time: point.time, values, weight: last.weight + point.weight };
  }
}
