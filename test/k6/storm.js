// The second for which a drop is made: nobody, then far more people than there
// are units, as fast as they come, whether or not those before have their
// answer. As many as there are units win, each buys, and all others are refused at once.
//
//   make k6 SCRIPT=storm                     starts a server if none answers
//   k6 run -e BASE_URL=https://drops.example test/k6/storm.js
//
//   BASE_URL   where Holdfast answers                      (http://127.0.0.1:3000)
//   ADMIN_TOKEN  its admin token, to create the drop and audit it
//   RATE       buyers a second at the height, 10 to 20000  (1000)
//   DURATION   how long the height lasts, at most 10m      (10s)
//   STOCK      units of the drop                           (100)
//   PEOPLE     users who come, again and again, to 2000    (200)

import exec from 'k6/execution';
import * as shop from './shop.js';

const RATE = shop.whole('RATE', 1000, 20000);
const SECONDS = shop.seconds('10s', 600);
const STOCK = shop.whole('STOCK', 100, 16777216);
const PEOPLE = shop.whole('PEOPLE', 200, 2000);

export const options = {
  scenarios: {
    storm: {
      executor: 'ramping-arrival-rate', startRate: 0, timeUnit: '1s', preAllocatedVUs: 200, maxVUs: 2000, gracefulStop: '30s',
      stages: [
        { target: RATE, duration: '1s' },
        { target: RATE, duration: `${SECONDS}s` },
        { target: 0, duration: '1s' },
      ],
    },
  },
  thresholds: {
    ...shop.always,
    ...shop.audited,
    holdfast_winners: [`count==${STOCK}`],
    holdfast_purchases: [`count==${STOCK}`],
    holdfast_sold_out: ['count>0'],
    holdfast_refuse_ms: ['p(95)<500'],
  },
  summaryTrendStats: shop.trends,
};

export function setup() {
  return { users: shop.people(PEOPLE), ...shop.openDrop('k6 storm', STOCK) };
}

export default function (drop) {
  const user = drop.users[exec.scenario.iterationInTest % drop.users.length];
  const id = shop.reserve(drop, { userId: user });
  if (id !== 0) shop.purchase(id);
}

export function teardown(drop) {
  shop.audit(drop);
}
