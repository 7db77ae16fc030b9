
// Two samples side by side, in large; shapes turn together.
const chosen = []; // cards, the one chosen first in front
const panel = document.createElement("aside");
panel.className = "pair";
panel.hidden = true;
document.querySelector("header").after(panel);

function copyOf(card) {
  const copy = document.createElement("article");
  copy.original = card;
  copy.dataset.prompt = card.dataset.prompt;
  copy.append(...[".stages", ".caption"].map((part) => card.querySelector(part).cloneNode(true)));
  for (const part of copy.querySelectorAll("model-viewer, .failure, .ways")) part.remove();
  for (const stage of copy.querySelectorAll(".stage")) stage.classList.remove("busy");
  const button = copy.querySelector("button");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => activate(copy));
  }
  return copy;
}

// The viewers begin at the same angle, and each follows what a hand does to the other.
function tie(viewers) {
  for (const viewer of viewers) {
    viewer.addEventListener("load", () => viewers.forEach((one) => one.loaded && one.resetTurntableRotation(0)));
    viewer.addEventListener("camera-change", (event) => {
      if (event.detail.source !== "user-interaction") return;
      for (const other of viewers.filter((one) => one !== viewer)) {
        other.cameraOrbit = viewer.getCameraOrbit().toString();
        other.fieldOfView = `${viewer.getFieldOfView()}deg`;
        other.resetTurntableRotation(viewer.turntableRotation);
        other.jumpCameraToGoal();
      }
    });
  }
}

async function showPair() {
  panel.hidden = chosen.length < 2;
  panel.replaceChildren();
  if (panel.hidden) return;
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => [...chosen].forEach((card) => choose(card, false)));
  const copies = chosen.map(copyOf);
  panel.append(...copies, close);
  await Promise.all(copies.filter((copy) => copy.querySelector("button")).map(activate));
  tie([...panel.querySelectorAll("model-viewer")]);
}

function choose(card, wanted) {
  if (wanted) chosen.push(card);
  else chosen.splice(chosen.indexOf(card), 1);
  if (chosen.length > 2) chosen.shift().querySelector("input").checked = false;
  card.querySelector("input").checked = wanted;
  showPair();
}

for (const card of document.querySelectorAll("article")) {
  card.querySelector("input").addEventListener("change", (event) => choose(card, event.target.checked));
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") [...chosen].forEach((card) => choose(card, false));
});
