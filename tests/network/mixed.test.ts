/** Node and Deno speak with each other: a transport here, one in a process of the other runtime. */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { scriptCommand } from "../../scripts/check/runtimes.ts";
import { makeTestPki } from "../support/pki.ts";
import { needing } from "../support/prerequisites.ts";
import { of, startTransport } from "../support/transports.ts";

const test = suite("transports of two runtimes");
const pki = await makeTestPki();

for (const runtime of ["node", "deno"] as const) {
  needing(test, runtime)(`one here dials one on ${runtime}, is let in, and gets an answer`, async () => {
    const { der: _, ...node } = await pki.node("child");
    const script = fileURLToPath(new URL("../support/transport_child.ts", import.meta.url));
    const [command, ...before] = scriptCommand(runtime);
    const child = spawn(command, [...before, script], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const chain = node.chain.map((certificate) => Buffer.from(certificate).toString("hex"));
    child.stdin.write(`${JSON.stringify({ trustPem: pki.trustPem, node: { ...node, chain } })}\n`);
    const address = await new Promise<string>((resolve) =>
      child.stdout.once("data", (line) => resolve(`${line}`.trim()))
    );
    const here = await startTransport({ pki, name: "here" });
    const dialled = await here.ask({ type: "dial", id: "1", target: { address } });
    assert.is(dialled.type, "dial.done", JSON.stringify(dialled));
    const { peer, identity } = await here.fact(of("peer.established"));
    assert.is(identity.name, "child");
    const question = { type: "request", id: "r", peer, protocol: "/hypha-health/0.0.1", message: {} } as const;
    assert.equal(await here.ask({ ...question, timeoutMs: 30_000 }), {
      type: "response",
      id: "r",
      message: { healthy: true },
    });
    child.stdin.end();
    // A process that exits may reset what it has not read; Deno sees that as an end, Node as a loss.
    assert.ok(["by-them", "lost"].includes((await here.fact(of("peer.closed"))).reason.type));
    await here.stop();
  });
}

test.run();
