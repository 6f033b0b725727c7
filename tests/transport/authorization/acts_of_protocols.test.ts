import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  actOfBytes,
  actOfRequest,
  actOfStream,
  receiversOf,
} from "../../../transport/authorization/acts_of_protocols.ts";
import { streamProtocols } from "../../../transport/port.ts";
import type { Message } from "../../../transport/protocols/messages.ts";

const test = suite("acts of protocols");

test("a request's variant names its act; what has no row has none", () => {
  const api = (variant: string) => actOfRequest("/hypha-api/0.0.1", { [variant]: {} } as unknown as Message);
  assert.equal(["WorkerOffer", "RenewLease", "JobStatus", "DispatchJob", "Data"].map(api), [
    "worker.offer",
    "lease.renew",
    "job.status",
    "job.dispatch",
    "data.ask",
  ]);
  assert.equal(["constructor", "Other", ""].map(api), [undefined, undefined, undefined]);
  assert.is(actOfRequest("/hypha-api/0.0.1", {}), undefined);
  assert.is(actOfRequest("/hypha-health/0.0.1", {}), "health");
  assert.is(actOfRequest("/hypha-progress/0.0.1", { job_id: "", progress: "update" }), "progress");
  assert.is(actOfRequest("/hypha-crl/1", { Announce: [] }), "crl");
  assert.is(actOfRequest("/hypha-crl/1", { Pull: { sha256: "", offset: 0 } }), "crl");
  assert.is(actOfRequest("/hypha-audit/1", { Prove: { origin: "", old: 0, new: null } }), "audit");
  assert.is(actOfRequest("/hypha-audit/1", { Held: [] }), "audit");
});

test("the act of a request is known before its content, which may be anything", () => {
  const named = (variant: string) => {
    const text = new TextEncoder().encode(variant);
    return Uint8Array.of(0xa1, 0x60 + text.length, ...text, 0xff);
  };
  const api = (variant: string) => actOfBytes("/hypha-api/0.0.1", named(variant));
  assert.equal(["WorkerOffer", "Data"].map(api), ["worker.offer", "data.ask"].map((act) => Result.succeed(act)));
  for (const variant of ["constructor", "Other", ""]) {
    const act = api(variant);
    assert.match(Result.isFailure(act) ? act.failure.message : "it has an act", `unknown variant "${variant}"`);
  }
  assert.ok(Result.isFailure(actOfBytes("/hypha-api/0.0.1", new Uint8Array())));
  assert.equal(actOfBytes("/hypha-training/1", Uint8Array.of(0xff)), Result.succeed("training"));
});

test("a stream's protocol names its act", () => {
  assert.equal(streamProtocols.map(actOfStream), ["slice.pull", "file.push", "slice.pull", "file.push"]);
});

test("an act is asked of the roles that receive it; what every node receives is asked of any member", () => {
  assert.equal(receiversOf("worker.request"), { roles: ["worker", "gateway"] });
  assert.equal(receiversOf("slice.pull"), { roles: ["data", "scheduler"] });
  assert.is(receiversOf("health"), undefined);
  assert.is(receiversOf("record.put"), undefined);
});

test.run();
