// A search box over the operations. The page is whole without it.
"use strict";

const find = document.getElementById("find");
const nothing = document.getElementById("nothing");
const sections = [...document.querySelectorAll("section.operation")];
const links = new Map([...document.querySelectorAll("a[data-for]")].map((link) => [link.dataset.for, link.parentElement]));
const texts = new Map(sections.map((section) => [section, section.textContent.toLowerCase()]));

function show() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of sections) {
    const matches = words.every((word) => texts.get(section).includes(word));
    section.hidden = !matches;
    links.get(section.id).hidden = !matches;
    shown += matches;
  }
  nothing.hidden = shown > 0;
}

document.querySelector(".scripted").hidden = false;
find.addEventListener("input", show);
show();
