// What the scripts share: settings out of the environment, a buyer's calls with
// the checks of their answers, and the audit at the end of a run.

import http from 'k6/http';
import { check, fail, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';

export const BASE_URL = (__ENV.BASE_URL || 'http://127.0.0.1:3000').replace(/\/+$/, '');

// To create a drop and to audit it takes the admin token; buyers' calls do not look
// at it where identity is open, as these scripts need it to be.
const asAdmin = __ENV.ADMIN_TOKEN ? { Authorization: `Bearer ${__ENV.ADMIN_TOKEN}` } : {};

// Answers that are outcomes, not failures.
const ok = http.expectedStatuses(200);
const created = http.expectedStatuses(201);
const reserved = http.expectedStatuses(201, 400);
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }));

const purchases = new Counter('holdfast_purchases');
const cancels = new Counter('holdfast_cancels');
const winners = new Counter('holdfast_winners');
const soldOut = new Counter('holdfast_sold_out');
// Purchases that buyers were told of less units that the drop sold.
const unaccounted = new Counter('holdfast_unaccounted');
// Holds that buyers were told of less ids that the drop gave: with as many of
// both, no id was given twice.
const sharedIDs = new Counter('holdfast_shared_ids');
const winTime = new Trend('holdfast_reserve_ms', true);
const refuseTime = new Trend('holdfast_refuse_ms', true);
const purchaseTime = new Trend('holdfast_purchase_ms', true);

export const trends = ['med', 'p(95)', 'p(99)', 'max'];

// What every run has to reach. Those of a drop that others buy from as well
// cannot be reckoned up.
export const always = { checks: ['rate==1'], http_req_failed: ['rate==0'] };
export const audited = { holdfast_unaccounted: ['count==0'], holdfast_shared_ids: ['count==0'] };

// openDrop makes the drop of a run.
export function openDrop(name, stock, holdSeconds = 600) {
  const answer = post('/api/drops/create', {
    name, price: 180.0, total_stock: stock, start_time: '1970-01-01T00:00:00Z', hold_seconds: holdSeconds,
  }, created);
  if (answer.status !== 201) fail(`The drop was not created: ${answer.status} ${answer.body}`);
  return { id: answer.json('id'), own: true };
}

// people makes n users and gives their ids.
export function people(n) {
  const name = `k6-${Date.now()}`;
  return Array.from({ length: n }, (_, i) => {
    const answer = post('/api/users', { username: `${name}-${i}` }, created);
    if (answer.status !== 201) fail(`A user was not created: ${answer.status} ${answer.body}`);
    return answer.json('id');
  });
}

// guest is somebody who comes for the first time.
export function guest(name) {
  return { userName: name, email: `${name}@example.com` };
}

// reserve holds a unit for the buyer and gives the id of the reservation; 0 when
// there is none to have.
export function reserve(drop, buyer, headers = {}) {
  const answer = post('/api/drops/reserve', { dropId: drop.id, ...buyer }, reserved, headers);
  if (answer.status === 400) {
    soldOut.add(1);
    refuseTime.add(answer.timings.duration);
    check(answer, { 'sold out is said so': (r) => r.json('code') === 'out_of_stock' && r.json('error') === 'Out of stock' });
    return 0;
  }
  const held = check(answer, {
    'a unit is held': (r) => r.status === 201 && r.json('status') === 'active' && r.json('DropId') === drop.id,
    'the hold ends later': (r) => r.status === 201 && Date.parse(r.json('expires_at')) > Date.parse(r.json('created_at')),
  });
  if (!held) return 0;
  winners.add(1);
  sharedIDs.add(1);
  winTime.add(answer.timings.duration);
  return answer.json('id');
}

// reserveAgain repeats a reserve with its Idempotency-Key.
export function reserveAgain(drop, buyer, headers, id) {
  check(post('/api/drops/reserve', { dropId: drop.id, ...buyer }, created, headers), {
    'a repeat holds no second unit': (r) => r.status === 201 && r.json('id') === id && r.headers['Idempotency-Replayed'] === 'true',
  });
}

