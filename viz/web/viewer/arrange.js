// How the viewer uses the screen: where the cards go, how large picture and maps are, how many columns the atlas has.
// Nothing here touches the DOM. All lengths are in CSS pixels.

import { GAP } from "./paint.js";

const CARD = 30; // a card's left and right padding and borders
const SHORT_CARD = 18; // the same where space is tight
const BETWEEN = 12; // space between two cards
const HEADS = 236; // least width of the heads' card
const LABELS = 184; // width of the atlas's labels, with the network beside them
const SHORT_LABELS = 74; // the same where space is tight
const PAIR_LABELS = 130; // the same for a line of short text beside the network
const LINE = 30; // least height of a row whose label has two lines
export const ASIDE = 136; // width of the colour bar beside the maps, where it leaves small ones more height
const PICTURE = [260, 760]; // least and largest height of the picture, where the cards lie side by side
const MAP = [22, 72]; // least and largest length of a map's longer side
const SCROLLED = 32; // the same if the atlas cannot be seen whole anyway
const TOUCHED = 38; // and where a finger chooses the rows: they are 40 px high
const COLUMNS = 13; // the atlas shows no more, unless all are asked for
const FEW = 9; // and no fewer beside the heads
const ROOMY = 400; // width of the heads' card inside from which its maps are as large as fit it
const HEAD = [28, 10, 320]; // height of a head's name and the space below, space between two heads, largest map of one
const PAIR = 560; // width from which each of two viewers side by side has its picture beside its atlas

// Heights of what is around the picture and the maps: heading, player, padding; heading, timesteps, colour bar, padding.
const AROUND_PICTURE = 34 + 42 + 22;
const BAR = 40;
const AROUND_MAPS = 34 + 26 + BAR + 22;
const [SCALE, LEGEND] = [570, 26]; // width of the colour bar and its buttons in one line; height of the second line, where they need two

const clip = (value, [least, most]) => Math.max(least, Math.min(most, value));

// `width` is the viewer's, `height` what the `screen` has left for the cards, `size` the picture's [height, width], `rows` and
// `steps` the number of maps in the atlas; `all` asks for every step; `pair` that it stands beside another viewer. Returns
//
//   { mode: "three" (picture, atlas and heads side by side), "two" (the heads below) or "one" (a single column),
//     picture: its width, length: of a map's longer side, labels: their width, short: whether they are, narrow: whether there is
//     no room for names beside them, line: whether they have one line only, aside: whether the colour bar is beside the maps, columns:
//     how many steps are shown, room: how many columns there is room for }
//
// A picture and an atlas of up to fourteen rows fit `height` if it is large enough; nothing depends on `steps` unless all are
// asked for, so that another trace changes no size.
export function arrange({ width, height, screen, size, rows, steps, all = false, pair = false }) {
  const ratio = size[1] / size[0];
  const tall = clip(height - AROUND_PICTURE, PICTURE);
  const picture = Math.round(Math.min(tall * ratio, (pair ? 0.42 : 0.46) * width));
  const beside = width - picture - CARD - BETWEEN;
  const longer = Math.max(...size) / size[0]; // a map's longer side over its height
  const longest = (around) => longer * ((Math.max(height, PICTURE[0] + AROUND_PICTURE) - around) / (rows + 1) - GAP);
  const two = beside - CARD;
  const length = Math.floor(clip(longest(AROUND_MAPS + (pair && two < SCALE ? LEGEND : 0)), MAP));
  const map = { length: rows > 14 ? Math.max(SCROLLED, length) : length, longer, size };
  const three = two - BETWEEN - HEADS;
  if (pair && width >= PAIR) return fit("two", two, width < 860 ? PAIR_LABELS : LABELS, map, { picture, steps, all });
  if (width >= 1080 && !pair && !all && countOf(three, LABELS, map) >= FEW) {
    const larger = length + GAP < LINE ? largerMap(three - ASIDE, map, longest(AROUND_MAPS - BAR)) : map;
    const aside = larger.length > map.length;
    return { ...fit("three", aside ? three - ASIDE : three, LABELS, aside ? larger : map, { picture, steps, all }), aside };
  }
  if (width >= 760 && !pair) return fit("two", two, LABELS, map, { picture, steps, all });
  const [labels, card] = width < 560 ? [SHORT_LABELS, SHORT_CARD] : [LABELS, CARD];
  const high = width < 560 ? PICTURE[1] : clip(0.5 * screen, PICTURE); // the same in two viewers side by side
  const single = { picture: Math.min(width - card, Math.round(high * ratio)), steps, all };
  return fit("one", width - card, labels, { ...map, length: 54 }, single);
}

// The width of each head's map, of `ratio` height to width, so that `count` of them fill a card that is `room` wide and `height` high
// inside; 0 where there is so little room that it is divided evenly.
export function headSide(room, height, count, ratio = 1) {
  if (room < ROOMY) return 0;
  const [name, between, largest] = HEAD;
  const sides = Array.from({ length: count }, (_, i) => {
    const [across, down] = [i + 1, Math.ceil(count / (i + 1))];
    return Math.min((room - between * i) / across, (height / down - name) / ratio);
  });
  return Math.floor(Math.min(largest, Math.max(...sides)));
}

// The largest map of which a few columns fit into `room`, no longer than `longest`.
function largerMap(room, map, longest) {
  let length = Math.floor(clip(longest, MAP));
  while (length > map.length && countOf(room, LABELS, { ...map, length }) < FEW) length--;
  return { ...map, length };
}

const pitchOf = ({ length, size }) => Math.round((length * size[1]) / Math.max(...size)) + GAP;

const countOf = (room, labels, map) => Math.floor((room - labels + GAP) / pitchOf(map));

function fit(mode, room, labels, map, { picture, steps, all }) {
  const { size } = map;
  const even = ((room - labels) / steps - GAP) * (Math.max(...size) / size[1]);
  const narrow = labels !== LABELS;
  const wide = mode === "one" ? Math.max(narrow ? TOUCHED : SCROLLED, Math.floor(even)) : map.length; // a few steps fill a narrow screen
  const least = all ? Math.max(MAP[0], Math.floor(even)) : wide;
  const shown = { ...map, length: Math.min(map.length, least) };
  const count = Math.max(2, countOf(room, labels, shown));
  const columns = Math.min(steps, all ? count : Math.min(COLUMNS, count));
  const high = (shown.length * size[0]) / Math.max(...size) + GAP;
  const line = labels !== SHORT_LABELS && high < LINE;
  const labelled = { labels, short: narrow || line, narrow, line };
  return { mode, picture, length: shown.length, ...labelled, aside: false, columns, room: Math.min(COLUMNS, count) };
}
