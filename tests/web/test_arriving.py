"""A trace that is opened while it arrives: at every length it gives the numbers that are here, and no others."""

import pytest
import torch

from tests.support.opened import opened
from tests.support.traces import trace_of_segments, trace_with_everything
from viz.recipe import Recipe
from viz.recording.run import perform

# A copy of the file that has arrived up to each end of a tensor, to one byte before it, and to the end of the header.
GROW = """
    const whole = new Uint8Array(trace.buffer);
    const { tensors } = core.readSafetensors(trace.buffer);
    const endOf = ({ bytes }) => bytes.byteOffset + bytes.length;
    const ends = [...tensors.values()].map(endOf);
    const ascending = (numbers) => [...new Set(numbers)].sort((a, b) => a - b);
    const lengths = ascending([core.headerEnd(trace.buffer), ...ends, ...ends.map((end) => end - 1)]);
    const buffer = new ArrayBuffer(whole.length);
    const bytes = new Uint8Array(buffer).fill(1); // what has not arrived is no number of the file
    const arrival = { received: 0 };
    const grow = (length) => {
        bytes.set(whole.subarray(arrival.received, length), arrival.received);
        arrival.received = length;
    };
    grow(lengths[0]);
    const part = core.openTrace(buffer, null, arrival);
    const pixel = { kind: "pixel", point: [0.4, 0.6] };
    const options = { mode: "row", special: false, reading: "spent" };
    const mapOf = (answers, trace, index, step, branch) => {
        const layer = trace.all[index];
        const out = new Float32Array(layer.keyGrid?.tokens ?? layer.keyCount);
        const ask = layer.keyGrid ? answers.read : answers.shares;
        return ask.call(answers, pixel, layer, step, -1, { ...options, branch }, out) && [...out];
    };
    const same = (one, other) => one.length === other.length && one.every((value, i) => value === other[i]);
    const heldOf = (numbers) => numbers.packed ?? numbers.halves ?? numbers; // as the file holds them
    const each = (act) => part.all.forEach((layer, index) =>
        part.steps.forEach((_, step) => part.branches.forEach((branch) => act(layer, index, step, branch))));
"""


@pytest.fixture(scope="module")
def compact(shared_pipeline, tmp_path_factory):
    run = perform(Recipe("a red monster with one eye", seed=1, steps=3), shared_pipeline, branch="both")
    path = tmp_path_factory.mktemp("arriving") / "run.safetensors"
    return run.select(dtype=torch.float16).save(path, compact=True, first=(next(iter(run.layers)), 1))


@pytest.fixture(scope="module", params=["compact", "segments", "everything"])
def path(request, tmp_path_factory):
    if request.param == "compact":
        return request.getfixturevalue("compact")
    trace = {"segments": trace_of_segments, "everything": trace_with_everything}[request.param]()
    return trace.save(tmp_path_factory.mktemp("arriving") / "run.safetensors")


def test_numbers_are_null_until_they_have_arrived_and_then_those_of_the_whole(path):
    wrong, seen, flags = opened(
        path,
        f"""(() => {{ {GROW}
            const wrong = [], seen = [], flags = new Set();
            const [before, after] = [new core.Answers(part, () => {{}}), new core.Answers(trace, () => {{}})];
            for (const length of lengths) {{
                grow(length);
                part.refresh();
                flags.add(`${{part.arriving}} ${{length < whole.length}}`);
                let known = 0;
                each((layer, index, step, branch) => {{
                    const numbers = layer.numbers(step, branch);
                    const expected = trace.all[index].numbers(step, branch);
                    const pairs = ({{ q, k }}) => [heldOf(q), heldOf(k)];
                    const isSame = !numbers || pairs(numbers).every((one, i) => same(one, pairs(expected)[i]));
                    if (!isSame) wrong.push(["numbers", length, index, step, branch]);
                    if (numbers) known++;
                    if (layer.gaps.has(step)) return;
                    const map = mapOf(before, part, index, step, branch);
                    const right = numbers && mapOf(after, trace, index, step, branch);
                    if (numbers ? !same(map, right) : map !== false) wrong.push(["map", length, index, step, branch]);
                }});
                before.begin([]);
                before.work();
                seen.push(known);
            }}
            const picturesOf = ({{ picture, previews }}) => JSON.stringify([picture, previews]);
            if (picturesOf(part) !== picturesOf(trace)) wrong.push("pictures");
            return [wrong, seen, [...flags].sort()];
        }})()""",
    )
    assert wrong == []
    assert flags == ["false false", "true true"]
    assert seen[0] == 0 and seen == sorted(seen) and len(set(seen)) == max(seen) + 1  # one after another


def test_first_map_needs_a_prefix_only(compact):
    needed, whole = opened(
        compact,
        f"""(() => {{ {GROW}
            const at = lengths.find((length) => (grow(length), part.all[0].numbers(1, "conditional") !== null));
            return [at, whole.length];
        }})()""",
    )
    assert needed < 0.3 * whole


def test_what_words_need_is_prepared_while_the_rest_arrives(compact):
    """Once a repaint has taken its time, a word's map is there only if the sums of its layer were made before."""
    counts = opened(
        compact,
        f"""(() => {{ {GROW}
            let clock = 0, idle = null;
            performance.now = () => clock;
            globalThis.requestIdleCallback = (f) => (idle = f);
            const red = {{ kind: "word", text: "red" }};
            const answers = new core.Answers(part, () => {{}});
            const mapped = (layer, step) => {{
                const out = new Float32Array(layer.tokens);
                answers.begin([red]);
                clock += 1000;
                return answers.read(red, layer, step, -1, {{ ...options, branch: part.branch }}, out);
            }};
            return lengths.slice(0, -1).map((length) => {{
                grow(length);
                answers.begin([]);
                each((_, index, step, branch) => mapOf(answers, part, index, step, branch));
                answers.work();
                idle({{ timeRemaining: () => 50 }});
                const arrived = part.steps.flatMap((_, step) => part.wordLayers
                    .filter((layer) => layer.numbers(step, part.branch)).map((layer) => mapped(layer, step)));
                return [part.arriving, arrived.length, arrived.filter(Boolean).length];
            }});
        }})()""",
    )
    assert all(arriving for arriving, _, _ in counts)
    assert all(arrived == mapped for _, arrived, mapped in counts)
    assert max(arrived for _, arrived, _ in counts) > 5
