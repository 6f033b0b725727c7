/** What an executor reports of the results that its worker's link handed to it. */
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TrainerLink } from "../../../actors/job/trainer_link.ts";
import { ask, askJson } from "../../support/bridge_client.ts";
import { peer, withBridge } from "../../support/job_bridge.ts";
import { eventually, fakeNetwork } from "../../support/job_world.ts";

const test = suite("the bridge of a trainer");

/** A link that handed the results of rounds 5 and 6 to an executor with the parameters of round 4, and its reports. */
function makeLink() {
  const reported: (number | undefined)[] = [];
  const results = [5, 6].map((round) => ({ path: `incoming/round-${round}.safetensors`, sizeBytes: 1, peer, round }));
  const link: Partial<TrainerLink> = {
    next: Effect.suspend(() => {
      const [next] = results;
      return next === undefined ? Effect.never : Effect.succeed(next);
    }),
    handed: () => void results.shift(),
    receiveInto: () => {},
    mayHave: (round) => round >= 4 && round <= 6,
    applied: (round) => Effect.sync(() => (reported.push(round), round ?? 6)),
  };
  return { link: link as TrainerLink, reported };
}

test("bug: the round of a report was that of the newest result, which the executor may not have added", async () => {
  const { link, reported } = makeLink();
  const sent: unknown[] = [];
  const request = (_: string, __: string, message: unknown) => {
    sent.push((message as { readonly receipt?: unknown }).receipt);
    return Effect.succeed({ type: "Continue" });
  };
  await withBridge({ link, network: fakeNetwork({ request }) }, async ({ socket }) => {
    let got = "", finish = () => {};
    const receiving = ask(socket, {
      path: "/resources/receive",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ resource: { type: "peers", peers: [peer], strategy: { type: "All" }, resource: null } }),
      onBody: (text, close) => {
        got += text;
        finish = close;
      },
    });
    await eventually("both results", () => got.split("data:").length === 3);
    assert.is(
      got,
      [5, 6].map((round) =>
        `data: {"path":"incoming/round-${round}.safetensors","size":1,"from_peer":"${peer}","round":${round}}\n\n`
      ).join(""),
    );
    const report = (query: string) => askJson(socket, `/status/send${query}`, "update-received");
    const hash = "ab".repeat(32);
    for (const query of ["", `?parameters=${hash}`, "?round=5", `?parameters=${hash}&round=6`]) {
      assert.is((await report(query)).status, 200, query);
    }
    assert.equal(reported, [undefined, undefined, 5, 6]);
    const parameters = hash;
    assert.equal(sent, [{ round: 6 }, { round: 6, parameters }, { round: 5 }, { round: 6, parameters }]);
    for (const round of ["", "x", "-1", "5.0", "3", "7", "9999999999"]) {
      const refused = await report(`?round=${round}`);
      assert.is(refused.status, 422, round);
      assert.match(refused.body, "round: ", round);
    }
    assert.is(sent.length, 4);
    finish();
    await receiving;
  });
});

test.run();
