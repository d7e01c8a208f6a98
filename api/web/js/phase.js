// Where a drop stands for a buyer, and which drop comes before which.

/**
 * "ended", "paused", "upcoming", "live" or "soldout" at now (the server's ms).
 * Sold out is what has nothing free, though holds may bring some back.
 */
export function phase(drop, now) {
  if (drop.state === "ended" || (drop.end_time && Date.parse(drop.end_time) <= now)) return "ended";
  if (drop.state === "paused") return "paused";
  if (Date.parse(drop.start_time) > now) return "upcoming";
  return drop.available_stock > 0 ? "live" : "soldout";
}

const RANK = { live: 0, paused: 0, upcoming: 1, soldout: 2, ended: 3 };

/** Orders drops: live now, upcoming by start, sold out, over; the newer first among equals. */
export function byInterest(now) {
  const rank = (drop) => RANK[phase(drop, now)];
  return (a, b) => {
    const by = rank(a) - rank(b);
    if (by !== 0) return by;
    if (rank(a) === RANK.upcoming) {
      const soonest = Date.parse(a.start_time) - Date.parse(b.start_time);
      if (soonest !== 0) return soonest;
    }
    return b.id - a.id;
  };
}
