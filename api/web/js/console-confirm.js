// The question before what cannot be undone.

const dialog = document.getElementById("confirm");
const title = document.getElementById("confirm-title");
const words = document.getElementById("confirm-words");
const yes = document.getElementById("confirm-yes");

/**
 * Asks, and resolves to whether it shall be done. Escape and a dismissed dialog are a no; the focus is on it at first,
 * and goes back to where it was.
 */
export function confirm(question, consequence, action) {
  if (dialog.open) return Promise.resolve(false);
  title.textContent = question;
  words.textContent = consequence;
  yes.textContent = action;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
