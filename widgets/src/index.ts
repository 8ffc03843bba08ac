// The anywidget module. anywidget asks for a fresh definition per model, so that the store made here is shared by all
// views of one model and by no other.

import type { Model } from "./anywidget";
import "./css/panel.css";
import { Panel } from "./panel";
import { Store } from "./store";

interface InitializeProps {
  readonly model: Model;
}

interface RenderProps extends InitializeProps {
  readonly el: HTMLElement;
}

export default function panel(): {
  initialize(props: InitializeProps): () => void;
  render(props: RenderProps): () => void;
} {
  let store: Store | null = null;
  return {
    initialize({ model }) {
      const own = new Store(model);
      store = own;
      return () => own.close();
    },
    render({ model, el }) {
      const view = new Panel((store ??= new Store(model)), el);
      return () => view.destroy();
    },
  };
}
