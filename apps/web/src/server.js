// SPDX-License-Identifier: Apache-2.0
// The server as the page sees it. Every error becomes a Refusal with the server's own words and code.

export class Refusal extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

const SLOT = "clarivox-key";
const ended = new Set(["succeeded", "failed", "cancelled", "expired", "purged"]);

export const hasEnded = (job) => ended.has(job.state);
export const keep = (key) => sessionStorage.setItem(SLOT, key);

/** The header that says who asks; none without a key. */
export function authorization() {
  const key = sessionStorage.getItem(SLOT);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

const headers = (more = {}) => ({ ...authorization(), ...more });

function refusal(status, text) {
  try {
    const found = JSON.parse(text);
    return new Refusal(status, found.code ?? "", found.detail ?? found.title ?? `the server says ${status}`);
  } catch {
    return new Refusal(status, "", `the server says ${status}`);
  }
}

export async function ask(path, { method = "GET", body, more, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, body, headers: headers(more), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "unreachable", "the server cannot be reached");
  }
  if (!answer.ok && answer.status !== 304) throw refusal(answer.status, await answer.text());
  return answer;
}

export const json = async (path, options) => (await ask(path, options)).json();
export const bundles = async () => (await json("/v1/bundles")).bundles;
export const ready = () => json("/readyz");
export const job = (id) => json(`/v1/jobs/${encodeURIComponent(id)}`);
export const cancel = (id) => ask(`/v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });

export async function bytes(id, form) {
  const query = form ? `?as=${form}` : "";
  return new Uint8Array(await (await ask(`/v1/jobs/${id}/result${query}`)).arrayBuffer());
}

/** Send files with a wish; `told` hears the share that has gone over. XMLHttpRequest, because fetch tells nothing of it. */
export function send(files, bundle, params, told) {
  const form = new FormData();
  form.append("bundle", bundle);
  form.append("params", JSON.stringify(params));
  files.forEach((file, number) => form.append("file", file, `input${number}${ending(file.name)}`));
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/jobs");
    for (const [name, value] of Object.entries(headers({ "Idempotency-Key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` })))
      request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && told(event.loaded / event.total);
    request.onload = () =>
      request.status < 300 ? done(JSON.parse(request.responseText)) : failed(refusal(request.status, request.responseText));
    request.onerror = () => failed(new Refusal(0, "unreachable", "the server cannot be reached, or refused so large a body"));
    request.send(form);
  });
}

/** The ending of a name, which some formats are told by; the rest of a name may say who the patient is. */
export function ending(name) {
  const found = /(\.nii\.gz|\.[A-Za-z0-9]{1,5})$/.exec(name);
  return found ? found[1].toLowerCase() : "";
}

export const again = (inputs, bundle, params) =>
  json("/v1/jobs", {
    method: "POST",
    body: JSON.stringify({ bundle, params, inputs: inputs.map(({ sha256, role }) => ({ sha256, role })) }),
    more: { "Content-Type": "application/json" },
  });

/** A job with each change until it has ended; a server that restarts is waited for. */
export async function* follow(id, signal) {
  let etag = "";
  for (;;) {
    try {
      const more = etag ? { "If-None-Match": etag } : {};
      const answer = await ask(`/v1/jobs/${encodeURIComponent(id)}${etag ? "?wait=5" : ""}`, { more, signal });
      etag = answer.headers.get("ETag") ?? "";
      if (answer.status !== 304) {
        const found = await answer.json();
        yield found;
        if (hasEnded(found)) return;
      }
      await new Promise((done) => setTimeout(done, 150));
    } catch (error) {
      if (!(error instanceof Refusal) || ![0, 503, 429].includes(error.status)) throw error;
      await new Promise((done) => setTimeout(done, 1500));
    }
  }
}
