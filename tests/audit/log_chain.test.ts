import { Buffer } from "node:buffer";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { genesisHash, readLine, sha256Text } from "../../actors/audit/audit_record.ts";
import { type Chunk, LogChain } from "../../actors/audit/log_chain.ts";
import { leafHash, TreeEdge } from "../../actors/audit/merkle_tree.ts";
import { logNode, logStart } from "../support/audit_logs.ts";

const test = suite("LogChain");
const now = new Date(logStart);
const dayMs = 86_400_000;
const event = { type: "job.started", outcome: "done" };

const begin = () => LogChain.begin(logNode, { random: "r", key: "k", at: now });
const textOf = ({ lines }: Chunk) => Buffer.concat(lines).toString();
const linesOf = (chunks: readonly Chunk[]) => chunks.flatMap((chunk) => textOf(chunk).split("\n").slice(0, -1));
const recordsOf = (chunks: readonly Chunk[]) => linesOf(chunks).map((line) => readLine(line)!);

/** All that there is to see of a chain. */
function seen(chain: LogChain): unknown {
  const { edge, ...state } = chain.state;
  const chunks = chain.peek().map((chunk) => [chunk.segment, chunk.offset, chunk.bytes, textOf(chunk)]);
  return { ...state, size: edge.size, root: edge.root().toString("hex"), chunks, waiting: chain.waiting };
}

test("the first record names the key and the random bytes that its hash follows from", () => {
  const chain = begin();
  const [first, ...more] = recordsOf(chain.peek());
  assert.equal(more, []);
  assert.equal([first?.type, first?.outcome, { ...first?.detail }], ["log.opened", "done", { key: "k", random: "r" }]);
  assert.equal([first?.node, first?.seq, first?.prev], [logNode, 0, genesisHash(logNode, "r")]);
  assert.is(first?.ts, now.toISOString());
});

test("each record carries the hash of the one before, and all together have a root", () => {
  const chain = begin();
  for (let index = 0; index < 4; index++) chain.append(event, now);
  const [chunk, ...more] = chain.peek();
  assert.equal(more, []);
  const lines = linesOf([chunk!]);
  const records = recordsOf([chunk!]);
  assert.equal(records.map(({ seq }) => seq), [0, 1, 2, 3, 4]);
  assert.equal(
    records.slice(1).map(({ prev }) => prev),
    lines.slice(0, -1).map((line) => sha256Text(Buffer.from(line))),
  );
  const edge = new TreeEdge();
  for (const line of lines) edge.append(leafHash(Buffer.from(line)));
  const bytes = Buffer.byteLength(textOf(chunk!));
  assert.equal([chunk?.segment, chunk?.offset, chunk?.bytes], [0, 0, bytes]);
  assert.equal(seen(chain), {
    ...{ node: logNode, last: sha256Text(Buffer.from(lines[4]!)), ts: now.toISOString(), segment: 0, line: 5 },
    ...{ size: 5, root: edge.root().toString("hex"), offset: bytes, waiting: bytes },
    chunks: [[0, 0, bytes, textOf(chunk!)]],
  });
  assert.is(chain.size, 5);
});

test("a state that was taken is not changed by later records", () => {
  const chain = begin();
  const { edge } = chain.state;
  const root = edge.root();
  chain.append(event, now);
  assert.is(edge.size, 1);
  assert.equal(edge.root(), root);
});

test("each day begins a segment, whose first record names the one before", () => {
  const chain = begin();
  const firstBytes = chain.state.offset;
  const later = new Date(logStart + dayMs / 3);
  chain.append(event, new Date(logStart + dayMs)); // the second record of the log
  chain.append(event, new Date(logStart + dayMs + 1));
  chain.append(event, new Date(+later + dayMs));
  const chunks = chain.peek();
  assert.equal(chunks.map(({ segment, offset }) => [segment, offset]), [[0, 0], [1, 0]]);
  assert.equal(recordsOf(chunks).map(({ type }) => type), ["log.opened", "log.segment", ...Array(3).fill(event.type)]);
  const begun = recordsOf(chunks)[1];
  assert.equal([begun?.outcome, { ...begun?.detail }], ["done", {
    bytes: firstBytes,
    file: "audit-000000000000.jsonl",
  }]);
  assert.is(begun?.ts, new Date(logStart + dayMs).toISOString());
  const { segment, offset, line } = chain.state;
  assert.equal([segment, offset, line], [1, chunks[1]?.bytes, 4]);
  assert.is(chain.waiting, chunks[0]!.bytes + chunks[1]!.bytes);
});

test("days of one month, of one year and of different years are distinguished", () => {
  for (
    const [day, next] of [["2026-01-01", "2026-01-02"], ["2026-01-09", "2026-02-09"], ["2026-01-01", "2027-01-01"]]
  ) {
    const chain = LogChain.begin(logNode, { random: "r", key: "k", at: new Date(`${day}T12:00:00Z`) });
    chain.append(event, new Date(`${day}T23:59:59.999Z`));
    assert.is(chain.state.segment, 0);
    chain.append(event, new Date(`${next}T00:00:00Z`));
    assert.is(chain.state.segment, 2, next);
  }
});

test("a segment of 64 MiB is full, a smaller one is not", () => {
  const at = (offset: number) => {
    const chain = new LogChain({ ...begin().state, offset });
    chain.append(event, now);
    return chain.peek().map((chunk) => [chunk.segment, chunk.offset]);
  };
  assert.equal(at(67_108_863), [[0, 67_108_863]]);
  assert.equal(at(67_108_864), [[1, 0]]);
});

test("a record after a clock went back has the time of the record before", () => {
  const chain = begin();
  chain.append(event, new Date(logStart - dayMs));
  chain.append(event, new Date(logStart + 1));
  const times = recordsOf(chain.peek()).map(({ ts }) => Date.parse(ts) - logStart);
  assert.equal(times, [0, 0, 1]);
});

test("what is taken waits no more; what is put back waits before what came meanwhile", () => {
  const chain = begin();
  const taken = chain.take();
  assert.equal([taken.length, chain.waiting, chain.peek()], [1, 0, []]);
  chain.append(event, now);
  const bytes = chain.waiting;
  assert.is(bytes, chain.peek()[0]?.bytes);
  chain.putBack(taken);
  assert.equal(recordsOf(chain.peek()).map(({ seq }) => seq), [0, 1]);
  assert.is(chain.waiting, taken[0]!.bytes + bytes);
});

for (
  const [name, laterMs] of [["on the same day", 1], ["that began a segment", dayMs]] as const
) {
  test(`a chain goes back before records ${name}`, () => {
    const [chain, other] = [begin(), begin()];
    for (const each of [chain, other]) {
      each.append(event, new Date(logStart + dayMs));
      each.append(event, new Date(logStart + dayMs));
    }
    const [mark, before] = [chain.mark(), seen(chain)];
    for (let index = 0; index < 3; index++) chain.append(event, new Date(logStart + dayMs + laterMs));
    assert.not.equal(seen(chain), before);
    chain.goBack(mark);
    assert.equal(seen(chain), before);
    for (const each of [chain, other]) each.append(event, new Date(logStart + dayMs + 5));
    assert.equal(seen(chain), seen(other));
  });
}

test("a chain goes back to where nothing waited", () => {
  const chain = begin();
  chain.take();
  const [mark, before] = [chain.mark(), seen(chain)];
  chain.append(event, now);
  chain.goBack(mark);
  assert.equal(seen(chain), before);
});

test.run();
