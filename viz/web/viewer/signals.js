// Listeners by name.

export class Signals {
  #listeners = {}; // {name: a set of functions}

  // Returns a function that ends the listening.
  listen(name, f) {
    const listeners = (this.#listeners[name] ??= new Set());
    listeners.add(f);
    return () => listeners.delete(f);
  }

  send(name, ...data) {
    this.#listeners[name]?.forEach((f) => f(...data));
  }
}
