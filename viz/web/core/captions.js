// Captions, and which keys of a layer are which words: the same as viz/words.py. Nothing here touches the DOM.
//
// A caption is { text, encodings: [encoding, …], notes: { text of a word: a sentence beside it } }; an encoding, what one text
// encoder made of it, is { encoder: its name, tokens: [text, …], words: [word, …] }; a word
//
//   { text, of: kind, nth, encoder, tokens: indices in the encoding }
//
// `nth` counts the words of this text and kind before it; `encoder` is the index of its encoding. A query names a word by
// these four, as { kind: "word", text, nth, of, encoder }.

const KINDS = ["word", "start", "end", "padding", "image prompt", "objects", "number"];
const MAX_WORD = 100; // characters, as in viz/words.py

// The entry of a trace's description. Throws an Error to show to the user if it is not as it should be.
export function readCaption(entry) {
  const damaged = new Error("This trace is damaged: the words of its caption are not as they should be.");
  const { text, encodings, notes } = entry ?? {};
  if (typeof text !== "string" || !Array.isArray(encodings) || typeof notes !== "object" || !notes) throw damaged;
  if (!Object.values(notes).every((note) => typeof note === "string")) throw damaged;
  return { text, notes: new Map(Object.entries(notes)), encodings: encodings.map(readEncoding) };

  function readEncoding({ encoder, tokens, words }, index) {
    const isFit = typeof encoder === "string" && Array.isArray(tokens) && Array.isArray(words) && words.every(isWord);
    const joined = isFit ? words.flatMap((word) => word[2]).sort((a, b) => a - b) : [];
    if (!isFit || joined.length !== tokens.length || !joined.every((token, i) => token === i)) throw damaged;
    return { encoder, tokens, words: numbered(words, index) };
  }
}

function isWord(entry) {
  if (!Array.isArray(entry) || entry.length !== 3) return false;
  const [text, kind, tokens] = entry;
  if (typeof text !== "string" || !text || text.length > MAX_WORD || !KINDS.includes(kind)) return false;
  return Array.isArray(tokens) && tokens.length > 0 && tokens.every(Number.isInteger);
}

// Words from [text, kind, tokens], each with the number of equal ones before it.
function numbered(entries, encoder) {
  const seen = new Map();
  return entries.map(([text, of, tokens]) => {
    const key = JSON.stringify([text, of]);
    const nth = seen.get(key) ?? 0;
    seen.set(key, nth + 1);
    return { text, of, nth, encoder, tokens };
  });
}

// Which keys of a layer are which encoding: [[index of the first key, encoding], …], in the order of the keys. `segments` are
// the layer's keys that may be words: [{ kind, tokens, first }]. If all words together are as many as the tokens of all
// encodings, these follow one another; otherwise words are the encoding with as many tokens, if exactly one has, and no other
// words of the layer are as many. All other keys are numbered, as an encoding of their own.
export function encodingsOf(segments, caption) {
  const encodings = caption?.encodings ?? [];
  const words = segments.filter(({ kind }) => kind === "words");
  let found = oneAfterAnother(words, encodings);
  const known = new Set(found ? words.map(({ first }) => first) : []);
  if (!found) {
    found = ofEqualLength(words, encodings);
    for (const [first] of found) known.add(first);
  }
  let index = encodings.length;
  for (const { kind, tokens, first } of segments) {
    if (known.has(first)) continue;
    const of = kind === "image prompt" || kind === "objects" ? kind : "number";
    const texts = Array.from({ length: tokens }, (_, i) => String(i + 1));
    found.push([first, { encoder: "", tokens: texts, words: numbered(texts.map((text, i) => [text, of, [i]]), index++) }]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}

// Null if the encodings don't fill all words, or if other keys would split one.
function oneAfterAnother(words, encodings) {
  const keys = words.flatMap(({ first, tokens }) => Array.from({ length: tokens }, (_, i) => first + i));
  const found = [];
  let at = 0;
  for (const encoding of encodings) {
    const { length } = encoding.tokens;
    const [first, last] = [keys[at], keys[at + length - 1]];
    if (!length || last === undefined || last - first + 1 !== length) return null;
    found.push([first, encoding]);
    at += length;
  }
  return found.length && at === keys.length ? found : null;
}

function ofEqualLength(words, encodings) {
  return words.flatMap(({ first, tokens }) => {
    const fits = encodings.filter((encoding) => encoding.tokens.length === tokens);
    const rivals = words.filter((other) => other.tokens === tokens);
    return fits.length === 1 && rivals.length === 1 ? [[first, fits[0]]] : [];
  });
}

// The words of a layer: those of its encodings, each with { keys: indices of its keys in the layer, slots: their places among
// all keys that are words, name: of the encoder, query: the word's }.
export function wordsOfLayer(segments, caption) {
  let slot = 0;
  return encodingsOf(segments, caption).flatMap(([first, { encoder: name, tokens, words }]) => {
    const start = slot;
    slot += tokens.length;
    return words.map((word) => {
      const at = (from) => word.tokens.map((token) => from + token);
      return { ...word, keys: at(first), slots: at(start), name, query: queryOfWord(word) };
    });
  });
}

// The query of a word; fields that are as usual are left out, as in links.
export function queryOfWord({ text, nth, of, encoder }) {
  return { kind: "word", text, ...(nth && { nth }), ...(of !== "word" && { of }), ...(encoder && { encoder }) };
}

// The word that a query names; undefined if it is not among these.
export function findWord(words, { text, nth = 0, of = "word", encoder = 0 }) {
  return words.find((word) => word.text === text && word.nth === nth && word.of === of && word.encoder === encoder);
}

// Whether a query names this word.
export const isQueryOf = (query, word) => query.kind === "word" && findWord([word], query) !== undefined;

// Whether a word stands in the caption, rather than being what the tokenizer or the network added to it. Keys of an unknown
// caption are numbers, and count.
export const isOfCaption = ({ of }) => of === "word" || of === "number";

// “eyes”, “red” (2nd), padding, token 3, image prompt 1
export function nameOfWord({ text, of = "word", nth = 0 }, words = []) {
  const again = nth || words.some((word) => word.text === text && word.of === of && word.nth > 0) ? ` (${nth + 1})` : "";
  if (of === "word") return `“${text}”${again}`;
  if (of === "number") return `token ${text}`;
  return of === text ? text : `${of} ${text}`;
}
