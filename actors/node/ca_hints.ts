/**
 * What an operator does about a refusal where a CA issues (`[membership]`): its commands, in place of those for files.
 *
 * @module
 */
import type { RefusalCode } from "../../pki/refusal.ts";
import type { MembershipConfig } from "../config/membership_schema.ts";
import type { Ports, Report } from "../runtime/ports.ts";

type Hints = Readonly<Partial<Record<RefusalCode, string>>>;

const again = "make a token (hypha-ca token --replace) and join with it";
const fetched = "Nodes fetch it from membership.crl_urls: check that the CA answers there: curl -k URL/healthz";

/** About a peer. */
const peerHints: Hints = {
  "certificate-revoked":
    `It was cut off on purpose. If the node is to come back, ${again}; a revocation is not taken back. If it is not, stop it: it still dials.`,
  "certificate-expired":
    `Look at the peer's log: while its CA answers it renews by itself (enrolment.retry, enrolment.failed). If its certificate ended long ago, ${again}. If it should still be valid, check the clocks: timedatectl.`,
  "revocation-unknown": `There is no list of that CA here yet. ${fetched}`,
  "crl-expired":
    `The CA has made no new list. ${fetched}, then hypha-ca status. Until then everybody below this CA is refused.`,
  "role-not-allowed":
    "Make a token for the right role (hypha-ca token --replace --role ROLE), and join with it; or allow the role here (roles of [[trust_domains]], require_roles).",
  "too-expensive":
    "Check what the peer asks of this node: it costs more than a tenth of a core. Look at its log; if it is hostile, revoke it: hypha-ca revoke NAME; if its work is honest, spread it over more nodes.",
};

/** About this node's own certificate. */
const ownHints: Hints = {
  "certificate-revoked": `Let the CA's operator ${again}.`,
  "certificate-expired":
    `The node renews it while the CA answers (enrolment.retry, enrolment.failed). If the CA takes it no longer, ${again}.`,
};

/** The same ports, whose reports name the CA's commands where the node has a CA. */
export function hintingPorts(ports: Ports, membership: MembershipConfig | undefined): Ports {
  return membership === undefined ? ports : { ...ports, report: (report) => ports.report(hinted(report)) };
}

function hinted(report: Report): Report {
  const { event, fields } = report;
  if (fields?.["hint"] === undefined) return report;
  const hints: Readonly<Record<string, string | undefined>> = event.startsWith("identity.") ? ownHints : peerHints;
  const hint = hints[String(fields["code"])];
  return hint === undefined ? report : { ...report, fields: { ...fields, hint } };
}
