
// Samples of one prompt, and samples whose description has all of some words.
const prompts = document.querySelector(".filters select");
const words = document.querySelector(".filters input");

function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/);
  const cards = [...document.querySelectorAll("article")].filter((card) => !card.original);
  for (const card of cards) {
    const text = card.querySelector(".caption").textContent.toLowerCase();
    const asked = !prompts.value || card.dataset.prompt === prompts.value;
    card.hidden = !(asked && wanted.every((word) => text.includes(word)));
  }
  const shown = cards.filter((card) => !card.hidden).length;
  document.querySelector(".filters output").value = shown < cards.length ? `${shown} of ${cards.length}` : "";
}

for (const prompt of new Set([...document.querySelectorAll("article")].map((card) => card.dataset.prompt))) {
  prompts.add(new Option(prompt, prompt));
}
prompts.hidden = prompts.length < 3; // one prompt needs no choice
prompts.addEventListener("change", filter);
words.addEventListener("input", filter);
