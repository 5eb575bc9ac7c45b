// Certificates in words. All times are those of the frame, because clocks of viewers differ.
import { DASH, span } from "/static/format.js";

// A replica names its certificate by the beginning of the serial; the service has the rest.
export function of(service, replica) {
  return replica.serial ? service.certificates?.find((c) => c.serial.startsWith(replica.serial)) : undefined;
}

export function age(certificate, at) {
  return certificate?.not_before ? span(at - certificate.not_before) : DASH;
}

export function end(certificate, at) {
  return certificate ? span(certificate.not_after - at) : DASH;
}

// Such as "in 5 h"; a renewal that is due has not happened yet.
export function renewal(certificate, at) {
  if (!certificate) return DASH;
  if (!certificate.renewal) return "not known";
  return certificate.renewal > at ? `in ${span(certificate.renewal - at)}` : `due for ${span(at - certificate.renewal)}`;
}

export function words(certificate, at) {
  if (!certificate) return DASH;
  const known = certificate.renewal ? `, renewal ${renewal(certificate, at)}` : "";
  return `${certificate.serial.slice(0, 8)}…, ${age(certificate, at)} old${known}, ends in ${end(certificate, at)}`;
}

// The first renewal of all, and the first end.
export function next(services) {
  const all = services.flatMap((s) => s.certificates ?? []);
  const first = (key) => Math.min(...all.map((c) => c[key] ?? Infinity));
  return { renewal: first("renewal"), not_after: first("not_after") };
}
