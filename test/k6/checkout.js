// A buyer's whole journey: look at a drop, hold a unit, give it back or buy it,
// and repeat the purchase as an impatient buyer does. When the drop sells out,
// the rest are refused: that is a right answer, and it is checked as one. At
// the end the stock has to add up.
//
//   make k6                                  starts a server if none answers
//   k6 run -e BASE_URL=https://drops.example test/k6/checkout.js
//
//   BASE_URL   where Holdfast answers                      (http://127.0.0.1:3000)
//   VUS        buyers at a time, 1 to 1000                 (10)
//   DURATION   how long they come, as 20s or 5m, at most 1h  (10s)
//   STOCK      units of the drop made for the run          (200)
//   DROP_ID    an existing drop instead, without sizes and without a limit per
//              customer; others may be buying it, so its sum alone is checked

import http from 'k6/http';
import exec from 'k6/execution';
import { check, fail, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';

const BASE_URL = (__ENV.BASE_URL || 'http://127.0.0.1:3000').replace(/\/+$/, '');
const VUS = whole('VUS', 10, 1000);
const STOCK = whole('STOCK', 200, 16777216);
const DROP_ID = __ENV.DROP_ID ? whole('DROP_ID', 0, 16777215) : 0;
const DURATION = duration(__ENV.DURATION || '10s');
const CANCEL_SHARE = 0.15;

// Answers of these calls that are outcomes, not failures.
const ok = http.expectedStatuses(200);
const created = http.expectedStatuses(201);
const reserved = http.expectedStatuses(201, 400);
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }));

const purchases = new Counter('holdfast_purchases');
const cancels = new Counter('holdfast_cancels');
const soldOut = new Counter('holdfast_sold_out');
// Purchases that buyers counted less units that the drop sold.
const unaccounted = new Counter('holdfast_unaccounted');
const reserveTime = new Trend('holdfast_reserve_ms', true);
const purchaseTime = new Trend('holdfast_purchase_ms', true);

export const options = {
  scenarios: {
    buyers: { executor: 'constant-vus', vus: VUS, duration: DURATION, gracefulStop: '30s' },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    // A drop that others buy from as well cannot be reckoned up.
    ...(DROP_ID ? {} : { holdfast_unaccounted: ['count==0'] }),
    holdfast_purchases: ['count>0'],
    holdfast_reserve_ms: ['p(95)<500'],
    holdfast_purchase_ms: ['p(95)<500'],
  },
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  if (DROP_ID) return { id: DROP_ID, own: false };
  const answer = post('/api/drops/create', {
    name: 'k6 checkout',
    price: 180.0,
    total_stock: STOCK,
    start_time: '1970-01-01T00:00:00Z',
    hold_seconds: 600,
  }, created);
  if (answer.status !== 201) fail(`The drop was not created: ${answer.status} ${answer.body}`);
  return { id: answer.json('id'), own: true };
}

export default function (drop) {
  const tags = { name: '/api/drops/:id' };
  const seen = http.get(`${BASE_URL}/api/drops/${drop.id}`, { tags, responseCallback: ok });
  check(seen, {
    'the drop is shown': (r) => r.status === 200 && r.json('id') === drop.id,
    'its stock adds up': (r) => r.status === 200 && addsUp(r.json()),
  });

  const id = reserve(drop);
  if (id === 0) {
    sleep(0.2); // sold out: look again a little later
    return;
  }
  sleep(Math.random() * 0.2); // typing the card number

  if (Math.random() < CANCEL_SHARE) cancel(id);
  else purchase(id);
}

