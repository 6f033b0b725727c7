/**
 * The library that writes certificates and requests. Imported when something is issued and not before: it takes some
 * hundredths of a second, which a node that only verifies does not pay.
 *
 * @module
 */
// The library's service container needs this first.
import "reflect-metadata";
export {
  Extension,
  Name,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  X509CertificateGenerator,
} from "@peculiar/x509";
