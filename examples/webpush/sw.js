// Receives the pushes, shows them, and tells the page of them. What a push looks like: docs/payloads.md, Web Push.
"use strict";

importScripts("registration.js");

const PAGE = new URL("./", self.location.href).href;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("push", (event) => {
  event.waitUntil(received(read(event.data)));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const { url, uid } = event.notification.data ?? {};
  event.waitUntil(Promise.all([open(url || PAGE), report(uid, "interacted")]));
});

self.addEventListener("pushsubscriptionchange", (event) => {
  event.waitUntil(again(event.newSubscription));
});

/**
 * The message in a push. Tocsin builds `{"notification": {title, body, navigate, image, tag, data}, "app_badge"}`, with
 * `"web_push": 8030` where it is a declarative one too, which newer browsers show by themselves; or, of a push without
 * text, `{"url", "data", "app_badge"}`. Other senders send whatever they like.
 */
function read(data) {
  const text = data ? data.text() : "";
  let said;
  try {
    said = JSON.parse(text);
  } catch {
    said = null;
  }
  if (said === null || typeof said !== "object") {
    return { title: "A push", body: text, url: "", image: "", tag: "", uid: "", badge: undefined };
  }
  const { notification = {}, app_badge: badge } = said;
  const own = notification.data ?? said.data ?? {};
  return {
    title: notification.title || "A push without a title",
    body: notification.body ?? "",
    url: notification.navigate ?? said.url ?? "",
    image: notification.image ?? "",
    tag: notification.tag ?? "",
    uid: own.uid ?? "",
    badge,
  };
}

async function received(message) {
  const { title, body, image, tag, url, uid } = message;
  const options = { body, data: { url, uid } };
  if (image) options.image = image;
  if (tag) options.tag = tag;
  const shown = self.registration.showNotification(title, options).then(
    () => "",
    (error) => `This browser does not show the notification: ${error.message}`,
  );
  if (message.badge !== undefined && "setAppBadge" in navigator) {
    await navigator.setAppBadge(message.badge).catch(() => {}); // only installed pages have an icon to put it on
  }
  const problem = (await shown) || (await report(uid, "delivered"));
  await tell({ kind: "push", message, problem });
}

/** Tell the server that a push arrived, or was tapped; what went wrong with that, "" if nothing. */
async function report(uid, status) {
  if (!uid) return "";
  try {
    await call(await configuration(), "update_push_status", { analytics_uid: uid, status });
    return "";
  } catch (error) {
    return error.message;
  }
}

/** The browser ended the subscription: register the new one, or subscribe once more. */
async function again(given) {
  try {
    const config = await configuration();
    await register(config, given ?? (await subscribe(self.registration, config)));
    await tell({ kind: "changed", problem: "" });
  } catch (error) {
    await tell({ kind: "changed", problem: error.message });
  }
}

async function tell(what) {
  for (const page of await self.clients.matchAll({ type: "window", includeUncontrolled: true })) {
    page.postMessage(what);
  }
}

async function open(url) {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const there = pages.find((page) => page.url === url);
  return there ? there.focus() : self.clients.openWindow(url);
}