// reserve holds a unit for a guest, twice with one key as after a lost answer,
// and gives the id of the reservation; 0 when there is none to have.
function reserve(drop) {
  const buyer = `k6-${drop.id}-${exec.scenario.iterationInTest}`;
  const body = { dropId: drop.id, userName: buyer, email: `${buyer}@example.com` };
  const headers = { 'Idempotency-Key': buyer };
  if (!drop.own) headers['Idempotency-Key'] += `-${Date.now()}`;

  const answer = post('/api/drops/reserve', body, reserved, headers);
  if (answer.status === 400) {
    soldOut.add(1);
    check(answer, { 'sold out is said so': (r) => r.json('code') === 'out_of_stock' && r.json('error') === 'Out of stock' });
    return 0;
  }
  const held = check(answer, {
    'a unit is held': (r) => r.status === 201 && r.json('status') === 'active' && r.json('DropId') === drop.id,
    'the hold ends later': (r) => r.status === 201 && Date.parse(r.json('expires_at')) > Date.parse(r.json('created_at')),
  });
  if (!held) return 0;
  reserveTime.add(answer.timings.duration);

  const id = answer.json('id');
  if (Math.random() < 0.2) {
    check(post('/api/drops/reserve', body, created, headers), {
      'a repeat holds no second unit': (r) => r.status === 201 && r.json('id') === id && r.headers['Idempotency-Replayed'] === 'true',
    });
  }
  return id;
}

function purchase(id) {
  const answer = post('/api/drops/purchase', { reservationId: id }, created);
  const bought = check(answer, {
    'the unit is bought': (r) => r.status === 201 && r.json('message') === 'Purchase successful' && r.json('purchase.id') === id,
  });
  if (!bought) return;
  purchases.add(1);
  unaccounted.add(1);
  purchaseTime.add(answer.timings.duration);

  check(post('/api/drops/purchase', { reservationId: id }, ok), {
    'a repeat answers the same receipt': (r) =>
      r.status === 200 && r.json('purchase.id') === id && r.json('purchase.purchased_at') === answer.json('purchase.purchased_at'),
  });
}

function cancel(id) {
  const answer = post('/api/drops/cancel', { reservationId: id }, ok);
  const given = check(answer, { 'the unit is given back': (r) => r.status === 200 && r.json('status') === 'cancelled' });
  if (given) cancels.add(1);
}

// teardown looks at the drop when all buyers have gone: nothing is held any more,
// the stock adds up, and every unit sold is one that a buyer was told is his.
export function teardown(drop) {
  const answer = http.get(`${BASE_URL}/api/drops/${drop.id}`, { tags: { name: '/api/drops/:id' }, responseCallback: ok });
  check(answer, {
    'at the end the stock adds up': (r) => r.status === 200 && addsUp(r.json()),
    'at the end nothing is held': (r) => !drop.own || (r.status === 200 && r.json('held') === 0),
  });
  if (drop.own) unaccounted.add(answer.status === 200 ? -answer.json('sold') : -1);
}

// addsUp says whether available + held + sold == total, of the drop and each size.
function addsUp(drop) {
  const sum = (total, part) => part.available_stock >= 0 && part.available_stock + part.held + part.sold === total;
  return sum(drop.total_stock, drop) && drop.sizes.every((size) => sum(size.stock, size));
}

function post(path, body, responseCallback, headers = {}) {
  return http.post(`${BASE_URL}${path}`, JSON.stringify(body), {
    headers: { 'Content-Type': 'application/json', ...headers },
    tags: { name: path },
    timeout: '15s',
    responseCallback,
  });
}

// whole reads a whole number from 1 to max out of the environment.
function whole(name, otherwise, max) {
  const value = __ENV[name] === undefined ? otherwise : Number(__ENV[name]);
  if (!Number.isInteger(value) || value < 1 || value > max) throw new Error(`${name} must be a whole number from 1 to ${max}`);
  return value;
}

// duration reads a time as 20s or 5m, at most an hour.
function duration(text) {
  const [, count, unit] = /^(\d+)(s|m)$/.exec(text) || [];
  const seconds = Number(count) * (unit === 'm' ? 60 : 1);
  if (!(seconds >= 1 && seconds <= 3600)) throw new Error('DURATION must be as 20s or 5m, at most 60m');
  return text;
}
