// The live line: the newest state of every drop, as the server tells it.
// docs/LIVE.md describes the frames.

import { sync } from "./clock.js";

const SHORTEST = 400; // ms: the range the first pause is drawn from
const LONGEST = 5_000;
const PATIENCE = 10_000; // ms for a connection to bring its snapshot
const SILENCE = 60_000; // ms without a frame: the server sends one each 20 s
const SLEPT = 2_000; // ms by which two clocks part while the machine sleeps

/**
 * Keeps a connection to /ws, narrowed to the ids in drops if given, until
 * close() is called.
 *
 * onSnapshot(data) gets every snapshot, which replaces all that was known;
 * onEvent(event, data) all other frames; onState("connecting" | "live" |
 * "offline") every change. It is "live" from the first snapshot on, and
 * "offline" where the browser has no network or a second try has failed. It
 * goes on trying in every state.
 *
 * @returns {{close: () => void}}
 */
export function connect({ drops, onSnapshot = () => {}, onEvent = () => {}, onState = () => {} }) {
  const url = new URL("/ws", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  if (drops?.length) url.search = `drops=${drops.join(",")}`;

  let socket = null;
  let timer = 0; // of the next try, or of the frame that is awaited
  let failures = 0;
  let state = "";
  let closed = false;

  function say(next) {
    if (next === state) return;
    state = next;
    onState(state);
  }

  function open() {
    drop();
    if (state !== "offline") say("connecting");
    const mine = new WebSocket(url);
    socket = mine;
    timer = setTimeout(() => lost(mine), PATIENCE);
    mine.onmessage = ({ data }) => mine === socket && receive(data);
    mine.onclose = ({ code }) => lost(mine, code);
  }

  function receive(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // not for this client
    }
    if (frame.data?.server_time) sync(frame.data.server_time);
    const mine = socket;
    if (state === "live" || frame.event === "snapshot") {
      clearTimeout(timer);
      timer = setTimeout(() => lost(mine), SILENCE);
    }
    if (frame.event === "time") return;
    if (frame.event !== "snapshot") {
      onEvent(frame.event, frame.data);
      return;
    }
    failures = 0;
    onSnapshot(frame.data);
    say("live");
  }

  function lost(which, code) {
    if (which !== socket) return;
    drop();
    failures += 1;
    say(navigator.onLine && failures < 2 ? "connecting" : "offline");
    // A frame that the server refuses would be refused again: no hurry then.
    later(code === 1008 ? LONGEST : Math.min(LONGEST, SHORTEST * 2 ** failures));
  }

  // Every pause is drawn anew from its whole range, so that the clients of a
  // server that restarts do not come back together.
  function later(range) {
    clearTimeout(timer);
    timer = setTimeout(open, Math.random() * range);
  }

  function drop() {
    clearTimeout(timer);
    if (!socket) return;
    const old = socket;
    socket = null;
    old.onmessage = old.onclose = null;
    old.close();
  }

  // The browser may say so while the server is on this very machine: it is
  // told, and tried all the same.
  function networkLost() {
    drop();
    failures = Math.max(failures, 1);
    say("offline");
    later(LONGEST);
  }

  function networkBack() {
    if (state === "live") return;
    failures = 0;
    later(SHORTEST);
  }

  // A socket that was open when the machine fell asleep looks open when it
  // wakes, and the clock has stood still: start anew.
  let apart = Date.now() - performance.now();
  function seen() {
    if (document.hidden) return;
    const before = apart;
    apart = Date.now() - performance.now();
    if (Math.abs(apart - before) > SLEPT) {
      drop();
      say("connecting");
      later(SHORTEST);
    } else if (!socket) {
      networkBack();
    }
  }

  addEventListener("offline", networkLost);
  addEventListener("online", networkBack);
  document.addEventListener("visibilitychange", seen);
  open();

  return {
    close() {
      if (closed) return;
      closed = true;
      removeEventListener("offline", networkLost);
      removeEventListener("online", networkBack);
      document.removeEventListener("visibilitychange", seen);
      drop();
    },
  };
}
