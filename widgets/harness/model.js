// A stand-in for the widget model: the traits, the events, and a record of what the panel sent.

export class FakeModel {
  constructor(state = {}) {
    this.state = state;
    this.sent = [];
    this.listeners = new Map();
    this.answer = null;
  }

  get(name) {
    return this.state[name];
  }

  on(name, callback) {
    if (!this.listeners.has(name)) this.listeners.set(name, new Set());
    this.listeners.get(name).add(callback);
  }

  off(name, callback) {
    this.listeners.get(name)?.delete(callback);
  }

  send(content) {
    this.sent.push(content);
    this.answer?.(content, this);
  }

  emit(name, ...args) {
    for (const callback of [...(this.listeners.get(name) ?? [])]) callback(...args);
  }

  /** A message from the kernel. Each buffer comes as a view into a larger one, as it does from a real websocket. */
  message(content, ...buffers) {
    const views = buffers.filter(Boolean).map((buffer) => {
      const padded = new Uint8Array(buffer.byteLength + 16);
      padded.set(new Uint8Array(buffer), 5);
      return new DataView(padded.buffer, 5, buffer.byteLength);
    });
    this.emit("msg:custom", content, views);
  }

  get listening() {
    return [...this.listeners.values()].reduce((sum, set) => sum + set.size, 0);
  }
}
