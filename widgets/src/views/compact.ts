import { h } from "../dom";
import type { Frame, Section } from "../frame";

export class Compact implements Section {
  readonly el = h("div", "rm-compact");

  build(_: Frame): void {}
  resize(_: Frame): void {}
  text(_: Frame): void {}
  graphics(_: Frame): void {}
}
