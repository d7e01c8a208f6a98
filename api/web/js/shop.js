// The shop page: puts its pieces together.

import { Buyer } from "./buyer.js";
import { Catalogue } from "./catalogue.js";
import { now } from "./clock.js";
import { setAttribute, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { clock } from "./format.js";
import { onOtherTab } from "./memory.js";
import { Shelf } from "./shelf.js";
import { noConnection } from "./words.js";

const TICK = 200; // ms
const LOST_FOR = 2_500; // ms before a lost line is worth a word
const TITLE = document.title;

const STATE_WORDS = { live: "Live", connecting: "Connecting", offline: "Reconnecting" };

const note = document.getElementById("shelf-note");
const more = document.getElementById("more");
const banner = document.getElementById("banner");
const indicator = document.getElementById("connection");

let connection = { state: "connecting", reachable: true };
let feed = null;
let bannerTimer = 0;
let revealed = false;

const shelf = new Shelf(document.getElementById("drops"), {
  buyer: new Buyer(),
  reachable: () => connection.reachable,
  onEnd: (id) => feed?.refresh(id),
});
const catalogue = new Catalogue({ onChange: (drop) => shelf.put(drop) });

feed = new Feed({ catalogue, onConnection: connectionChanged, onLoaded: loaded });

onOtherTab((name) => {
  const [, id] = name.match(/^drop\.(\d+)$/) ?? [];
  if (id) shelf.follow(Number(id));
});

more.addEventListener("click", async () => {
  more.disabled = true;
  await feed.older();
  more.disabled = false;
});

// A drop opens on the dot: the tick before it is a shorter one.
(function tick() {
  shelf.tick();
  title();
  setTimeout(tick, Math.max(1, Math.min(TICK, shelf.nextStart - now())));
})();

function loaded({ ok, more: isMore }) {
  more.parentElement.hidden = !isMore;
  if (!ok) say("The shop does not answer. Trying again …");
  else if (shelf.size === 0) say("There are no drops yet. A new one appears here by itself.");
  else say("");
  if (ok) reveal();
}

// An address such as /#drop-7 leads to a card that was not there when the page loaded.
function reveal() {
  if (revealed) return;
  revealed = true;
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

function say(text) {
  setText(note, text);
  note.hidden = text === "";
}

function connectionChanged(next) {
  connection = next;
  setAttribute(indicator, "data-state", next.state);
  setText(indicator.firstElementChild, STATE_WORDS[next.state]);
  shelf.render();
  clearTimeout(bannerTimer);
  // What lasts a moment only is not worth a line that pushes the page down.
  if (next.state === "live" || !next.reachable || !banner.hidden) showBanner();
  else bannerTimer = setTimeout(showBanner, LOST_FOR);
}

function showBanner() {
  let text = "";
  if (!connection.reachable) {
    text = `${noConnection()} Counts may be out of date, and reserving and buying wait until the connection is back. Reconnecting …`;
  } else if (connection.state !== "live") {
    text = "The live line is interrupted. You can go on buying; counts are refreshed every few seconds meanwhile. Reconnecting …";
  }
  setText(banner, text);
  banner.hidden = text === "";
}

// A hold that runs is seen also from another tab.
function title() {
  const card = shelf.mostUrgent;
  const text = card ? `${clock(card.buying.hold.expires - now())} · ${card.drop.name}` : TITLE;
  if (document.title !== text) document.title = text;
}
