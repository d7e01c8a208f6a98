// Calls of the REST API.

import { hint } from "./clock.js";

const TIMEOUT = 10_000;
const DOWNLOAD_TIMEOUT = 10 * 60_000;

/**
 * Why a call failed. Decide on code: one of the API's, or "offline" where no
 * answer came, so that it is unknown whether the call took effect. status is 0
 * then. field names the wrong field of an invalid_request; retryAfter is in
 * seconds, null where the server did not say.
 */
export class ApiError extends Error {
  constructor({ status, code, message, field = null, retryAfter = null }) {
    super(message);
    this.name = "ApiError";
    Object.assign(this, { status, code, field, retryAfter });
  }
}

let credentials = { headers: () => ({}), refused: () => {} };

/** Has every call bring headers(), and tells refused(headers) which of them an answer does not take (401). */
export function identify(by) {
  credentials = by;
}

/** GET path: resolves to the parsed answer, rejects with an ApiError. */
export function get(path) {
  return call(path, { method: "GET", headers: {} });
}

/** POST body as JSON to path, with headers if any: as get. */
export function post(path, body, headers = {}) {
  return call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

/** PATCH path with body as JSON: as post. */
export function patch(path, body, headers = {}) {
  return call(path, {
    method: "PATCH",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

/** DELETE path: as get. */
export function remove(path) {
  return call(path, { method: "DELETE", headers: {} });
}

/** GET path: resolves to the answer as a file. */
export function download(path) {
  return call(path, { method: "GET", headers: {} }, { timeout: DOWNLOAD_TIMEOUT, file: true });
}

async function call(path, options, { timeout = TIMEOUT, file = false } = {}) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), timeout);
  const brought = credentials.headers();
  let response, text;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, ...brought }, signal: abort.signal, cache: "no-store" });
    if (file && response.ok) return await response.blob();
    text = await response.text();
  } catch {
    const message = abort.signal.aborted ? "The server did not answer in time" : "The server could not be reached";
    throw new ApiError({ status: 0, code: "offline", message });
  } finally {
    clearTimeout(timer);
  }
  hint(response.headers.get("Date"));
  const body = parse(text);
  if (response.ok && body !== undefined) return body;
  if (response.status === 401) credentials.refused(brought);
  throw new ApiError({
    status: response.status,
    // What stands in front of the server answers in its own way, so not every error has a code.
    code: body?.code ?? (response.status === 429 ? "rate_limited" : response.status >= 502 ? "unavailable" : "internal_error"),
    message: body?.error ?? `The server answered ${response.status}`,
    field: body?.field ?? null,
    retryAfter: seconds(response.headers.get("Retry-After")),
  });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function seconds(header) {
  const n = Number.parseInt(header ?? "", 10);
  return Number.isFinite(n) && n >= 0 ? n : null;
}
