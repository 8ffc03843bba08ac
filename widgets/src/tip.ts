// One tooltip per panel, for what is cut or unknown: on hover and on keyboard focus, gone with Esc.

import { h, setText } from "./dom";

let count = 0;

export class Tip {
  readonly el = h("div", "rm-tip");
  readonly #root: HTMLElement;
  #owner: HTMLElement | null = null;

  constructor(root: HTMLElement) {
    this.#root = root;
    count += 1;
    this.el.id = `resmon-tip-${count}`;
    this.el.setAttribute("role", "tooltip");
    this.el.hidden = true;
    root.append(this.el);
    root.addEventListener("pointerover", (event) => this.#show(event.target));
    root.addEventListener("pointerleave", () => this.hide());
    root.addEventListener("focusin", (event) => this.#show(event.target));
    root.addEventListener("focusout", () => this.hide());
  }

  hide(): void {
    this.#owner?.removeAttribute("aria-describedby");
    this.#owner = null;
    this.el.hidden = true;
  }

  #show(target: EventTarget | null): void {
    const owner = target instanceof Element ? target.closest<HTMLElement>("[data-tip]") : null;
    if (owner === this.#owner) return;
    this.hide();
    if (!owner || !this.#root.contains(owner)) return;
    this.#owner = owner;
    setText(this.el, owner.dataset["tip"] ?? "");
    this.el.hidden = false;
    owner.setAttribute("aria-describedby", this.el.id);
    const box = owner.getBoundingClientRect();
    const root = this.#root.getBoundingClientRect();
    const own = this.el.getBoundingClientRect();
    const left = Math.min(Math.max(4, box.left - root.left), Math.max(4, root.width - own.width - 4));
    const below = box.bottom - root.top + 4;
    const top = below + own.height > root.height && box.top - root.top > own.height ? box.top - root.top - own.height - 4 : below;
    this.el.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }
}
