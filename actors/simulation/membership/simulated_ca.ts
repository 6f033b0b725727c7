/**
 * A CA in a run: the production machine, register and answers. Its register lies in a real file that survives its processes; its
 * port is a server of the virtual web.
 *
 * A signature is waited for between two steps of virtual time. A process can be killed after any step of an operation: a signature,
 * or a transaction that changed something.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Exit, Result } from "effect";
import { issueCrlDer } from "../../../pki/issue/issue_crl.ts";
import { type CrlRequest, fileSigner, type Signer } from "../../../pki/issue/mod.ts";
import type { CaAlarm } from "../../ca/alarm.ts";
import { answer, type CaAnswer, type CaRequest } from "../../ca/answer.ts";
import { caMachine } from "../../ca/ca.ts";
import { type CertificateAuthority, makeAuthority } from "../../ca/certificate_authority.ts";
import { listLifetimeMs, madeCrl } from "../../ca/compose_lists.ts";
import { crlOf, derOf, enterLists, enterRevocations, type MadeCrl } from "../../ca/crl_rows.ts";
import { PortNotOpened } from "../../ca/https_port.ts";
import type { ServerIdentity } from "../../ca/own_certificate.ts";
import { Register, type RegisterRows } from "../../ca/register.ts";
import { RegisterFailure } from "../../ca/register_failure.ts";
import { type RevocationTarget, revoke } from "../../ca/revoke.ts";
import { createToken, type TokenRequest } from "../../ca/token_rows.ts";
import type { Ports, Run } from "../../runtime/ports.ts";
import { fromScoped } from "../../runtime/scoped_actor.ts";
import { superviseRoot } from "../../runtime/supervise.ts";
import { randomOf } from "../../runtime/random.ts";
import type { Authority } from "../authority.ts";
import { NodeClock } from "../node_clock.ts";
import type { VirtualTime } from "../virtual_time.ts";
import { CountedTurns } from "./counted_turns.ts";
import { listsHere } from "./lists_here.ts";
import { SimulatedToken } from "./simulated_token.ts";
import type { VirtualWeb } from "./virtual_web.ts";

/** The CA's host, domain and origin. */
export const caHost = "ca";
export const caDomain = "sim.hypha";
export const caUrl = "https://ca.sim.hypha:8443";
const dayMs = 86_400_000;
/** An identity's certificate lives so much longer than a node's. */
const identityLives = 3;

/** What a CA is made with. */
export interface SimulatedCaInit {
  readonly seed: number | string;
  readonly time: VirtualTime;
  readonly web: VirtualWeb;
  readonly authority: Authority;
  /** How long certificates of nodes live, in milliseconds. */
  readonly lifeMs: number;
  /** Revocations that the register has from the beginning: they make lists large. */
  readonly entries: number;
  readonly onAlarm: (alarm: CaAlarm) => void;
  readonly onReport: Ports["report"];
  readonly onCrash: (error: unknown) => void;
}

/** What an operator asks for, and how it ended. */
export type OperatorAnswer<A> = (outcome: Result.Result<A, string>) => void;

interface Process {
  readonly clock: NodeClock;
  readonly register: Register;
  readonly ca: CertificateAuthority;
  readonly run: Run;
  readonly turns: CountedTurns;
  identity: ServerIdentity | undefined;
  close: () => void;
  /** Steps until it is killed. */
  stepsLeft: number;
  killed: () => void;
  isDead: boolean;
}

class Killed extends Error {}

/** A CA. */
export class SimulatedCa {
  readonly #init: SimulatedCaInit;
  readonly #folder = mkdtempSync(join(tmpdir(), "hypha-sim-ca-"));
  #process: Process | undefined;
  /** Writing to the register fails. */
  isFull = false;
  /** Called after each commit that changed something. */
  committed = (): void => {};
  /** Called after each start: a process that was killed may have committed what no answer showed yet. */
  started = (): void => {};
  /** How many such commits there were. */
  commits = 0;
  /** Has the key. */
  readonly keyToken: SimulatedToken;
  #skewMs = 0;
  #forging = 0;
  /** Effects whose promises are waited for. */
  #working = 0;

