// Asking again and again, without being a burden: not while the tab is hidden, one request at a time, and ever
// less often while the answers are errors.

/**
 * @param {() => Promise} ask
 * @param {number} every      ms from one answer to the next request.
 * @param {number} slowest    ms that errors may stretch this to. Defaults to 15 s.
 * @param onAnswer(answer)
 * @param onFailure(error)
 * @returns {{close: () => void, again: () => void}} closed, it calls nothing any more; again asks at once.
 */
export function poll({ ask, every, slowest = 15_000, onAnswer, onFailure }) {
  let closed = false;
  let asking = false;
  let timer = 0;
  let failures = 0;

  async function turn() {
    timer = 0;
    if (closed || asking || document.hidden) return; // visibilitychange starts it again
    asking = true;
    let answer;
    let failure = null;
    try {
      answer = await ask();
    } catch (error) {
      failure = error;
    }
    asking = false;
    if (closed) return;
    failures = failure ? failures + 1 : 0;
    // Many consoles that lost the same server shall not come back in step.
    const backOff = Math.min(slowest, every * 2 ** failures) * (0.8 + 0.4 * Math.random());
    const wait = failure ? Math.max(backOff, (failure.retryAfter ?? 0) * 1000) : every;
    timer = setTimeout(turn, wait);
    if (failure) onFailure(failure);
    else onAnswer(answer);
  }

  function again() {
    clearTimeout(timer);
    turn();
  }

  document.addEventListener("visibilitychange", again);
  turn();
  return {
    again,
    close() {
      closed = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", again);
    },
  };
}
