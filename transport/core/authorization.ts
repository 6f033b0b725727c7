/**
 * The acts of a session's peers: each is judged by the identity of the connection that it came in on, and a refused one is
 * reported.
 *
 * @module
 */
import { Result } from "effect";
import { type Member, memberOf } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { NotAuthorized } from "../../pki/refusal.ts";
import { type Act, actNames } from "../authorization/acts.ts";
import { authorize, type Rule } from "../authorization/authorize.ts";
import type { TransportInput } from "../port.ts";
import type { Clock } from "./clock.ts";
import type { Outbox } from "./outbox.ts";
import type { Authorizes } from "./parts.ts";
import { RareReports } from "./rare_reports.ts";

/** Members that are judged again before other events get their turn. */
export const rejudgedSlice = 64;

/** What it is made with. */
export interface AuthorizationInit {
  /** This node's role, and the operator's rules at the beginning. */
  readonly input: Pick<TransportInput, "role" | "rules">;
  readonly clock: Pick<Clock, "monotonic" | "yield">;
  readonly outbox: Pick<Outbox, "tell">;
  /** The members that are established. */
  readonly members: () => readonly { readonly identity: PeerIdentity }[];
}

/** Judges the acts of peers. */
export class Authorization implements Authorizes {
  readonly #init: AuthorizationInit;
  readonly #reports: RareReports;
  #rules: readonly Rule[];
  /** Members that are still to be judged by changed rules. */
  #left: (() => void)[] = [];

  /** Nothing is judged yet. */
  constructor(init: AuthorizationInit) {
    this.#init = init;
    this.#rules = init.input.rules ?? [];
    this.#reports = new RareReports(() => init.clock.monotonic());
  }

  refusalOf(act: Act, identity: PeerIdentity): NotAuthorized | undefined {
    return this.#judge(act, identity, this.#rules);
  }

  #judge(act: Act, identity: PeerIdentity, rules: readonly Rule[]): NotAuthorized | undefined {
    const verdict = authorize(act, identity, { own: this.#init.input.role, rules });
    return Result.isFailure(verdict) ? verdict.failure : undefined;
  }

  allows(act: Act, identity: PeerIdentity): boolean {
    const refusal = this.refusalOf(act, identity);
    if (refusal !== undefined) this.report(act, identity, refusal);
    return refusal === undefined;
  }

  allowedOf(act: Act, identities: readonly PeerIdentity[]): PeerIdentity | undefined {
    const allowed = identities.find((identity) => this.refusalOf(act, identity) === undefined);
    const [first] = identities;
    if (allowed === undefined && first !== undefined) this.allows(act, first);
    return allowed;
  }

  report(act: Act, identity: PeerIdentity, refusal: NotAuthorized): void {
    const untold = this.#reports.note(memberOf(identity), act);
    if (untold === undefined) return;
    this.#init.outbox.tell({ type: "act.refused", act, peer: identity.peer, identity, refusal, untold });
  }

  /**
   * Takes other rules. Tells of each established member which acts it may not do any more; `ended` is called for it before.
   *
   * @param ended Ends what the member's connections carry and what lives as long as they do.
   */
  change(rules: readonly Rule[], ended: (member: Member, denied: ReadonlySet<Act>) => void): void {
    this.#finish(); // a pass that is under way compares with the rules before it
    const before = this.#rules;
    this.#rules = rules;
    const named = new Set([...before, ...rules].flatMap(({ acts }) => acts));
    const touched = actNames.filter((act) => named.has(act));
    this.#left = this.#init.members().map(({ identity }) => () => {
      const denied = touched.filter((act) =>
        this.#judge(act, identity, rules) !== undefined && this.#judge(act, identity, before) === undefined
      );
      if (denied.length === 0) return;
      ended(memberOf(identity), new Set(denied));
      this.#init.outbox.tell({ type: "authorization.changed", peer: identity.peer, identity, denied });
    });
    this.#slice();
  }

  #slice(): void {
    for (const judge of this.#left.splice(0, rejudgedSlice)) judge();
    if (this.#left.length > 0) this.#init.clock.yield(() => this.#slice());
  }

  #finish(): void {
    for (const judge of this.#left.splice(0)) judge();
  }
}
