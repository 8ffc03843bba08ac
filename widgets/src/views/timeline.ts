import { h } from "../dom";
import type { Frame, Section } from "../frame";

export class Timeline implements Section {
  readonly el = h("div", "rm-timeline");

  build(_: Frame): void {}
  resize(_: Frame): void {}
  text(_: Frame): void {}
  graphics(_: Frame): void {}
  destroy(): void {}
}
