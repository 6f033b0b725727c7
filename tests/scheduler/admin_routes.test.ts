/** What a scheduler's admin socket answers by itself. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AdminAnswer } from "../../actors/admin/serve_admin.ts";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { type AdminAsk, adminRoutes, receivedAtOnceMax } from "../../actors/scheduler/admin_routes.ts";
import { makeFakeWorld } from "../support/fake_transport.ts";
import { temporary } from "../support/job_world.ts";
import { submissionOf } from "../support/submission.ts";

const test = suite("adminRoutes()");

test("so many trainings are received at once, each counted before it is here; one more is refused", async () => {
  const { ports } = makeFakeWorld();
  const asked: AdminAsk[] = [];
  const waiting: ((answer: AdminAnswer) => void)[] = [];
  const ask = (each: AdminAsk) => {
    asked.push(each);
    return new Promise<AdminAnswer>((resolve) => waiting.push(resolve));
  };
  const route = adminRoutes({ ports, stateDir: "/none", ask })["POST /trainings"];
  assert.ok(route !== undefined && "upload" in route);
  const body = (async function* (): AsyncGenerator<Uint8Array> {})();
  const answers = Array.from({ length: receivedAtOnceMax }, () => route.upload(body));
  assert.equal(asked, answers.map((_, receiving) => ({ type: "room", receiving })));
  const { status, body: refused } = await route.upload(body);
  assert.equal([status, (refused as { readonly code: string }).code], [503, "too-many-submissions"]);
  const full = { status: 507, body: { code: "too-many-trainings" } };
  for (const answer of waiting) answer(full);
  assert.equal(await Promise.all(answers), answers.map(() => full));
  const again = route.upload(body);
  assert.is(asked.length, receivedAtOnceMax + 1, "their places are free again");
  waiting.at(-1)?.(full);
  assert.equal(await again, full);
});

test("bug: a submission that the scheduler refused at its end ran with the next start", async () => {
  const { ports } = makeFakeWorld();
  const place = temporary();
  const leaving = { status: 503, body: { code: "leaving" } };
  const ask = ({ type }: AdminAsk) => Promise.resolve(type === "room" ? { status: 200, body: {} } : leaving);
  const route = adminRoutes({ ports, stateDir: place.path, ask })["POST /trainings"];
  assert.ok(route !== undefined && "upload" in route);
  const weights = encodeTensors(new Map([["w", { shape: [1], values: Float32Array.of(1) }]]));
  assert.equal(await route.upload(submissionOf(weights)), leaving);
  assert.equal(readdirSync(join(place.path, "trainings")), []);
  place.remove();
});
test.run();
