// The picture of a drop, or a drawing where there is none.

import { el, svg } from "./dom.js";

/** An img for drop.image_url, replaced by a drawing if it does not load; else the drawing. */
export function picture(drop) {
  if (!drop.image_url) return drawing(drop);
  const img = el("img", { alt: `Picture of ${drop.name}`, loading: "lazy", decoding: "async", referrerpolicy: "no-referrer", width: 400, height: 300 });
  img.addEventListener("error", () => img.replaceWith(drawing(drop)), { once: true });
  img.src = drop.image_url;
  return img;
}

const MOTIFS = [
  [/runner|trail|court|sneaker|shoe|low\b|high\b|mid\b|boot|trainer|dunk|air\b/i, sneaker],
  [/ticket|pass\b|concert|festival|show|tour|entry|seat/i, ticket],
  [/tee\b|shirt|hoodie|jacket|jersey|wear/i, shirt],
];

/** A drawing that is always the same for the same drop. */
function drawing(drop) {
  const random = dice(`${drop.id} ${drop.name}`);
  const motif = MOTIFS.find(([words]) => words.test(drop.name))?.[1] ?? box;
  const [x, y] = [90 + random() * 220, 70 + random() * 80];
  return svg(
    "svg",
    { viewBox: "0 0 400 300", preserveAspectRatio: "xMidYMid slice", class: `art art-${drop.id % 3}`, "aria-hidden": "true" },
    svg("rect", { width: 400, height: 300, class: "art-back" }),
    svg("circle", { cx: round(x), cy: round(y), r: round(100 + random() * 50), class: "art-sun" }),
    ...motif(random),
  );
}

function sneaker(random) {
  const shift = round((random() - 0.5) * 24);
  const stripes = [0, 1, 2].slice(0, 1 + Math.floor(random() * 3));
  return [
    svg("ellipse", { cx: 204, cy: 246, rx: 150, ry: 7, class: "art-shade" }),
    svg("path", { d: "M72 208C65 180 62 148 70 121C73 112 82 111 88 117C99 128 117 130 135 122C146 117 152 110 158 103C162 98 169 98 173 102L230 152C243 164 262 169 284 174C315 181 334 187 340 208Z", class: "art-body" }),
    svg("path", { d: "M72 208C65 180 62 148 70 121C73 112 82 111 88 117C95 124 105 128 116 127C106 152 108 182 118 208Z", class: "art-part" }),
    svg("path", { d: "M262 168C270 170 277 172 284 174C315 181 334 187 340 208L276 208C262 198 258 184 262 168Z", class: "art-part" }),
    ...stripes.map((i) => svg("path", { d: `M${150 + i * 24 + shift} 208C${160 + i * 24 + shift} 192 ${172 + i * 22 + shift} 176 ${180 + i * 22 + shift} 160`, class: "art-line" })),
    ...[0, 1, 2, 3].map((i) => svg("path", { d: `M${171 + i * 16} ${122 + i * 13}l16 -13`, class: "art-lace" })),
    svg("path", { d: "M62 206H338C352 206 356 218 350 226C346 233 337 236 326 236H90C72 236 62 224 62 206Z", class: "art-sole" }),
    svg("path", { d: "M64 220H352", class: "art-seam" }),
  ];
}

function ticket(random) {
  const tilt = round(-10 + random() * 14);
  const bars = Array.from({ length: 9 }, (_, i) => svg("rect", { x: 272 + i * 5.4, y: 118, width: round(1 + random() * 3), height: 64, class: "art-ink" }));
  return [
    svg(
      "g",
      { transform: `rotate(${tilt} 200 150)` },
      svg("path", { d: "M84 92H236A12 12 0 0 0 260 92H316A14 14 0 0 1 330 106V194A14 14 0 0 1 316 208H260A12 12 0 0 0 236 208H84A14 14 0 0 1 70 194V106A14 14 0 0 1 84 92Z", class: "art-body" }),
      svg("path", { d: "M248 112V190", class: "art-dashes" }),
      svg("rect", { x: 94, y: 118, width: 96, height: 14, rx: 7, class: "art-part" }),
      svg("rect", { x: 94, y: 144, width: 122, height: 8, rx: 4, class: "art-sole" }),
      svg("rect", { x: 94, y: 162, width: round(60 + random() * 50), height: 8, rx: 4, class: "art-sole" }),
      ...bars,
    ),
  ];
}

function shirt(random) {
  const y = round(150 + random() * 20);
  return [
    svg("ellipse", { cx: 200, cy: 258, rx: 84, ry: 6, class: "art-shade" }),
    svg("path", { d: "M158 62L108 86C100 90 97 96 95 104L84 144L122 156L132 134V246H268V134L278 156L316 144L305 104C303 96 300 90 292 86L242 62C236 84 164 84 158 62Z", class: "art-body" }),
    svg("path", { d: "M158 62C164 84 236 84 242 62L230 57C224 72 176 72 170 57Z", class: "art-part" }),
    svg("rect", { x: 132, y, width: 136, height: 14, class: "art-stripe" }),
    svg("rect", { x: 132, y: y + 24, width: 136, height: 5, class: "art-stripe" }),
  ];
}

function box(random) {
  const across = round(0.35 + random() * 0.3);
  const x = 110 + 180 * across;
  return [
    svg("ellipse", { cx: 200, cy: 248, rx: 126, ry: 7, class: "art-shade" }),
    svg("rect", { x: 100, y: 118, width: 200, height: 126, rx: 6, class: "art-body" }),
    svg("rect", { x: 90, y: 88, width: 220, height: 42, rx: 6, class: "art-body" }),
    svg("rect", { x: 90, y: 88, width: 220, height: 42, rx: 6, class: "art-part" }),
    svg("rect", { x: round(x - 13), y: 88, width: 26, height: 156, class: "art-sole" }),
    svg("path", { d: `M${round(x)} 88C${round(x - 46)} 84 ${round(x - 46)} 46 ${round(x - 18)} 54C${round(x - 6)} 58 ${round(x)} 74 ${round(x)} 88C${round(x)} 74 ${round(x + 6)} 58 ${round(x + 18)} 54C${round(x + 46)} 46 ${round(x + 46)} 84 ${round(x)} 88Z`, class: "art-bow" }),
  ];
}

function round(n) {
  return Math.round(n * 10) / 10;
}

// Numbers in [0, 1) that follow from the text alone.
function dice(text) {
  let h = 2166136261;
  for (const c of text) h = Math.imul(h ^ c.codePointAt(0), 16777619);
  return () => {
    h = (h + 0x6d2b79f5) | 0;
    let t = Math.imul(h ^ (h >>> 15), 1 | h);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
