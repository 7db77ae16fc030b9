"use strict";
const LIVE_AT_ONCE = 6; // shapes that turn at the same time: the oldest goes back to its poster
const live = [];

// The GLB of a card as a data URI; it is kept as gzip in base64. A copy of a card reads that of its original.
async function glbOf(card) {
  const text = (card.original ?? card).querySelector("script").textContent;
  const packed = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const glb = new Blob([await new Response(unpacked).arrayBuffer()], { type: "model/gltf-binary" });
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(glb);
  });
}

function rest(card) {
  card.querySelector("model-viewer").remove();
  card.querySelector("button").hidden = false;
}

function fail(card, reason) {
  const stage = card.querySelector(".stage");
  stage.classList.remove("busy");
  const note = document.createElement("p");
  note.className = "failure";
  note.textContent = reason;
  stage.append(note);
}

async function activate(card) {
  const stage = card.querySelector(".stage");
  if (stage.classList.contains("busy") || stage.querySelector("model-viewer, .failure")) return;
  if (!document.createElement("canvas").getContext("webgl2")) return fail(card, "This browser has no WebGL to turn it with.");
  stage.classList.add("busy");
  try {
    const viewer = document.createElement("model-viewer");
    const settings = {
      src: await glbOf(card), alt: card.dataset.prompt, "camera-controls": "", "auto-rotate": "", "auto-rotate-delay": "0",
      "rotation-per-second": "40deg", "interaction-prompt": "none", "camera-orbit": "32deg 68deg auto", "shadow-intensity": "0.9",
      "shadow-softness": "0.9", exposure: "0.85", "environment-image": "neutral", "touch-action": "pan-y", loading: "eager",
    };
    for (const [name, value] of Object.entries(settings)) viewer.setAttribute(name, value);
    viewer.addEventListener("load", () => {
      stage.classList.remove("busy");
      card.querySelector("button").hidden = true;
    });
    viewer.addEventListener("error", () => {
      viewer.remove();
      if (live.includes(card)) live.splice(live.indexOf(card), 1);
      fail(card, "This browser cannot show the shape.");
    });
    stage.append(viewer);
    if (!card.original) live.push(card);
    if (live.length > LIVE_AT_ONCE) rest(live.shift());
  } catch (error) {
    fail(card, "This browser cannot unpack the shape.");
  }
}

for (const card of document.querySelectorAll("article")) {
  if (!card.querySelector("script")) continue;
  card.querySelector("button").addEventListener("click", () => activate(card));
  card.querySelector("a").addEventListener("click", async (event) => {
    const link = event.currentTarget;
    if (link.href.startsWith("data:")) return;
    event.preventDefault();
    link.href = await glbOf(card);
    link.click();
  });
}
