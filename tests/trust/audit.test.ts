/**
 * A whole node whose audit sink fails: strangers are refused as ever, and who is let in stays.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditSink } from "../../actors/trust/audit.ts";
import { makeNodeNetwork } from "../support/node_network.ts";
import { makeTestPki } from "../support/pki.ts";
import { of, snapshotOf, startTransport, until } from "../support/transports.ts";

const test = suite("a failing audit sink");

/** A loaded machine is no reason to refuse here. */
const handshakeTimeoutMs = 20_000;

const sinks: readonly (readonly [name: string, record: () => unknown])[] = [
  ["throws", () => {
    throw new Error("disk full");
  }],
  ["rejects", () => Promise.reject(new Error("disk full"))],
];
for (const [name, record] of sinks) {
  test(`a sink that ${name} changes no verdict and closes nobody's connection`, async () => {
    const network = await makeNodeNetwork();
    const gateway = await network.start("gateway-01", "gateway", { handshakeTimeoutMs }, { record } as AuditSink);
    const [address = ""] = (await gateway.said("node.listening"))["addresses"] as string[];
    await gateway.said("node.ready");
    const { pki } = network;
    const honest = await startTransport({
      name: "honest",
      pki,
      node: await pki.node("honest", { role: "worker" }),
      handshakeTimeoutMs,
    });
    const strangers = await makeTestPki({ organization: "Strangers" });
    const stranger = await startTransport({
      name: "stranger",
      pki: strangers,
      snapshot: snapshotOf(pki),
      handshakeTimeoutMs,
    });
    try {
      const dialled = await honest.ask({ type: "dial", id: "1", target: { address } });
      if (dialled.type !== "dial.done") throw new Error(`the honest peer got ${JSON.stringify(dialled)}`);
      const { peer } = dialled;
      for (const id of ["a", "b", "c"]) await stranger.ask({ type: "dial", id, target: { address } });
      await gateway.said("audit.failed");
      assert.is((await gateway.said("peer.refused"))["code"], "unknown-issuer");
      const refused = () => gateway.lines.filter(({ event }) => event === "peer.refused").length;
      await until("three refusals", () => refused() === 3, 20_000);
      assert.is(gateway.lines.filter(({ event }) => event === "audit.failed").length, 1);
      const protocol = "/hypha-health/0.0.1";
      const answer = await honest.ask({ type: "request", id: "2", peer, protocol, message: {}, timeoutMs: 20_000 });
      assert.is(answer.type, "response", JSON.stringify(answer));
      assert.equal(honest.facts.map(of("peer.closed")).filter((fact) => fact !== undefined), []);
    } finally {
      await honest.stop();
      await stranger.stop();
      await network.stop();
    }
  });
}

test.run();
