/**
 * A node's actions that start and stop its children: the transport's commands, gateway links, the role.
 *
 * @module
 */
import type { Rule } from "../../transport/authorization/authorize.ts";
import type { NodeIdentity } from "../../transport/port.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { signerOf } from "../data/grant.ts";
import { present } from "../runtime/present.ts";
import { exchangeId, isRunning, witnessId } from "./facts.ts";
import type { WitnessRef } from "../witness/witness.ts";
import type { CrlExchangeRef } from "../crl_exchange/exchange.ts";
import { bundlePath } from "../files/state_directory.ts";
import type { PartnerRef } from "../partners/partner_bundle.ts";
import { crlUrlsOf, transportInputOf } from "./inputs.ts";
import { ownDomainOf } from "../trust/load_identity.ts";
import type { RuleStoreRef } from "./rule_store.ts";
import { hasPreviousRole, isEnrolling, type NodeArgs, type NodeContext, roleIdOf, transportOf } from "./node_setup.ts";
import type { PreviousIdentityRef } from "./previous_identity.ts";

/** The input of the active identity's transport. */
export function transportInput({ config, ports, identity, snapshot, makeGate, rules, handover }: NodeContext) {
  return transportInputOf(config, {
    ports,
    identity: present(identity, "the identity"),
    snapshot: present(snapshot, "the trust snapshot"),
    makeGate,
    rules,
    listenAddresses: handover?.listenAddresses,
  });
}

/** Starts listening. */
export function startTransport({ context, self, enqueue }: NodeArgs): void {
  if (isRunning(self.getSnapshot(), exchangeId)) {
    enqueue.sendTo<CrlExchangeRef>(exchangeId, { type: "transport.changed", transport: transportOf(context) });
  }
  if (isRunning(self.getSnapshot(), witnessId)) {
    enqueue.sendTo<WitnessRef>(witnessId, { type: "transport.changed", transport: transportOf(context) });
  }
  enqueue.sendTo(transportOf(context), { type: "start", replyTo: self });
}

/** Stops a transport that could not listen. */
export function stopTransport({ context, enqueue }: NodeArgs): void {
  if (context.actor !== undefined) enqueue.stopChild(context.actor);
}

/** Starts the exchange of revocation lists, where there is a directory for them. */
export function startExchange({ context: { config, namedPorts: ports }, self, enqueue }: NodeArgs): void {
  const { stateDir } = config;
  if (stateDir === undefined) return;
  enqueue.spawnChild("crlExchange", {
    id: exchangeId,
    input: { parent: self, ports, stateDir, urls: crlUrlsOf(config) },
  });
}

/** Starts the witness, where the node keeps a log or the states of others' logs. */
export function startWitness({ context: { namedPorts: ports, witness }, enqueue }: NodeArgs): void {
  if (witness !== undefined) enqueue.spawnChild("witness", { id: witnessId, input: { ports, ...witness } });
}

/** Answers witnesses, and takes what they hold. */
export function serveWitnesses({ context, self, enqueue }: NodeArgs): void {
  if (!isRunning(self.getSnapshot(), witnessId)) return;
  enqueue.sendTo(transportOf(context), { type: "serve", protocol: "/hypha-audit/1" });
}

/** Keeps the bundles of partners that are fetched up to date. */
export function startPartners({ context, enqueue }: NodeArgs): void {
  const { config: { trustDomains = [], stateDir }, namedPorts: ports, askCa: ask } = context;
  if (ask === undefined || stateDir === undefined) return;
  for (const { name: domain, trust } of trustDomains) {
    if (typeof trust === "string") continue;
    const input = { ports, ask, domain, ...trust, path: bundlePath(stateDir, domain) };
    enqueue.spawnChild("partnerBundle", { id: partnerId(domain), input });
  }
}

const partnerId = (domain: string): string => `partner/${domain}`;

/** Takes announcements of revocation lists. */
export function serveCrls({ context, self, enqueue }: NodeArgs): void {
  if (!isRunning(self.getSnapshot(), exchangeId)) return;
  enqueue.sendTo(transportOf(context), { type: "serve", protocol: "/hypha-crl/1" });
}

/** The lists were fetched: they count before the node dials, and before its own certificate is refused for want of them. */
export function noteFetched({ context, self, enqueue }: NodeArgs): void {
  if (context.areListsFetched) return;
  enqueue.assign({ areListsFetched: true });
  if (isRunning(self.getSnapshot(), "trustStore")) enqueue.sendTo("trustStore", { type: "trust.reload" });
}

/** Starts a link to each configured gateway. */
export function startLinks({ context, self, enqueue }: NodeArgs): void {
  for (const [index, address] of context.config.gatewayAddresses.entries()) {
    enqueue.spawnChild("gatewayLink", {
      id: `link/${index}`,
      input: {
        ...{ address, transport: transportOf(context), ports: context.namedPorts, parent: self },
        handshakeTimeoutMs: context.config.handshakeTimeoutMs,
      },
    });
  }
}

/** Stops the links to the gateways. */
export function stopLinks({ context, enqueue }: NodeArgs): void {
  for (const index of context.config.gatewayAddresses.keys()) enqueue.stopChild(`link/${index}`);
}

/** Roles that share nothing with the same role of a previous identity, so that both may run. */
const concurrentRoles: ReadonlySet<string> = new Set(["gateway", "data"]);

