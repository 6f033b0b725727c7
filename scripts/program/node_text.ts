/**
 * A node's status as lines for people.
 *
 * @module
 */
import type { ShownNode, ShownPeer, ShownRefusal } from "../../actors/node/shown_node.ts";
import type { ShownTraining } from "../../actors/scheduler/status.ts";
import { fitted, section, untilText } from "./text_blocks.ts";
import { ageText, listText } from "./trainings_text.ts";
import type { StatusTextOptions } from "./watch_status.ts";

/** Peers that are listed; `--json` has more. */
const peersMax = 40;
/** All of it; no line is longer than the terminal is wide. */
export function nodeText(
  shown: ShownNode & { readonly trainings?: readonly ShownTraining[] | null },
  options: StatusTextOptions,
): string {
  const { now } = options;
  const lines = [
    ...headLines(shown, now),
    ...trustLines(shown, now),
    ...gatewayLines(shown),
    ...section(
      `peers (${shown.connections.open} of at most ${shown.connections.max} connections)`,
      peerRows(shown.peers, now),
    ),
    ...auditLines(shown),
    ...section("refusals since the start", refusalRows(shown.refusals, now)),
    ...workLines(shown, now),
    ...trainingLines(shown.trainings, now),
  ];
  return fitted(lines, options);
}

function headLines(shown: ShownNode, now: number): readonly string[] {
  const { name, role, state, waitsFor, version, started, peer, certificate, renewal } = shown;
  const wants = waitsFor.length === 0 ? "" : `, waits for ${waitsFor.join(", ")}`;
  return [
    `${name ?? "no certificate"} (${role}): ${state}${wants}, version ${version}, started ${ageText(started, now)} ago`,
    `PeerID ${peer ?? "-"}`,
    certificate === null
      ? "certificate: none"
      : `certificate ${certificate.serial ?? "-"}: ends ${certificate.notAfter}, ${
        untilText(certificate.notAfter, now)
      }`,
    renewal === null ? "renewal: by hand, the node takes up what lies in its files" : renewalLine(renewal, now),
  ];
}

function renewalLine({ state, due, failures, error }: NonNullable<ShownNode["renewal"]>, now: number): string {
  const when = due === null ? "" : `, due ${due}${Date.parse(due) < now ? "" : `, ${untilText(due, now)}`}`;
  const tries = failures === 0 ? "" : `, ${failures} attempts failed`;
  return `renewal: ${state}${when}${tries}${error === null ? "" : `: ${error}`}`;
}

function trustLines({ trust }: ShownNode, now: number): readonly string[] {
  if (trust === null) return ["trust: not loaded"];
  const rows = trust.lists.map(({ domain, issuer, scope, number, thisUpdate, nextUpdate, entries }) => [
    `  ${issuer}`,
    domain ?? "",
    scope,
    `number ${number ?? "-"}`,
    `${entries} revoked`,
    `${ageText(thisUpdate, now)} old`,
    `next ${untilText(nextUpdate, now)}`,
  ]);
  return [`trust: generation ${trust.generation}, ${trust.anchors} anchors`, ...section("revocation lists", rows)];
}

const gatewayLines = ({ gateways }: ShownNode) =>
  section("gateways", gateways.map(({ address, linked }) => [`  ${linked ? "linked" : "not linked"}`, address]));

/** Only what needs an operator. */
function auditLines({ audit }: ShownNode): readonly string[] {
  const forked = audit?.forked ?? []; // a node of an earlier version has no such part
  if (forked.length === 0) return [];
  return section(
    "audit logs that were rewritten or are kept twice",
    forked.map(({ origin, problem, records: [held, other], at }) => [
      `  ${origin}`,
      problem,
      `${held} and ${other} records`,
      at,
    ]),
  );
}

function peerRows(peers: readonly ShownPeer[], now: number): readonly (readonly string[])[] {
  const rows = peers.slice(-peersMax).map(({ name, role, direction, relayed, since, peer, address }) => [
    `  ${name}`,
    role ?? "any role",
    direction,
    relayed ? "relayed" : "direct",
    `since ${ageText(since, now)}`,
    address,
    peer,
  ]);
  return peers.length > peersMax ? [...rows, [`  and ${peers.length - peersMax} more: --json`]] : rows;
}

function refusalRows(refusals: readonly ShownRefusal[], now: number): readonly (readonly string[])[] {
  return refusals.map(({ code, count, last }) => [
    `  ${code}`,
    `${count}`,
    last === null ? "" : `${ageText(last.at, now)} ago`,
    last === null ? "" : `${last.name ?? last.address ?? ""}: ${last.message}`,
  ]);
}

function workLines({ leases, jobs }: ShownNode, now: number): readonly string[] {
  if (leases === undefined || jobs === undefined) return [];
  const leaseRows = leases.map(({ id, scheduler, ends }) => [`  ${id}`, scheduler, `ends ${untilText(ends, now)}`]);
  return [
    ...section("leases", leaseRows),
    ...section("jobs", jobs.map(({ id, lease, scheduler }) => [`  ${id}`, `under lease ${lease}`, scheduler])),
  ];
}

function trainingLines(trainings: readonly ShownTraining[] | null | undefined, now: number): readonly string[] {
  if (trainings === undefined) return [];
  const text = trainings === null ? "not known: the scheduler is not ready" : listText(trainings, now);
  return ["trainings:", ...indented(text)];
}

const indented = (text: string): readonly string[] => text.split("\n").map((line) => `  ${line}`);