  private constructor(init: SimulatedCaInit) {
    this.#init = init;
    this.keyToken = new SimulatedToken(init.time, fileSigner(init.authority.intermediate.keyPem));
  }

  /** Makes a CA that does not run yet. */
  static async create(init: SimulatedCaInit): Promise<SimulatedCa> {
    const made = new SimulatedCa(init);
    const { authority, time, entries, seed } = init;
    const register = Result.getOrThrow(Register.create(made.registerPath));
    const times = { thisUpdate: new Date(time.now - dayMs), nextUpdate: new Date(time.now + 400 * dayMs) };
    const der = await issueCrlDer({ issuer: authority.root, number: 1n, ...times, revoked: [] });
    const signer = makeAuthorityOf(made, register, fileSigner(authority.intermediate.keyPem));
    const root = madeCrl(der, { issuer: signer.anchorId, kind: "complete", number: 1n, upto: 0, ...times });
    const serials = randomOf(seed, "ca/entries");
    const known = Array.from({ length: entries }, (_, index) => ({
      position: index + 1,
      issuer: signer.issuerId,
      serial: `50${[...serials.bytes(15)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`,
      revoked: time.now - dayMs,
      reason: "unspecified" as const,
      not_after: time.now + 365 * dayMs,
    }));
    register.transaction<void, never>((rows) => {
      enterRevocations(rows, known);
      enterLists(rows, [root]);
      return Result.void;
    });
    register.close();
    return made;
  }

