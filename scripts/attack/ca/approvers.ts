/**
 * The approvers of the CA under attack: two of three must approve the enrolment of gateways, and a change of the approvers.
 *
 * @module
 */
import { Result } from "effect";
import { type ApprovalPolicy, makeApprovalPolicy } from "../../../pki/approval/approval_policy.ts";
import { fileSigner, type Signer } from "../../../pki/issue/mod.ts";
import { makeSigningKey } from "../../../pki/issue/signing_key.ts";

/** Their keys, and that of a person who is none of them. */
export const siegeSigners: Promise<Readonly<Record<"alice" | "bob" | "carol" | "mallory", Signer>>> = (async () => {
  const signer = async () => fileSigner((await makeSigningKey()).keyPem);
  return { alice: await signer(), bob: await signer(), carol: await signer(), mallory: await signer() };
})();

/** Their policy. */
export async function siegePolicy(): Promise<ApprovalPolicy> {
  const { mallory: _, ...signers } = await siegeSigners;
  return Result.getOrThrow(makeApprovalPolicy({
    approvers: Object.entries(signers).map(([name, signer]) => ({ name, spki: signer.spki() })),
    threshold: 2,
    operations: ["change-approvers", "issue-role:gateway"],
  }));
}
