// Mounts the real bundle with a fake model. Used by shots.py and browser.test.py through window.harness.

import definition from "/static/panel.js";
import { NOW, row, schema } from "./fixtures.js";
import { FakeModel } from "./model.js";
import { SCENES } from "./scenes.js";

const host = document.getElementById("host");

window.harness = {
  NOW, row, schema, FakeModel, definition, SCENES,
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
