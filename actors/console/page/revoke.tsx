/**
 * Revoking a name, in the console of a CA.
 *
 * @module
 */
import { Act, type Outcome } from "./act.tsx";
import type { Answer } from "./connection.ts";
import { useShown } from "./store.ts";

/** RFC 5280 §5.3.1, those that an operator chooses among. */
const reasons = ["unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"] as const;

interface RevokeProps {
  readonly name: string;
  readonly serial: string;
  readonly isRevoked: boolean;
}

/** Draws the button, unless it is revoked. */
export function Revoke({ name, serial, isRevoked }: RevokeProps) {
  const { parts: { crl } } = useShown();
  const next = crl === null || crl === undefined
    ? "a new revocation list"
    : `revocation list ${BigInt(crl.number) + 1n}`;
  return (
    <Act
      path="/ca/revoke"
      body={{ serial }}
      short={isRevoked ? undefined : "Revoke"}
      title={`Revoke ${name}`}
      does={[
        <span key="1">
          The certificate of <strong>{name}</strong> with serial{" "}
          <code>{serial}</code>, and those that renew it, are revoked.
        </span>,
        `The CA publishes ${next}. Each node that gets it closes its connections to ${name}.`,
        "This cannot be undone: the node needs a new token to come back.",
      ]}
      fields={
        <label>
          Reason{" "}
          <select name="reason">
            {reasons.map((each) => <option key={each} value={each}>{each}</option>)}
          </select>
        </label>
      }
      done={outcomeOf}
    />
  );
}

/** The CA's answer: what was revoked, or the request that waits for the approvals of others. */
interface RevokeAnswer {
  readonly waits?: { readonly id: string };
  readonly revoked?: readonly unknown[];
  readonly unlisted?: readonly { readonly identity: string; readonly serial: string }[];
  readonly number?: string;
  readonly gap?: { readonly from: string; readonly to: string };
}

function outcomeOf(answer: Answer["body"]): Outcome {
  const { waits, revoked = [], unlisted = [], number, gap } = answer as RevokeAnswer;
  if (waits !== undefined) {
    const { id } = waits;
    const text = `Not revoked yet: request ${id} waits for approvals (hypha-ca requests ${id}).`;
    return { done: undefined, warnings: [text] };
  }
  const warnings = unlisted.map(({ identity, serial }) =>
    `${identity} ${serial} is another CA's: revoke it in that CA's list too.`
  );
  if (gap !== undefined) {
    const what = `Certificates issued from ${gap.from} to ${gap.to} are not in the restored register`;
    warnings.push(`${what}: revoke those that you know by --serial; others when they renew.`);
  }
  return { done: `Revoked ${revoked.length} certificate(s), in revocation list ${number}.`, warnings };
}
