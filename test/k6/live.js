// A storm that many watch: buyers rush for a drop while sockets hear of every
// change over /ws. On each socket the version of the drop never goes back, and
// when all is over every socket has the counters that the API answers.
//
//   make k6 SCRIPT=live                      starts a server if none answers
//   k6 run -e BASE_URL=https://drops.example test/k6/live.js
//
//   BASE_URL   where Holdfast answers                      (http://127.0.0.1:3000)
//   ADMIN_TOKEN  its admin token, to create the drop and audit it
//   SOCKETS    sockets that watch, 1 to 5000               (500)
//   BUYERS     buyers at a time, 1 to 1000                 (200)
//   DURATION   how long they come, as 20s or 5m, at most 10m  (10s)
//   STOCK      units of the drop                           (5000)

import exec from 'k6/execution';
import { WebSocket } from 'k6/websockets';
import { sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import * as shop from './shop.js';

const SOCKETS = shop.whole('SOCKETS', 500, 5000);
const BUYERS = shop.whole('BUYERS', 200, 1000);
const STOCK = shop.whole('STOCK', 5000, 16777216);
const SECONDS = shop.seconds('10s', 600);
// Sockets are all there before the first buyer comes, and stay for the last
// counter after the last one has gone.
const CONNECT = 10 + Math.ceil(SOCKETS / 100);
const SETTLE = 10;

const frames = new Counter('holdfast_frames');
const wentBack = new Counter('holdfast_versions_back');
const wrong = new Counter('holdfast_wrong_counters');
const right = new Counter('holdfast_right_counters');
const lost = new Counter('holdfast_sockets_lost');
const connectTime = new Trend('holdfast_connect_ms', true);

export const options = {
  scenarios: {
    sockets: {
      executor: 'per-vu-iterations', exec: 'watch', vus: SOCKETS, iterations: 1,
      maxDuration: `${CONNECT + SECONDS + SETTLE + 30}s`,
    },
    buyers: {
      executor: 'constant-vus', exec: 'buy', vus: BUYERS, startTime: `${CONNECT}s`, duration: `${SECONDS}s`, gracefulStop: '10s',
    },
  },
  thresholds: {
    ...shop.always,
    ...shop.audited,
    holdfast_versions_back: ['count==0'],
    holdfast_wrong_counters: ['count==0'],
    holdfast_right_counters: [`count==${SOCKETS}`],
    holdfast_sockets_lost: ['count==0'],
    holdfast_purchases: ['count>0'],
  },
  summaryTrendStats: shop.trends,
};

export function setup() {
  return { ...shop.openDrop('k6 live', STOCK), begins: Date.now() };
}

// watch is one socket: it hears until the buyers have gone, then compares.
export function watch(drop) {
  const until = drop.begins + (CONNECT + SECONDS + SETTLE) * 1000;
  const address = `${shop.BASE_URL.replace(/^http/, 'ws')}/ws?drops=${drop.id}`;
  const began = Date.now();
  const socket = new WebSocket(address);
  let known = null;
  let done = false;

  socket.onopen = () => {
    connectTime.add(Date.now() - began);
    setTimeout(() => compare(0), Math.max(0, until - Date.now()));
  };
  socket.onmessage = (message) => {
    frames.add(1);
    const { event, data } = JSON.parse(message.data);
    if (event === 'snapshot') note(data.drops[0]);
    else if (event === 'stock_update' || event === 'drop_updated') note(data);
  };
  socket.onerror = (error) => {
    if (!done) console.error(`socket: ${error.error}`);
  };
  socket.onclose = () => {
    if (!done) lost.add(1);
  };

  function note(counts) {
    if (known && counts.version < known.version) wentBack.add(1);
    known = counts;
  }

  // compare asks the API; what was bought last may still be on its way.
  function compare(tries) {
    const answer = shop.show(drop);
    const same = answer.status === 200 && known !== null
      && ['available_stock', 'held', 'sold', 'version'].every((field) => known[field] === answer.json(field));
    if (!same && tries < 10) {
      setTimeout(() => compare(tries + 1), 500);
      return;
    }
    if (same) right.add(1);
    else {
      wrong.add(1);
      console.error(`a socket ended on ${JSON.stringify(known)}, the API says ${answer.body}`);
    }
    done = true;
    socket.close();
  }
}

// buy is one buyer: reserve, think, buy or give back.
export function buy(drop) {
  const id = shop.reserve(drop, shop.guest(`live-${drop.id}-${exec.scenario.iterationInTest}`));
  if (id === 0) {
    sleep(0.2); // look again a little later
    return;
  }
  sleep(Math.random() * 0.2);
  if (Math.random() < 0.2) shop.cancel(id);
  else shop.purchase(id);
}

export function teardown(drop) {
  shop.audit(drop);
}