/** Starts the role, unless it runs already or a previous identity's role still holds what it needs. */
export function startRole({ context, self: parent, enqueue }: NodeArgs): void {
  const { config, namedPorts: ports, members } = context;
  const id = roleIdOf(context.identityCount);
  if (isRunning(parent.getSnapshot(), id)) return;
  if (!concurrentRoles.has(config.role) && hasPreviousRole(context)) return;
  const identity = present(context.identity, "the identity");
  const shared = { parent, ports, transport: transportOf(context), self: identity.peer, members };
  if (config.role === "gateway") enqueue.spawnChild("gateway", { id, input: { ...shared, config } });
  else if (config.role === "scheduler") {
    const { evaluator, receiving } = context;
    const domain = ownDomainOf(identity) ?? config.trustDomain;
    const input = { ...shared, config, sign: signerOf(identity), evaluator, domain, receiving };
    enqueue.spawnChild("scheduler", { id, input });
  } else if (config.role === "worker") enqueue.spawnChild("worker", { id, input: { ...shared, config } });
  else enqueue.spawnChild("data", { id, input: { ...shared, config } });
}

/** Starts the role after that of a previous identity has ended. */
export function startRoleLate(args: NodeArgs): void {
  if (args.context.isReady) startRole(args);
}

/** Asks the active identity's role to drain; where there is none, draining continues at once. */
export function drainRole({ context, self, enqueue }: NodeArgs): void {
  const role = roleIdOf(context.identityCount);
  if (isRunning(self.getSnapshot(), role)) enqueue.sendTo(role, { type: "role.drain" });
  else enqueue.raise({ type: "role.over" });
}

/** Passes new trust on at once: the time until connections have to be closed runs from here. */
export function passTrust(
  { context, self, enqueue }: NodeArgs,
  { snapshot }: { readonly snapshot: TrustSnapshot },
): void {
  enqueue.assign({ snapshot });
  if (isEnrolling(context)) enqueue.sendTo("enrolment", { type: "trust.changed", snapshot });
  enqueue.sendTo("identity", { type: "trust.changed", snapshot });
  if (context.actor !== undefined) enqueue.sendTo(context.actor, { type: "trust.changed", snapshot });
  if (isRunning(self.getSnapshot(), exchangeId)) {
    enqueue.sendTo<CrlExchangeRef>(exchangeId, { type: "trust.changed", snapshot });
  }
  if (isRunning(self.getSnapshot(), witnessId)) {
    enqueue.sendTo<WitnessRef>(witnessId, { type: "trust.changed", snapshot });
  }
  for (const { name } of context.config.trustDomains ?? []) {
    if (!isRunning(self.getSnapshot(), partnerId(name))) continue;
    enqueue.sendTo<PartnerRef>(partnerId(name), { type: "trust.changed", snapshot });
  }
  for (const { id } of context.previousIdentities) {
    enqueue.sendTo<PreviousIdentityRef>(id, { type: "trust.changed", snapshot });
  }
}

/** Starts to watch the file of the operator's rules, where there is one. */
export function watchRules({ context: { ports, config, ruleSource: source }, enqueue }: NodeArgs): void {
  if (source === undefined) return;
  const rules = config.authorization?.rules ?? [];
  enqueue.spawnChild("ruleStore", { id: "ruleStore", input: { ports, source, rules } });
}

/** Passes the operator's rules on at once: what they no longer allow ends within a second. */
export function passRules({ context, enqueue }: NodeArgs, { rules }: { readonly rules: readonly Rule[] }): void {
  enqueue.assign({ rules });
  if (context.actor !== undefined) enqueue.sendTo(context.actor, { type: "rules.changed", rules });
  for (const { id } of context.previousIdentities) {
    enqueue.sendTo<PreviousIdentityRef>(id, { type: "rules.changed", rules });
  }
}

/** Takes the key and certificate that were loaded, for the first time or again. */
export function takeIdentity(
  { context, self, enqueue }: NodeArgs,
  { identity }: { readonly identity: NodeIdentity },
): void {
  if (isRunning(self.getSnapshot(), witnessId)) {
    enqueue.sendTo<WitnessRef>(witnessId, { type: "identity.changed", identity });
  }
  enqueue.assign({ identity });
  enqueue(() => context.names.remember(identity.peer, identity.name));
  if (isEnrolling(context)) enqueue.sendTo("enrolment", { type: "pair.changed" });
  // Another key is another PeerID, which needs a transport of its own: the state `rekeying` makes it.
  if (context.actor !== undefined && identity.peer === context.activeIdentity?.peer) {
    enqueue.assign({ activeIdentity: identity });
    enqueue.sendTo(context.actor, { type: "identity.changed", identity });
  }
}

/** Has enrolment look at the clock: its timers stood still while the machine slept. */
export function passUnchanged({ self, enqueue }: NodeArgs): void {
  if (isRunning(self.getSnapshot(), "enrolment")) enqueue.sendTo("enrolment", { type: "pair.unchanged" });
}

/** Reads the files again (SIGHUP). Enrolment tries again where it had given up, and renews what is due. */
export function reload({ self, enqueue }: NodeArgs): void {
  if (isRunning(self.getSnapshot(), "enrolment")) enqueue.sendTo("enrolment", { type: "pair.changed" });
  if (isRunning(self.getSnapshot(), "trustStore")) enqueue.sendTo("trustStore", { type: "trust.reload" });
  if (isRunning(self.getSnapshot(), "identity")) enqueue.sendTo("identity", { type: "identity.reload" });
  if (isRunning(self.getSnapshot(), "ruleStore")) enqueue.sendTo<RuleStoreRef>("ruleStore", { type: "rules.reload" });
}
