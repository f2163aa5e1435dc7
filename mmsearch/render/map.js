// @ts-check
"use strict";

/**
 * @typedef {object} Data what the page is told of the pictures; the first `drawn` of them have thumbnails
 * @property {Array<{name: string, pictures: number, other: boolean}>} albums
 * @property {Array<number>} x between -.5 and .5
 * @property {Array<number>} y
 * @property {Array<number>} album the place of each picture's album in `albums`
 * @property {Array<string>} name
 * @property {Array<string | null>} link
 * @property {number} tile pixels of a thumbnail
 * @property {number} columns of a sprite
 * @property {Array<string>} sprites
 * @property {number} drawn
 */

(() => {
  const SMALLEST = 22; // pixels from which on thumbnails tell more than points
  const LARGEST = 120;
  const MOST_THUMBNAILS = 2500; // at once
  const REACH = 14; // pixels from a point within which it is meant

  /** @param {string} id */
  const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const canvas = /** @type {HTMLCanvasElement} */ (element("map"));
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  /** @type {Data} */
  const data = JSON.parse(element("data").textContent ?? "");
  const many = data.x.length;
  let coming = data.sprites.length; // sprites that are still being decoded
  canvas.ariaBusy = String(coming > 0);
  const sprites = data.sprites.map((source) => {
    const image = new Image();
    image.onload = () => {
      coming -= 1;
      canvas.ariaBusy = String(coming > 0);
      draw();
    };
    image.src = source;
    return image;
  });
  const colours = data.albums.map((album, place) =>
    album.other ? "hsl(0 0% 55%)" : `hsl(${(place * 137.5 + 210) % 360} 62% ${[50, 62, 42][place % 3]}%)`);

  // What is seen: `scale` pixels to the unit of the map, `left` and `top` where its middle is in the view.
  let scale = 1, left = 0, top = 0, wide = 0, high = 0;
  /** @type {number | null} the album that alone is bright */
  let only = null;
  let chosen = -1; // the picture that is told of
  let waiting = false;

  /** @param {number} place */
  const across = (place) => left + (data.x[place] ?? 0) * scale;
  /** @param {number} place */
  const down = (place) => top - (data.y[place] ?? 0) * scale;
  const size = () => Math.min(LARGEST, (scale / Math.sqrt(Math.min(many, data.drawn))) * 0.55);
  /** @param {number} place */
  const isBright = (place) => only === null || data.album[place] === only;

  function draw() {
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(paint);
    }
  }

  function paint() {
    waiting = false;
    const style = getComputedStyle(document.body);
    const ink = style.getPropertyValue("--ink"), ground = style.getPropertyValue("--ground");
    pen.clearRect(0, 0, wide, high);
    const edge = size();
    const margin = LARGEST;
    let thumbnails = 0;
    for (const bright of [false, true]) {
      for (let place = many - 1; place >= 0; place--) {
        if (isBright(place) !== bright) continue;
        const x = across(place), y = down(place);
        if (x < -margin || y < -margin || x > wide + margin || y > high + margin) continue;
        pen.globalAlpha = bright ? 1 : 0.13;
        const colour = colours[data.album[place] ?? 0] ?? ink;
        if (edge >= SMALLEST && place < data.drawn && thumbnails < MOST_THUMBNAILS && paintThumbnail(place, x, y, edge)) {
          thumbnails++;
          pen.strokeStyle = colour;
          pen.lineWidth = 2;
          pen.strokeRect(x - edge / 2, y - edge / 2, edge, edge);
        } else {
          pen.fillStyle = colour;
          pen.beginPath();
          pen.arc(x, y, Math.max(2, Math.min(6, edge / 3)), 0, 7);
          pen.fill();
        }
      }
    }
    pen.globalAlpha = 1;
    paintChosen(edge, ink);
    paintNames(ink, ground);
  }

  /**
   * Draws a thumbnail about a point, on the map or elsewhere; false where it is not there yet.
   * @param {number} place
   * @param {number} x
   * @param {number} y
   * @param {number} edge
   */
  function paintThumbnail(place, x, y, edge, on = pen) {
    const perSprite = data.columns * data.columns;
    const sprite = sprites[Math.floor(place / perSprite)];
    if (!sprite || !sprite.complete || !sprite.naturalWidth) return false;
    const number = place % perSprite, tile = data.tile;
    const column = number % data.columns, row = Math.floor(number / data.columns);
    on.drawImage(sprite, column * tile, row * tile, tile, tile, x - edge / 2, y - edge / 2, edge, edge);
    return true;
  }

  /** @param {number} edge @param {string} ink */
  function paintChosen(edge, ink) {
    if (chosen < 0) return;
    const x = across(chosen), y = down(chosen);
    const large = chosen < data.drawn && edge >= SMALLEST;
    if (large) paintThumbnail(chosen, x, y, edge * 1.15);
    pen.strokeStyle = ink;
    pen.lineWidth = 3;
    pen.beginPath();
    if (large) pen.rect(x - edge * 0.575, y - edge * 0.575, edge * 1.15, edge * 1.15);
    else pen.arc(x, y, 9, 0, 7);
    pen.stroke();
  }

  /**
   * Names at the middles of albums, large ones first, none over another.
   * @param {string} ink
   * @param {string} ground
   */
  function paintNames(ink, ground) {
    /** @type {Array<{x: number, y: number, width: number}>} */
    const taken = [];
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    pen.font = "600 15px system-ui, sans-serif";
    for (const { album, x, y } of middles) {
      if (only !== null && only !== album) continue;
      const name = data.albums[album]?.name ?? "";
      const width = pen.measureText(name).width + 12;
      const at = { x: left + x * scale, y: top - y * scale, width };
      if (taken.some((other) => Math.abs(other.y - at.y) < 22 && Math.abs(other.x - at.x) < (other.width + width) / 2)) continue;
      taken.push(at);
      pen.strokeStyle = ground;
      pen.lineWidth = 5;
      pen.strokeText(name, at.x, at.y);
      pen.fillStyle = ink;
      pen.fillText(name, at.x, at.y);
    }
  }

  /** Where an album has its name: the picture of it that is nearest to the median of all. */
  const middles = data.albums.flatMap((each, album) => {
    const places = [...Array(many).keys()].filter((place) => data.album[place] === album);
    if (!places.length || each.other) return [];
    /** @param {Array<number>} values */
    const median = (values) => places.map((place) => values[place] ?? 0).sort((a, b) => a - b)[places.length >> 1] ?? 0;
    const x = median(data.x), y = median(data.y);
    const nearest = places.reduce((best, place) => (distance(place, x, y) < distance(best, x, y) ? place : best));
    return [{ album, x: data.x[nearest] ?? 0, y: data.y[nearest] ?? 0 }];
  });

  /** @param {number} place @param {number} x @param {number} y */
  function distance(place, x, y) {
    return Math.hypot((data.x[place] ?? 0) - x, (data.y[place] ?? 0) - y);
  }

  /**
   * The picture at a point of the view; -1 where there is none.
   * @param {number} x
   * @param {number} y
   */
  function pictureAt(x, y, reach = Math.max(REACH, size() / 2)) {
    let best = -1, least = reach;
    for (let place = 0; place < many; place++) {
      if (!isBright(place)) continue;
      const away = Math.max(Math.abs(across(place) - x), Math.abs(down(place) - y));
      if (away < least) [best, least] = [place, away];
    }
    return best;
  }

  /** @param {number} place */
  function choose(place) {
    if (place === chosen) return;
    chosen = place;
    canvas.classList.toggle("over", place >= 0);
    element("said").hidden = place < 0;
    if (place >= 0) {
      element("said-name").textContent = data.name[place] ?? "";
      element("said-album").textContent = data.albums[data.album[place] ?? 0]?.name ?? "";
      const preview = /** @type {HTMLCanvasElement} */ (element("said-picture"));
      preview.hidden = place >= data.drawn;
      const on = preview.getContext("2d");
      if (on && !preview.hidden) paintThumbnail(place, 80, 80, 160, on);
    }
    draw();
  }

  /** @param {number} place */
  function open(place) {
    const link = data.link[place];
    if (!link) return;
    const anchor = document.createElement("a");
    anchor.href = link;
    anchor.target = "_blank";
    anchor.rel = "noreferrer";
    anchor.click();
  }

  /**
   * Enlarge about a point of the view.
   * @param {number} factor
   * @param {number} x
   * @param {number} y
   */
  function zoom(factor, x = wide / 2, y = high / 2) {
    const least = Math.min(wide, high) * 0.4;
    const next = Math.min(least * 400, Math.max(least, scale * factor));
    left = x - ((x - left) * next) / scale;
    top = y - ((y - top) * next) / scale;
    scale = next;
    draw();
  }

  /**
   * Show these pictures, or all.
   * @param {number | null} album
   */
  function show(album) {
    const places = [...Array(many).keys()].filter((place) => album === null || data.album[place] === album);
    const xs = places.map((place) => data.x[place] ?? 0), ys = places.map((place) => data.y[place] ?? 0);
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    scale = 0.88 * Math.min(wide / Math.max(x1 - x0, 0.02), high / Math.max(y1 - y0, 0.02));
    left = wide / 2 - (scale * (x0 + x1)) / 2;
    top = high / 2 + (scale * (y0 + y1)) / 2;
    draw();
  }

  function fit() {
    const box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    const first = wide === 0;
    left += (box.width - wide) / 2;
    top += (box.height - high) / 2;
    [wide, high] = [box.width, box.height];
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(high * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (first) show(null);
    draw();
  }

  /** @type {Map<number, {x: number, y: number}>} */
  const fingers = new Map();
  let moved = 0;

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (!fingers.size) moved = 0;
    fingers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    const now = { x: event.offsetX, y: event.offsetY };
    if (!before) return void choose(pictureAt(now.x, now.y));
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    fingers.set(event.pointerId, now);
    moved += Math.hypot(now.x - before.x, now.y - before.y);
    if (other) {
      const apart = Math.hypot(before.x - other.x, before.y - other.y);
      if (apart > 5) zoom(Math.hypot(now.x - other.x, now.y - other.y) / apart, (now.x + other.x) / 2, (now.y + other.y) / 2);
    }
    const share = other ? 0.5 : 1;
    left += (now.x - before.x) * share;
    top += (now.y - before.y) * share;
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    fingers.delete(event.pointerId);
    if (moved > 6 || fingers.size) return;
    const place = pictureAt(event.offsetX, event.offsetY);
    // A finger has no way to look before it opens: its first touch tells of the picture, the next one opens it.
    if (place >= 0 && (event.pointerType === "mouse" || place === chosen)) open(place);
    choose(place);
  });
  canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => fingers.size || choose(-1));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0016)), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = Math.min(wide, high) / 8;
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => (left += step),
      ArrowRight: () => (left -= step),
      ArrowUp: () => (top += step),
      ArrowDown: () => (top -= step),
      "+": () => zoom(1.4),
      "=": () => zoom(1.4),
      "-": () => zoom(1 / 1.4),
      "0": () => show(null),
      Enter: () => open(chosen),
      Escape: () => press(null),
    };
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
    if (event.key !== "Enter") choose(pictureAt(wide / 2, high / 2, Math.max(wide, high)));
    draw();
  });

  /**
   * Have one album bright, or all again.
   * @param {number | null} album
   */
  function press(album) {
    only = album;
    buttons.forEach((button, place) => button.setAttribute("aria-pressed", String(place === only)));
    choose(-1);
    show(only);
  }

  const buttons = data.albums.map((album, place) => {
    const button = document.createElement("button");
    const dot = document.createElement("i");
    dot.style.background = colours[place] ?? "";
    const name = document.createElement("span");
    name.textContent = album.name;
    const count = document.createElement("span");
    count.className = "many";
    count.textContent = album.pictures.toLocaleString("en");
    button.append(dot, name, count);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => press(only === place ? null : place));
    const item = document.createElement("li");
    item.append(button);
    element("legend").append(item);
    return button;
  });
  element("in").addEventListener("click", () => zoom(1.6));
  element("out").addEventListener("click", () => zoom(1 / 1.6));
  element("whole").addEventListener("click", () => press(null));
  new ResizeObserver(fit).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  fit();
})();
