/**
 * Names of trust domains.
 *
 * @module
 */

/** What a trust domain may be called (SPIFFE-ID, "Trust Domain"). Folders of the state directory are named after domains. */
export const trustDomainNamePattern = /^[a-z0-9._-]{1,255}$/;
