// SPDX-License-Identifier: Apache-2.0
// Asks for a key where the server wants one, before OHIF asks for its first study.
import { bundles, keep } from "../web/src/server.js";

/** Returns when the server lets this page in. */
export async function signIn() {
  for (;;) {
    try {
      await bundles();
      return;
    } catch (error) {
      if (error.status !== 401) return; // the panel says what is wrong
    }
    keep(await asked());
  }
}

function asked() {
  const dialog = document.createElement("dialog");
  dialog.style.cssText = "margin:20vh auto;padding:22px;border:1px solid #2b3d5c;border-radius:12px;background:#0b1a42;color:#fff;font:15px system-ui";
  const form = document.createElement("form"), label = document.createElement("label"), input = document.createElement("input"), go = document.createElement("button");
  form.method = "dialog";
  label.textContent = "This server wants an API key or a token ";
  input.type = "password";
  input.autocomplete = "off";
  input.style.cssText = "display:block;width:320px;margin:10px 0;padding:6px 9px;border-radius:8px;border:1px solid #3a5080;background:#04123a;color:#fff";
  go.textContent = "Go on";
  go.style.cssText = "padding:6px 14px;border-radius:8px;background:#4fd6c4;color:#06201c;font-weight:600";
  label.append(input);
  form.append(label, go);
  dialog.append(form);
  document.body.append(dialog);
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(input.value.trim());
    });
    dialog.showModal();
  });
}
