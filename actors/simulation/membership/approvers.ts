/**
 * Persons who approve operations of the CA in a run, some of them after they have left; and an observer that compares what the CA
 * executed with what was signed.
 *
 * The observer reads the register after each commit. Who is listed it knows from what was executed before, never from the CA's policy.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { composeApproval } from "../../../pki/approval/approval.ts";
import { type ApprovalPolicy, makeApprovalPolicy } from "../../../pki/approval/approval_policy.ts";
import { type ApprovalRequest, parseApprovalRequest } from "../../../pki/approval/approval_request.ts";
import { sha256 } from "../../../pki/approval/canonical_line.ts";
import { sameBytes } from "../../../pki/bytes.ts";
import { parseCertificate } from "../../../pki/certificate.ts";
import { fileSigner, type Signer } from "../../../pki/issue/mod.ts";
import { makeSigningKey } from "../../../pki/issue/signing_key.ts";
import { takeApproval } from "../../ca/approval_ceremony.ts";
import { type ApprovalRow, openApprovals } from "../../ca/approval_rows.ts";
import { requestPolicy, setFirstPolicy } from "../../ca/operator_acts.ts";
import type { RandomStream } from "../../runtime/random.ts";
import type { LinkedWorld } from "./member_world.ts";
import { caDomain, caHost } from "./simulated_ca.ts";
import { Thief } from "./thief.ts";

/** All persons; three of them are listed at a time, and two must approve. */
export const approvingPersons = ["alice", "bob", "carol", "dave"] as const;
/** A person. */
export type ApprovingPerson = (typeof approvingPersons)[number];
const threshold = 2;

/** One ceremony: a scheduler enrols, or the approvers change. */
export interface CeremonyPlan {
  /** Milliseconds after the start. */
  readonly at: number;
  readonly kind: "enrol" | "change";
  /** Who leaves, where the approvers change. */
  readonly leaves: ApprovingPerson;
  /** When each person signs what waits, in milliseconds after it began; also who is not listed. */
  readonly signsAfter: Readonly<Record<ApprovingPerson, number>>;
}

/** A person signs within this time, in milliseconds. */
const signMs = 90_000;
/** How often a node that waits asks again, in milliseconds. */
const askMs = 15_000;
const asksMax = 20;

/** The ceremonies of a run; about half of the changes begin in the middle of an enrolment. */
export function ceremoniesOf(random: RandomStream, troubleMs: number): readonly CeremonyPlan[] {
  const delays = () =>
    Object.fromEntries(approvingPersons.map((each) => [each, random.whole(500, signMs)])) as CeremonyPlan["signsAfter"];
  return Array.from({ length: random.whole(2, 5) }, () => random.whole(50_000, troubleMs - 2 * signMs)).flatMap(
    (at) => {
      const plan = (kind: CeremonyPlan["kind"], at: number): CeremonyPlan => ({
        ...{ kind, at, leaves: random.pick(approvingPersons), signsAfter: delays() },
      });
      return random.chance(0.6)
        ? [plan("enrol", at), plan("change", at + random.whole(0, signMs))]
        : [plan(random.pick(["enrol", "change"]), at)];
    },
  );
}

/** The approvers of a run. */
export class Approvers {
  readonly #world: LinkedWorld;
  readonly #signers: Readonly<Record<ApprovingPerson, Signer>>;
  /** Who is listed, as the observer knows. */
  #listed: readonly ApprovingPerson[] = ["alice", "bob", "carol"];
  readonly #proposed = new Map<string, readonly ApprovingPerson[]>();
  /** Who has signed each request, by its digest. */
  readonly #signed = new Map<string, Set<ApprovingPerson>>();
  readonly #executed = new Map<string, ApprovalRequest>();

  private constructor(world: LinkedWorld, signers: Approvers["signers"]) {
    this.#world = world;
    this.#signers = signers;
  }

  /** Makes their keys. */
  static async create(world: LinkedWorld): Promise<Approvers> {
    const keys = await Promise.all(approvingPersons.map(() => makeSigningKey()));
    const signers = approvingPersons.map((each, index) => [each, fileSigner(keys[index]!.keyPem)] as const);
    return new Approvers(world, Object.fromEntries(signers) as Record<ApprovingPerson, Signer>);
  }

  get signers(): Readonly<Record<ApprovingPerson, Signer>> {
    return this.#signers;
  }

  /** Sets the first approvers, and begins the ceremonies when they are due. */
  begin(plans: readonly CeremonyPlan[]): void {
    const { ca, sim } = this.#world;
    ca.committed = () => this.#observe();
    const { line } = this.#policy(this.#listed);
    this.#world.operate<unknown>(
      (done) => ca.operate((each) => Effect.ignore(setFirstPolicy(each, line)), done),
      () => {
        for (const [index, plan] of plans.entries()) sim.after(plan.at, () => this.#hold(plan, index + 1));
      },
    );
  }

