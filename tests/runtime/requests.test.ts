/**
 * A role's table of requests. Each line below `@ts-expect-error` has to be an error for `deno check` and for `tsc`, or this
 * file does not compile.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { handleRequest, type RequestTable } from "../../actors/runtime/requests.ts";
import { requestFrom } from "../support/fake_transport.ts";

const taken: string[] = [];
const take = (place: string) => (_: unknown, { exchange }: { readonly exchange: string }) =>
  void taken.push(`${place} ${exchange}`);
const api = {
  WorkerOffer: take("WorkerOffer"),
  RenewLease: take("RenewLease"),
  JobStatus: take("JobStatus"),
  DispatchJob: take("DispatchJob"),
};
const others = {
  "/hypha-health/0.0.1": take("health"),
  "/hypha-progress/0.0.1": take("progress"),
  "/hypha-training/1": take("training"),
};
const table: RequestTable<undefined> = { ...others, "/hypha-api/0.0.1": { ...api, Data: take("Data") } };
// @ts-expect-error `Data` has no handler.
const incomplete: RequestTable<undefined> = { ...others, "/hypha-api/0.0.1": api };
const wrong: RequestTable<undefined> = {
  ...others,
  // @ts-expect-error The message of `Data` has no `id`.
  "/hypha-api/0.0.1": { ...api, Data: (_, { message }) => void message.id },
};

const test = suite("tables of requests");

test("a request goes to the handler of its protocol and variant", () => {
  const requests = [
    requestFrom("a", "/hypha-health/0.0.1", {}),
    requestFrom("a", "/hypha-api/0.0.1", { Data: { dataset: "digits" } }),
    requestFrom("a", "/hypha-api/0.0.1", { RenewLease: { id: "1" } }),
    requestFrom("a", "/hypha-progress/0.0.1", { job_id: "1", progress: "update" }),
  ];
  taken.length = 0;
  for (const request of requests) assert.is(handleRequest(table, undefined, request), true);
  assert.equal(
    taken,
    ["health", "Data", "RenewLease", "progress"].map((place, index) => `${place} ${requests[index]?.exchange}`),
  );
});

test("a variant or protocol that the table does not have, or only inherits, has no handler", () => {
  const data = requestFrom("a", "/hypha-api/0.0.1", { Data: { dataset: "digits" } });
  assert.is(handleRequest(incomplete, undefined, data), false);
  assert.is(handleRequest(wrong, undefined, { ...data, message: { constructor: {} } }), false);
  assert.is(handleRequest(table, undefined, { ...data, message: {} }), false);
  const unknown = { ...data, protocol: "toString" } as unknown as typeof data;
  assert.is(handleRequest(table, undefined, unknown), false);
});

test.run();
