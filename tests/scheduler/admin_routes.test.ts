/** What a scheduler's admin socket answers by itself. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AdminAnswer } from "../../actors/admin/serve_admin.ts";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { type AdminAsk, adminRoutes, receivedAtOnceMax } from "../../actors/scheduler/admin_routes.ts";
import { makeFakeWorld, settle } from "../support/fake_transport.ts";
import { eventually, temporary } from "../support/job_world.ts";
import { startDaemon } from "../support/scheduler_world.ts";
import { submissionOf } from "../support/submission.ts";

const test = suite("adminRoutes()");
const weights = new Uint8Array(encodeTensors(new Map([["w", { shape: [1], values: Float32Array.of(1) }]])));

test("so many trainings are received at once, each counted before it is here; one more is refused", async () => {
  const { ports } = makeFakeWorld();
  const asked: AdminAsk[] = [];
  const waiting: ((answer: AdminAnswer) => void)[] = [];
  const ask = (each: AdminAsk) => {
    asked.push(each);
    return new Promise<AdminAnswer>((resolve) => waiting.push(resolve));
  };
  const route = adminRoutes({ ports, stateDir: "/none", ask, receiving: new Set() })["POST /trainings"];
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
  const route = adminRoutes({ ports, stateDir: place.path, ask, receiving: new Set() })["POST /trainings"];
  assert.ok(route !== undefined && "upload" in route);
  assert.equal(await route.upload(submissionOf(weights)), leaving);
  assert.equal(readdirSync(join(place.path, "trainings")), []);
  place.remove();
});

for (const moment of ["while its files arrive", "before it is submitted"] as const) {
  test(`bug: a scheduler that took another key lost a training that was being received (${moment})`, async () => {
    const place = temporary();
    const receiving = new Set<string>();
    let daemon = await startDaemon(place.path, "scheduler", { receiving });
    const { ports } = daemon.world;
    /** The role with the other key. */
    const takeKey = async () => {
      daemon.scheduler.stop();
      daemon = await startDaemon(place.path, "renewed", { receiving });
    };
    const ask = async (asked: AdminAsk) => {
      if (asked.type === "submit" && moment === "before it is submitted") await takeKey();
      return await daemon.askLater(asked);
    };
    const route = adminRoutes({ ports, stateDir: place.path, ask, receiving })["POST /trainings"];
    assert.ok(route !== undefined && "upload" in route);
    const body = async function* (): AsyncGenerator<Uint8Array> {
      for await (const whole of submissionOf(weights)) {
        yield whole.subarray(0, -2);
        if (moment === "while its files arrive") await takeKey();
        yield whole.subarray(-2);
      }
    };
    const { status, body: answer } = await route.upload(body());
    assert.is(status, 200, JSON.stringify(answer));
    assert.equal(daemon.world.reported("trainings.loaded"), [{ trainings: 0, open: [] }], "it was not taken up twice");
    const { id } = answer as { readonly id: string };
    assert.equal(readdirSync(join(place.path, "trainings")), [id]);
    assert.equal(new Uint8Array(readFileSync(join(place.path, "trainings", id, "weights.safetensors"))), weights);
    await takeKey();
    await eventually("the next role takes it up", () => daemon.training(id)?.matches("finding") === true);
    daemon.scheduler.stop();
    await settle();
    place.remove();
  });
}
test.run();
