/**
 * A rectangle that is drawn with the mouse over pictures, and chooses those that it touches.
 *
 * @typedef {{left: number, top: number, right: number, bottom: number}} Box  In pixels of the page.
 */
import { byId, element } from "./elements.js";

const BEGINS = 8; // pixels that a press moves before it is no click
const EDGE = 60; // pixels from the edge of the screen where it scrolls

/**
 * @param {HTMLElement} area where it may begin
 * @param {{begin: () => void, draw: (box: Box) => void}} on
 */
export function drawRectangles(area, on) {
  const shape = element("div", { class: "rectangle", hidden: true, "aria-hidden": "true" });
  document.body.append(shape);
  /** @type {{x: number, y: number} | null} where it began, in pixels of the page */
  let from = null;
  let at = { x: 0, y: 0 }; // the pointer, in pixels of the screen
  let drawing = false;

  const draw = () => {
    if (!from) return;
    const box = {
      left: Math.min(from.x, at.x + scrollX),
      top: Math.min(from.y, at.y + scrollY),
      right: Math.max(from.x, at.x + scrollX),
      bottom: Math.max(from.y, at.y + scrollY),
    };
    shape.style.translate = `${box.left}px ${box.top}px`;
    shape.style.width = `${box.right - box.left}px`;
    shape.style.height = `${box.bottom - box.top}px`;
    on.draw(box);
  };
  const scroll = () => {
    if (!drawing) return;
    const bar = byId("bar", HTMLElement).offsetHeight;
    const by = at.y > innerHeight - EDGE ? at.y - innerHeight + EDGE : at.y < bar + EDGE ? at.y - bar - EDGE : 0;
    if (by) {
      scrollBy(0, by / 3);
      draw();
    }
    requestAnimationFrame(scroll);
  };
  const end = () => {
    from = null;
    drawing = false;
    shape.hidden = true;
  };
  area.addEventListener("pointerdown", (event) => {
    const { target } = event;
    const within = target instanceof Element && !target.closest(".tile-like, .tile-choose, .rail, input, select");
    if (event.pointerType === "mouse" && event.button === 0 && within) from = { x: event.pageX, y: event.pageY };
  });
  addEventListener("pointermove", (event) => {
    if (!from) return;
    at = { x: event.clientX, y: event.clientY };
    if (!drawing) {
      if (Math.hypot(event.pageX - from.x, event.pageY - from.y) < BEGINS) return;
      drawing = true;
      shape.hidden = false;
      on.begin();
      requestAnimationFrame(scroll);
    }
    event.preventDefault();
    draw();
  });
  addEventListener("pointerup", () => {
    if (drawing) addEventListener("click", stop, { capture: true, once: true });
    setTimeout(() => removeEventListener("click", stop, { capture: true }));
    end();
  });
  addEventListener("pointercancel", end);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && drawing) end();
  });
}

/**
 * The end of a rectangle is no click on what lies under it.
 * @param {Event} event
 */
function stop(event) {
  event.preventDefault();
  event.stopPropagation();
}
