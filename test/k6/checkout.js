// A buyer's whole journey: look at a drop, hold a unit, give it back or buy it,
// and repeat the purchase as an impatient buyer does. When the drop sells out,
// the rest are refused: that is a right answer, and it is checked as one. At
// the end the stock has to add up.
//
//   make k6                                  starts a server if none answers
//   k6 run -e BASE_URL=https://drops.example test/k6/checkout.js
//
//   BASE_URL   where Holdfast answers                      (http://127.0.0.1:3000)
//   ADMIN_TOKEN  its admin token, to create the drop and audit it
//   VUS        buyers at a time, 1 to 1000                 (10)
//   DURATION   how long they come, as 20s or 5m, at most 1h  (10s)
//   STOCK      units of the drop made for the run          (200)
//   DROP_ID    an existing drop instead, without sizes and without a limit per
//              customer; others may be buying it, so its sum alone is checked

import exec from 'k6/execution';
import { check, sleep } from 'k6';
import * as shop from './shop.js';

const VUS = shop.whole('VUS', 10, 1000);
const STOCK = shop.whole('STOCK', 200, 16777216);
const DROP_ID = __ENV.DROP_ID ? shop.whole('DROP_ID', 0, 16777215) : 0;
const SECONDS = shop.seconds('10s', 3600);
const CANCEL_SHARE = 0.15;
const REPEAT_SHARE = 0.2;

export const options = {
  scenarios: {
    buyers: { executor: 'constant-vus', vus: VUS, duration: `${SECONDS}s`, gracefulStop: '30s' },
  },
  thresholds: {
    ...shop.always,
    ...(DROP_ID ? {} : shop.audited),
    holdfast_purchases: ['count>0'],
    holdfast_reserve_ms: ['p(95)<500'],
    holdfast_purchase_ms: ['p(95)<500'],
  },
  summaryTrendStats: shop.trends,
};

export function setup() {
  return DROP_ID ? { id: DROP_ID, own: false } : shop.openDrop('k6 checkout', STOCK);
}

export default function (drop) {
  check(shop.show(drop), {
    'the drop is shown': (r) => r.status === 200 && r.json('id') === drop.id,
    'its stock adds up': (r) => r.status === 200 && shop.addsUp(r.json()),
  });

  const name = `k6-${drop.id}-${exec.scenario.iterationInTest}`;
  const buyer = shop.guest(name);
  const headers = { 'Idempotency-Key': drop.own ? name : `${name}-${Date.now()}` };
  const id = shop.reserve(drop, buyer, headers);
  if (id === 0) {
    sleep(0.2); // sold out: look again a little later
    return;
  }
  if (Math.random() < REPEAT_SHARE) shop.reserveAgain(drop, buyer, headers, id); // as after a lost answer
  sleep(Math.random() * 0.2); // typing the card number

  if (Math.random() < CANCEL_SHARE) {
    shop.cancel(id);
    return;
  }
  const at = shop.purchase(id);
  if (at !== undefined) shop.purchaseAgain(id, at);
}

export function teardown(drop) {
  shop.audit(drop);
}
