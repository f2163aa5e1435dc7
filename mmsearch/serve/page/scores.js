/** The scores on pictures: shown where a person asks for them, and remembered. */
import { byId } from "./elements.js";

const KEY = "mmsearch-scores";

/** A way to show and hide them: the switch among the filters. Returns what presses it. */
export function offerScores() {
  const box = byId("scores", HTMLInputElement);
  const show = () => document.body.classList.toggle("scores", box.checked);
  try {
    box.checked = localStorage.getItem(KEY) === "1";
  } catch {
    // storage is forbidden: they are hidden at first
  }
  box.addEventListener("change", () => {
    try {
      localStorage.setItem(KEY, box.checked ? "1" : "");
    } catch {
      // it holds until the page is left
    }
    show();
  });
  show();
  return () => box.click();
}
