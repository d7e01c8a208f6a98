// A long even run of everything at once: people look, hold, buy, give back, or walk
// away so that their hold lapses. Nothing may leak: at the end nothing is held, and
// every unit is where buyers were told it is.
//
//   make k6 SCRIPT=soak                      starts a server if none answers
//   k6 run -e BASE_URL=https://drops.example -e DURATION=8h test/k6/soak.js
//
//   BASE_URL   where Holdfast answers                      (http://127.0.0.1:3000)
//   ADMIN_TOKEN  its admin token, to create the drop and audit it
//   RATE       buyers a second, 1 to 5000                  (50)
//   DURATION   how long they come, as 20s, 5m or 8h, at most 24h  (1m)
//   STOCK      units of the drop                           (1000000)
//   HOLD       seconds that a unit is held, 2 to 3600      (5)

import exec from 'k6/execution';
import { check, sleep } from 'k6';
import { Counter } from 'k6/metrics';
import * as shop from './shop.js';

const RATE = shop.whole('RATE', 50, 5000);
const SECONDS = shop.seconds('1m', 24 * 3600);
const STOCK = shop.whole('STOCK', 1000000, 16777216);
const HOLD = shop.whole('HOLD', 5, 3600);

const abandoned = new Counter('holdfast_abandoned');

export const options = {
  scenarios: {
    buyers: {
      executor: 'constant-arrival-rate', rate: RATE, duration: `${SECONDS}s`, preAllocatedVUs: 100, maxVUs: 2000, gracefulStop: '30s',
    },
  },
  thresholds: {
    ...shop.always,
    ...shop.audited,
    holdfast_purchases: ['count>0'],
    holdfast_cancels: ['count>0'],
    holdfast_abandoned: ['count>0'],
    holdfast_reserve_ms: ['p(95)<500'],
    holdfast_purchase_ms: ['p(95)<500'],
  },
  summaryTrendStats: shop.trends,
  setupTimeout: '60s',
  teardownTimeout: `${HOLD + 60}s`,
};

export function setup() {
  return { users: shop.people(200), ...shop.openDrop('k6 soak', STOCK, HOLD) };
}

export default function (drop) {
  check(shop.show(drop), { 'its stock adds up': (r) => r.status === 200 && shop.addsUp(r.json()) });
  const user = drop.users[exec.scenario.iterationInTest % drop.users.length];
  const id = shop.reserve(drop, { userId: user });
  if (id === 0) return;
  const what = Math.random();
  if (what < 0.2) {
    abandoned.add(1);
    return;
  }
  sleep(Math.random() * 0.5); // well below HOLD
  if (what < 0.4) {
    shop.cancel(id);
    return;
  }
  const at = shop.purchase(id);
  if (at !== undefined && what > 0.9) shop.purchaseAgain(id, at);
}

export function teardown(drop) {
  shop.audit(drop, HOLD + 10);
}
