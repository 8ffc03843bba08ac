// Mounts the real bundle with a fake model. Used by shots.py and browser.test.py through window.harness.

import definition from "/static/panel.js";
import { NOW, row, schema } from "./fixtures.js";
import { FakeModel } from "./model.js";
import { facts, packed, rank } from "./ranks.js";
import { SCENES } from "./scenes.js";

const host = document.getElementById("host");

window.harness = {
  NOW, row, schema, FakeModel, definition, SCENES, facts, packed,
  ranks: (n) => Array.from({ length: n }, (_, i) => rank(i)),
  /** How much of the panel lies beyond its right edge. */
  overflow() {
    const root = document.querySelector(".resmon");
    return root.scrollWidth - root.clientWidth;
  },
  /** What must never be cut, and is. */
  cut() {
    const root = document.querySelector(".resmon").getBoundingClientRect();
    const whole = ".rm-value, .rm-energy-value, .rm-badge, .rm-toolbar, .rm-elapsed";
    return [...document.querySelectorAll(whole)]
      .filter((el) => el.offsetParent !== null)
      .filter((el) => el.getBoundingClientRect().right > root.right - 6 || el.getBoundingClientRect().left < root.left + 6)
      .map((el) => `${el.className} ${el.textContent}`);
  },
  /** The figures of the header that do not show whole: an ellipsis in them would make another number. */
  cutFigures() {
    const buttons = document.querySelector(".resmon .rm-toolbar").getBoundingClientRect();
    return [...document.querySelectorAll(".resmon :is(.rm-elapsed, .rm-throughput)")].filter((el) => {
      const text = document.createRange();
      text.selectNodeContents(el);
      const [box, inner] = [el.getBoundingClientRect(), text.getBoundingClientRect()];
      const under = inner.right > buttons.left && inner.top < buttons.bottom && inner.bottom > buttons.top;
      return inner.width > box.width + 0.01 || under;
    }).map((el) => `${el.className} ${el.textContent}`);
  },
  /** Place and size of everything that must stand still. */
  boxes() {
    const still = ".rm-meter, .rm-bar, .rm-energy-row, .rm-rate, .rm-rank td, .rm-plot, .rm-footer, .rm-button";
    return [...document.querySelectorAll(still)].map((el) => {
      const { x, y, width, height } = el.getBoundingClientRect();
      return [x, y, width, height].map(Math.round).join();
    });
  },
  /** Counts what happens to the digits of the first meter from now on. */
  countChanges() {
    window.changes = 0;
    const digits = document.querySelector(".rm-device .rm-num");
    const options = { childList: true, characterData: true, subtree: true };
    new MutationObserver((records) => { window.changes += records.length; }).observe(digits, options);
  },
  /** Keys that leave the panel, from now on. */
  catchKeys() {
    window.leaked = [];
    document.addEventListener("keydown", (event) => window.leaked.push(event.key));
  },
  async mount(name, { width = 900, views = 1 } = {}) {
    const { state, play, then } = SCENES[name]();
    const model = new FakeModel(state);
    const widget = await definition();
    const close = await widget.initialize({ model });
    const ends = [];
    host.replaceChildren();
    for (let i = 0; i < views; i += 1) {
      const el = document.createElement("div");
      el.style.width = `${width}px`;
      host.append(el);
      ends.push(await widget.render({ model, el }));
    }
    play(model);
    then?.(model);
    Object.assign(window, { model, widget, close, ends });
    return model;
  },
};
document.documentElement.dataset.ready = "";