  #policy(persons: readonly ApprovingPerson[]): ApprovalPolicy {
    const policy = Result.getOrThrow(makeApprovalPolicy({
      approvers: persons.map((name) => ({ name, spki: this.#signers[name].spki() })),
      threshold,
      operations: ["change-approvers", "issue-role:scheduler"],
    }));
    this.#proposed.set(policy.digest, persons);
    return policy;
  }

  #hold(plan: CeremonyPlan, number: number): void {
    const { sim } = this.#world;
    sim.note("fault", caHost, `ceremony ${number}: ${plan.kind}`);
    if (plan.kind === "enrol") this.#enrol(`scheduler-${number}`);
    else this.#change(plan.leaves);
    for (const person of approvingPersons) {
      sim.after(plan.signsAfter[person], () => this.#sign(person));
      sim.after(plan.signsAfter[person] + signMs, () => this.#sign(person));
    }
  }

  /** A scheduler with a token asks until it has its certificate. */
  #enrol(name: string): void {
    const { ca, ledger, sim, web } = this.#world;
    this.#world.operate<string>((done) => ca.token({ role: "scheduler", name, replaces: "yes" }, done), (token) => {
      const host = new Thief(sim, web, this.#world.thieves++);
      ledger.token(token, { identity: `spiffe://${caDomain}/scheduler/${name}` });
      const ask = (left: number) =>
        host.ask({ token }, (got) => {
          if (got === undefined && left > 0) sim.after(askMs, () => ask(left - 1));
        });
      ask(asksMax);
    });
  }

  /** The approvers are to change: one leaves, and who is not listed comes. */
  #change(leaves: ApprovingPerson): void {
    const { ca } = this.#world;
    const comes = approvingPersons.filter((each) => !this.#listed.includes(each));
    const stay = this.#listed.filter((each) => each !== leaves);
    const { line } = this.#policy(stay.length < this.#listed.length ? [...stay, ...comes] : stay);
    this.#world.operate<unknown>(
      (done) => ca.operate((each, at) => requestPolicy(each, line, at), done),
      () => {},
    );
  }

  /** A person signs all that waits, listed or not: what the CA answers does not matter to them. */
  #sign(person: ApprovingPerson): void {
    const { ca } = this.#world;
    ca.operate((each, at) =>
      Effect.gen({ self: this }, function* () {
        const waiting = yield* Effect.fromResult(each.register.read((rows) => openApprovals(rows, at)));
        for (const { id, line } of waiting) {
          const digest = sha256(line);
          const approval = yield* Effect.promise(() => composeApproval(digest, this.#signers[person]));
          this.#signed.set(digest, (this.#signed.get(digest) ?? new Set()).add(person));
          yield* Effect.ignore(takeApproval(each, { id, approval }, at));
        }
      }), () => {});
  }

  /** After each commit: what was executed had enough signatures of those listed until then, and nothing else was issued. */
  #observe(): void {
    const { ca } = this.#world;
    const sql = "SELECT * FROM approval_requests WHERE state = 'executed' ORDER BY ended, rowid";
    for (const row of ca.read((rows) => rows.all<ApprovalRow>(sql)) ?? []) {
      if (!this.#executed.has(row.id)) this.#check(row);
    }
    const given =
      `SELECT token, der FROM certificates WHERE identity LIKE 'spiffe://${caDomain}/scheduler/%' AND predecessor IS NULL`;
    const rows = ca.read((rows) => rows.all<{ readonly token: string; readonly der: Uint8Array }>(given)) ?? [];
    for (const { token, der } of rows) {
      const { tbs } = Result.getOrThrow(parseCertificate(Uint8Array.from(der)));
      const isApproved = [...this.#executed.values()].some(({ operation }) =>
        operation.name === "issue-role:scheduler" && operation.token === token && sameBytes(operation.tbs, tbs)
      );
      if (!isApproved) this.#violate("a certificate of a scheduler was issued that no executed request has");
    }
  }

  #check({ id, line }: ApprovalRow): void {
    const request = Result.getOrThrow(parseApprovalRequest(line));
    this.#executed.set(id, request);
    const signed = this.#signed.get(request.digest) ?? new Set();
    const listed = this.#listed.filter((each) => signed.has(each));
    const { operation } = request;
    if (listed.length < threshold) {
      const who = [...signed].toSorted().join(", ") || "no approver";
      this.#violate(`${operation.name} was executed: ${who} signed, listed were ${this.#listed.join(", ")}`);
    }
    if (operation.name === "change-approvers") this.#listed = this.#proposed.get(operation.policy.digest) ?? [];
  }

  #violate(detail: string): void {
    this.#world.findings.violate("approved-by-k", caHost, detail);
  }
}