// purchase buys what is held, and gives the receipt's time; nothing where it failed.
export function purchase(id) {
  const answer = post('/api/drops/purchase', { reservationId: id }, created);
  const bought = check(answer, {
    'the unit is bought': (r) => r.status === 201 && r.json('message') === 'Purchase successful' && r.json('purchase.id') === id,
  });
  if (!bought) return undefined;
  purchases.add(1);
  unaccounted.add(1);
  purchaseTime.add(answer.timings.duration);
  return answer.json('purchase.purchased_at');
}

// purchaseAgain repeats a purchase, as an impatient buyer does.
export function purchaseAgain(id, at) {
  check(post('/api/drops/purchase', { reservationId: id }, ok), {
    'a repeat answers the same receipt': (r) => r.status === 200 && r.json('purchase.id') === id && r.json('purchase.purchased_at') === at,
  });
}

export function cancel(id) {
  const answer = post('/api/drops/cancel', { reservationId: id }, ok);
  if (check(answer, { 'the unit is given back': (r) => r.status === 200 && r.json('status') === 'cancelled' })) cancels.add(1);
}

// audit looks at the drop when all buyers have gone: within a while nothing is held
// any more, the stock adds up, and what it sold and whom it gave ids is what
// buyers were told. A difference is in metrics with thresholds, so that it fails
// the run; so does an audit that cannot be made, as then nothing is taken off them.
export function audit(drop, whileSeconds = 10) {
  check(show(drop), { 'at the end the stock adds up': (r) => r.status === 200 && addsUp(r.json()) });
  if (!drop.own) return;
  let answer = figures(drop);
  for (let tries = 0; tries < 10 * whileSeconds && answer.status === 200 && answer.json('drop.held') !== 0; tries++) {
    sleep(0.1);
    answer = figures(drop);
  }
  if (!check(answer, { 'at the end there are figures': (r) => r.status === 200 })) return;
  const { drop: counts, reservations } = answer.json();
  check(counts, {
    'at the end the figures add up': (c) => c.available_stock >= 0 && c.available_stock + c.held + c.sold === c.total_stock,
    'at the end nothing is held': (c) => c.held === 0,
  });
  unaccounted.add(-counts.sold);
  sharedIDs.add(-reservations);
}

// figures asks Redis itself, whichever instance answers.
function figures(drop) {
  return http.get(`${BASE_URL}/api/admin/figures?drop=${drop.id}`, {
    headers: asAdmin, tags: { name: '/api/admin/figures' }, responseCallback: ok, timeout: '15s',
  });
}

export function show(drop) {
  return http.get(`${BASE_URL}/api/drops/${drop.id}`, { tags: { name: '/api/drops/:id' }, responseCallback: ok, timeout: '30s' });
}

// addsUp says whether available + held + sold == total, of the drop and each size.
export function addsUp(drop) {
  const sum = (total, part) => part.available_stock >= 0 && part.available_stock + part.held + part.sold === total;
  return sum(drop.total_stock, drop) && drop.sizes.every((size) => sum(size.stock, size));
}

function post(path, body, responseCallback, headers = {}) {
  return http.post(`${BASE_URL}${path}`, JSON.stringify(body), {
    headers: { 'Content-Type': 'application/json', ...asAdmin, ...headers },
    tags: { name: path },
    timeout: '15s',
    responseCallback,
  });
}

// whole reads a whole number from 1 to max out of the environment.
export function whole(name, otherwise, max) {
  const value = __ENV[name] === undefined ? otherwise : Number(__ENV[name]);
  if (!Number.isInteger(value) || value < 1 || value > max) throw new Error(`${name} must be a whole number from 1 to ${max}`);
  return value;
}

// seconds reads DURATION as 20s, 5m or 2h.
export function seconds(otherwise, max) {
  const [, count, unit] = /^(\d+)(s|m|h)$/.exec(__ENV.DURATION || otherwise) || [];
  const value = Number(count) * { s: 1, m: 60, h: 3600 }[unit];
  if (!(value >= 1 && value <= max)) throw new Error(`DURATION must be as 20s, 5m or 2h, at most ${max}s`);
  return value;
}
