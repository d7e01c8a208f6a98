// Words for screen readers, said once and politely.

const region = document.getElementById("announcer");
let queue = [];
let timer = 0;

/** Says text. What comes at the same moment is said together. */
export function announce(text) {
  if (!queue.includes(text)) queue.push(text);
  clearTimeout(timer);
  // A region that is emptied first speaks also where the words are the same again.
  region.textContent = "";
  timer = setTimeout(() => {
    region.textContent = queue.join(" ");
    queue = [];
  }, 150);
}