  /** The register's file. */
  get registerPath(): string {
    return join(this.#folder, "ca.db");
  }

  /** Whether its port is open. */
  get isServing(): boolean {
    return this.identity !== undefined;
  }

  /** Its own certificate and key; undefined while its port is closed. */
  get identity(): ServerIdentity | undefined {
    return this.#process?.identity;
  }

  /** Whether it could issue now. */
  get canIssue(): boolean {
    return this.isServing && !this.isFull && this.keyToken.canSign;
  }

  /** Milliseconds by which its clock is ahead. */
  set skewMs(skewMs: number) {
    this.#skewMs = skewMs;
    if (this.#process !== undefined) this.#process.clock.skewMs = skewMs;
  }

  /** Starts a process, unless one runs. */
  start(): void {
    if (this.#process !== undefined) return;
    const { time, onReport, onCrash, seed } = this.#init;
    const clock = new NodeClock(time, this.#skewMs);
    const register = Result.getOrThrow(Register.open(this.registerPath));
    const idle = { identity: undefined, stepsLeft: Infinity, isDead: false, close: () => {}, killed: () => {} };
    const process = { clock, register, ...idle } as unknown as Process;
    const signed = (signature: Uint8Array) => (this.#step(process), signature);
    const { spki, failure, sign } = this.keyToken;
    const signer: Signer = { spki, failure, sign: async (bytes) => signed(await sign(bytes)) };
    const [ca, turns] = [makeAuthorityOf(this, register, signer), new CountedTurns()];
    Object.assign(process, { ca: { ...ca, ...turns.of(ca) }, turns, run: this.#runOf(process) });
    this.#wrap(process, signer);
    this.#process = process;
    const ports: Ports = {
      now: () => clock.now(),
      random: randomOf(seed, "ca/random").next,
      uuid: randomOf(seed, "ca/ids").uuid,
      report: onReport,
      run: process.run,
    };
    superviseRoot(this.#machineOf(process), {
      id: "ca",
      clock: clock.machine,
      input: { ports, ca: process.ca, name: "ca-01", host: "0.0.0.0", port: 0, socket: "", programRoutes: {} },
      onError: (error) => {
        if (!process.isDead) onCrash(error);
      },
    });
    this.started();
  }

  /** kill -9. */
  kill(): void {
    const process = this.#process;
    if (process === undefined) return;
    this.#process = undefined;
    process.isDead = true;
    this.keyToken.release();
    process.clock.stop();
    process.close();
    process.register.close();
  }

  /** Kills the process after this many more steps; `then` is called when that happened. */
  killAfter(steps: number, then: () => void): void {
    if (this.#process === undefined) return;
    this.#process.stepsLeft = steps;
    this.#process.killed = then;
  }

  /** Whether an Effect waits for a promise instead of virtual time. While the token hangs, what needs no signature goes on. */
  get isWorking(): boolean {
    const stuck = this.keyToken.waiting + (this.#process?.turns.waiting ?? 0);
    return this.#forging > 0 || this.#working + this.#init.web.working > stuck;
  }

  /** Removes its files. */
  end(): void {
    this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get terms() {
    return this.#init;
  }

  /** Makes a token. */
  token(
    request: Pick<TokenRequest, "role" | "name" | "key"> & Partial<Pick<TokenRequest, "replaces">>,
    done: OperatorAnswer<string>,
  ): void {
    this.operate((ca, at) => Effect.map(createToken(ca, { replaces: "no", ...request }, at), ({ text }) => text), done);
  }

  /** Revokes. */
  revoke(target: RevocationTarget, done: OperatorAnswer<void>): void {
    this.operate((ca, at) => Effect.asVoid(revoke(ca, target, "unspecified", at)), done);
  }

  operate<A, E extends Error>(
    operation: (ca: CertificateAuthority, at: Date) => Effect.Effect<A, E>,
    done: OperatorAnswer<A>,
  ): void {
    const process = this.#process;
    if (process === undefined) return done(Result.fail("it is away"));
    process.run(Effect.suspend(() => operation(process.ca, new Date(process.clock.now()))), (exit) => {
      done(Exit.isSuccess(exit) ? Result.succeed(exit.value) : Result.fail(String(exit.cause)));
    });
  }

  /** Makes a list with the CA's key, or the root's, that the register knows nothing of. */
  forge(
    request: Omit<CrlRequest, "issuer"> & { readonly by: "root" | "intermediate" },
    done: OperatorAnswer<Uint8Array>,
  ) {
    const { by, ...list } = request;
    this.operate(() => {
      this.#forging += 1;
      const made = issueCrlDer({ ...list, issuer: this.#init.authority[by] });
      return Effect.promise(() => made.finally(() => this.#forging -= 1));
    }, done);
  }

  /** Serials that the register has revoked since a position; for the oracle. */
  revokedSince(position: number): readonly { readonly position: number; readonly serial: string }[] {
    const sql = "SELECT position, serial FROM revocations WHERE position > ? ORDER BY position";
    return this.read((rows) => rows.all(sql, position)) ?? [];
  }

  /** The list in force; for the oracle. */
  get list(): MadeCrl | undefined {
    return this.read((rows) => {
      const row = crlOf(rows, this.issuerId, "complete");
      return row === undefined ? undefined : { ...row, der: derOf(rows, row) };
    });
  }

  /** SHA-256 of the issuer's key. */
  get issuerId(): string {
    return this.#process?.ca.issuerId ?? "";
  }

  read<A>(query: (rows: RegisterRows) => A): A | undefined {
    const process = this.#process;
    if (process === undefined) return undefined;
    const outcome = Register.prototype.transaction.call(process.register, (rows) => Result.succeed(query(rows)));
    return Result.getOrUndefined(outcome as Result.Result<A, never>);
  }

  #step(process: Process): void {
    if (process.isDead) throw new Killed("the process was killed");
    process.stepsLeft -= 1;
    if (process.stepsLeft > 0) return;
    this.kill();
    process.clock.skewMs = 0;
    this.#init.time.schedule(0, process.killed);
    throw new Killed("the process was killed");
  }

  /** Counts steps, fills the disk, and composes lists without a thread. */
  #wrap(process: Process, signer: Signer): void {
    const { register } = process;
    const real = register.transaction.bind(register);
    const full = () => new RegisterFailure({ problem: "full", file: this.registerPath, detail: "the disk is full" });
    const transaction: typeof real = (change) => {
      if (process.isDead) throw new Killed("the process was killed");
      let isChanged = false;
      const outcome = real((rows) => {
        const total = () => rows.first<{ n: number }>("SELECT total_changes() AS n")!.n;
        const before = total();
        const changed = change(rows);
        isChanged = Result.isSuccess(changed) && total() > before;
        return isChanged && this.isFull ? Result.fail(full()) as unknown as typeof changed : changed;
      });
      if (!isChanged || this.isFull) return outcome;
      this.commits += 1;
      this.committed();
      this.#step(process);
      return outcome;
    };
    const ask = listsHere(process.ca, signer);
    Object.assign(register, { transaction, prepareThreads: () => {}, lists: { ask, end: () => {} } });
  }

  /** Effects of a CA wait for nothing but promises: the run goes on when they are over. */
  #runOf(process: Process): Run {
    return (effect, onExit) => {
      this.#working += 1;
      const fiber = Effect.runFork(effect as Effect.Effect<never, never>);
      fiber.addObserver((exit) => {
        this.#working -= 1;
        process.clock.after(0, () => onExit(exit as Parameters<typeof onExit>[0]));
      });
      return () => fiber.interruptUnsafe();
    };
  }

  #machineOf(process: Process) {
    const held = <A>(open: () => A, close: (open: A) => void) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          this.#working -= 1; // it is held, and waits for nothing
          return open();
        }),
        (opened) =>
          Effect.sync(() => {
            this.#working += 1;
            close(opened);
          }),
      );
    const listen = fromScoped(
      "listen",
      ({ identity }: { readonly ports: Ports; readonly identity: ServerIdentity }) =>
        Effect.mapError(
          held(() => {
            process.identity = identity;
            process.close = this.#open(process);
            return { port: 8_443, renew: (next: ServerIdentity) => process.identity = next, connections: () => 0 };
          }, () => process.close()),
          (): PortNotOpened => new PortNotOpened({ detail: "" }),
        ),
    );
    const administrate = fromScoped("administrate", (_: { readonly ports: Ports }) => held(() => {}, () => {}));
    return caMachine.provide({ actors: { listen, administrate } });
  }

  #open(process: Process): () => void {
    const { web } = this.#init;
    return web.open(caUrl, {
      host: caHost,
      identity: () => process.identity!,
      answer: (request) => this.#answer(process, request),
    });
  }

  #answer(process: Process, request: CaRequest): Promise<CaAnswer | undefined> {
    const answered = Effect.suspend(() => answer(process.ca, request, new Date(process.clock.now())));
    return Effect.runPromiseExit(answered).then((exit) => {
      if (process.isDead) return undefined;
      if (Exit.isSuccess(exit)) return exit.value;
      this.#init.onCrash(exit.cause);
      return undefined;
    });
  }
}

function makeAuthorityOf({ terms }: SimulatedCa, register: Register, signer: Signer): CertificateAuthority {
  const { authority: { intermediate, root }, lifeMs, onAlarm } = terms;
  return Result.getOrThrow(makeAuthority({
    ...{ register, signer, chain: [intermediate.der, root.der], domain: caDomain, url: caUrl, onAlarm },
    lifetimeMs: (role) => role === "ca" ? 30 * dayMs : role === "identity" ? identityLives * lifeMs : lifeMs,
    renewAfterExpiryMs: listLifetimeMs,
    ...{ retiredIssuers: [], gateways: [], approvedRoles: [] },
  }));
}
