/**
 * What a request would do, from the bytes that approvers sign.
 *
 * @module
 */
import type { ApprovalPolicy } from "../../../pki/approval/approval_policy.ts";
import type { ApprovalRequest, ApprovedOperation } from "../../../pki/approval/approval_request.ts";
import { isOnline, type OnlineOperation } from "../../../pki/approval/online_operation.ts";
import { sha256 } from "../../../pki/approval/canonical_line.ts";
import type { Certificate } from "../../../pki/certificate.ts";

/** A request as lines for people. */
export function describeRequest({ operation, ca, expires, policy, digest }: ApprovalRequest): readonly string[] {
  return [
    ...describeOperation(operation),
    `  by the CA    key ${ca}`,
    `  until        ${expires.toISOString()}`,
    `  policy       ${policy}`,
    `  request      ${digest}`,
  ];
}

function describeOperation(operation: ApprovedOperation): readonly string[] {
  if (isOnline(operation)) return describeOnline(operation);
  switch (operation.name) {
    case "issue-intermediate":
      return ["issue-intermediate: sign the certificate of a CA", ...certificateLines(operation.certificate)];
    case "revoke-ca":
      return [
        `revoke-ca: revoke the certificate of a CA, reason ${operation.reason}`,
        ...certificateLines(operation.certificate),
      ];
    case "change-approvers":
      return ["change-approvers: replace the policy", ...policyLines(operation.policy)];
  }
}

function describeOnline(operation: OnlineOperation): readonly string[] {
  switch (operation.name) {
    case "revoke-many": {
      const { certificates, identities, reason } = operation;
      return [
        `revoke-many: revoke ${certificates.length} certificates and those that renew them or that they got, reason ${reason}`,
        ...certificates.map(({ identity, issuer, serial }) => `  certificate  ${serial} of ${identity}, by ${issuer}`),
        ...identities.map((identity) => `  whole name   ${identity}: its unused tokens are void`),
      ];
    }
    case "rotate-ca":
      return [
        "rotate-ca: change the CAs of the configuration",
        `  issues       ${operation.issues}`,
        ...operation.next.map((each) => `  next         ${each}`),
        ...operation.retired.map((each) => `  retired      ${each}`),
      ];
    default: {
      const { certificate, name, token, replaces } = operation;
      const { subject, issuer, serial, period, publicKey, subjectAltNames } = certificate;
      return [
        `${name}: issue the certificate of a node`,
        `  subject      ${subject.text}`,
        ...subjectAltNames.map(({ type, value }) => `  name         ${type.toUpperCase()}:${value}`),
        `  issuer       ${issuer.text}`,
        `  serial       ${serial}`,
        `  valid        ${period.notBefore.toISOString()} to ${period.notAfter.toISOString()}`,
        `  its key      ${publicKey.label}, ${sha256(publicKey.spki)}`,
        `  token        ${token}`,
        ...(replaces === true
          ? ["  replaces     what this name has: it is not renewed any more, and its lock ends"]
          : []),
      ];
    }
  }
}

function certificateLines(certificate: Certificate): readonly string[] {
  const { subject, issuer, serial, period, publicKey, basicConstraints } = certificate;
  return [
    `  subject      ${subject.text}`,
    `  issuer       ${issuer.text}`,
    `  serial       ${serial}`,
    `  valid        ${period.notBefore.toISOString()} to ${period.notAfter.toISOString()}`,
    `  path length  ${basicConstraints?.pathLength ?? "unlimited"}`,
    `  its key      ${publicKey.label}, ${sha256(publicKey.spki)}`,
  ];
}

/** A policy as lines for people. */
export function policyLines({ approvers, threshold, operations, digest }: ApprovalPolicy): readonly string[] {
  return [
    `  threshold    ${threshold} of ${approvers.length}`,
    ...approvers.map(({ name, keyId, publicKey }) => `  approver     ${name}, ${publicKey.label}, ${keyId}`),
    `  operations   ${operations.join(", ")}`,
    `  its policy   ${digest}`,
  ];
}
