// Pages that are looked at while a few people buy: the list of drops and one
// drop, asked for again with the ETag of the last answer. What a reader sees always
// adds up, and is never older than what it saw before.
//
//   make k6 SCRIPT=browse                    starts a server if none answers
//   k6 run -e BASE_URL=https://drops.example test/k6/browse.js
//
//   BASE_URL   where Holdfast answers: one instance        (http://127.0.0.1:3000)
//   ADMIN_TOKEN  its admin token, to create the drop and audit it
//   READERS    pages at a time, 1 to 1000                  (50)
//   RATE       buyers a second, 1 to 1000                  (10)
//   DURATION   how long they come, as 20s or 5m, at most 1h  (10s)

import http from 'k6/http';
import exec from 'k6/execution';
import { check, sleep } from 'k6';
import { Counter } from 'k6/metrics';
import * as shop from './shop.js';

const READERS = shop.whole('READERS', 50, 1000);
const RATE = shop.whole('RATE', 10, 1000);
const SECONDS = shop.seconds('10s', 3600);

const unchanged = new Counter('holdfast_unchanged');
const read = http.expectedStatuses(200, 304);

export const options = {
  scenarios: {
    readers: { executor: 'constant-vus', exec: 'look', vus: READERS, duration: `${SECONDS}s`, gracefulStop: '10s' },
    buyers: {
      executor: 'constant-arrival-rate', exec: 'buy', rate: RATE, duration: `${SECONDS}s`,
      preAllocatedVUs: 20, maxVUs: 200, gracefulStop: '10s',
    },
  },
  thresholds: {
    ...shop.always,
    ...shop.audited,
    holdfast_unchanged: ['count>0'],
    holdfast_purchases: ['count>0'],
    'http_req_duration{name:/api/drops}': ['p(95)<500'],
    'http_req_duration{name:/api/drops/:id}': ['p(95)<500'],
  },
  summaryTrendStats: shop.trends,
};

export function setup() {
  return { users: shop.people(20), ...shop.openDrop('k6 browse', RATE * SECONDS + 100) };
}

// What this reader saw last, by path.
const tags = {};
let version = 0;

export function look(drop) {
  const list = fetch('/api/drops', '/api/drops');
  if (list.status === 200) {
    check(list, { 'every drop adds up': (r) => r.json().every(shop.addsUp) });
  }
  const one = fetch(`/api/drops/${drop.id}`, '/api/drops/:id');
  if (one.status === 200) {
    const shown = one.json();
    check(shown, {
      'the drop adds up': shop.addsUp,
      'it is never older than before': (d) => d.version >= version,
    });
    version = shown.version;
  }
  sleep(0.05);
}

function fetch(path, name) {
  const headers = tags[path] ? { 'If-None-Match': tags[path] } : {};
  const answer = http.get(`${shop.BASE_URL}${path}`, { headers, tags: { name }, responseCallback: read, timeout: '15s' });
  if (answer.status === 304) {
    unchanged.add(1);
    check(answer, { 'what is unchanged has no body': (r) => !r.body });
  } else {
    check(answer, { 'what is read has an ETag': (r) => r.status === 200 && r.headers.Etag !== undefined });
    tags[path] = answer.headers.Etag;
  }
  return answer;
}

export function buy(drop) {
  const id = shop.reserve(drop, { userId: drop.users[exec.scenario.iterationInTest % drop.users.length] });
  if (id !== 0) shop.purchase(id);
}

export function teardown(drop) {
  shop.audit(drop);
}
