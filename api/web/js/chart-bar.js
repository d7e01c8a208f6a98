// A bar that shows how a stock is shared: sold, held, and the rest available.

import { svg } from "./dom.js";

/** Makes a bar; show({sold, held, available_stock}) sets it. The figures stand beside it in words. */
export function stockBar() {
  const parts = ["sold", "held", "available"].map((name) => svg("rect", { class: `area-${name}`, height: 1 }));
  const element = svg("svg", { class: "stock-bar", viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts);
  return {
    element,
    show({ sold, held, available_stock: available }) {
      const total = Math.max(1, sold + held + available);
      let x = 0;
      [sold, held, available].forEach((units, i) => {
        const width = (units / total) * 100;
        parts[i].setAttribute("x", x);
        parts[i].setAttribute("width", width);
        x += width;
      });
    },
  };
}
