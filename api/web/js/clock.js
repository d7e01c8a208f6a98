// The server's clock, as the page knows it.
//
// A drop opens and a hold ends by the server's clock. The reader's own clock
// may be wrong or be set while the page is open, so time is the server's word
// plus what performance.now() counted since, which nobody can set.

let offset = Date.now() - performance.now();
let told = false;

// On its way a time grows old and so seems early, never late: of two estimates
// that are this close together the greater is the better one.
const DELAY = 1000;

/** Takes the server's time, an ISO 8601 string with milliseconds, as just received. */
export function sync(serverTimeISO) {
  const heard = Date.parse(serverTimeISO) - performance.now();
  if (Number.isNaN(heard)) return;
  const late = offset - heard;
  if (told && late > 0 && late < DELAY) return;
  offset = heard;
  told = true;
}

/** Takes a time good to a second only (an HTTP Date), where nothing better is known. */
export function hint(httpDate) {
  const heard = Date.parse(httpDate) - performance.now();
  if (told || Number.isNaN(heard)) return;
  const inside = offset - heard;
  if (inside < 0 || inside > DELAY) offset = heard;
}

/** The server's time in ms since 1970. */
export function now() {
  return performance.now() + offset;
}
