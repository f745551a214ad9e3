// The page: subscribes, registers, sends itself pushes, and shows what arrives and what the server knows of it.
"use strict";

const LOOKS = 60; // how often the server is asked about a push before the page gives up
const BETWEEN_LOOKS = 500; // milliseconds
const PATIENCE = 8000; // milliseconds for the browser's push service, after which the page says what it waits for
const CONNECTION =
  "It needs a connection to it (Chrome: mtalk.google.com, port 5228; Firefox: push.services.mozilla.com), no private " +
  "window, and in Brave the setting “Use Google services for push messaging”.";

const at = (id) => document.getElementById(id);
const state = { config: null, registration: null, subscription: null, items: new Map() };

function say(text) {
  at("status").textContent = text;
}

function complain(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

/** What keeps this browser from receiving pushes, in words that say what to do; "" when nothing does. */
function obstacle() {
  if (!window.isSecureContext) {
    return (
      "This page is at an insecure address, where browsers allow no pushes. Open it as http://localhost:… on the " +
      "machine that serves it, or serve it with https."
    );
  }
  if (!("serviceWorker" in navigator)) {
    return "This browser has no service workers here. Private windows of some browsers have none: use a normal window.";
  }
  if (!("PushManager" in window) || !("Notification" in window)) {
    return (
      "This browser has no Web Push. On an iPhone or iPad add the page to the home screen first (iOS 16.4 or newer); " +
      "elsewhere use a current Firefox, Chrome, Edge or Safari."
    );
  }
  return "";
}

/** Why a browser did not subscribe, in words that say what to do. */
function explained(error) {
  if (error instanceof Problem) return error.message;
  const said = `${error.name}: ${error.message}`;
  if (error.name === "NotAllowedError") {
    return `Notifications are blocked for this page. Allow them in the browser's settings of this site, then try again. (${said})`;
  }
  if (error.name === "AbortError") {
    return `The browser's push service does not answer as it should. ${CONNECTION} (${said})`;
  }
  if (error.name === "InvalidAccessError") {
    return `The browser does not take the server's public key: see the credential's public_key in provider_list. (${said})`;
  }
  return `That did not work. (${said})`;
}

function show() {
  const { config, subscription, registration } = state;
  const blocked = obstacle();
  const permission = "Notification" in window ? Notification.permission : "none";
  at("support").textContent = blocked ? "no" : "yes";
  at("permission").textContent =
    { granted: "allowed", denied: "blocked", default: "not asked yet" }[permission] ?? "not there";
  at("subscribed").textContent = subscription ? "yes" : "no";
  at("service").textContent = subscription ? new URL(subscription.endpoint).origin : "none";
  at("device").textContent = subscription && config ? config.device_id : "none";
  at("credential").textContent = config ? config.provider_id : "none";
  at("subscribe").disabled = Boolean(blocked || subscription || !config || !registration);
  at("unsubscribe").disabled = !subscription;
  at("push").disabled = !subscription;
}

/** Do what a button asks for, with the buttons off meanwhile; a failure is shown as text. */
async function attempt(what) {
  complain("");
  for (const button of document.querySelectorAll("button")) button.disabled = true;
  try {
    await what();
  } catch (error) {
    complain(explained(error));
    say("See below.");
  } finally {
    show();
  }
}

async function start() {
  const blocked = obstacle();
  if (blocked) throw new Problem(blocked);
  navigator.serviceWorker.addEventListener("message", (event) => heard(event.data));
  navigator.serviceWorker.startMessages();
  state.config = await configuration();
  state.registration = await navigator.serviceWorker.register("sw.js");
  await navigator.serviceWorker.ready;
  const found = await state.registration.pushManager.getSubscription();
  if (found && textOf(found.options.applicationServerKey ?? new ArrayBuffer(0)) === state.config.public_key) {
    await registered(found);
  } else if (found) {
    await found.unsubscribe();
    say("The server has another public key than the one that this browser subscribed with. Subscribe again.");
  } else {
    say("Ready. Subscribe to get pushes.");
  }
}

async function registered(subscription) {
  await register(state.config, subscription);
  state.subscription = subscription;
  say("Subscribed, and registered with Tocsin. Send yourself a push.");
}

async function subscribeHere() {
  say("Asking for permission…");
  if ((await Notification.requestPermission()) !== "granted") {
    throw new Problem(
      "Notifications are not allowed for this page. Allow them in the browser's settings of this site, then try again.",
    );
  }
  say("Asking the browser's push service for a subscription…");
  const waiting = setTimeout(() => {
    complain(`The browser cannot reach its push service, and goes on trying. ${CONNECTION}`);
  }, PATIENCE);
  const subscription = await subscribe(state.registration, state.config).finally(() => clearTimeout(waiting));
  complain("");
  try {
    await registered(subscription);
  } catch (error) {
    await subscription.unsubscribe();
    throw error;
  }
}

async function unsubscribeHere() {
  await state.subscription.unsubscribe();
  state.subscription = null;
  await call(state.config, "device_remove", { ids: [state.config.device_id] });
  say("Unsubscribed, and removed from Tocsin.");
}

async function sendHere() {
  const { uid } = await answerOf(
    await reach("push", {
      method: "POST",
      headers: { "X-API-Key": state.config.key },
      body: JSON.stringify({ title: at("title").value, body: at("body").value }),
    }),
  );
  itemOf(uid, at("title").value, at("body").value);
  say(`Sent; the server keeps it as ${uid}.`);
  follow(uid).catch((error) => complain(explained(error)));
}

/** Ask what became of a push, until everybody in it is settled. */
async function follow(uid) {
  for (let looks = 0; looks < LOOKS; looks += 1) {
    if ((await look(uid)) === "done") return;
    await new Promise((passed) => setTimeout(passed, BETWEEN_LOOKS));
  }
  state.items.get(uid).told.append(" (the page no longer asks)");
}

async function look(uid) {
  const headers = { "X-API-Key": state.config.key };
  const found = await answerOf(await reach(`push/${encodeURIComponent(uid)}`, { headers }));
  state.items.get(uid).told.textContent = told(found);
  return found.state;
}

/** A push_status in one line. */
function told({ state: stage, ledger = {}, reasons = [], paused = [], delivered = 0, interacted = 0 }) {
  const counts = Object.entries(ledger).filter(([name, count]) => count && name !== "planned");
  const parts = [stage, ...counts.map(([name, count]) => `${count} ${name}`)];
  for (const { reason, count } of reasons) parts.push(`${count} × ${reason}`);
  if (paused.length) parts.push("its credential is paused: provider_list says why");
  if (delivered) parts.push(`${delivered} reported as delivered`);
  if (interacted) parts.push(`${interacted} tapped`);
  return parts.join(", ");
}

/** Where the page says what it knows of a push; made when the push is new. */
function itemOf(uid, title, body) {
  const known = state.items.get(uid);
  if (known) return known;
  const element = document.createElement("li");
  element.dataset.uid = uid;
  element.appendChild(document.createElement("h3")).textContent = title;
  element.appendChild(document.createElement("p")).textContent = body;
  const [arrival, told] = ["In this browser: ", "At the server: "].map((label) => {
    const line = element.appendChild(document.createElement("p"));
    line.append(label);
    return line.appendChild(document.createElement("span"));
  });
  arrival.className = "arrival";
  told.className = "told";
  arrival.textContent = "not yet";
  at("pushes").prepend(element);
  at("none").hidden = true;
  const item = { arrival, told };
  if (uid) state.items.set(uid, item);
  return item;
}

/** The service worker tells of a push, or of a subscription that changed. */
async function heard({ kind, message, problem }) {
  if (problem) complain(problem);
  if (kind === "changed") {
    state.subscription = await state.registration.pushManager.getSubscription();
    if (!problem) say("The browser changed its subscription; the new one is registered.");
    show();
    return;
  }
  const { uid, title, body } = message;
  const item = itemOf(uid, title, body);
  item.arrival.textContent = `“${title}”${body ? `, “${body}”` : ""}, at ${new Date().toLocaleTimeString()}`;
  if (state.config && uid.startsWith(`demo-${state.config.device_id}-`)) {
    await look(uid).catch((error) => complain(explained(error)));
  } else {
    item.told.textContent = "not asked: this page did not send it";
  }
}

at("subscribe").addEventListener("click", () => attempt(subscribeHere));
at("unsubscribe").addEventListener("click", () => attempt(unsubscribeHere));
at("send").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(sendHere);
});
attempt(start);
