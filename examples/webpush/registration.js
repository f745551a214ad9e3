// What the page and its service worker share: the server's configuration, and the registration of a subscription.
"use strict";

const KEPT = "tocsin-demo"; // a cache of our own: the one store that both the page and the worker reach simply
const DEVICE = "/demo/this-device"; // no address of the server; a name in that cache

/** An error whose text says what to do. */
class Problem extends Error {}

/** Ask the server for what a subscription needs: its public key, and a key for this browser's device. */
async function configuration() {
  const known = await knownDevice();
  const config = await answerOf(await reach(`config.json?device=${encodeURIComponent(known)}`));
  await (await caches.open(KEPT)).put(DEVICE, new Response(config.device_id));
  return config;
}

/** The id that this browser's device has had before, "" without one. */
async function knownDevice() {
  const kept = await (await caches.open(KEPT)).match(DEVICE);
  return kept ? kept.text() : "";
}

/** Call a method of the API with the page's own key. */
async function call(config, method, params) {
  return answerOf(
    await reach(`/api/${method}`, {
      method: "POST",
      headers: { "X-API-Key": config.key },
      body: JSON.stringify(params),
    }),
  );
}

/** Register a PushSubscription: the device's id is in the key, and need not be said. */
async function register(config, subscription) {
  return call(config, "device_register", {
    provider: "webpush",
    provider_id: config.provider_id,
    platform: "web",
    token: JSON.stringify(subscription),
    locale: navigator.language,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  });
}

/** Subscribe this browser with the server's public key. */
async function subscribe(registration, config) {
  return registration.pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: bytesOf(config.public_key),
  });
}

async function reach(address, options) {
  try {
    return await fetch(address, options);
  } catch {
    throw new Problem("The server does not answer. See that `tocsin serve --demo` runs, then reload this page.");
  }
}

/** The result of an answer of the API; a Problem with what the server says for anything else. */
async function answerOf(response) {
  if (response.status === 401) {
    throw new Problem("The page's key has ended. Reload this page to get another.");
  }
  if (!response.ok) {
    throw new Problem(`The server answers with HTTP status ${response.status}: ${(await response.text()).trim()}`);
  }
  const { result, error } = await response.json();
  if (error) {
    const { detail = "", path = "" } = error.data ?? {};
    throw new Problem(`The server says: ${error.message}${path ? ` (${path})` : ""}${detail ? `: ${detail}` : ""}`);
  }
  return result;
}

/** The bytes of a text in base64url. */
function bytesOf(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (character) => character.charCodeAt(0));
}

/** Base64url of bytes, without padding. */
function textOf(buffer) {
  const plain = btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return plain.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
