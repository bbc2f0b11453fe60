// Fetches a file, and hands its bytes over while they arrive.

// A file that is arriving: { url, buffer, received, total }; the buffer is as long as the file and fills up from its beginning.
// First `begin`, then `more` until `isWhole`.
export class Arrival {
  buffer = null;
  received = 0;
  #response;
  #aborter = new AbortController();

  constructor(url) {
    this.url = url;
  }

  get total() {
    return this.buffer.byteLength;
  }

  get isWhole() {
    return this.received === this.total;
  }

  // Takes a response to a request for the file, or for a first part of it, whose body `more` then reads.
  // Throws an Error to show to the user if there is no such file.
  async begin(response) {
    if (!response.ok) throw new Error("The recording is no longer on the server; draw it again.");
    const total = totalOf(response);
    this.#response = total ? response : null;
    this.buffer = total ? new ArrayBuffer(total) : await response.arrayBuffer();
    if (!total) this.received = this.total;
  }

  // Reads to the end of the response, or without one asks for all that is missing; calls onMore() after each piece.
  // Throws a TypeError if the connection breaks; calling it again then asks for the rest.
  async more(onMore = () => {}) {
    const response = this.#response ?? (await this.#request());
    this.#response = null;
    const bytes = new Uint8Array(this.buffer);
    const reader = response.body.getReader();
    this.#aborter.signal.addEventListener("abort", () => reader.cancel().catch(() => {}));
    const before = this.received;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (this.received + value.length > this.total) throw new Error("The server sent more than the file.");
      bytes.set(value, this.received);
      this.received += value.length;
      onMore();
    }
    if (this.received === before) throw new TypeError("The server sent nothing.");
  }

  async #request() {
    const headers = this.received ? { Range: `bytes=${this.received}-` } : {};
    const response = await fetch(this.url, { headers, signal: this.#aborter.signal });
    if (!response.ok) throw new Error("The recording is no longer on the server; draw it again.");
    if (totalOf(response) !== this.total) throw new Error("The recording has changed on the server; load the page again.");
    if (response.status !== 206) this.received = 0; // a server that sends the whole file only
    return response;
  }

  // Stops; nothing more is read.
  abort() {
    this.#aborter.abort();
  }
}

// The length of the whole file that a response is, or is a part of; 0 if it does not say.
function totalOf({ status, headers }) {
  if (status === 206) return Number(/\/(\d+)$/.exec(headers.get("content-range") ?? "")?.[1] ?? 0);
  return headers.has("content-encoding") ? 0 : Number(headers.get("content-length") ?? 0);
}
