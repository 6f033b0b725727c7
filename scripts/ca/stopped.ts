/**
 * A rotation of a CA that does not run: where its key is lost or its certificate has ended, persons approve the next one all the same.
 *
 * The register is opened without any key. What is requested and approved is recorded in the audit log, as the running CA does.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { adminRoutes } from "../../actors/ca/admin_routes.ts";
import { approvalRowOf } from "../../actors/ca/approval_rows.ts";
import type { AdminAnswer, AdminRoute } from "../../actors/admin/serve_admin.ts";
import { loadCaConfig } from "../../actors/ca/ca_config.ts";
import { openAuthority } from "../../actors/ca/open_authority.ts";
import type { Register } from "../../actors/ca/register.ts";
import type { RegisterFailure } from "../../actors/ca/register_failure.ts";
import { realNow } from "../../actors/runtime/real_ports.ts";
import { keepAudit } from "../program/audit.ts";
import { makePorts } from "../program/ports.ts";

/** Whether a request is about a rotation. Other approved acts need the key, or a configuration that was checked. */
function isOfRotation(register: Register, body: unknown): Result.Result<boolean, RegisterFailure> {
  const { id } = body as { readonly id: string };
  return Result.map(register.read((rows) => approvalRowOf(rows, id)), (row) => row?.operation === "rotate-ca");
}

/** Answers a request from the register of a CA that does not run; undefined where that CA has to run. */
export const askStopped = Effect.fnUntraced(function* (file: string, route: string, body: unknown) {
  const config = yield* loadCaConfig(file);
  const audit = keepAudit({ ...config.audit, now: realNow });
  let unwritten: string | undefined;
  const ports = makePorts(({ event, message }) => {
    if (event === "audit.unwritten") unwritten = message;
  });
  return yield* Effect.acquireUseRelease(
    openAuthority(config, ({ kind, ...detail }) => {
      audit.inbox.record({ type: "ca.alarm", outcome: kind, peer: detail.identity, detail });
    }, { keys: "none" }),
    (ca) =>
      Effect.gen(function* () {
        if (decisions.has(route) && !(yield* Effect.fromResult(isOfRotation(ca.register, body)))) return undefined;
        return yield* Effect.promise(async (): Promise<AdminAnswer> => {
          ca.register.recordTo(audit.inbox);
          await audit.begin(() => `spiffe://${config.domain}/ca/${config.name}`, ports);
          const answer = await (adminRoutes(ca, ports)[route] as AdminRoute)(body);
          const refused = answer.body as { readonly code?: unknown };
          // The register knows only that the log is not open.
          return refused.code === "register-unrecorded" ? { ...answer, body: { ...refused, hint: unwritten } } : answer;
        });
      }),
    (ca) =>
      Effect.promise(async () => {
        await audit.end(ports);
        ca.register.close();
        await ports.dispose();
      }),
  );
});

const decisions: ReadonlySet<string> = new Set(["POST /ca/approve", "POST /ca/decide"]);
