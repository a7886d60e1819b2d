const OPTIONS = {
  responsive: true, displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};

function show(id) {
  const box = document.getElementById(id);
  if (!box || box.dataset.shown) return;
  box.dataset.shown = "yes";
  const { data, layout } = PLOTS[id];
  if (window.innerWidth < 640) {  // a phone: smaller letters, no toolbar over the legend
    layout.font.size = 11;
    layout.margin.l = 44;
    layout.margin.r = 8;
  }
  const zoomable = id.startsWith("front") || id === "curves";
  const options = { ...OPTIONS, displayModeBar: zoomable && window.innerWidth >= 640 };
  Plotly.newPlot(box, data, layout, options).then(() => {
    box.on("plotly_click", (event) => {
      const arch = document.getElementById("arch-" + event.points[0].customdata);
      if (!arch) return;
      const folded = arch.closest("details");
      if (folded) folded.open = true;
      location.hash = arch.id;
    });
  });
}

// A figure is drawn when it comes near the screen, so a large report opens at once.
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) show(entry.target.id);
}, { rootMargin: "600px" });
for (const id of Object.keys(PLOTS)) {
  const box = document.getElementById(id);
  box.style.minHeight = PLOTS[id].layout.height + "px";
  watch.observe(box);
}
window.addEventListener("beforeprint", () => Object.keys(PLOTS).forEach(show));
