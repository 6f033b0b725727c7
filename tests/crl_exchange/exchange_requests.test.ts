/** Requests of peers that are being answered while the node's key is replaced. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createActor, setup } from "xstate";
import { crlExchangeMachine } from "../../actors/crl_exchange/exchange.ts";
import { keptPath } from "../../actors/files/state_directory.ts";
import type { ReceivedRequest } from "../../actors/runtime/requests.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { ownDomain } from "../../pki/crl_marks.ts";
import { askedTransport } from "../support/asked_transport.ts";
import { crlProtocol, makeListWorld } from "../support/crl_members.ts";
import { until } from "../support/transports.ts";

const test = suite("crl_exchange: requests");

/** Found by seed 74300360 of `--membership`: the peer waited for its pull's deadline before it requested the list elsewhere. */
test("bug: a piece of a list that was requested just before the node's key was replaced was never sent", async () => {
  const world = await makeListWorld();
  const stateDir = mkdtempSync(join(tmpdir(), "hypha-key-change-"));
  const list = await world.list(1n);
  const { issuer: key, scope, sha256 } = list.notice;
  const path = keptPath(stateDir, { domain: ownDomain, key, scope, kind: "complete" });
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, list.der);
  const ports = makePorts(() => {});
  const actor = createActor(
    setup({ actors: { exchange: crlExchangeMachine } }).createMachine({
      invoke: {
        id: "exchange",
        src: "exchange",
        input: ({ self }) => ({ parent: self, ports, stateDir, urls: [] }),
      },
    }),
  ).start();
  const { exchange } = actor.getSnapshot().children as { readonly exchange: { send(event: unknown): void } };
  const [former, next] = [askedTransport(), askedTransport()];
  exchange.send({ type: "transport.changed", transport: former.ref });
  exchange.send({ type: "trust.changed", snapshot: world.snapshot([list], 2) });
  // More than are read at once: the others wait for their turn.
  const exchanges = Array.from({ length: 12 }, (_, index) => `in-${index}`);
  for (const each of exchanges) {
    const message = { Pull: { sha256, offset: 0 } };
    const request = { type: "request.received", exchange: each, peer: "peer", protocol: crlProtocol, message };
    exchange.send(request as ReceivedRequest);
  }
  exchange.send({ type: "transport.changed", transport: next.ref });
  try {
    await until("all answers", () => former.answered().length + next.answered().length === 12 || undefined);
    assert.equal([...former.answered()].sort(), exchanges.map((each) => `respond ${each} Piece`).sort());
    assert.equal(next.answered(), []);
  } finally {
    actor.stop();
    await ports.dispose();
    await world.stop();
    rmSync(stateDir, { recursive: true });
  }
});

test.run();
