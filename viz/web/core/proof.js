// What was proved about a trace, in words. Nothing here touches the DOM.

import { formatGaps } from "./words.js";

const VERIFIED =
  "A layer is verified if the output of some of its rows, recomputed from the recorded q, k and v, equals the module's own " +
  "output.";

// What the number in the badge is. A file that gives no number of rows is of the first version, which measured otherwise.
function meaningOf({ proof }) {
  const measure =
    proof.rows === null
      ? "relative to the output's largest entry"
      : "relative to how far apart the values of different keys lie: a weight that is wrong by that much would show";
  return `${VERIFIED} The number is the largest difference, ${measure}.`;
}

const digits = (error) => error.toExponential(0).replace("-", "\u2011"); // a hyphen at which no line ends
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

// { badge: one line, isProved: whether anything was, details: further sentences, missing: [[layer, text]], what is not shown and
// why }. A file that gives no number of rows was proved at one step.
export function describeProof(trace) {
  const { proof, skipped, all } = trace;
  const leftOut = Object.entries(skipped);
  const gapped = all.filter(({ gaps }) => gaps.size);
  const missing = [
    ...leftOut.map(([name, reason]) => [name || "the network", `left out: ${reason}`]),
    ...gapped.map((layer) => [layer.name, formatGaps(trace, layer).join("; ")]),
  ];
  const rest = [leftOut.length && `${leftOut.length} left out`, gapped.length && `${gapped.length} with gaps`];
  const verified = proof.layers ? provedText(trace, leftOut.length) : "not verified";
  const badge = [verified, rest.filter(Boolean).join(", ")].filter(Boolean).join("; ");
  return { badge, isProved: proof.layers > 0, details: [meaningOf(trace), ...detailsOf(proof)], missing };
}

function provedText({ proof, all, steps }, leftOut) {
  const total = all.length + leftOut;
  const subject = proof.layers === total ? counted(total, "layer") : `${proof.layers} of ${counted(total, "layer")}`;
  if (proof.rows === null) return `${subject} verified at one step, to ${digits(proof.error)}`;
  const isWhole = all.every(({ gaps }) => !gaps.size);
  const when = { 1: "at one step", 2: "at both steps" }[steps.length] ?? `at all ${steps.length} steps`;
  return `${subject} verified${isWhole ? ` ${when}` : ""}, ${counted(proof.rows, "row")}, to ${digits(proof.error)}`;
}

function detailsOf({ error, stored }) {
  if (error === null || stored === null || stored <= 2 * error) return [];
  return [`That is while recording. This file holds rounded numbers, from which the output comes out to ${digits(stored)}.`];
}
