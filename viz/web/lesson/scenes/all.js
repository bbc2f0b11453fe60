// The scenes in order. Each is described in stage.js.

import { HOOK } from "./hook.js";
import { WHERE } from "./where.js";
import { ROWS } from "./rows.js";
import { THREE } from "./three.js";
import { DOT } from "./dot.js";
import { SOFTMAX } from "./softmax.js";
import { MIXING } from "./mixing.js";
import { SHUFFLE } from "./shuffle.js";
import { TOKEN } from "./token.js";

export const SCENES = [HOOK, WHERE, ROWS, THREE, DOT, SOFTMAX, MIXING, SHUFFLE, TOKEN];
