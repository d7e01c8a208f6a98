// A storm that many watch: buyers rush for a drop while sockets hear of every
// change over /ws. On each socket the version of the drop never goes back, and
// when all is over every socket has the counters that the API answers.
//
//   make k6 SCRIPT=live                      starts a server if none answers
//   k6 run -e BASE_URL=https://drops.example test/k6/live.js
//
//   BASE_URL   where Holdfast answers                      (http://127.0.0.1:3000)
//   SOCKETS    sockets that watch, 1 to 5000               (500)
//   BUYERS     buyers at a time, 1 to 1000                 (200)
//   DURATION   how long they come, as 20s or 5m, at most 10m  (10s)
//   STOCK      units of the drop                           (5000)

import http from 'k6/http';
import exec from 'k6/execution';
import { WebSocket } from 'k6/websockets';
import { check, fail, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';

const BASE_URL = (__ENV.BASE_URL || 'http://127.0.0.1:3000').replace(/\/+$/, '');
const SOCKETS = whole('SOCKETS', 500, 5000);
const BUYERS = whole('BUYERS', 200, 1000);
const STOCK = whole('STOCK', 5000, 16777216);
const SECONDS = seconds(__ENV.DURATION || '10s', 600);
// Sockets are all there before the first buyer comes, and stay for the last
// counter after the last one has gone.
const CONNECT = 10 + Math.ceil(SOCKETS / 100);
const SETTLE = 10;

const created = http.expectedStatuses(201);
const reserved = http.expectedStatuses(201, 400);
const ok = http.expectedStatuses(200);
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }));

const frames = new Counter('holdfast_frames');
const wentBack = new Counter('holdfast_versions_back');
const wrong = new Counter('holdfast_wrong_counters');
const right = new Counter('holdfast_right_counters');
const lost = new Counter('holdfast_sockets_lost');
const bought = new Counter('holdfast_purchases');
const soldOut = new Counter('holdfast_sold_out');
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
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    holdfast_versions_back: ['count==0'],
    holdfast_wrong_counters: ['count==0'],
    holdfast_right_counters: [`count==${SOCKETS}`],
    holdfast_sockets_lost: ['count==0'],
    holdfast_purchases: ['count>0'],
  },
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  const answer = post('/api/drops/create', {
    name: 'k6 live', price: 180.0, total_stock: STOCK, start_time: '1970-01-01T00:00:00Z', hold_seconds: 600,
  }, created);
  if (answer.status !== 201) fail(`The drop was not created: ${answer.status} ${answer.body}`);
  return { id: answer.json('id'), begins: Date.now() };
}

// watch is one socket: it hears until the buyers have gone, then compares.
export function watch(drop) {
  const until = drop.begins + (CONNECT + SECONDS + SETTLE) * 1000;
  const address = `${BASE_URL.replace(/^http/, 'ws')}/ws?drops=${drop.id}`;
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
    const answer = http.get(`${BASE_URL}/api/drops/${drop.id}`, { tags: { name: '/api/drops/:id' }, responseCallback: ok, timeout: '30s' });
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
  const buyer = `live-${drop.id}-${exec.scenario.iterationInTest}`;
  const answer = post('/api/drops/reserve', { dropId: drop.id, userName: buyer, email: `${buyer}@example.com` }, reserved);
  if (answer.status === 400) {
    soldOut.add(1);
    check(answer, { 'sold out is said so': (r) => r.json('code') === 'out_of_stock' });
    sleep(0.2); // look again a little later
    return;
  }
  if (!check(answer, { 'a unit is held': (r) => r.status === 201 })) return;
  sleep(Math.random() * 0.2);
  if (Math.random() < 0.2) {
    check(post('/api/drops/cancel', { reservationId: answer.json('id') }, ok), { 'it is given back': (r) => r.status === 200 });
  } else {
    const receipt = post('/api/drops/purchase', { reservationId: answer.json('id') }, created);
    if (check(receipt, { 'it is bought': (r) => r.status === 201 })) bought.add(1);
  }
}

export function teardown(drop) {
  const answer = http.get(`${BASE_URL}/api/drops/${drop.id}`, { tags: { name: '/api/drops/:id' }, responseCallback: ok });
  check(answer, {
    'at the end the stock adds up': (r) =>
      r.status === 200 && r.json('available_stock') + r.json('held') + r.json('sold') === STOCK,
    'at the end nothing is held': (r) => r.status === 200 && r.json('held') === 0,
  });
}

function post(path, body, responseCallback) {
  return http.post(`${BASE_URL}${path}`, JSON.stringify(body), {
    headers: { 'Content-Type': 'application/json' }, tags: { name: path }, timeout: '15s', responseCallback,
  });
}

// whole reads a whole number from 1 to max out of the environment.
function whole(name, otherwise, max) {
  const value = __ENV[name] === undefined ? otherwise : Number(__ENV[name]);
  if (!Number.isInteger(value) || value < 1 || value > max) throw new Error(`${name} must be a whole number from 1 to ${max}`);
  return value;
}

// seconds reads a time as 20s or 5m.
function seconds(text, max) {
  const [, count, unit] = /^(\d+)(s|m)$/.exec(text) || [];
  const value = Number(count) * (unit === 'm' ? 60 : 1);
  if (!(value >= 1 && value <= max)) throw new Error(`DURATION must be as 20s or 5m, at most ${max}s`);
  return value;
}
